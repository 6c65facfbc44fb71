//! What the trials amount to: percentiles of each point, and whether they keep what was asked of them.

use std::collections::BTreeMap;

use serde::Serialize;
use shimq_benches::application::Pattern;
use shimq_benches::percentiles::{percentile, sort};

use crate::healthy::{self, Healthy};
use crate::scenario::{Means, Scenario};
use crate::silence;
use crate::trial::Outcome;

/// All that was measured.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) healthy: Vec<Healthy>,
    /// Trials that could not be played, in words.
    pub(crate) failures: Vec<String>,
}

/// Percentiles of one scenario with one means, milliseconds; in JSON, infinity is `null`.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Point {
    pub(crate) scenario: Scenario,
    pub(crate) means: Means,
    pub(crate) runs: usize,
    /// Runs that did not recover.
    pub(crate) lost: usize,
    pub(crate) p5: f64,
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
}

/// Something that was asked for, and whether it is so.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    /// At most.
    pub(crate) limit: f64,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    pub(crate) met: bool,
}

impl Target {
    fn at_most(name: String, limit: f64, value: f64, unit: &'static str) -> Self {
        Self {
            name,
            limit,
            value,
            unit,
            met: value <= limit,
        }
    }
}

/// What the median and the 95th percentile may be, milliseconds; of what a host sees for itself the
/// 99th percentile.
const MEDIAN_LIMIT: f64 = 250.0;
const P95_LIMIT: f64 = 500.0;
const LOCAL_P99_LIMIT: f64 = 200.0;

/// What having the kernel count may cost beyond seeing every packet, milliseconds.
const COUNTING_LIMIT: f64 = 100.0;

/// One round trip, which bulk transfers and calls may take longer.
const ROUND_TRIP: f64 = 20.0;

impl Results {
    /// The percentiles of every point that was measured.
    pub(crate) fn points(&self) -> Vec<Point> {
        let mut values: BTreeMap<(Scenario, Means), Vec<f64>> = BTreeMap::new();
        for outcome in &self.outcomes {
            let list = values.entry((outcome.scenario, outcome.means)).or_default();
            list.push(outcome.recovery_ms.unwrap_or(f64::INFINITY));
        }
        let points = values.into_iter().map(|((scenario, means), mut values)| {
            sort(&mut values);
            let at = |percent| percentile(&values, percent).unwrap_or(f64::INFINITY);
            Point {
                scenario,
                means,
                runs: values.len(),
                lost: values.iter().filter(|value| value.is_infinite()).count(),
                p5: at(5),
                p50: at(50),
                p95: at(95),
                p99: at(99),
            }
        });
        points.collect()
    }

    /// Every target that something was measured for.
    pub(crate) fn targets(&self) -> Vec<Target> {
        let points = self.points();
        let ours = points.iter().filter(|point| point.means == Means::Shimq);
        let mut targets: Vec<Target> = ours
            .flat_map(|point| {
                let with = |means| {
                    let mut others = points.iter();
                    others.find(|other| other.means == means && other.scenario == point.scenario)
                };
                targets_of(point, with(Means::Mptcp), with(Means::QueueAll))
            })
            .collect();
        for healthy in &self.healthy {
            let what = healthy::title(healthy.pattern);
            let a_second = healthy.tests as f64 / healthy.seconds;
            targets.push(Target::at_most(
                format!("{what}: tests of the current pair"),
                1.0,
                a_second,
                "a second",
            ));
            targets.push(Target::at_most(
                format!("{what}: changes of pair"),
                0.0,
                healthy.changes as f64,
                "",
            ));
        }
        targets
    }
}

/// What the median of ours shall not exceed, if that is asked of it.
pub(crate) fn median_limit(scenario: Scenario) -> Option<f64> {
    (!scenario.fault.is_local()).then(|| MEDIAN_LIMIT + allowance(scenario))
}

/// What a scenario may take longer than an application that sends now and then over TCP.
fn allowance(scenario: Scenario) -> f64 {
    match scenario.pattern {
        Pattern::Paced => 0.0,
        Pattern::Bulk | Pattern::Call => ROUND_TRIP,
    }
}

fn targets_of(point: &Point, rival: Option<&Point>, queue_all: Option<&Point>) -> Vec<Target> {
    let title = point.scenario.title();
    let target =
        |what: &str, limit, value| Target::at_most(format!("{title}: {what}"), limit, value, "ms");
    if point.scenario.fault.is_local() {
        return vec![target("99th percentile", LOCAL_P99_LIMIT, point.p99)];
    }
    let allowance = allowance(point.scenario);
    let mut targets = vec![
        target("median", MEDIAN_LIMIT + allowance, point.p50),
        target("95th percentile", P95_LIMIT + allowance, point.p95),
    ];
    // Of two that nobody notices none is better.
    let unnoticed = silence::UNNOTICED.as_secs_f64() * 1_000.0;
    targets.extend(rival.map(|rival| {
        let limit = rival.p50.max(unnoticed);
        target("median beside MPTCP's", limit, point.p50)
    }));
    targets.extend(queue_all.into_iter().flat_map(|queue_all| {
        [
            ("median beyond queue-all's", point.p50 - queue_all.p50),
            (
                "95th percentile beyond queue-all's",
                point.p95 - queue_all.p95,
            ),
        ]
        .map(|(what, more)| target(what, COUNTING_LIMIT, more))
    }));
    targets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Fault;

    fn outcome(means: Means, run: u64, recovery_ms: Option<f64>) -> Outcome {
        Outcome {
            scenario: Scenario {
                pattern: Pattern::Paced,
                fault: Fault::Cut,
            },
            means,
            run,
            recovery_ms,
            pair: ["a1", "b1"],
            events: Vec::new(),
        }
    }

    #[test]
    fn what_counting_costs_is_the_difference_to_seeing_every_packet() {
        let mut results = Results::default();
        for run in 0..10 {
            for (means, recovery_ms) in [(Means::Shimq, 240.0), (Means::QueueAll, 130.0)] {
                results
                    .outcomes
                    .push(outcome(means, run, Some(recovery_ms)));
            }
        }
        let targets = results.targets();
        let beyond = targets.iter().filter(|one| one.name.contains("beyond"));
        let judged: Vec<_> = beyond.map(|one| (one.value.round(), one.met)).collect();
        assert_eq!(judged, [(110.0, false), (110.0, false)]);
    }

    #[test]
    fn a_run_that_never_recovers_is_worse_than_any_limit() {
        let mut results = Results::default();
        for run in 0..10 {
            let ours = (run > 0).then_some(100.0);
            results.outcomes.push(outcome(Means::Shimq, run, ours));
            results
                .outcomes
                .push(outcome(Means::Mptcp, run, Some(220.0)));
        }
        let met: Vec<bool> = results.targets().iter().map(|target| target.met).collect();
        // The median, not the 95th percentile, the comparison.
        assert_eq!(met, [true, false, true]);
        assert_eq!(results.points()[0].lost, 1);
    }

    #[test]
    fn what_nobody_notices_is_no_worse_than_mptcp() {
        for (ours, met) in [(25.0, true), (59.0, true), (61.0, false)] {
            let mut results = Results::default();
            results.outcomes.push(outcome(Means::Shimq, 0, Some(ours)));
            results.outcomes.push(outcome(Means::Mptcp, 0, Some(23.0)));
            let targets = results.targets();
            assert_eq!(targets.last().map(|target| target.met), Some(met));
        }
    }
}
