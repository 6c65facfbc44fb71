//! The queue threads: receive, look up, map, account, verdict.
//!
//! A thread owns its queue and its flow table. Before the first packet of a wake-up it applies what
//! the endpoint changed and reads the clock once; then each packet is a lookup. What a lookup cannot
//! settle goes to the endpoint ([`super::intake`]); where that has no room the packet is treated as if
//! the endpoint were not there, and counted. A thread that hangs has its queue taken away, so that
//! the rules' `bypass` lets packets pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;

use pnet_packet::ipv6::Ipv6Packet;
use shim6_core::{DropReason, FlowTable, FlowUpdate, Instant, Notice, UlidPair, Verdict};
use shim6_wire::Packet;
use shimq_netfilter::queue::{self, Hook, Queue, QueuedPacket, Remote};

use super::intake::{Full, ToEndpoint};
use super::oversize::{Cut, Oversize};
use super::processors::Share;
use crate::clock;

/// Looks, a second apart, at which a thread may be missing before its queue is taken from it.
const MISSED_LOOKS_MAX: u32 = 3;

/// What a queue thread tells the endpoint.
#[derive(Debug)]
pub(crate) enum FromQueue {
    /// A packet that is the endpoint's to deal with, from its IPv6 header on.
    Packet(Vec<u8>),
    /// [`Notice::Payload`].
    Payload(shim6_wire::ContextTag),
    /// [`Notice::Unanswered`], with the packet as it goes on.
    Unanswered(shim6_wire::ContextTag, Vec<u8>),
    /// [`Notice::NarrowPath`], with the error that told, as it arrived.
    NarrowPath {
        ulids: UlidPair,
        mtu: u32,
        error: Vec<u8>,
    },
    /// [`Notice::Candidate`], with who sent it and its length.
    Candidate {
        ulids: UlidPair,
        sent: bool,
        octets: usize,
    },
}

/// What a thread did. Monotonic, in packets unless said otherwise.
#[derive(Debug)]
pub(crate) struct QueueCounters {
    /// Times around the loop, with packets or without.
    rounds: AtomicU64,
    pub(crate) wakes: AtomicU64,
    pub(crate) packets: AtomicU64,
    pub(crate) rewritten: AtomicU64,
    /// Too big with their header, and sent in fragments.
    pub(crate) fragmented: AtomicU64,
    /// To be mapped, but longer than the kernel copies: passed with their ULIDs.
    pub(crate) passed_unmapped: AtomicU64,
    /// Overrun reports of the kernel: some packets were lost before they were read.
    pub(crate) overruns: AtomicU64,
    /// Verdicts that came too late.
    pub(crate) gone: AtomicU64,
    /// Notices that found no room on their way to the endpoint: about contexts, from strangers, from one
    /// source.
    pub(crate) known_full: AtomicU64,
    pub(crate) strangers_full: AtomicU64,
    pub(crate) source_full: AtomicU64,
    dropped: Vec<AtomicU64>,
}

impl QueueCounters {
    fn new() -> Self {
        Self {
            rounds: AtomicU64::new(0),
            wakes: AtomicU64::new(0),
            packets: AtomicU64::new(0),
            rewritten: AtomicU64::new(0),
            fragmented: AtomicU64::new(0),
            passed_unmapped: AtomicU64::new(0),
            overruns: AtomicU64::new(0),
            gone: AtomicU64::new(0),
            known_full: AtomicU64::new(0),
            strangers_full: AtomicU64::new(0),
            source_full: AtomicU64::new(0),
            dropped: DropReason::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
        }
    }

    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize].load(Relaxed)
    }
}

