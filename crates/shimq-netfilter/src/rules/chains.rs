//! The rules themselves, in the order in which they are tried, each with the reason for its place.

use std::ffi::CStr;
use std::ops::Range;
use std::time::Duration;

use nftnl::Hook;

use super::design::{ChainDesign, Field, Part, QueueTarget, RuleDesign, SetName};
use super::{Exclusions, InputHook, Mode, RulesetConfig, Trigger};

/// Where packets of contexts go on that are more than counted.
const CHECK_ALIVE: &CStr = c"check_alive";

/// Of what one context sends into silence, a packet is shown so often: a flow that is never answered
/// costs no more.
pub(super) const SHOWN_EVERY: Duration = Duration::from_millis(20);

/// Of a pair that is worth a question, a packet is shown so often: if nobody answers, because the
/// process is stopped, nearly all of its packets pass all the same.
pub(super) const ASKED_EVERY: Duration = Duration::from_secs(1);

/// All chains, each after those that it leads to.
pub(super) fn all(config: &RulesetConfig) -> Vec<ChainDesign> {
    let mut chains = Vec::new();
    if config.mode == Mode::Queue {
        chains.push(check_alive(config));
    }
    chains.extend([output(config), input(config)]);
    chains
}

/// Where packets of contexts on their ULIDs go on, unless so many come from the peer that its silence is
/// noticed without looking at each. They were counted.
fn check_alive(config: &RulesetConfig) -> ChainDesign {
    let mut rules = Rules::default();
    rules.add(
        "the peer was heard, so nothing is to be looked into",
        [outgoing(SetName::Alive, true), Part::Accept],
    );
    rules.add(
        "sends into silence, of which a packet was shown just now",
        [outgoing(SetName::Silent, true), Part::Accept],
    );
    rules.add(
        "shown whole, for it may have to be sent again on another pair",
        [
            Part::Add {
                set: SetName::Silent,
                over: 0,
            },
            queue(&config.keep, true),
        ],
    );
    ChainDesign {
        name: CHECK_ALIVE,
        hook: None,
        rules: rules.0,
    }
}

/// LOCAL_OUT: ULIDs still, before they become locators. Whatever comes back from a queue with other addresses is routed
/// again; a chain of type `route` would compare them for every packet besides.
fn output(config: &RulesetConfig) -> ChainDesign {
    let mut rules = Rules::default();
    rules.add_sent_elsewhere(config);
    rules.add(
        "before all that is for a pair as a whole; a packet without a mark, as most are, costs a comparison",
        [
            Part::Marked,
            Part::Lookup {
                field: Field::OutgoingMarkedPair,
                set: SetName::Forks,
                found: true,
            },
            queue(&config.rewrite, config.bypass),
        ],
    );
    if config.mode == Mode::Queue {
        rules.add(
            "counted; a context that is heard very often has `accept`, others `continue`",
            [
                Part::Verdict {
                    field: Field::OutgoingPair,
                    set: SetName::ContextsOut,
                },
                Part::Goto(CHECK_ALIVE),
            ],
        );
    }
    rules.add(
        "from no identity: nothing below is for it; not first, for packets of contexts have one",
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
        "before the loopback rule: while a ULID has no route, an anchor route by way of lo keeps its sockets alive",
        [
            outgoing(SetName::Mapped, true),
            queue(&config.rewrite, config.bypass),
        ],
    );
    match config.trigger() {
        Trigger::Counted { octets, .. } => {
            rules.add_without_context();
            rules.add_trigger(config, octets);
        }
        Trigger::Everything => {
            rules.add_without_context();
            if config.declines() {
                rules.add(
                    "asked before",
                    [outgoing(SetName::Declined, true), Part::Accept],
                );
            }
            rules.add("everything else", [queue(&config.observe, true)]);
        }
        Trigger::Never => {}
    }
    ChainDesign {
        name: c"output",
        hook: Some((Hook::Out, MANGLE)),
        rules: rules.0,
    }
}

/// LOCAL_IN or PREROUTING: locators still, before they become ULIDs.
fn input(config: &RulesetConfig) -> ChainDesign {
    let (name, hook, priority) = match config.input_hook {
        InputHook::Input => (c"input", Hook::In, MANGLE),
        InputHook::Prerouting => (c"prerouting", Hook::PreRouting, BEFORE_DEFRAGMENTATION),
    };
    let for_us = || Part::Lookup {
        field: Field::Destination,
        set: SetName::Identities,
        found: true,
    };
    let mut rules = Rules::default();
    rules.add_exclusions(&config.excluded, Field::Source);
    rules.add(
        "Shim6 control messages and tagged payload; the kernel would answer them with an error, so no bypass",
        [
            Part::Protocol(SHIM6),
            for_us(),
            queue(&config.rewrite, false),
        ],
    );
    rules.add(
        "errors about tagged packets, which the upper layers know by their ULIDs",
        [
            Part::Icmpv6Type(1..=4),
            Part::QuotedNextHeader(SHIM6),
            for_us(),
            queue(&config.rewrite, true),
        ],
    );
    rules.add(
        "decrypted: it came by before, as ESP",
        [Part::IpsecBehind, Part::Accept],
    );
    rules.add(NEIGHBOURS, [Part::Icmpv6Type(130..=137), Part::Accept]);
    if config.mode == Mode::Queue {
        rules.add(
            "counted; a context that is heard very often has `accept`, others `continue`",
            [
                Part::Verdict {
                    field: Field::ArrivingPair,
                    set: SetName::ContextsIn,
                },
                Part::Update {
                    field: Field::ArrivingPair,
                    set: SetName::Alive,
                },
                Part::Accept,
            ],
        );
    }
    if config.trigger() == Trigger::Everything {
        rules.add_observed_arrivals(config);
    }
    ChainDesign {
        name,
        hook: Some((hook, priority)),
        rules: rules.0,
    }
}

