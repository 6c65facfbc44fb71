//! REAP fed by the kernel's counters: packets of unmapped contexts never enter this program.
//!
//! The kernel counts the packets of each context, either way; this reads the counts now and then
//! and writes what changed into the accounts. Within one interval the order of a packet sent and a
//! packet received is unknown; they count as sent, then answered. So a failure is noticed at most one
//! interval later than it would be if every packet were seen, and never where there is none.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use shim6_core::{Flow, Instant, UlidPair};
use shimq_netfilter::rules::{ContextCount, Direction, RulesError, Ruleset};

use super::busy::BusyContexts;

/// How often the counters are read while there are contexts.
const INTERVAL: Duration = Duration::from_millis(100);

/// How often while there are so few that reading is next to nothing. Only then some may be busy.
const SHORT_INTERVAL: Duration = Duration::from_millis(50);
const FEW: usize = 256;

/// A context that the kernel counts, and what was last read of it.
#[derive(Debug)]
struct Counted {
    flow: Arc<Flow>,
    packets_sent: u64,
    bytes_sent: u64,
    packets_received: u64,
    bytes_received: u64,
}

impl Counted {
    fn begin_anew(&mut self, direction: Direction) {
        match direction {
            Direction::Out => (self.packets_sent, self.bytes_sent) = (0, 0),
            Direction::In => (self.packets_received, self.bytes_received) = (0, 0),
        }
    }
}

/// What one reading showed.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// The watched flows that heard something.
    pub(crate) heard: Vec<Arc<Flow>>,
    /// The contexts that became busy, or no longer are.
    pub(crate) changed: Vec<UlidPair>,
}

/// The contexts that the kernel counts.
#[derive(Debug, Default)]
pub(crate) struct KernelCounting {
    counted: HashMap<UlidPair, Counted>,
    busy: BusyContexts,
    read_at: Instant,
    sent: Vec<ContextCount>,
    received: Vec<ContextCount>,
}

impl KernelCounting {
    /// The kernel counts this flow from now on, or it changed.
    pub(crate) fn set(&mut self, flow: &Arc<Flow>) {
        self.counted
            .entry(flow.ulids)
            .and_modify(|counted| counted.flow = Arc::clone(flow))
            .or_insert_with(|| Counted {
                flow: Arc::clone(flow),
                packets_sent: 0,
                bytes_sent: 0,
                packets_received: 0,
                bytes_received: 0,
            });
    }

    /// The kernel counts these ULIDs no more.
    pub(crate) fn remove(&mut self, ulids: UlidPair) {
        self.counted.remove(&ulids);
        self.busy.remove(ulids);
    }

    /// Whether this context is busy.
    pub(crate) fn is_busy(&self, ulids: UlidPair) -> bool {
        self.busy.contains(ulids)
    }

    /// The kernel's counter of these ULIDs begins at zero again: since the last reading, what was
    /// counted is not accounted for. That is a few packets, of a flow of which more is known by then.
    pub(crate) fn begin_anew(&mut self, ulids: UlidPair, direction: Direction) {
        if let Some(counted) = self.counted.get_mut(&ulids) {
            counted.begin_anew(direction);
        }
    }

    /// All counters of the kernel's begin at zero again.
    pub(crate) fn begin_all_anew(&mut self) {
        for counted in self.counted.values_mut() {
            counted.begin_anew(Direction::Out);
            counted.begin_anew(Direction::In);
        }
        self.busy.clear();
    }

    /// How long after one reading the next one is due.
    pub(crate) fn interval(&self) -> Duration {
        if self.are_few() {
            SHORT_INTERVAL
        } else {
            INTERVAL
        }
    }

    fn are_few(&self) -> bool {
        self.counted.len() <= FEW
    }

    /// Whether there is nothing to read.
    pub(crate) fn is_empty(&self) -> bool {
        self.counted.is_empty()
    }

    /// Reads the counters and updates the accounts. Who is busy stays as it is unless `may_change`.
    ///
    /// # Errors
    ///
    /// What the dump reports.
    pub(crate) fn poll(
        &mut self,
        ruleset: &mut Ruleset,
        now: Instant,
        may_change: bool,
    ) -> Result<Reading, RulesError> {
        ruleset.read_contexts(Direction::Out, &mut self.sent)?;
        ruleset.read_contexts(Direction::In, &mut self.received)?;
        for count in &self.sent {
            let ulids = UlidPair {
                local: count.pair.local,
                peer: count.pair.peer,
            };
            let Some(counted) = self.counted.get_mut(&ulids) else {
                continue;
            };
            let packets = count.packets.saturating_sub(counted.packets_sent);
            let bytes = count.octets.saturating_sub(counted.bytes_sent);
            (counted.packets_sent, counted.bytes_sent) = (count.packets, count.octets);
            if packets > 0 {
                counted.flow.account.sent(now, packets, bytes);
            }
        }
        let elapsed = now.since(std::mem::replace(&mut self.read_at, now));
        let may_become_busy = may_change && self.are_few();
        let mut reading = Reading::default();
        for count in &self.received {
            let ulids = UlidPair {
                local: count.pair.local,
                peer: count.pair.peer,
            };
            let Some(counted) = self.counted.get_mut(&ulids) else {
                continue;
            };
            let packets = count.packets.saturating_sub(counted.packets_received);
            let bytes = count.octets.saturating_sub(counted.bytes_received);
            (counted.packets_received, counted.bytes_received) = (count.packets, count.octets);
            if packets > 0 {
                counted.flow.account.received(now, packets, bytes);
                if counted.flow.exploring.awaits_life() {
                    reading.heard.push(Arc::clone(&counted.flow));
                }
            }
            if !self.busy.note(ulids, packets)
                && may_become_busy
                && self.busy.admit(ulids, packets, elapsed, now)
            {
                reading.changed.push(ulids);
            }
        }
        if may_change {
            let dismissed = self.busy.dismiss(self.are_few(), now);
            reading.changed.extend(dismissed);
        }
        Ok(reading)
    }
}