/// A queue thread, seen from the daemon.
#[derive(Debug)]
pub(crate) struct QueueThread {
    pub(crate) number: u16,
    pub(crate) receive_buffer: usize,
    pub(crate) counters: Arc<QueueCounters>,
    updates: std_mpsc::Sender<FlowUpdate>,
    rounds_seen: u64,
    missed_looks: u32,
    stop: Arc<AtomicBool>,
    remote: Remote,
    unbound: bool,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl QueueThread {
    /// Starts serving `queue`, which has `share` of its kind's packets; `maps` says that rules send
    /// packets there to be mapped.
    ///
    /// # Errors
    ///
    /// No thread or descriptor can be had.
    pub(crate) fn start(
        queue: Box<dyn Queue>,
        share: Share,
        maps: bool,
        table: FlowTable,
        to_endpoint: ToEndpoint,
        oversize: Oversize,
    ) -> std::io::Result<Self> {
        let (updates, changes) = std_mpsc::channel();
        let counters = Arc::new(QueueCounters::new());
        let stop = Arc::new(AtomicBool::new(false));
        let (number, receive_buffer) = (queue.number(), queue.receive_buffer());
        let remote = queue.remote()?;
        let judge = Judge {
            maps,
            table,
            changes,
            to_endpoint,
            oversize,
            counters: Arc::clone(&counters),
        };
        let worker = Worker {
            queue,
            judge,
            stop: Arc::clone(&stop),
        };
        let thread = std::thread::Builder::new()
            .name(format!("queue-{number}"))
            .spawn(move || {
                if let Err(error) = share.keep() {
                    tracing::warn!(queue = number, %error, "the thread runs on any processor");
                }
                worker.run()
            })?;
        Ok(Self {
            number,
            receive_buffer,
            counters,
            updates,
            rounds_seen: 0,
            missed_looks: 0,
            stop,
            remote,
            unbound: false,
            thread: Some(thread),
        })
    }

    /// Passes a change on; it is in force for every packet queued from now on.
    pub(crate) fn update(&self, update: FlowUpdate) {
        // A thread that ended takes no packets, so it needs no changes.
        let _ = self.updates.send(update);
    }

    /// Looks whether the thread came by since the last look, and if not, wakes it; if that was in vain
    /// several times, takes the queue away from it, so that packets bypass it, and says so.
    ///
    /// Looks are counted, not time: after a pause of the whole machine thread and watch are late alike.
    pub(crate) fn hangs(&mut self) -> bool {
        let rounds = self.counters.rounds.load(Relaxed);
        if rounds != self.rounds_seen {
            self.rounds_seen = rounds;
            self.missed_looks = 0;
            return false;
        }
        self.missed_looks += 1;
        if self.missed_looks < MISSED_LOOKS_MAX {
            // If it cannot be woken, the last look will find that out.
            let _ = self.wake();
            return false;
        }
        self.unbound = true;
        if let Err(error) = self.remote.unbind() {
            tracing::error!(queue = self.number, %error, "cannot unbind");
        }
        true
    }

    /// Has the thread look around, if it waits for packets. Whether it will.
    fn wake(&self) -> bool {
        let woken = self.remote.wake();
        if let Err(error) = &woken {
            tracing::error!(queue = self.number, %error, "cannot wake a queue's thread");
        }
        woken.is_ok()
    }

    /// Whether the thread has ended, and with what.
    pub(crate) fn ended(&mut self) -> Option<std::io::Result<()>> {
        let thread = self.thread.take_if(|thread| thread.is_finished())?;
        let panicked = |_| Err(std::io::Error::other("the thread panicked"));
        Some(thread.join().unwrap_or_else(panicked))
    }
}

impl Drop for QueueThread {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if self.unbound {
            // It hangs: waiting for it would hang as well.
            return;
        }
        if let Some(thread) = self.thread.take()
            && self.wake()
        {
            let _ = thread.join();
        }
    }
}

struct Worker {
    queue: Box<dyn Queue>,
    judge: Judge,
    stop: Arc<AtomicBool>,
}

impl Worker {
    fn run(mut self) -> std::io::Result<()> {
        while !self.stop.load(Relaxed) {
            let judge = &mut self.judge;
            let served = self.queue.serve(None, &mut WakeUp { judge, now: None })?;
            let counters = &self.judge.counters;
            counters
                .packets
                .fetch_add(u64::from(served.packets), Relaxed);
            counters
                .overruns
                .fetch_add(u64::from(served.overruns), Relaxed);
            counters.gone.fetch_add(u64::from(served.gone), Relaxed);
            counters.rounds.fetch_add(1, Relaxed);
            // Also on a queue that no packet comes to: changes must not pile up there.
            self.judge.apply_changes();
        }
        Ok(())
    }
}

/// The judge, for the packets of one wake-up.
struct WakeUp<'j> {
    judge: &'j mut Judge,
    /// From the first packet on.
    now: Option<Instant>,
}

impl queue::Judge for WakeUp<'_> {
    fn expect(&mut self, hook: Hook, packet: &[u8]) {
        self.judge.table.fetch(packet, hook == Hook::LocalOut);
    }

    fn judge(&mut self, packet: &mut QueuedPacket<'_>) -> queue::Verdict {
        let now = *self.now.get_or_insert_with(|| self.judge.wake());
        self.judge.packet(packet, now)
    }
}

struct Judge {
    maps: bool,
    table: FlowTable,
    changes: std_mpsc::Receiver<FlowUpdate>,
    to_endpoint: ToEndpoint,
    oversize: Oversize,
    counters: Arc<QueueCounters>,
}

impl Judge {
    /// Before the first packet of a wake-up.
    fn wake(&mut self) -> Instant {
        self.apply_changes();
        self.counters.wakes.fetch_add(1, Relaxed);
        clock::now()
    }

    fn apply_changes(&mut self) {
        while let Ok(change) = self.changes.try_recv() {
            self.table.apply(change);
        }
    }

