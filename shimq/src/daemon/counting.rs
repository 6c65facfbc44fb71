//! REAP fed by the kernel's counters: packets of unmapped contexts never enter this program.
//!
//! The kernel counts the packets of each context, either way; this reads the counts now and then
//! and writes what changed into the accounts. Within one interval the order of a packet sent and a
//! packet received is unknown; they count as sent, then answered. So the Send Timer starts never where
//! there is no silence, and at most one interval after the first packet that is sent when all that
//! arrived has been read.
//!
//! Of very many contexts each reading is of those that follow the ones read last, so that none holds the
//! daemon up. Then an interval is the time until a context's next turn.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use shim6_core::{Flow, Instant, UlidPair};
use shimq_netfilter::rules::{AddressPair, Change, ContextCount, Direction, RulesError, Ruleset};

use super::busy::BusyContexts;

#[cfg(test)]
mod tests;

/// How often the counters are read while there are contexts.
const INTERVAL: Duration = Duration::from_millis(100);

/// How often while there are so few that reading is next to nothing, which is when some may be busy; and
/// while there are so many that not all are read at once.
const SHORT_INTERVAL: Duration = Duration::from_millis(50);
const FEW: usize = 256;

/// Contexts that are read all at once, at most: by dumps, which take 0.3 ms for 256 and 7 ms for so many.
/// The more there are, the longer that takes the kernel for each.
const READ_AT_ONCE: usize = 4096;

/// Of more, those that are read together. Asked for one by one, each takes 4 us however many there are.
const READ_IN_TURN: usize = 1024;

/// A context that the kernel counts, and what it had counted at the last reading.
#[derive(Debug)]
struct Counted {
    flow: Arc<Flow>,
    /// `None` while it is not counted.
    sent: Option<Total>,
    received: Option<Total>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Total {
    packets: u64,
    octets: u64,
}

impl Total {
    /// The total is this now; returns what came since the last reading.
    fn advance(&mut self, count: &ContextCount) -> Self {
        let now = Self {
            packets: count.packets,
            octets: count.octets,
        };
        let last = std::mem::replace(self, now);
        Self {
            packets: now.packets.saturating_sub(last.packets),
            octets: now.octets.saturating_sub(last.octets),
        }
    }
}

impl Counted {
    fn total(&mut self, direction: Direction) -> &mut Option<Total> {
        match direction {
            Direction::Out => &mut self.sent,
            Direction::In => &mut self.received,
        }
    }
}

/// What one reading showed.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// The watched flows that heard something.
    pub(crate) heard: Vec<Arc<Flow>>,
    /// The flows that sent into silence, of which no packet was shown.
    pub(crate) unanswered: Vec<Arc<Flow>>,
}

/// The contexts that the kernel counts.
#[derive(Debug, Default)]
pub(crate) struct KernelCounting {
    counted: BTreeMap<UlidPair, Counted>,
    busy: BusyContexts,
    /// When all were read at once, if that was the last reading.
    all_read_at: Option<Instant>,
    /// The last one that was read, where not all are read at once.
    read_last: Option<UlidPair>,
    sent: Vec<ContextCount>,
    received: Vec<ContextCount>,
}

impl KernelCounting {
    /// Follows a flow, or what became of it.
    pub(crate) fn set(&mut self, flow: &Arc<Flow>) {
        self.counted
            .entry(flow.ulids)
            .and_modify(|counted| counted.flow = Arc::clone(flow))
            .or_insert_with(|| Counted {
                flow: Arc::clone(flow),
                sent: None,
                received: None,
            });
    }

    /// Has a followed flow's packets counted from 0, or no more; what that changes.
    pub(crate) fn set_counted(
        &mut self,
        ulids: UlidPair,
        direction: Direction,
        wanted: bool,
    ) -> Option<Change> {
        let total = self.counted.get_mut(&ulids)?.total(direction);
        if wanted == total.is_some() {
            return None;
        }
        *total = wanted.then(Total::default);
        Some(if wanted {
            self.begin(ulids, direction)
        } else {
            Change::StopCounting(pair(ulids), direction)
        })
    }

