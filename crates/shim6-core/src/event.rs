//! What the core answers to the wire, to the operator, and to the counters.

use std::net::Ipv6Addr;
use std::time::Duration;

use shim6_wire::{ContextTag, Fii};

use crate::pair::{LocatorPair, UlidPair};

/// A message for the wire. The IPv6 header is the sender's work: next header 140, hop limit as usual.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address.
    pub destination: Ipv6Addr,
    /// The Shim6 message, header and checksum included.
    pub message: Vec<u8>,
}

/// A payload packet to send again, on the pair that its context moved to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resend {
    /// As the local stack sent it: from ULID to ULID.
    pub original: Vec<u8>,
    /// As it goes out now.
    pub packet: Vec<u8>,
}

/// Why a context came, moved or went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// Payload went out and nothing came back for a Send Timeout (RFC 5534 §6.4).
    SendTimeout,
    /// A flow that normally answers was silent for longer than it ever is; nothing was given up for it
    /// before a probe had said so.
    Silence,
    /// The peer says that it does not hear us (RFC 5534 §6.7).
    PeerExploring,
    /// A local address of the current pair went away (RFC 5534 §3.1).
    LocalLocatorLost,
    /// The peer no longer lists an address of the current pair (RFC 5533 §10.4).
    PeerLocatorLost,
    /// An end would rather be reached at another address (RFC 5533 §10.4).
    Preference,
    /// The peer lost the context and says so with R1bis (RFC 5533 §7.5).
    PeerLostContext,
    /// The peer uses our context's tag for another one (RFC 5533 §7.15).
    Confusion,
    /// No answer to I1 (RFC 5533 §7.8).
    NoAnswer,
    /// The peer's host refuses next header 140 (RFC 5533 §7.8).
    NotSupported,
    /// No traffic for so long that nobody can be using it (RFC 5533 §9).
    Idle,
    /// The ULID is no longer an address of this host (RFC 5533 §1.5).
    UlidLost,
    /// Somebody asked for it.
    Operator,
}

impl Cause {
    /// The word that programs read: lower case, hyphens.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SendTimeout => "send-timeout",
            Self::Silence => "silence",
            Self::PeerExploring => "peer-exploring",
            Self::LocalLocatorLost => "local-locator-lost",
            Self::PeerLocatorLost => "peer-locator-lost",
            Self::Preference => "preference",
            Self::PeerLostContext => "peer-lost-context",
            Self::Confusion => "confusion",
            Self::NoAnswer => "no-answer",
            Self::NotSupported => "not-supported",
            Self::Idle => "idle",
            Self::UlidLost => "ulid-lost",
            Self::Operator => "operator",
        }
    }
}

/// Something an operator may want to know.
///
//= https://www.rfc-editor.org/rfc/rfc5534#section-9
//= id=R-060,R-061
//# it is RECOMMENDED that detected failures and failover events are reported via asynchronous
//# notifications to the management system.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A context reached ESTABLISHED.
    Established {
        /// Whose.
        ulids: UlidPair,
        /// Which instance.
        fii: Fii,
        /// CT(local).
        local_tag: ContextTag,
        /// Whether this host sent the I1.
        initiated: bool,
        /// Locators that the peer proved to be its own.
        peer_locators: usize,
    },
    /// No context will come of it for a while; the flow goes on as plain IPv6.
    Declined {
        /// Whose.
        ulids: UlidPair,
        /// Why.
        cause: Cause,
        /// For how long no I1 is sent to this peer.
        hold: Duration,
    },
    /// The current pair is doubted: exploration began.
    Exploring {
        /// Whose.
        ulids: UlidPair,
        /// The pair in doubt.
        pair: LocatorPair,
        /// What raised the doubt.
        cause: Cause,
        /// How long payload had gone unanswered by then.
        silence: Duration,
    },
    /// Each pair was probed, and none answered. Exploration goes on.
    Unreachable {
        /// Whose.
        ulids: UlidPair,
        /// How long that took.
        explored: Duration,
    },
    /// Payload now takes another pair.
    PairChanged {
        /// Whose.
        ulids: UlidPair,
        /// Before.
        from: LocatorPair,
        /// From now on.
        to: LocatorPair,
        /// What began the exploration that led here.
        cause: Cause,
        /// How long the exploration took.
        explored: Duration,
    },
    /// Exploration ended on the pair that was in doubt.
    PairConfirmed {
        /// Whose.
        ulids: UlidPair,
        /// The pair.
        pair: LocatorPair,
        /// How long the exploration took.
        explored: Duration,
    },
    /// The pair that payload was to move to did not answer; payload stays.
    PairDeclined {
        /// Whose.
        ulids: UlidPair,
        /// The pair that was asked.
        pair: LocatorPair,
        /// Why it was.
        cause: Cause,
        /// How long it was asked.
        explored: Duration,
    },
    /// The peer acknowledged our new locator list, or we took over its.
    LocatorsUpdated {
        /// Whose.
        ulids: UlidPair,
        /// Whether it is the peer's list that changed.
        peer: bool,
    },
    /// The peer forgot the context; it is being recovered.
    Recovering {
        /// Whose.
        ulids: UlidPair,
    },
    /// The context is gone.
    Discarded {
        /// Whose.
        ulids: UlidPair,
        /// Which instance.
        fii: Fii,
        /// Why.
        cause: Cause,
    },
}

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal,)+) => {
        /// Why a packet or a message went no further; each has a counter of its own.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum DropReason { $($(#[doc = $doc])+ $name,)+ }

        impl DropReason {
            /// Every reason, in the order of the counters.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The word that programs read: lower case, hyphens.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }
        }
    };
}

