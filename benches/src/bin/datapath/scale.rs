//! How the cost of a packet depends on the number of contexts, and the rate on that of queues.
//!
//! So many contexts take hours to establish between two hosts, and packets do not know how their
//! context came about. So this is the daemon without its endpoint: its ruleset, its queues and its
//! flow tables, on host A, filled with contexts that nobody agreed on. A datagram of 64 octets goes
//! to another peer each time, in an order that no cache likes; what leaves is dropped by host B.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use shim6_core::{
    Account, Config, Endpoint, Flow, FlowTable, FlowUpdate, LocatorPair, Path, RespondOnly, Tagged,
    UlidPair, Verdict,
};
use shim6_wire::{ContextTag, Packet};
use shimq_netfilter::queue::{self, BatchQueue, Queue, QueueConfig, QueuedPacket};
use shimq_netfilter::rules::{AddressPair, Change, Mode, Ruleset, RulesetConfig};

use crate::meter::Meter;
use crate::network::{LINKS, Network, Side};
use crate::traffic::{LOOK_UP, Sample, WARM_UP};
use shimq_benches::error::BenchError;

/// How much of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Load {
    /// Mapped contexts, all of them in use.
    pub(crate) contexts: u32,
    /// Queues, each with a thread.
    pub(crate) queues: u16,
    /// Threads that send.
    pub(crate) senders: u32,
}

impl Load {
    /// What the others are compared with.
    pub(crate) const ONE_CONTEXT: Self = Self::contexts(1);
    pub(crate) const MANY_CONTEXTS: Self = Self::contexts(100_000);
    pub(crate) const ONE_QUEUE: Self = Self::queues(1);
    pub(crate) const TWO_QUEUES: Self = Self::queues(2);

    const fn contexts(contexts: u32) -> Self {
        Self {
            contexts,
            queues: 1,
            senders: 1,
        }
    }

    const fn queues(queues: u16) -> Self {
        Self {
            contexts: 1_000,
            queues,
            senders: 2,
        }
    }

    /// All that this machine can show: two queues prove nothing where the two senders have no
    /// processors of their own.
    pub(crate) fn all(processors: usize) -> Vec<Self> {
        let mut all = vec![
            Self::ONE_CONTEXT,
            Self::contexts(1_000),
            Self::MANY_CONTEXTS,
        ];
        if processors >= PROCESSORS_FOR_QUEUES {
            all.extend([Self::ONE_QUEUE, Self::TWO_QUEUES]);
        }
        all
    }

    pub(crate) fn title(self) -> String {
        let Self {
            contexts,
            queues,
            senders,
        } = self;
        format!("{contexts} contexts, {queues} queues, {senders} senders")
    }

    /// Sends and measures for `time`: packets that entered queues.
    pub(crate) fn measure(self, time: Duration) -> Result<Sample, BenchError> {
        let network = Network::new()?;
        network.nft(Side::B, DROP_TAGGED)?;
        let gateway = Side::B.address(0);
        let route = format!("route add {}/64 via {gateway} dev {}", peer(0), LINKS[0]);
        network.ip(Side::A, &[route])?;
        let host = network.host(Side::A);
        let (_ruleset, served) = host.enter(|| self.bind())??;
        let open = || UdpSocket::bind((LOCAL, 0));
        let sockets = (0..self.senders).map(|_| host.enter(open)?.map_err(failed("open a socket")));
        let sockets = sockets.collect::<Result<Vec<_>, BenchError>>()?;
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for (queue, table) in served {
                let done = &done;
                scope.spawn(move || serve(queue, &table, done));
            }
            for (sender, socket) in (0..).zip(&sockets) {
                let done = &done;
                scope.spawn(move || send(socket, self.contexts, sender, done));
            }
            let outcome = watch(&network, time);
            done.store(true, Ordering::Relaxed);
            outcome
        })
    }

    /// Loads the rules with all contexts in them, and binds the queues with their tables.
    fn bind(self) -> Result<(Ruleset, Vec<(BatchQueue, FlowTable)>), BenchError> {
        let rules = RulesetConfig {
            mode: Mode::Queue,
            rewrite: FIRST_QUEUE..FIRST_QUEUE + self.queues,
            ..RulesetConfig::default()
        };
        let mut served = Vec::new();
        for number in rules.rewrite.clone() {
            let queue = BatchQueue::open(&QueueConfig::rewrite(number));
            let queue = queue.map_err(complaint("a queue"))?;
            served.push((queue, self.table()));
        }
        let mut ruleset = Ruleset::load(&rules).map_err(complaint("the ruleset"))?;
        let changes = std::iter::once(Change::AddIdentity(LOCAL));
        let pairs = (0..self.contexts).map(|index| {
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
        Ok((ruleset, served))
    }

    fn table(self) -> FlowTable {
        let heuristic = Box::new(RespondOnly);
        let mut table = Endpoint::new(Config::default(), heuristic, [7; 32])
            .flow_table_behind_kernel_counters();
        for index in 0..self.contexts {
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
                watched: false,
                kernel_maps: false,
                account: Arc::new(Account::default()),
            })));
        }
        table
    }
}

