//! The two hosts, and the daemons on them.

use std::env;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use shimq_testbed::{Namespace, Shim, ShimSetup};

use super::DemoError;
use super::datapath::{self, Datapath, Taken};

/// One of the two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Host {
    /// The client.
    A,
    /// The server.
    B,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

/// Starts this program's daemon with a state of its own under `folder`; it logs to `logs`.
pub(super) fn start<'n>(
    host: Host,
    namespace: &'n Namespace,
    datapath: Datapath,
    (folder, logs): (&Path, &Path),
) -> Result<Shim<'n>, DemoError> {
    let setup = ShimSetup {
        program: &env::current_exe().map_err(DemoError::io("find this program"))?,
        name: &host.to_string(),
        config: &datapath.config(),
        folder,
        state: &folder.join(format!("state-{host}")),
        logs,
    };
    Ok(Shim::start(namespace, setup)?)
}

/// The data path that is in force.
pub(super) fn datapath(host: Host, shim: &Shim<'_>) -> Result<Taken, DemoError> {
    let answer = shim.ask("status")?;
    let Status { datapath } =
        serde_json::from_slice(&answer).map_err(|_| shim.failure("gave a status that is none"))?;
    Ok(Taken { host, datapath })
}

/// `shimq status --json`, as far as the demo reads it.
#[derive(Deserialize)]
struct Status {
    datapath: datapath::Status,
}