drop_reasons! {
    /// Control message, taken by the endpoint: the ordinary end of one.
    Consumed = "consumed",
    /// Not a Shim6 packet that RFC 5533 §12.3 lets pass: lengths, checksum, addresses.
    Malformed = "malformed",
    /// Payload header with a tag that no context has.
    UnknownTag = "unknown-tag",
    /// Payload header for a context that is not established yet (RFC 5533 §12.2).
    NotEstablished = "not-established",
    /// The packet has no room for 8 more octets.
    TooBig = "too-big",
    /// Larger than its path with its header, and its fragments could not be sent.
    NotFragmented = "not-fragmented",
    /// Message for an address that is no ULID or locator of this host.
    NotOurs = "not-ours",
    /// Responder nonce too old, or a validator that is not ours (RFC 5533 §7.13).
    BadValidator = "bad-validator",
    /// Parameter Data Structure that does not belong to the ULID (RFC 5533 §7.13).
    BadPds = "bad-pds",
    /// Locator list that HBA or CGA does not bear out (RFC 5533 §7.2).
    BadLocators = "bad-locators",
    /// From an address that is not a locator of the context's peer (RFC 5533 §12.4).
    ForeignLocator = "foreign-locator",
    /// No context for this message.
    NoContext = "no-context",
    /// Not expected in this STATE.
    WrongState = "wrong-state",
    /// Preferences for another generation, or of another length, than the list (RFC 5533 §10.4).
    BadPreferences = "bad-preferences",
    /// More strangers than the budget allows.
    OverBudget = "over-budget",
    /// No room for another context.
    TableFull = "table-full",
    /// The site of this peer has begun as many contexts as one may hold.
    SiteFull = "site-full",
    /// This host waits for answers of so many peers, or has been refused by so many, that it asks no more.
    TooManyUnanswered = "too-many-unanswered",
    /// The two ULIDs have as many forks as they may have (RFC 5533 §4.2).
    TooManyForks = "too-many-forks",
    /// A message of this host that would make a packet of more than 1280 octets (RFC 5533 §5.1).
    Oversized = "oversized",
    /// ICMPv6 error that Shim6 itself acts upon (RFC 5533 §8).
    IcmpActedUpon = "icmp-acted-upon",
    /// ICMPv6 error that quotes no packet of ours.
    IcmpForeign = "icmp-foreign",
}

/// What the endpoint did, by kind. Monotonic.
#[derive(Clone, Debug)]
pub struct Counters {
    /// Messages received that parsed.
    pub received: u64,
    /// Messages sent.
    pub sent: u64,
    /// RSA verifications made for a peer's list.
    pub verifications: u64,
    /// Contexts ever created.
    pub contexts_created: u64,
    /// Pair changes ever made.
    pub pair_changes: u64,
    dropped: Vec<u64>,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            received: 0,
            sent: 0,
            verifications: 0,
            contexts_created: 0,
            pair_changes: 0,
            dropped: vec![0; DropReason::ALL.len()],
        }
    }
}

impl Counters {
    pub(crate) fn drop(&mut self, reason: DropReason) {
        self.dropped[reason as usize] += 1;
    }

    /// How often `reason` ended a message.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }
}
