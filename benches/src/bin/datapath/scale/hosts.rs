//! The daemon without its endpoint: its ruleset, its queues and its flow tables, on host A, filled with
//! contexts that nobody agreed on. What leaves is dropped by host B.

use std::io;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shim6_core::{
    Account, Config, Endpoint, Exploring, Flow, FlowTable, FlowUpdate, LocatorPair, Path,
    RespondOnly, Tagged, UlidPair, Verdict,
};
use shim6_wire::{ContextTag, Packet};
use shimq_benches::error::BenchError;
use shimq_netfilter::queue::{self, BatchQueue, Hook, Queue, QueueConfig, QueuedPacket, Served};
use shimq_netfilter::rules::{AddressPair, Change, Mode, Ruleset, RulesetConfig};

use crate::network::{LINKS, Network, Side};

/// Both hosts.
pub(super) struct Hosts {
    pub(super) network: Network,
    pub(super) queues: Vec<Mapper>,
    _ruleset: Ruleset,
}

impl Hosts {
    /// Builds the network, loads the rules with all contexts in them, and binds the queues.
    pub(super) fn new(contexts: u32, queues: u16) -> Result<Self, BenchError> {
        let network = Network::new()?;
        network.nft(Side::B, DROP_TAGGED)?;
        let gateway = Side::B.address(0);
        let route = format!("route add {}/64 via {gateway} dev {}", peer(0), LINKS[0]);
        network.ip(Side::A, &[route])?;
        let host = network.host(Side::A);
        let (ruleset, queues) = host.enter(|| bind(contexts, queues))??;
        Ok(Self {
            network,
            queues,
            _ruleset: ruleset,
        })
    }
}

fn bind(contexts: u32, queues: u16) -> Result<(Ruleset, Vec<Mapper>), BenchError> {
    let rules = RulesetConfig {
        mode: Mode::Queue,
        rewrite: FIRST_QUEUE..FIRST_QUEUE + queues,
        ..RulesetConfig::default()
    };
    let mut mappers = Vec::new();
    for number in rules.rewrite.clone() {
        let queue = BatchQueue::open(&QueueConfig::rewrite(number));
        let queue = queue.map_err(complaint("a queue"))?;
        mappers.push(Mapper {
            queue,
            table: table(contexts),
            start: Instant::now(),
        });
    }
    let mut ruleset = Ruleset::load(&rules).map_err(complaint("the ruleset"))?;
    let changes = std::iter::once(Change::AddIdentity(LOCAL));
    let pairs = (0..contexts).map(|index| {
        Change::Map(AddressPair {
            local: LOCAL,
            peer: peer(index),
        })
    });
    let changes: Vec<_> = changes.chain(pairs).collect();
    for changes in changes.chunks(TRANSACTION) {
        let applied = ruleset.apply(changes);
        applied.map_err(complaint("the ruleset"))?;
    }
    Ok((ruleset, mappers))
}

fn table(contexts: u32) -> FlowTable {
    let heuristic = Box::new(RespondOnly);
    let mut table =
        Endpoint::new(Config::default(), heuristic, [7; 32]).flow_table_behind_kernel_counters();
    for index in 0..contexts {
        let path = Path::Mapped {
            locators: LocatorPair {
                local: Side::A.address(1),
                peer: Side::B.address(1),
            },
            peer_tag: tag(index),
        };
        table.apply(FlowUpdate::Set(Arc::new(Flow {
            ulids: UlidPair {
                local: LOCAL,
                peer: peer(index),
            },
            is_default: true,
            mark: None,
            local_tag: tag(index),
            path,
            tagged: Tagged::Delivered,
            exploring: Exploring::No,
            kernel_maps: false,
            account: Arc::new(Account::default()),
        })));
    }
    table
}

/// What a queue thread of the daemon has.
pub(super) struct Mapper {
    pub(super) queue: BatchQueue,
    table: FlowTable,
    start: Instant,
}

impl Mapper {
    /// One wake-up, as the daemon's queue threads have them.
    pub(super) fn serve(&mut self, patience: Duration) -> io::Result<Served> {
        let mut wake_up = WakeUp {
            table: &self.table,
            start: self.start,
            now: None,
        };
        self.queue.serve(Some(patience), &mut wake_up)
    }
}

/// What judges the packets of one wake-up, without the endpoint.
struct WakeUp<'t> {
    table: &'t FlowTable,
    start: Instant,
    now: Option<shim6_core::Instant>,
}

impl queue::Judge for WakeUp<'_> {
    fn expect(&mut self, hook: Hook, packet: &[u8]) {
        self.table.fetch(packet, hook == Hook::LocalOut);
    }

    fn judge(&mut self, queued: &mut QueuedPacket<'_>) -> queue::Verdict {
        let now = *self.now.get_or_insert_with(|| {
            let micros = self.start.elapsed().as_micros();
            shim6_core::Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
        });
        let Ok(mut packet) = Packet::new(queued.buf, queued.start, queued.end) else {
            return queue::Verdict::Accept;
        };
        match self.table.outgoing(&mut packet, now).0 {
            Verdict::Rewritten => queue::Verdict::Rewrite(packet.range()),
            Verdict::Accept | Verdict::Replaced(_) => queue::Verdict::Accept,
            Verdict::Drop(_) => queue::Verdict::Drop,
        }
    }
}

/// The ULID of a context's peer.
pub(super) fn peer(index: u32) -> Ipv6Addr {
    let [high, low] = [index >> 16, index & 0xffff].map(|half| half as u16);
    Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, high, low)
}

fn tag(index: u32) -> ContextTag {
    // Any bijection: real tags are random.
    ContextTag::from_bits(u64::from(index).wrapping_mul(0x5851_f42d_4c95) & ((1 << 47) - 1))
}

fn complaint<E: std::fmt::Display>(program: &'static str) -> impl FnOnce(E) -> BenchError {
    move |error| BenchError::program(program, error)
}

/// Host A's ULID.
pub(super) const LOCAL: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0xa);

/// Number of the first queue.
const FIRST_QUEUE: u16 = 6_000;

/// Elements of one transaction.
const TRANSACTION: usize = 1_000;

/// For host B: nobody there knows the contexts.
const DROP_TAGGED: &str = "table ip6 sink {
    chain prerouting {
        type filter hook prerouting priority -500;
        meta l4proto 140 drop
    }
}\n";

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn contexts_have_tags_and_peers_of_their_own() {
        let indices = 0..100_000;
        let tags: BTreeSet<_> = indices.clone().map(|index| tag(index).bits()).collect();
        let peers: BTreeSet<_> = indices.clone().map(peer).collect();
        assert_eq!((tags.len(), peers.len()), (indices.len(), indices.len()));
    }
}
