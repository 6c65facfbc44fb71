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
use super::{InputHook, Mode, RulesetConfig};

/// Everything in the table.
pub(super) struct Design {
    pub(super) sets: Vec<SetDesign>,
    pub(super) chains: [ChainDesign; 2],
}

/// The sets of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SetName {
    Identities,
    ExcludedPeers,
    ExcludedPorts,
    Mapped,
    ContextsOut,
    ContextsIn,
    Alive,
    Silent,
    Declined,
    Young,
    Active,
}

impl SetName {
    pub(super) fn as_c_str(self) -> &'static CStr {
        match self {
            Self::Identities => c"identities",
            Self::ExcludedPeers => c"excluded_peers",
            Self::ExcludedPorts => c"excluded_ports",
            Self::Mapped => c"mapped",
            Self::ContextsOut => c"contexts_out",
            Self::ContextsIn => c"contexts_in",
            Self::Alive => c"alive",
            Self::Silent => c"silent",
            Self::Declined => c"declined",
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
    /// Local and peer address, in this order in both directions.
    Pair,
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
    /// Each element counts the packets that found it.
    Counter,
    /// Elements may have a time to live.
    Timeout,
    /// Rules add elements, which live for this long.
    Dynamic(Duration),
}

/// One base chain.
pub(super) struct ChainDesign {
    pub(super) name: &'static CStr,
    pub(super) hook: Hook,
    pub(super) priority: i32,
    /// Whether a packet whose addresses or mark changed is routed again.
    pub(super) reroutes: bool,
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
    /// By way of the loopback interface.
    LoopbackOut,
    LoopbackIn,
    /// The route leads into an IPsec policy.
    IpsecAhead,
    /// The packet came out of one.
    IpsecBehind,
    LocalDestination,
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
    Accept,
}

/// What of a packet is looked up in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Source,
    Destination,
    /// Local and peer address of an outgoing packet.
    OutgoingPair,
    /// Local and peer address of an arriving packet.
    ArrivingPair,
    TcpSource,
    TcpDestination,
    UdpSource,
    UdpDestination,
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
            chains: [output(config), input(config)],
        }
    }
}

fn sets(config: &RulesetConfig) -> Vec<SetDesign> {
    use Key::{Address, Pair, Port};
    use SetKind::{Counter, Dynamic, Interval, Plain, Timeout};
    let mut sets = Vec::new();
    let mut set = |name, key, kind, elements, purpose| {
        sets.push(SetDesign {
            name,
            key,
            kind,
            elements,
            purpose,
        });
    };
    let none = Vec::new;
    let peers = Element::prefixes(&config.excluded_peers);
    let ports = Element::ports(&config.excluded_ports);
    set(
        SetName::Identities,
        Address,
        Plain,
        none(),
        "this host's CGA and HBA addresses: only they get contexts",
    );
    set(
        SetName::ExcludedPeers,
        Address,
        Interval,
        peers,
        "peers that never get a context",
    );
    set(
        SetName::ExcludedPorts,
        Port,
        Plain,
        ports,
        "TCP and UDP ports, at either end, that never get a context",
    );
    set(
        SetName::Mapped,
        Pair,
        Plain,
        none(),
        "local . peer: contexts whose current locators are not the ULIDs",
    );
    set(
        SetName::ContextsOut,
        Pair,
        Counter,
        none(),
        "local . peer: contexts whose current locators are the ULIDs, counted by lookup",
    );
    set(
        SetName::ContextsIn,
        Pair,
        Counter,
        none(),
        "the same for arriving packets",
    );
    if config.mode == Mode::Queue {
        set(
            SetName::Alive,
            Pair,
            Dynamic(config.suspicious_silence),
            none(),
            "local . peer: contexts that were heard so short ago",
        );
        set(
            SetName::Silent,
            Pair,
            Dynamic(SHOWN_EVERY),
            none(),
            "local . peer: contexts that send into silence, and of which a packet was shown so short ago",
        );
        set(
            SetName::Young,
            Pair,
            Dynamic(config.trigger_age),
            none(),
            "local . peer: first seen so short ago, with the octets sent since",
        );
        set(
            SetName::Active,
            Pair,
            Dynamic(config.trigger_age),
            none(),
            "local . peer: last seen so short ago",
        );
    }
    set(
        SetName::Declined,
        Pair,
        Timeout,
        none(),
        "local . peer: asked about and not wanted, for a while",
    );
    sets
}

