//! Which data path the daemons are told to take, and which one they took.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::shim::Host;

/// `datapath.mode` of both daemons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Datapath {
    /// The kernel counts, queues map.
    Queue,
    /// The kernel maps as well, where BPF programs may be loaded: as root.
    Bpf,
    /// Every packet is queued.
    QueueAll,
}

impl Datapath {
    /// A daemon's configuration file.
    pub(super) fn config(self) -> String {
        let mode = match self {
            Self::Queue => "queue",
            Self::Bpf => "bpf",
            Self::QueueAll => "queue-all",
        };
        format!("[datapath]\nmode = \"{mode}\"\n")
    }
}

/// The data path that a daemon took, by its own account.
#[derive(Debug, Serialize)]
pub(super) struct Taken {
    pub(super) host: Host,
    #[serde(flatten)]
    pub(super) datapath: Status,
}

/// `datapath` of `shimq status --json`, as far as the demo reads it.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Status {
    in_force: String,
    /// Why it is not the one that was wanted.
    reason: Option<String>,
    /// What the kernel mapped.
    kernel: Option<Kernel>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Kernel {
    sent: Tally,
    received: Tally,
}

#[derive(Debug, Deserialize, Serialize)]
struct Tally {
    packets: u64,
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, datapath } = self;
        write!(f, "{host}: data path {}", datapath.in_force)?;
        if let Some(reason) = &datapath.reason {
            write!(f, ": {reason}")?;
        }
        if let Some(Kernel { sent, received }) = &datapath.kernel {
            let (sent, received) = (sent.packets, received.packets);
            write!(f, ": the kernel mapped {sent} packets, unmapped {received}")?;
        }
        Ok(())
    }
}
