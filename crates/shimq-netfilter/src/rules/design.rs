//! The one description of the ruleset, from which the nft text and the netlink messages are made.
//!
//! A rule is a list of [`Part`]s, each with its nft wording (`Display`) and its expressions
//! (`expression.rs`). The order of the rules is explained where they stand.

use std::ffi::CStr;
use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use nftnl::Hook;

use super::elements::Element;
use super::{Mode, RulesetConfig, Trigger, chains};

/// Everything in the table.
pub(super) struct Design {
    pub(super) sets: Vec<SetDesign>,
    /// Each after those that it leads to.
    pub(super) chains: Vec<ChainDesign>,
}

/// The sets of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SetName {
    Identities,
    ExcludedPeers,
    ExcludedPorts,
    ExcludedMarks,
    ExcludedUsers,
    Forks,
    Mapped,
    ContextsOut,
    ContextsIn,
    Alive,
    Silent,
    Declined,
    Asked,
    Young,
    Active,
}

impl SetName {
    pub(super) fn as_c_str(self) -> &'static CStr {
        match self {
            Self::Identities => c"identities",
            Self::ExcludedPeers => c"excluded_peers",
            Self::ExcludedPorts => c"excluded_ports",
            Self::ExcludedMarks => c"excluded_marks",
            Self::ExcludedUsers => c"excluded_users",
            Self::Forks => c"forks",
            Self::Mapped => c"mapped",
            Self::ContextsOut => c"contexts_out",
            Self::ContextsIn => c"contexts_in",
            Self::Alive => c"alive",
            Self::Silent => c"silent",
            Self::Declined => c"declined",
            Self::Asked => c"asked",
            Self::Young => c"young",
            Self::Active => c"active",
        }
    }
}

impl fmt::Display for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.as_c_str().to_string_lossy())
    }
}

/// What the elements of a set are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Address,
    Port,
    Mark,
    User,
    /// Local and peer address, in this order in both directions.
    Pair,
    /// A packet's mark, then local and peer address.
    MarkedPair,
}

/// One set.
pub(super) struct SetDesign {
    pub(super) name: SetName,
    pub(super) key: Key,
    pub(super) kind: SetKind,
    pub(super) elements: Vec<Element>,
    /// What it is for, for the reader of the text.
    pub(super) purpose: &'static str,
}

/// What else a set does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SetKind {
    Plain,
    /// Elements are prefixes.
    Interval,
    /// Each element has a verdict, and counts the packets that found it.
    Verdicts,
    /// Elements may have a time to live.
    Timeout,
    /// Rules add elements, which live for this long.
    Dynamic(Duration),
}

/// One chain.
pub(super) struct ChainDesign {
    pub(super) name: &'static CStr,
    /// Where packets come in, and before or after which others; nowhere if a rule of another chain leads here.
    pub(super) hook: Option<(Hook, i32)>,
    pub(super) rules: Vec<RuleDesign>,
}

/// One rule, and why it stands where it stands.
pub(super) struct RuleDesign {
    pub(super) parts: Vec<Part>,
    pub(super) why: &'static str,
}

impl fmt::Display for RuleDesign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.parts.iter().enumerate() {
            write!(f, "{}{part}", if index == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

/// One match or statement of a rule.
#[derive(Clone, Debug)]
pub(super) enum Part {
    Mark(u32),
    /// Any mark but zero.
    Marked,
    /// By way of the loopback interface.
    LoopbackOut,
    LoopbackIn,
    /// The route leads into an IPsec policy.
    IpsecAhead,
    /// The packet came out of one.
    IpsecBehind,
    LinkLocalDestination,
    MulticastDestination,
    Protocol(u8),
    Icmpv6Type(RangeInclusive<u8>),
    /// Next Header of the packet that an ICMPv6 error quotes.
    QuotedNextHeader(u8),
    Lookup {
        field: Field,
        set: SetName,
        found: bool,
    },
    /// Goes on if there is an element, unless that says to accept; matches nothing if there is none.
    Verdict {
        field: Field,
        set: SetName,
    },
    /// Adds the pair of a packet, or prolongs it.
    Update {
        field: Field,
        set: SetName,
    },
    /// Adds the pair of an outgoing packet if it is not there; matches once the pair has sent `over` octets, or always
    /// if that is 0.
    Add {
        set: SetName,
        over: u64,
    },
    Queue(QueueTarget),
    /// Goes on in this chain and does not come back.
    Goto(&'static CStr),
    Accept,
}

/// What of a packet is looked up in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Source,
    Destination,
    /// Local and peer address of an outgoing packet.
    OutgoingPair,
    /// Mark, local and peer address of an outgoing packet.
    OutgoingMarkedPair,
    /// Local and peer address of an arriving packet.
    ArrivingPair,
    TcpSource,
    TcpDestination,
    UdpSource,
    UdpDestination,
    Mark,
    /// Owner of the socket that sends; a packet without a socket has none, and matches no rule that asks.
    User,
}

/// Which queues, and what happens without a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct QueueTarget {
    pub(super) numbers: Range<u16>,
    /// Without a listener packets pass instead of being dropped.
    pub(super) bypass: bool,
}

impl QueueTarget {
    /// Several queues are filled by CPU, which keeps the packets of a flow in order and its pairs apart.
    pub(super) fn fanout(&self) -> bool {
        self.numbers.len() > 1
    }
}

impl Design {
    pub(super) fn new(config: &RulesetConfig) -> Self {
        Self {
            sets: sets(config),
            chains: chains::all(config),
        }
    }

