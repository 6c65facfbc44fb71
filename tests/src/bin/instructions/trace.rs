//! The fixed trace: packets of two sizes, of a thousand mapped contexts in turn.

use std::hint::black_box;
use std::net::Ipv6Addr;
use std::ops::Range;
use std::sync::Arc;

use clap::ValueEnum;
use shim6_core::{
    Config, Endpoint, Exploring, Flow, FlowTable, FlowUpdate, Instant, LocatorPair, Path,
    RespondOnly, Tagged, UlidPair, Verdict,
};
use shim6_wire::{ContextTag, Packet};

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Direction {
    /// ULIDs become locators.
    Outgoing,
    /// Locators become ULIDs.
    Incoming,
}

impl Direction {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Outgoing => "outgoing",
            Self::Incoming => "incoming",
        }
    }
}

/// Packets of the trace.
pub(super) const PACKETS: u32 = 10_000;

/// Mapped contexts.
const CONTEXTS: u16 = 1_000;

/// Octets of the datagrams' payload, in turn.
const SIZES: [usize; 2] = [64, 1_400];

/// What a queue leaves in front of a packet, in octets.
const HEADROOM: usize = 8;

/// Maps all packets.
///
/// # Panics
///
/// If one of them is not mapped: then something else was counted.
pub(super) fn run(direction: Direction) {
    let sent = |from: fn(u16) -> Ends| (0..PACKETS).map(move |number| Queued::new(number, from));
    let (table, mut packets) = match direction {
        Direction::Outgoing => (table(Ends::ours), sent(Ends::ours).collect()),
        Direction::Incoming => {
            let mut packets: Vec<_> = sent(Ends::theirs).collect();
            let mapped = map(&table(Ends::theirs), Direction::Outgoing, &mut packets);
            assert_eq!(mapped, PACKETS);
            (table(Ends::ours), packets)
        }
    };
    assert_eq!(map_trace(&table, direction, &mut packets), PACKETS);
}

/// What is counted; valgrind finds it by its name.
#[inline(never)]
fn map_trace(table: &FlowTable, direction: Direction, packets: &mut [Queued]) -> u32 {
    map(table, direction, packets)
}

/// As the queue threads do; returns how many packets were mapped.
fn map(table: &FlowTable, direction: Direction, packets: &mut [Queued]) -> u32 {
    let now = Instant::from_micros(1_000_000);
    let mut mapped = 0;
    for Queued { buf, range } in packets {
        let Ok(mut packet) = Packet::new(black_box(buf), range.start, range.end) else {
            continue;
        };
        let (verdict, _) = match direction {
            Direction::Outgoing => table.outgoing(&mut packet, now),
            Direction::Incoming => table.incoming(&mut packet, now),
        };
        mapped += u32::from(verdict == Verdict::Rewritten);
        *range = packet.range();
    }
    mapped
}

/// A packet as it lies in a queue's buffer.
struct Queued {
    buf: Vec<u8>,
    range: Range<usize>,
}

impl Queued {
    /// A UDP datagram of one of the contexts.
    fn new(number: u32, ends: fn(u16) -> Ends) -> Self {
        let context = (number % u32::from(CONTEXTS)) as u16;
        let ulids = ends(context).ulids;
        let len = 8 + SIZES[number as usize % SIZES.len()];
        let mut buf = vec![0; HEADROOM];
        buf.extend([0x60, 0, 0, 0]);
        buf.extend((len as u16).to_be_bytes());
        buf.extend([UDP, 64]);
        buf.extend(ulids.local.octets());
        buf.extend(ulids.peer.octets());
        buf.resize(buf.len() + len, 0);
        let range = HEADROOM..buf.len();
        Self { buf, range }
    }
}

/// The two ends of a context, seen from one of its hosts.
struct Ends {
    ulids: UlidPair,
    locators: LocatorPair,
    local_tag: ContextTag,
    peer_tag: ContextTag,
}

impl Ends {
    fn ours(context: u16) -> Self {
        let address = |site, last| Ipv6Addr::new(0x2001, 0xdb8, site, 0, 0, 0, 0, last);
        // Any numbers that differ: real tags are random.
        let tag = |side| ContextTag::from_bits(u64::from(context) * 0x5851_f42d_4c95 + side);
        Self {
            ulids: UlidPair {
                local: address(0xa, 1),
                peer: address(0xb, context),
            },
            locators: LocatorPair {
                local: address(0x1a, 1),
                peer: address(0x1b, context),
            },
            local_tag: tag(0),
            peer_tag: tag(1),
        }
    }

    fn theirs(context: u16) -> Self {
        let ours = Self::ours(context);
        Self {
            ulids: UlidPair {
                local: ours.ulids.peer,
                peer: ours.ulids.local,
            },
            locators: LocatorPair {
                local: ours.locators.peer,
                peer: ours.locators.local,
            },
            local_tag: ours.peer_tag,
            peer_tag: ours.local_tag,
        }
    }
}

/// The contexts of one host, all of them mapped.
fn table(ends: fn(u16) -> Ends) -> FlowTable {
    let seed = [7; 32];
    let mut table = Endpoint::new(Config::default(), Box::new(RespondOnly), seed).flow_table();
    for context in 0..CONTEXTS {
        let Ends {
            ulids,
            locators,
            local_tag,
            peer_tag,
        } = ends(context);
        table.apply(FlowUpdate::Set(Arc::new(Flow {
            ulids,
            is_default: true,
            mark: None,
            local_tag,
            path: Path::Mapped { locators, peer_tag },
            tagged: Tagged::Delivered,
            exploring: Exploring::No,
            kernel_maps: false,
            account: Arc::default(),
        })));
    }
    table
}

const UDP: u8 = 17;