    /// Follows a flow no more; what that changes.
    pub(crate) fn remove(&mut self, ulids: UlidPair) -> impl Iterator<Item = Change> {
        let changes = BOTH.map(|direction| self.set_counted(ulids, direction, false));
        self.counted.remove(&ulids);
        self.busy.remove(ulids);
        changes.into_iter().flatten()
    }

    /// The kernel has forgotten all; what it has to be told.
    pub(crate) fn begin_all_anew(&mut self) -> Vec<Change> {
        self.busy.clear();
        let mut changes = Vec::new();
        for (&ulids, counted) in &mut self.counted {
            for direction in BOTH {
                if let Some(total) = counted.total(direction) {
                    *total = Total::default();
                    changes.push(Change::Count(pair(ulids), direction));
                }
            }
        }
        changes
    }

    /// Has packets counted from 0, as befits the context.
    fn begin(&self, ulids: UlidPair, direction: Direction) -> Change {
        // What is busy is so both ways, or all that is sent would be taken for sent into silence.
        if self.busy.contains(ulids) {
            Change::CountOnly(pair(ulids), direction)
        } else {
            Change::Count(pair(ulids), direction)
        }
    }

    /// Has packets counted anew, since the context became busy or is it no more. What was counted since the last
    /// reading is not accounted for: a few packets, of a flow of which more is known by then.
    fn begin_anew(&mut self, ulids: UlidPair) -> impl Iterator<Item = Change> {
        let changes = BOTH.map(|direction| {
            let stop = self.set_counted(ulids, direction, false)?;
            let begin = self.set_counted(ulids, direction, true)?;
            Some([stop, begin])
        });
        changes.into_iter().flatten().flatten()
    }

    /// How long after one reading the next one is due.
    pub(crate) fn interval(&self) -> Duration {
        if self.are_few() || !self.are_read_at_once() {
            SHORT_INTERVAL
        } else {
            INTERVAL
        }
    }

    /// Whether reading them all is next to nothing.
    pub(crate) fn are_few(&self) -> bool {
        self.counted.len() <= FEW
    }

    fn are_read_at_once(&self) -> bool {
        self.counted.len() <= READ_AT_ONCE
    }

    /// Whether there is nothing to read.
    pub(crate) fn is_empty(&self) -> bool {
        self.counted.is_empty()
    }

    /// Reads the counters and updates the accounts; returns also what the kernel has to count in another way from now
    /// on, which is nothing unless it `may_change`.
    ///
    /// # Errors
    ///
    /// What keeps one from reading.
    pub(crate) fn poll(
        &mut self,
        ruleset: &mut Ruleset,
        now: Instant,
        may_change: bool,
    ) -> Result<(Reading, Vec<Change>), RulesError> {
        let elapsed = if self.are_read_at_once() {
            ruleset.read_contexts(Direction::Out, &mut self.sent)?;
            ruleset.read_contexts(Direction::In, &mut self.received)?;
            self.all_read_at.replace(now).map(|last| now.since(last))
        } else {
            let next = self.next_to_read();
            self.read_these(ruleset, &next)?;
            self.all_read_at = None;
            None
        };
        self.note_sent(now);
        let may_begin = may_change && self.are_few();
        let (mut reading, busy) = self.note_received(now, elapsed.filter(|_| may_begin));
        let mut changes = Vec::new();
        for ulids in busy {
            changes.extend(self.begin_anew(ulids));
        }
        if may_change {
            self.dismiss(now, &mut reading, &mut changes);
        }
        Ok((reading, changes))
    }

    /// Reads the counters of these contexts and updates their accounts.
    ///
    /// # Errors
    ///
    /// What keeps one from reading.
    pub(crate) fn poll_these(
        &mut self,
        ruleset: &mut Ruleset,
        contexts: &[UlidPair],
        now: Instant,
    ) -> Result<Reading, RulesError> {
        self.read_these(ruleset, contexts)?;
        self.note_sent(now);
        Ok(self.note_received(now, None).0)
    }

