//! The command line's end of the control socket.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::{Request, Response};

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a command got no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    /// Nobody listens there.
    #[error("no daemon listens at {path}: start `shimq run`, or name its socket with --socket")]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// The socket is not for this user.
    #[error("{path} is not for this user: run as root, or as a member of the socket's group")]
    Permission {
        /// The socket.
        path: PathBuf,
    },
    /// The daemon refused.
    #[error("{0}")]
    Refused(String),
    /// The conversation broke off.
    #[error("talking to the daemon: {0}")]
    Io(#[from] io::Error),
    /// The daemon speaks otherwise: another version, perhaps.
    #[error("the daemon's answer is not understood: {0}")]
    Answer(#[from] serde_json::Error),
}

/// Whether a daemon answers at `path`.
pub(crate) fn is_running(path: &Path) -> bool {
    UnixStream::connect(path).is_ok()
}

/// Asks the daemon at `path`.
///
/// # Errors
///
/// [`ControlError`].
pub(crate) fn ask(path: &Path, request: &Request) -> Result<Value, ControlError> {
    let (_, value) = converse(path, request)?;
    Ok(value)
}

/// Asks the daemon at `path` for its events, and hands each line to `line` until that says `false` or
/// the daemon ends.
///
/// # Errors
///
/// [`ControlError`].
pub(crate) fn follow(path: &Path, mut line: impl FnMut(&str) -> bool) -> Result<(), ControlError> {
    let (reader, _) = converse(path, &Request::Monitor)?;
    reader.get_ref().set_read_timeout(None)?;
    for event in reader.lines() {
        if !line(&event?) {
            break;
        }
    }
    Ok(())
}

fn converse(
    path: &Path,
    request: &Request,
) -> Result<(BufReader<UnixStream>, Value), ControlError> {
    let mut stream = UnixStream::connect(path).map_err(|error| {
        let path = path.to_owned();
        if matches!(
            error.kind(),
            ErrorKind::NotFound | ErrorKind::ConnectionRefused
        ) {
            ControlError::NotRunning { path }
        } else if error.kind() == ErrorKind::PermissionDenied {
            ControlError::Permission { path }
        } else {
            ControlError::Io(error)
        }
    })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut reader = BufReader::new(stream);
    let mut answer = String::new();
    reader.read_line(&mut answer)?;
    match serde_json::from_str(&answer)? {
        Response::Ok(value) => Ok((reader, value)),
        Response::Error(reason) => Err(ControlError::Refused(reason)),
    }
}
