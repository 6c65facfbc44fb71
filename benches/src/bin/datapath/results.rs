//! What was measured, and what it amounts to: medians, spreads, and ratios within a turn.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::scale::Load;
use crate::scale::backlog::Backlog;
use crate::small_flows::SmallFlows;
use crate::traffic::{Sample, Traffic};
use crate::variant::Variant;
use shimq_benches::percentiles::{percentile, sort};

/// Every sample, by what was measured and by turn.
#[derive(Debug, Default)]
pub(crate) struct Results {
    samples: BTreeMap<(Variant, Traffic), BTreeMap<usize, Sample>>,
    loads: BTreeMap<Load, BTreeMap<usize, Sample>>,
    backlogs: Vec<Backlog>,
    small_flows: Vec<SmallFlows>,
}

/// Median, quartiles and extremes of some turns, or rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    /// Half of the values lie between them.
    pub(crate) quartiles: [f64; 2],
    pub(crate) least: f64,
    pub(crate) most: f64,
    /// Turns or rounds.
    pub(crate) count: usize,
}

impl Spread {
    /// `None` of nothing.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values
            .into_iter()
            .filter(|value| value.is_finite())
            .collect();
        sort(&mut values);
        let (&least, &most) = (values.first()?, values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        let quartile = |percent| percentile(&values, percent).unwrap_or(median);
        Some(Self {
            median,
            quartiles: [quartile(25), quartile(75)],
            least,
            most,
            count: values.len(),
        })
    }
}

impl Results {
    pub(crate) fn add(&mut self, variant: Variant, traffic: Traffic, turn: usize, sample: Sample) {
        let turns = self.samples.entry((variant, traffic)).or_default();
        turns.insert(turn, sample);
    }

    pub(crate) fn add_load(&mut self, load: Load, turn: usize, sample: Sample) {
        self.loads.entry(load).or_default().insert(turn, sample);
    }

    /// `None` where there are no two processors to drain two queues.
    pub(crate) fn add_backlog(&mut self, backlog: Option<Backlog>) {
        self.backlogs.extend(backlog);
    }

    pub(crate) fn add_small_flows(&mut self, small_flows: SmallFlows) {
        self.small_flows.push(small_flows);
    }

    /// Of each round.
    pub(crate) fn small_flows(&self) -> &[SmallFlows] {
        &self.small_flows
    }

    /// Of each round.
    pub(crate) fn backlogs(&self) -> &[Backlog] {
        &self.backlogs
    }

    /// A figure under a load, over the turns.
    pub(crate) fn load_spread(
        &self,
        load: Load,
        figure: impl Fn(&Sample) -> f64,
    ) -> Option<Spread> {
        Spread::of(self.loads.get(&load)?.values().map(figure))
    }

    /// A figure under a load as a multiple of that under `base` in the same turn, over the turns.
    pub(crate) fn load_ratio(
        &self,
        load: Load,
        base: Load,
        figure: impl Fn(&Sample) -> f64,
    ) -> Option<Spread> {
        let pairs = together(self.loads.get(&load), self.loads.get(&base));
        Spread::of(pairs.map(|(sample, base)| figure(sample) / figure(base)))
    }

    /// A figure over the turns.
    pub(crate) fn spread(
        &self,
        variant: Variant,
        traffic: Traffic,
        figure: impl Fn(&Sample) -> f64,
    ) -> Option<Spread> {
        let turns = self.samples.get(&(variant, traffic))?;
        Spread::of(turns.values().map(figure))
    }

    /// A figure as a multiple of what `base` had in the same turn, over the turns.
    pub(crate) fn ratio(
        &self,
        variant: Variant,
        base: Variant,
        traffic: Traffic,
        figure: impl Fn(&Sample) -> f64,
    ) -> Option<Spread> {
        let pairs = self.pairs(variant, base, traffic);
        Spread::of(pairs.map(|(sample, base)| figure(sample) / figure(base)))
    }

