//! How the command line talks to the daemon: JSON lines over a Unix socket.
//!
//! A client sends one [`Request`] line. The answer is one [`Response`] line; after
//! [`Request::Monitor`] it is followed by one line an event until the client leaves.

mod client;
mod server;

use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shim6_core::{ExplorationPolicy, UnknownPolicy};

use crate::fork::{ForkName, PairArgument};
use crate::preferences::LocatorRule;
pub(crate) use client::{ControlError, ask, follow, is_running};
pub(crate) use server::{Asked, Server};

/// What a client wants.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub(crate) enum Request {
    /// The daemon, its queues and counters.
    Status,
    /// Every context.
    Contexts,
    /// This host's addresses.
    Locators,
    /// Every event from now on.
    Monitor,
    /// Move contexts to another pair, if that answers.
    Switch(SwitchRequest),
    /// Read the configuration file again.
    Reload,
    /// Probe pairs in another order.
    SetExploration {
        /// In which.
        policy: PolicyWord,
    },
    /// Tell peers how gladly some locators are used.
    SetLocators(LocatorRule),
    /// Make a context of its own for packets with a mark.
    Fork {
        /// For which.
        name: ForkName,
        /// The locators that it begins on, if not on the ULIDs.
        pair: Option<PairArgument>,
    },
    /// Take a fork back.
    EndFork(ForkName),
}

/// Which contexts are to move, and where to.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub(crate) struct SwitchRequest {
    /// The context of this CT(local).
    pub(crate) context: Option<u64>,
    /// All contexts with this peer's ULID.
    pub(crate) peer: Option<Ipv6Addr>,
    /// Lp(local) and Lp(peer); what exploration would try first, if left out.
    pub(crate) pair: Option<(Ipv6Addr, Ipv6Addr)>,
}

/// A policy as the word for it.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(try_from = "String", into = "&'static str")]
pub(crate) struct PolicyWord(pub(crate) ExplorationPolicy);

impl TryFrom<String> for PolicyWord {
    type Error = UnknownPolicy;

    fn try_from(word: String) -> Result<Self, UnknownPolicy> {
        word.parse().map(Self)
    }
}

impl From<PolicyWord> for &'static str {
    fn from(PolicyWord(policy): PolicyWord) -> Self {
        policy.as_str()
    }
}

/// The daemon's answer.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Response {
    /// What was asked for.
    Ok(Value),
    /// Why there is none.
    Error(String),
}