/// Of what one context sends into silence, a packet is shown so often: a flow that is never answered
/// costs no more.
const SHOWN_EVERY: Duration = Duration::from_millis(20);

/// LOCAL_OUT: ULIDs still, before they become locators.
fn output(config: &RulesetConfig) -> ChainDesign {
    let rewrite = || {
        Part::Queue(QueueTarget {
            numbers: config.rewrite.clone(),
            bypass: true,
        })
    };
    let observe = || {
        Part::Queue(QueueTarget {
            numbers: config.observe.clone(),
            bypass: true,
        })
    };
    let pair = |set, found| Part::Lookup {
        field: Field::OutgoingPair,
        set,
        found,
    };
    let mut rules = Rules::default();
    rules.add(
        "the daemon's own packets are final",
        [Part::Mark(config.own_mark), Part::Accept],
    );
    rules.add(
        "most packets of a host without identities leave here",
        [
            Part::Lookup {
                field: Field::Source,
                set: SetName::Identities,
                found: false,
            },
            Part::Accept,
        ],
    );
    rules.add(
        "not encrypted yet: what leaves is the ESP packet, which comes by again",
        [Part::IpsecAhead, Part::Accept],
    );
    rules.add(
        "never leaves the link",
        [Part::LinkLocalDestination, Part::Accept],
    );
    rules.add(
        "MLDv2 reports and multicast in general: a context has two ends",
        [Part::MulticastDestination, Part::Accept],
    );
    rules.add(NEIGHBOURS, [Part::Icmpv6Type(130..=137), Part::Accept]);
    rules.add_exclusions(Field::Destination);
    rules.add(
        "before the loopback rule: while a ULID has no route, an anchor route by way of lo keeps its sockets alive",
        [pair(SetName::Mapped, true), rewrite()],
    );
    if config.mode == Mode::Queue {
        rules.add(
            "counted; the peer was heard, so nothing is to be looked into",
            [
                pair(SetName::Alive, true),
                pair(SetName::ContextsOut, true),
                Part::Accept,
            ],
        );
        rules.add(
            "counted; sends into silence, of which a packet was shown just now",
            [
                pair(SetName::Silent, true),
                pair(SetName::ContextsOut, true),
                Part::Accept,
            ],
        );
        rules.add(
            "counted; shown whole, for it may have to be sent again on another pair",
            [
                pair(SetName::ContextsOut, true),
                Part::Add {
                    set: SetName::Silent,
                    over: 0,
                },
                rewrite(),
            ],
        );
    }
    rules.add(
        "this host talks to itself",
        [Part::LoopbackOut, Part::Accept],
    );
    match config.mode {
        Mode::Queue => {
            rules.add(
                "asked before",
                [pair(SetName::Declined, true), Part::Accept],
            );
            rules.add(
                "old and still sending: worth a question",
                [
                    pair(SetName::Active, true),
                    pair(SetName::Young, false),
                    observe(),
                ],
            );
            rules.add(
                "last seen now",
                [Part::Update {
                    field: Field::OutgoingPair,
                    set: SetName::Active,
                }],
            );
            rules.add(
                "first seen now, if it is new; has sent much: worth a question",
                [
                    Part::Add {
                        set: SetName::Young,
                        over: config.trigger_bytes,
                    },
                    observe(),
                ],
            );
        }
        Mode::QueueAll => rules.add("everything else", [observe()]),
    }
    ChainDesign {
        name: c"output",
        hook: Hook::Out,
        priority: MANGLE,
        reroutes: true,
        rules: rules.0,
    }
}

