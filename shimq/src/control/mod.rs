//! How the command line talks to the daemon: JSON lines over a Unix socket.
//!
//! A client sends one [`Request`] line. The answer is one [`Response`] line; after
//! [`Request::Monitor`] it is followed by one line an event until the client leaves.

mod client;
mod server;

use std::net::Ipv6Addr;
use std::str::FromStr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shim6_core::{ContextView, ExplorationPolicy, UnknownPolicy};

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
    /// Have contexts mapped by another.
    SetDatapath(SetDatapathRequest),
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
    #[serde(flatten)]
    pub(crate) whom: Whom,
    /// Lp(local) and Lp(peer); what exploration would try first, if left out.
    pub(crate) pair: Option<(Ipv6Addr, Ipv6Addr)>,
}

/// Who is to map, and which contexts.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub(crate) struct SetDatapathRequest {
    pub(crate) choice: DatapathChoice,
    #[serde(flatten)]
    pub(crate) whom: Whom,
}

/// Who is to map.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DatapathChoice {
    /// The kernel, by BPF programs.
    Bpf,
    /// The queues.
    Queue,
    /// Whom the configuration says.
    Default,
}

/// Which contexts are meant.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Whom {
    /// The one of this CT(local).
    Context(u64),
    /// All with this peer's ULID.
    Peer(Ipv6Addr),
}

impl Whom {
    /// Whether this context is meant.
    pub(crate) fn means(self, view: &ContextView) -> bool {
        match self {
            Self::Context(tag) => view.local_tag.bits() == tag,
            Self::Peer(peer) => view.ulids.peer == peer,
        }
    }
}

impl FromStr for Whom {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(peer) = text.parse() {
            return Ok(Self::Peer(peer));
        }
        u64::from_str_radix(text, 16)
            .map(Self::Context)
            .map_err(|_| "neither an IPv6 address nor the 12 digits of a tag")
    }
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
