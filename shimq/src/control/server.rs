//! The daemon's end of the control socket.

use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::{Request, Response};

/// Octets that a request may have.
const REQUEST_MAX: u64 = 4096;

/// Events that a slow reader may fall behind before it misses some.
const BACKLOG: usize = 4096;

/// A request, and where its answer goes.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) request: Request,
    pub(crate) answer: oneshot::Sender<Response>,
}

/// The listening socket; removed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    path: PathBuf,
    events: broadcast::Sender<Arc<str>>,
}

impl Server {
    /// Listens at `path`, with requests going to `asked`. Only this user and its group may connect.
    ///
    /// # Errors
    ///
    /// The socket cannot be made there.
    pub(crate) fn listen(path: &Path, asked: mpsc::Sender<Asked>) -> io::Result<Self> {
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(folder)?;
        }
        // The caller saw to it that nobody listens there: a socket that is left is of a daemon that was
        // killed. Anything else is somebody's file, and binding fails.
        let is_socket = |metadata: std::fs::Metadata| metadata.file_type().is_socket();
        if std::fs::symlink_metadata(path).is_ok_and(is_socket) {
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
        let (events, _) = broadcast::channel(BACKLOG);
        tokio::spawn(accept(listener, asked, events.clone()));
        Ok(Self {
            path: path.to_owned(),
            events,
        })
    }

    /// Sends an event line to all who monitor; never waits for them.
    pub(crate) fn publish(&self, line: &str) {
        // Nobody listening is no error.
        let _ = self.events.send(line.into());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn accept(
    listener: UnixListener,
    asked: mpsc::Sender<Asked>,
    events: broadcast::Sender<Arc<str>>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve(stream, asked.clone(), events.subscribe()));
            }
            Err(error) => {
                // Out of descriptors, perhaps: others will be closed.
                tracing::warn!(%error, "cannot accept a command");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

/// One client, until it leaves. Its troubles are its own.
async fn serve(
    stream: UnixStream,
    asked: mpsc::Sender<Asked>,
    events: broadcast::Receiver<Arc<str>>,
) {
    if let Err(error) = converse(stream, asked, events).await {
        tracing::debug!(%error, "a client left");
    }
}

async fn converse(
    mut stream: UnixStream,
    asked: mpsc::Sender<Asked>,
    mut events: broadcast::Receiver<Arc<str>>,
) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut lines = BufReader::new(reader.take(REQUEST_MAX)).lines();
    let Some(line) = lines.next_line().await? else {
        return Ok(());
    };
    let request: Request = match serde_json::from_str(&line) {
        Ok(request) => request,
        Err(error) => {
            return write(
                &mut writer,
                Response::Error(format!("no such request: {error}")),
            )
            .await;
        }
    };
    let listens = request == Request::Monitor;
    let (answer, answered) = oneshot::channel();
    if asked.send(Asked { request, answer }).await.is_err() {
        return Ok(());
    }
    let Ok(response) = answered.await else {
        return Ok(());
    };
    write(&mut writer, response).await?;
    if !listens {
        return Ok(());
    }
    loop {
        match events.recv().await {
            Ok(line) => {
                writer.write_all(line.as_bytes()).await?;
                writer.write_all(b"\n").await?;
            }
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                writer
                    .write_all(format!("{{\"event\":\"missed\",\"count\":{missed}}}\n").as_bytes())
                    .await?;
            }
            Err(broadcast::error::RecvError::Closed) => return Ok(()),
        }
    }
}

async fn write(writer: &mut (impl AsyncWriteExt + Unpin), response: Response) -> io::Result<()> {
    // A list of very many contexts takes a while: not on the thread that serves them.
    let written = tokio::task::spawn_blocking(move || serde_json::to_vec(&response));
    let mut line = written.await.map_err(io::Error::other)??;
    line.push(b'\n');
    writer.write_all(&line).await
}