    /// The sets of what is excluded; empty ones are not made.
    pub(super) fn exclusions(&self) -> impl Iterator<Item = &SetDesign> {
        let names = [
            SetName::ExcludedPeers,
            SetName::ExcludedPorts,
            SetName::ExcludedMarks,
            SetName::ExcludedUsers,
        ];
        self.sets
            .iter()
            .filter(move |set| names.contains(&set.name))
    }

    /// Whether all sets of `other` are among these, by their names.
    pub(super) fn has_sets_of(&self, other: &Self) -> bool {
        let here = |set: &SetDesign| self.sets.iter().any(|own| own.name == set.name);
        other.sets.iter().all(here)
    }
}

fn sets(config: &RulesetConfig) -> Vec<SetDesign> {
    use Key::{Address, Pair};
    use SetKind::{Dynamic, Plain, Timeout, Verdicts};
    let mut sets = vec![set(
        SetName::Identities,
        Address,
        Plain,
        "this host's CGA and HBA addresses: only they get contexts",
    )];
    sets.extend(exclusions(config));
    sets.extend([
        set(
            SetName::Forks,
            Key::MarkedPair,
            Plain,
            "mark . local . peer: packets with marks that have contexts of their own",
        ),
        set(
            SetName::Mapped,
            Pair,
            Plain,
            "local . peer: contexts whose current locators are not the ULIDs",
        ),
    ]);
    if config.mode == Mode::Queue {
        sets.extend([
            set(
                SetName::ContextsOut,
                Pair,
                Verdicts,
                "local . peer: contexts whose current locators are the ULIDs, counted by lookup",
            ),
            set(
                SetName::ContextsIn,
                Pair,
                Verdicts,
                "local . peer: all contexts, counted by lookup as packets arrive",
            ),
            set(
                SetName::Alive,
                Pair,
                Dynamic(config.suspicious_silence),
                "local . peer: contexts that were heard so short ago",
            ),
            set(
                SetName::Silent,
                Pair,
                Dynamic(chains::SHOWN_EVERY),
                "local . peer: contexts that send into silence, and of which a packet was shown so short ago",
            ),
        ]);
    }
    if let Trigger::Counted { age, .. } = config.trigger() {
        sets.extend([
            set(
                SetName::Young,
                Pair,
                Dynamic(age),
                "local . peer: first seen so short ago, with the octets sent since",
            ),
            set(
                SetName::Active,
                Pair,
                Dynamic(age),
                "local . peer: last seen so short ago",
            ),
            set(
                SetName::Asked,
                Pair,
                Dynamic(chains::ASKED_EVERY),
                "local . peer: found worth a question, and asked about so short ago",
            ),
        ]);
    }
    if config.declines() {
        sets.push(set(
            SetName::Declined,
            Pair,
            Timeout,
            "local . peer: asked about and not wanted, for a while",
        ));
    }
    sets
}

/// What the operator wants left alone, if anything.
fn exclusions(config: &RulesetConfig) -> impl Iterator<Item = SetDesign> {
    let excluded = &config.excluded;
    let peers = SetDesign {
        elements: Element::prefixes(&excluded.peers),
        ..set(
            SetName::ExcludedPeers,
            Key::Address,
            SetKind::Interval,
            "peers that never get a context",
        )
    };
    let ports = SetDesign {
        elements: Element::all(&excluded.ports, Element::Port),
        ..set(
            SetName::ExcludedPorts,
            Key::Port,
            SetKind::Plain,
            "TCP and UDP ports, at either end, that never get a context",
        )
    };
    let marks = SetDesign {
        elements: Element::all(&excluded.marks, Element::Mark),
        ..set(
            SetName::ExcludedMarks,
            Key::Mark,
            SetKind::Plain,
            "marks of this host's packets that never get a context",
        )
    };
    let users = SetDesign {
        elements: Element::all(&excluded.users, Element::User),
        ..set(
            SetName::ExcludedUsers,
            Key::User,
            SetKind::Plain,
            "users whose sockets send packets that never get a context",
        )
    };
    [peers, ports, marks, users]
        .into_iter()
        .filter(|set| !set.elements.is_empty())
}

/// A set that begins empty.
fn set(name: SetName, key: Key, kind: SetKind, purpose: &'static str) -> SetDesign {
    SetDesign {
        name,
        key,
        kind,
        elements: Vec::new(),
        purpose,
    }
}