    /// The contexts behind the one that was read last; behind the last of all comes the first.
    fn next_to_read(&mut self) -> Vec<UlidPair> {
        let behind = |last| (Bound::Excluded(last), Bound::Unbounded);
        let rest = self
            .read_last
            .into_iter()
            .flat_map(|last| self.counted.range(behind(last)));
        let next: Vec<_> = rest
            .chain(&self.counted)
            .map(|(&ulids, _)| ulids)
            .take(READ_IN_TURN)
            .collect();
        self.read_last = next.last().copied();
        next
    }

    fn read_these(
        &mut self,
        ruleset: &mut Ruleset,
        contexts: &[UlidPair],
    ) -> Result<(), RulesError> {
        for direction in BOTH {
            let pairs: Vec<_> = contexts
                .iter()
                .filter(|&ulids| {
                    let counted = self.counted.get_mut(ulids);
                    counted.is_some_and(|counted| counted.total(direction).is_some())
                })
                .map(|&ulids| pair(ulids))
                .collect();
            let out = match direction {
                Direction::Out => &mut self.sent,
                Direction::In => &mut self.received,
            };
            ruleset.read_these_contexts(direction, &pairs, out)?;
        }
        Ok(())
    }

    /// Writes what was read as sent into the accounts.
    fn note_sent(&mut self, now: Instant) {
        for count in &self.sent {
            let ulids = ulids(count.pair);
            let Some(counted) = self.counted.get_mut(&ulids) else {
                continue;
            };
            let Some(sent) = &mut counted.sent else {
                continue;
            };
            let Total { packets, octets } = sent.advance(count);
            if packets > 0 {
                counted.flow.account.sent(now, packets, octets);
                self.busy.note_sent(ulids, packets, octets);
            }
        }
    }

    /// Writes what was read as received into the accounts. Returns what it showed, and which contexts became busy
    /// by what they received in the time that `elapsed`.
    fn note_received(
        &mut self,
        now: Instant,
        elapsed: Option<Duration>,
    ) -> (Reading, Vec<UlidPair>) {
        let (mut reading, mut busy) = (Reading::default(), Vec::new());
        for count in &self.received {
            let ulids = ulids(count.pair);
            let Some(counted) = self.counted.get_mut(&ulids) else {
                continue;
            };
            let Some(received) = &mut counted.received else {
                continue;
            };
            let Total { packets, octets } = received.advance(count);
            if packets > 0 {
                counted.flow.account.received(now, packets, octets);
                if counted.flow.exploring.awaits_life() {
                    reading.heard.push(Arc::clone(&counted.flow));
                }
            }
            if !self.busy.note_received(ulids, packets)
                && let Some(elapsed) = elapsed
                && self.busy.admit(ulids, packets, elapsed, now)
            {
                busy.push(ulids);
            }
        }
        (reading, busy)
    }

    /// Ends it for busy contexts that are heard too little.
    fn dismiss(&mut self, now: Instant, reading: &mut Reading, changes: &mut Vec<Change>) {
        for dismissed in self.busy.dismiss(self.are_few(), now) {
            let ulids = dismissed.ulids;
            changes.extend(self.begin_anew(ulids));
            if dismissed.is_unanswered {
                let counted = self.counted.get(&ulids);
                let flow = counted.map(|counted| Arc::clone(&counted.flow));
                reading.unanswered.extend(flow);
            }
        }
    }
}

const BOTH: [Direction; 2] = [Direction::Out, Direction::In];

/// ULIDs as the sets have them.
pub(super) fn pair(ulids: UlidPair) -> AddressPair {
    AddressPair {
        local: ulids.local,
        peer: ulids.peer,
    }
}

fn ulids(pair: AddressPair) -> UlidPair {
    UlidPair {
        local: pair.local,
        peer: pair.peer,
    }
}
