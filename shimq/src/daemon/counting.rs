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

/// How often the counters are read while there are contexts.
pub(crate) const INTERVAL: Duration = Duration::from_millis(100);

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

/// The contexts that the kernel counts.
#[derive(Debug, Default)]
pub(crate) struct KernelCounting {
    counted: HashMap<UlidPair, Counted>,
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
    }

    /// Whether there is nothing to read.
    pub(crate) fn is_empty(&self) -> bool {
        self.counted.is_empty()
    }

    /// Reads the counters and updates the accounts; returns the watched flows that heard something.
    ///
    /// # Errors
    ///
    /// What the dump reports.
    pub(crate) fn poll(
        &mut self,
        ruleset: &mut Ruleset,
        now: Instant,
    ) -> Result<Vec<Arc<Flow>>, RulesError> {
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
        let mut heard = Vec::new();
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
                    heard.push(Arc::clone(&counted.flow));
                }
            }
        }
        Ok(heard)
    }
}
