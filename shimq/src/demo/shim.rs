//! The two hosts, and the daemons on them.

use std::env;
use std::fmt;
use std::net::Ipv6Addr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use shimq_testbed::{Namespace, Provider, Shim, ShimSetup};

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

/// Waits for the daemon's addresses, unless somebody interrupts the demo.
pub(super) fn wait_until_ready(
    shim: &mut Shim<'_>,
    providers: &[Provider],
    interrupted: &AtomicBool,
) -> Result<Vec<Ipv6Addr>, DemoError> {
    let deadline = Instant::now() + READY_PATIENCE;
    while Instant::now() < deadline {
        if interrupted.load(Ordering::Relaxed) {
            return Err(DemoError::Interrupted);
        }
        if let Some(locators) = shim.locators(providers)? {
            return Ok(locators);
        }
        thread::sleep(POLL);
    }
    Err(shim.failure("did not become ready").into())
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

/// How long a daemon may take to start, making a key included.
const READY_PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks.
const POLL: Duration = Duration::from_millis(50);