    fn packet(&mut self, queued: &mut QueuedPacket<'_>, now: Instant) -> queue::Verdict {
        let outgoing = queued.hook == Hook::LocalOut;
        let (start, end) = (queued.start, queued.end);
        if queued.truncated || queued.segmented || queued.checksum_missing {
            if self.maps && outgoing {
                self.counters.passed_unmapped.fetch_add(1, Relaxed);
            }
            self.look_at(queued.octets(), outgoing, queued.original_len, now);
            return queue::Verdict::Accept;
        }
        let Ok(mut packet) = Packet::new(queued.buf, start, end) else {
            return queue::Verdict::Accept;
        };
        let ulids = UlidPair {
            local: packet.source(),
            peer: packet.destination(),
        };
        let (verdict, notice) = if outgoing {
            self.table.outgoing_marked(&mut packet, queued.mark, now)
        } else {
            self.table.incoming(&mut packet, now)
        };
        let range = packet.range();
        if let Some(notice) = notice {
            self.tell(
                notice,
                outgoing,
                &queued.buf[range.clone()],
                queued.original_len,
            );
        }
        match verdict {
            Verdict::Accept => queue::Verdict::Accept,
            Verdict::Rewritten
                if outgoing && self.is_cut(&queued.buf[range.clone()], ulids, now) =>
            {
                queue::Verdict::Drop
            }
            Verdict::Rewritten => {
                self.counters.rewritten.fetch_add(1, Relaxed);
                queue::Verdict::Rewrite(range)
            }
            Verdict::Replaced(octets) => {
                self.counters.rewritten.fetch_add(1, Relaxed);
                let replaced = start..start + octets.len();
                queued.buf[replaced.clone()].copy_from_slice(&octets);
                queue::Verdict::Rewrite(replaced)
            }
            Verdict::Drop(reason) => {
                self.counters.dropped[reason as usize].fetch_add(1, Relaxed);
                queue::Verdict::Drop
            }
        }
    }

    /// Whether a packet that was mapped for `ulids` is too big to go on, and dealt with.
    fn is_cut(&mut self, packet: &[u8], ulids: UlidPair, now: Instant) -> bool {
        match self.oversize.send(packet, ulids, now) {
            Ok(None) => return false,
            Ok(Some(cut)) => {
                self.counters.fragmented.fetch_add(1, Relaxed);
                if let Cut::SentNarrow { mtu, error } = cut {
                    let told = FromQueue::NarrowPath { ulids, mtu, error };
                    self.count_if_full(self.to_endpoint.tell(told));
                }
            }
            Err(_) => {
                let reason = DropReason::NotFragmented as usize;
                self.counters.dropped[reason].fetch_add(1, Relaxed);
            }
        }
        true
    }

    /// Notes a packet of which only the beginning was copied, which is several in one, or which the
    /// kernel has not finished: it passes as it is.
    fn look_at(&self, octets: &[u8], outgoing: bool, original_len: usize, now: Instant) {
        let Some(header) = Ipv6Packet::new(octets) else {
            return;
        };
        let (source, destination) = (header.get_source(), header.get_destination());
        let notice = if outgoing {
            let ulids = UlidPair {
                local: source,
                peer: destination,
            };
            self.table.observe_outgoing(ulids, original_len, now)
        } else {
            let ulids = UlidPair {
                local: destination,
                peer: source,
            };
            self.table.observe_incoming(ulids, original_len, now)
        };
        if let Some(notice) = notice {
            self.tell(notice, outgoing, octets, original_len);
        }
    }

    fn tell(&self, notice: Notice, sent: bool, packet: &[u8], octets: usize) {
        let told = match notice {
            Notice::Packet if !self.table.is_named_by(packet) => {
                self.count_if_full(self.to_endpoint.hand_over(packet));
                return;
            }
            Notice::Packet => FromQueue::Packet(packet.to_vec()),
            Notice::Payload(tag) => FromQueue::Payload(tag),
            Notice::Unanswered(tag) => FromQueue::Unanswered(tag, packet.to_vec()),
            Notice::NarrowPath { ulids, mtu } => FromQueue::NarrowPath {
                ulids,
                mtu,
                error: packet.to_vec(),
            },
            Notice::Candidate(ulids) => FromQueue::Candidate {
                ulids,
                sent,
                octets,
            },
        };
        self.count_if_full(self.to_endpoint.tell(told));
    }

    fn count_if_full(&self, told: Result<(), Full>) {
        let counter = match told {
            Ok(()) => return,
            Err(Full::Known) => &self.counters.known_full,
            Err(Full::Strangers) => &self.counters.strangers_full,
            Err(Full::Source) => &self.counters.source_full,
        };
        counter.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests;