/// As the daemon's queue threads do.
fn serve(mut queue: BatchQueue, table: &FlowTable, done: &AtomicBool) {
    let start = Instant::now();
    while !done.load(Ordering::Relaxed) {
        let mut now = None;
        let mut judge = |queued: &mut QueuedPacket<'_>| {
            let now = *now.get_or_insert_with(|| {
                let micros = start.elapsed().as_micros();
                shim6_core::Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
            });
            let Ok(mut packet) = Packet::new(queued.buf, queued.start, queued.end) else {
                return queue::Verdict::Accept;
            };
            match table.outgoing(&mut packet, now).0 {
                Verdict::Rewritten => queue::Verdict::Rewrite(packet.range()),
                Verdict::Accept | Verdict::Replaced(_) => queue::Verdict::Accept,
                Verdict::Drop(_) => queue::Verdict::Drop,
            }
        };
        if queue.serve(LOOK_UP, &mut judge).is_err() {
            break;
        }
    }
}

fn send(socket: &UdpSocket, contexts: u32, sender: u32, done: &AtomicBool) {
    // A stride that has no divisor in common with the number of contexts meets all of them.
    const STRIDE: u32 = 61_813;
    let mut index = sender;
    while !done.load(Ordering::Relaxed) {
        index = (index + STRIDE) % contexts;
        // A full queue is no reason to end.
        let _ = socket.send_to(&[0; 64], SocketAddr::from((peer(index), 9)));
    }
}

fn watch(network: &Network, time: Duration) -> Result<Sample, BenchError> {
    thread::sleep(WARM_UP);
    let meter = Meter::start(Side::BOTH.map(|side| network.host(side)), &[])?;
    thread::sleep(time);
    let spent = meter.stop()?;
    Ok(Sample::new(spent.queued, spent))
}

fn peer(index: u32) -> Ipv6Addr {
    let [high, low] = [index >> 16, index & 0xffff].map(|half| half as u16);
    Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, high, low)
}

fn tag(index: u32) -> ContextTag {
    // Any bijection: real tags are random.
    ContextTag::from_bits(u64::from(index).wrapping_mul(0x5851_f42d_4c95) & ((1 << 47) - 1))
}

fn failed(action: &'static str) -> impl FnOnce(io::Error) -> BenchError {
    BenchError::io(action)
}

fn complaint<E: std::fmt::Display>(program: &'static str) -> impl FnOnce(E) -> BenchError {
    move |error| BenchError::Program {
        program: program.to_owned(),
        complaint: error.to_string(),
    }
}

/// Host A's ULID.
const LOCAL: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0xa);

/// Number of the first queue.
const FIRST_QUEUE: u16 = 6_000;

/// Two senders, two queue threads.
const PROCESSORS_FOR_QUEUES: usize = 4;

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
        let indices = 0..Load::MANY_CONTEXTS.contexts;
        let tags: BTreeSet<_> = indices.clone().map(|index| tag(index).bits()).collect();
        let peers: BTreeSet<_> = indices.clone().map(peer).collect();
        assert_eq!((tags.len(), peers.len()), (indices.len(), indices.len()));
    }
}