    /// The same across kinds of traffic.
    pub(crate) fn ratio_across(
        &self,
        of: (Variant, Traffic),
        base: (Variant, Traffic),
        figure: impl Fn(&Sample) -> f64,
    ) -> Option<Spread> {
        let pairs = together(self.samples.get(&of), self.samples.get(&base));
        Spread::of(pairs.map(|(sample, base)| figure(sample) / figure(base)))
    }

    /// How much more a figure is than what `base` had in the same turn, over the turns.
    pub(crate) fn difference(
        &self,
        variant: Variant,
        base: Variant,
        traffic: Traffic,
        figure: impl Fn(&Sample) -> f64,
    ) -> Option<Spread> {
        let pairs = self.pairs(variant, base, traffic);
        Spread::of(pairs.map(|(sample, base)| figure(sample) - figure(base)))
    }

    /// Samples of the same turn.
    fn pairs(
        &self,
        variant: Variant,
        base: Variant,
        traffic: Traffic,
    ) -> impl Iterator<Item = (&Sample, &Sample)> {
        together(
            self.samples.get(&(variant, traffic)),
            self.samples.get(&(base, traffic)),
        )
    }

    /// The loads as the JSON file has them.
    pub(crate) fn load_records(&self) -> impl Iterator<Item = LoadRecord<'_>> {
        self.loads.iter().flat_map(|(&load, turns)| {
            turns
                .iter()
                .map(move |(&turn, sample)| LoadRecord { load, turn, sample })
        })
    }

    /// The samples as the JSON file has them.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.samples
            .iter()
            .flat_map(|(&(variant, traffic), turns)| {
                turns.iter().map(move |(&turn, sample)| Record {
                    variant,
                    traffic,
                    turn,
                    sample,
                })
            })
    }
}

/// Pairs what was measured in the same turn.
fn together<'s>(
    samples: Option<&'s BTreeMap<usize, Sample>>,
    bases: Option<&'s BTreeMap<usize, Sample>>,
) -> impl Iterator<Item = (&'s Sample, &'s Sample)> {
    let samples = samples.into_iter().flatten();
    samples.filter_map(move |(time, sample)| Some((sample, bases?.get(time)?)))
}

/// One sample with the load that it was had under.
#[derive(Debug, Serialize)]
pub(crate) struct LoadRecord<'a> {
    #[serde(flatten)]
    load: Load,
    turn: usize,
    #[serde(flatten)]
    sample: &'a Sample,
}

/// One sample with what it is of.
#[derive(Debug, Serialize)]
pub(crate) struct Record<'a> {
    variant: Variant,
    traffic: Traffic,
    turn: usize,
    #[serde(flatten)]
    sample: &'a Sample,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(rate: f64) -> Sample {
        Sample {
            rate,
            cpu: 1.0,
            latency: None,
            queued: 0,
            dropped: 0,
        }
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        let spread = Spread::of([4.0, 1.0, 2.0, 100.0]).unwrap();
        assert_eq!(
            spread,
            Spread {
                median: 3.0,
                quartiles: [1.0, 4.0],
                least: 1.0,
                most: 100.0,
                count: 4
            }
        );
        assert_eq!(Spread::of([f64::NAN]), None);
    }

    #[test]
    fn ratios_are_of_the_same_turn_and_skip_turns_that_lack_one() {
        let mut results = Results::default();
        let traffic = Traffic::SmallPackets;
        for (turn, base, other) in [(0, 100.0, 50.0), (1, 10.0, 10.0), (2, 1.0, 3.0)] {
            results.add(Variant::NoRules, traffic, turn, sample(base));
            results.add(Variant::Mapped, traffic, turn, sample(other));
        }
        results.add(Variant::Mapped, traffic, 3, sample(7.0));
        let ratio = results
            .ratio(Variant::Mapped, Variant::NoRules, traffic, |sample| {
                sample.rate
            })
            .unwrap();
        assert_eq!((ratio.least, ratio.median, ratio.most), (0.5, 1.0, 3.0));
    }
}