/// LOCAL_IN or PREROUTING: locators still, before they become ULIDs.
fn input(config: &RulesetConfig) -> ChainDesign {
    let (name, hook, priority) = match config.input_hook {
        InputHook::Input => (c"input", Hook::In, MANGLE),
        InputHook::Prerouting => (c"prerouting", Hook::PreRouting, BEFORE_DEFRAGMENTATION),
    };
    // What arrives at LOCAL_IN is for this host; at PREROUTING it may be somebody else's, to be forwarded.
    let for_us = || match config.input_hook {
        InputHook::Input => None,
        InputHook::Prerouting => Some(Part::LocalDestination),
    };
    let rewrite = |bypass| {
        Part::Queue(QueueTarget {
            numbers: config.rewrite.clone(),
            bypass,
        })
    };
    let mut rules = Rules::default();
    rules.add(
        "Shim6 control messages and tagged payload; the kernel would answer them with an error, so no bypass",
        [Part::Protocol(SHIM6)]
            .into_iter()
            .chain(for_us())
            .chain([rewrite(false)]),
    );
    rules.add(
        "errors about tagged packets, which the upper layers know by their ULIDs",
        [Part::Icmpv6Type(1..=4), Part::QuotedNextHeader(SHIM6)]
            .into_iter()
            .chain(for_us())
            .chain([rewrite(true)]),
    );
    rules.add(
        "decrypted: it came by before, as ESP",
        [Part::IpsecBehind, Part::Accept],
    );
    rules.add(NEIGHBOURS, [Part::Icmpv6Type(130..=137), Part::Accept]);
    rules.add_exclusions(Field::Source);
    match config.mode {
        Mode::Queue => rules.add(
            "counted",
            [
                Part::Lookup {
                    field: Field::ArrivingPair,
                    set: SetName::ContextsIn,
                    found: true,
                },
                Part::Update {
                    field: Field::ArrivingPair,
                    set: SetName::Alive,
                },
                Part::Accept,
            ],
        ),
        Mode::QueueAll => {
            rules.add(
                "most packets of a host without identities leave here",
                [
                    Part::Lookup {
                        field: Field::Destination,
                        set: SetName::Identities,
                        found: false,
                    },
                    Part::Accept,
                ],
            );
            rules.add(
                "this host talks to itself",
                [Part::LoopbackIn, Part::Accept],
            );
            rules.add(
                "everything else",
                [Part::Queue(QueueTarget {
                    numbers: config.observe.clone(),
                    bypass: true,
                })],
            );
        }
    }
    ChainDesign {
        name,
        hook,
        priority,
        reroutes: false,
        rules: rules.0,
    }
}

/// Rules in the order in which they are tried.
#[derive(Default)]
struct Rules(Vec<RuleDesign>);

impl Rules {
    fn add(&mut self, why: &'static str, parts: impl IntoIterator<Item = Part>) {
        let parts = parts.into_iter().collect();
        self.0.push(RuleDesign { parts, why });
    }

    /// What the operator wants left alone; `peer` is the field with the peer's address.
    fn add_exclusions(&mut self, peer: Field) {
        let mut add = |field, set| {
            let excluded = Part::Lookup {
                field,
                set,
                found: true,
            };
            self.add(
                "left alone by the operator's wish",
                [excluded, Part::Accept],
            );
        };
        add(peer, SetName::ExcludedPeers);
        for port in [
            Field::TcpSource,
            Field::TcpDestination,
            Field::UdpSource,
            Field::UdpDestination,
        ] {
            add(port, SetName::ExcludedPorts);
        }
    }
}

const NEIGHBOURS: &str = "neighbour and listener discovery: about the link, so never with locators";

//= https://www.rfc-editor.org/rfc/rfc5533#section-17
//# IANA allocated a new IP Protocol Number value (140) for the Shim6
//# Protocol.
const SHIM6: u8 = 140;
/// Where other programs change packets too, after connection tracking.
const MANGLE: i32 = -150;
/// Before defragmentation (-400) and connection tracking (-200).
const BEFORE_DEFRAGMENTATION: i32 = -450;
