//! The account, for programs (JSON) and for people.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::ledger::Ledger;
use crate::numbered::Arrivals;
use crate::phase::Phase;

/// All phases.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Results {
    pub(crate) phases: Vec<Outcome>,
}

impl Results {
    /// Whether nothing is missing, and nothing came twice or otherwise than it was sent.
    pub(crate) fn is_complete(&self) -> bool {
        let mut phases = self.phases.iter();
        phases.all(|phase| phase.difference == 0 && phase.duplicates + phase.damaged == 0)
    }
}

/// What became of the packets of a phase.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    phase: &'static str,
    /// Datagrams, both ways.
    sent: u64,
    delivered: u64,
    duplicates: u64,
    damaged: u64,
    reordered: u64,
    control_sent: u64,
    control_arrived: u64,
    /// Packets that shimq's queue threads saw, at both hosts: where every packet is queued, two for each
    /// datagram, save those that passed because the queue was full.
    judged: u64,
    drops: BTreeMap<String, u64>,
    /// What was sent, less what arrived and what was dropped.
    difference: i64,
    /// Other counters of the kernel that grew; some count a drop again.
    others: BTreeMap<String, u64>,
}

impl Outcome {
    pub(crate) fn new(phase: Phase, lanes: [(u64, Arrivals); 2], added: Ledger) -> Self {
        let total = |count: fn(&Arrivals) -> u64| lanes.iter().map(|(_, of)| count(of)).sum();
        let sent = lanes.iter().map(|(sent, _)| sent).sum::<u64>();
        let delivered: u64 = total(|arrivals| arrivals.delivered);
        let dropped: u64 = added.drops.values().sum();
        let accounted = delivered + added.control_arrived + dropped;
        Self {
            phase: phase.title(),
            sent,
            delivered,
            duplicates: total(|arrivals| arrivals.duplicates),
            damaged: total(|arrivals| arrivals.damaged),
            reordered: total(|arrivals| arrivals.reordered),
            control_sent: added.control_sent,
            control_arrived: added.control_arrived,
            judged: added.judged,
            difference: (sent + added.control_sent).cast_signed() - accounted.cast_signed(),
            drops: added.drops,
            others: added.others,
        }
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for phase in &self.phases {
            writeln!(f, "{phase}")?;
        }
        let sent: u64 = self.phases.iter().map(|phase| phase.sent).sum();
        let difference: i64 = self.phases.iter().map(|phase| phase.difference).sum();
        writeln!(f, "All: {sent} datagrams sent, difference {difference}.")
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.phase)?;
        let mut row = |name: &str, count: u64| writeln!(f, "  {count:>10}  {name}");
        row("datagrams sent", self.sent)?;
        row("control messages sent", self.control_sent)?;
        row("datagrams delivered", self.delivered)?;
        row("control messages arrived", self.control_arrived)?;
        for (reason, &count) in &self.drops {
            row(&format!("dropped, {reason}"), count)?;
        }
        writeln!(f, "  {:>10}  difference", self.difference)?;
        writeln!(f, "  {} packets met a queue thread", self.judged)?;
        writeln!(
            f,
            "  {} came twice, {} came with other octets, {} came out of order",
            self.duplicates, self.damaged, self.reordered
        )?;
        if self.difference != 0 {
            writeln!(f, "  other counters that grew: {:?}", self.others)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A phase with so many datagrams delivered of a hundred, and so many dropped.
    fn outcome(delivered: u64, dropped: u64, duplicates: u64) -> Results {
        let there = Arrivals {
            delivered,
            duplicates,
            ..Arrivals::default()
        };
        let added = Ledger {
            drops: BTreeMap::from([("a reason".to_owned(), dropped)]),
            control_sent: 5,
            control_arrived: 5,
            ..Ledger::default()
        };
        let lanes = [(100, there), (0, Arrivals::default())];
        Results {
            phases: vec![Outcome::new(Phase::Unmapped, lanes, added)],
        }
    }

    #[test]
    fn a_datagram_too_few_or_too_many_is_a_difference() {
        assert!(outcome(90, 10, 0).is_complete());
        for (delivered, dropped, duplicates) in [(89, 10, 0), (90, 11, 0), (90, 10, 1)] {
            assert!(!outcome(delivered, dropped, duplicates).is_complete());
        }
        assert_eq!(outcome(89, 10, 0).phases[0].difference, 1);
        assert_eq!(outcome(90, 11, 0).phases[0].difference, -1);
    }
}
