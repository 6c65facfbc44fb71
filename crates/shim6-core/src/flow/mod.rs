//! What a queue thread knows of the contexts: enough to look up, map and account, nothing else.
//!
//! Each thread owns a [`FlowTable`], so a lookup takes no lock; the endpoint changes it by
//! [`FlowUpdate`]s, which the thread applies before it looks at the next packets. What is shared is
//! one [`Account`] per context, a few atomics that REAP reads when a deadline comes due: that is
//! Forced Bidirectional Detection (RFC 5534 §4.1) at the price of two stores a packet, and without a
//! timer a packet.

mod fetch;
mod index;
mod table;

use std::sync::Arc;

use shim6_wire::ContextTag;

use crate::account::Account;
use crate::event::DropReason;
use crate::pair::{LocatorPair, UlidPair};

pub use self::table::FlowTable;

/// What happens to a context's outgoing payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Path {
    /// The locators are the ULIDs: nothing is changed (RFC 5533 §11).
    Untouched,
    /// Other locators: addresses replaced, the payload extension header inserted (RFC 5533 §11.1).
    Mapped {
        /// Lp(local) and Lp(peer).
        locators: LocatorPair,
        /// CT(peer), by which the peer finds its context.
        peer_tag: ContextTag,
    },
}

/// What happens to tagged payload that arrives for a context (RFC 5533 §12.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tagged {
    /// It goes no further; the endpoint knows whether to answer.
    Refused,
    /// It is delivered.
    Delivered,
    /// It is delivered, and the endpoint told: who sends it holds the context already, and waits for
    /// our I2 or I2bis.
    DeliveredAndTold,
}

/// Whether another pair is looked for, as far as packets care.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exploring {
    /// No.
    No,
    /// It is: the endpoint waits for a sign of life, and is told of each payload packet received.
    Yes,
    /// The same, after each pair was probed and none answered: errors are for the upper layers as well
    /// (RFC 5533 §8).
    Fruitless,
}

impl Exploring {
    /// Whether the endpoint waits for a sign of life.
    #[must_use]
    pub fn awaits_life(self) -> bool {
        match self {
            Self::No => false,
            Self::Yes | Self::Fruitless => true,
        }
    }
}

/// One context as the data plane sees it. Immutable: a change is a new value.
#[derive(Debug)]
pub struct Flow {
    /// ULID(local) and ULID(peer).
    pub ulids: UlidPair,
    /// Whether packets of these ULIDs are sent on this context: it is the default one (FII zero).
    pub is_default: bool,
    /// The mark of the packets of these ULIDs that are sent on this context: this host forked it.
    pub mark: Option<u32>,
    /// CT(local), by which tagged packets find this flow.
    pub local_tag: ContextTag,
    /// Where outgoing payload goes.
    pub path: Path,
    /// What happens to tagged payload.
    pub tagged: Tagged,
    /// Whether another pair is looked for.
    pub exploring: Exploring,
    /// Whether the kernel maps the packets of this flow, and counts them as it counts those of
    /// untouched flows. The table maps what it is shown nevertheless.
    pub kernel_maps: bool,
    /// What passed.
    pub account: Arc<Account>,
}

impl Flow {
    /// The same flow, once the kernel maps its packets.
    #[must_use]
    pub fn to_kernel_mapped(&self) -> Self {
        Self {
            ulids: self.ulids,
            is_default: self.is_default,
            mark: self.mark,
            local_tag: self.local_tag,
            path: self.path,
            tagged: self.tagged,
            exploring: self.exploring,
            kernel_maps: true,
            account: Arc::clone(&self.account),
        }
    }

    /// Whether a table that knows `self` has nothing to learn from `other`.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.path == other.path
            && self.tagged == other.tagged
            && self.exploring == other.exploring
            && self.is_default == other.is_default
            && self.mark == other.mark
    }
}

/// A change to every [`FlowTable`].
#[derive(Clone, Debug)]
pub enum FlowUpdate {
    /// This flow is new, or takes the place of its former self.
    Set(Arc<Flow>),
    /// This flow is gone.
    Remove(Arc<Flow>),
}

/// What becomes of a packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Passes as it is.
    Accept,
    /// Passes as rewritten in its buffer.
    Rewritten,
    /// Passes, but in this form: an ICMPv6 error whose quoted packet was translated.
    Replaced(Vec<u8>),
    /// Goes no further.
    Drop(DropReason),
}

/// What the endpoint has to be told of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    /// The packet itself is the endpoint's: control message, unknown tag, ICMPv6 error.
    Packet,
    /// A sign of life on a context that waits for one.
    Payload(ContextTag),
    /// Payload between two ULIDs that have no context yet.
    Candidate(UlidPair),
    /// Payload sent into silence: the packet, as the local stack sent it, may have to be sent again on
    /// another pair.
    Unanswered(ContextTag),
    /// The path of a mapped flow takes less than the IPv6 minimum of what its upper layers send. They
    /// heed no error that says so (RFC 8201 §4), only a route.
    NarrowPath {
        /// Whose.
        ulids: UlidPair,
        /// Octets that the path takes of their packets, without the Shim6 header.
        mtu: u32,
    },
}