fn outgoing(set: SetName, found: bool) -> Part {
    let field = Field::OutgoingPair;
    Part::Lookup { field, set, found }
}

fn arriving(set: SetName, found: bool) -> Part {
    let field = Field::ArrivingPair;
    Part::Lookup { field, set, found }
}

fn queue(numbers: &Range<u16>, bypass: bool) -> Part {
    Part::Queue(QueueTarget {
        numbers: numbers.clone(),
        bypass,
    })
}

/// Rules in the order in which they are tried.
#[derive(Default)]
struct Rules(Vec<RuleDesign>);

impl Rules {
    fn add(&mut self, why: &'static str, parts: impl IntoIterator<Item = Part>) {
        let parts = parts.into_iter().collect();
        self.0.push(RuleDesign { parts, why });
    }

    /// Outgoing packets that no context is for. Few rules: each is tried for every packet of a context.
    fn add_sent_elsewhere(&mut self, config: &RulesetConfig) {
        self.add(
            "the daemon's own packets are final",
            [Part::Mark(config.own_mark), Part::Accept],
        );
        self.add_exclusions(&config.excluded, Field::Destination);
        self.add_excluded_senders(&config.excluded);
        self.add(
            "not encrypted yet: what leaves is the ESP packet, which comes by again",
            [Part::IpsecAhead, Part::Accept],
        );
        self.add(NEIGHBOURS, [Part::Icmpv6Type(130..=137), Part::Accept]);
    }

    /// Outgoing packets that are no sign that a context is wanted.
    fn add_without_context(&mut self) {
        self.add(
            "this host talks to itself",
            [Part::LoopbackOut, Part::Accept],
        );
        self.add(
            "never leaves the link",
            [Part::LinkLocalDestination, Part::Accept],
        );
        self.add(
            "MLDv2 reports and multicast in general: a context has two ends",
            [Part::MulticastDestination, Part::Accept],
        );
    }

    /// When the kernel decides what is worth a context: from `octets` on, or at the age of the pairs in
    /// the sets.
    fn add_trigger(&mut self, config: &RulesetConfig, octets: u64) {
        self.add(
            "asked before",
            [outgoing(SetName::Declined, true), Part::Accept],
        );
        for answers in [1..=4, 129..=129] {
            self.add(
                "errors and echo replies: anybody can draw these, so they are no sign of a conversation",
                [Part::Icmpv6Type(answers), Part::Accept],
            );
        }
        let ask = || {
            [
                outgoing(SetName::Asked, false),
                Part::Add {
                    set: SetName::Asked,
                    over: 0,
                },
                queue(&config.observe, true),
            ]
        };
        self.add(
            "old and still sending: worth a question now and then",
            [
                outgoing(SetName::Active, true),
                outgoing(SetName::Young, false),
            ]
            .into_iter()
            .chain(ask()),
        );
        self.add(
            "last seen now",
            [Part::Update {
                field: Field::OutgoingPair,
                set: SetName::Active,
            }],
        );
        self.add(
            "first seen now, if it is new; has sent much: worth a question now and then",
            [Part::Add {
                set: SetName::Young,
                over: octets,
            }]
            .into_iter()
            .chain(ask()),
        );
    }

    /// When somebody else decides, what arrives is seen as well.
    fn add_observed_arrivals(&mut self, config: &RulesetConfig) {
        self.add(
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
        self.add(
            "this host talks to itself",
            [Part::LoopbackIn, Part::Accept],
        );
        if config.declines() {
            self.add(
                "asked before",
                [arriving(SetName::Declined, true), Part::Accept],
            );
        }
        self.add("everything else", [queue(&config.observe, true)]);
    }

    /// What the operator wants left alone, if anything; `peer` is the field with the peer's address.
    fn add_exclusions(&mut self, excluded: &Exclusions, peer: Field) {
        if !excluded.peers.is_empty() {
            self.add_excluded(peer, SetName::ExcludedPeers);
        }
        if !excluded.ports.is_empty() {
            for port in [
                Field::TcpSource,
                Field::TcpDestination,
                Field::UdpSource,
                Field::UdpDestination,
            ] {
                self.add_excluded(port, SetName::ExcludedPorts);
            }
        }
    }

    /// The same by who sends it, which only packets of this host tell.
    fn add_excluded_senders(&mut self, excluded: &Exclusions) {
        if !excluded.marks.is_empty() {
            self.add_excluded(Field::Mark, SetName::ExcludedMarks);
        }
        if !excluded.users.is_empty() {
            self.add_excluded(Field::User, SetName::ExcludedUsers);
        }
    }

    fn add_excluded(&mut self, field: Field, set: SetName) {
        let excluded = Part::Lookup {
            field,
            set,
            found: true,
        };
        self.add(
            "left alone by the operator's wish",
            [excluded, Part::Accept],
        );
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
