//! What is told of a campaign.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use shimq_tests::Fault;

use crate::Error;
use crate::runs::{Failure, Tally};

/// A campaign in figures.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    lives: u64,
    seconds: f64,
    lives_per_second: f64,
    /// Of all lives together, on the virtual clock.
    simulated_days: f64,
    faults: BTreeMap<Fault, u64>,
    datagrams_delivered: u64,
    pair_changes: u64,
    /// How often traffic had to flow, and did.
    traffic_watched: u64,
    /// Lives that were lived twice, and alike.
    repeated: u64,
    failures: Vec<Told>,
}

/// A life that went wrong, and where its trace is.
#[derive(Debug, Serialize)]
struct Told {
    seed: u64,
    what: String,
    trace: PathBuf,
}

impl Report {
    /// `keep` keeps the trace of a failure, and says where.
    pub(crate) fn of(
        tally: &Tally,
        took: Duration,
        keep: impl Fn(&Failure) -> Result<PathBuf, Error>,
    ) -> Result<Self, Error> {
        let told = |failure: &Failure| {
            Ok(Told {
                seed: failure.seed,
                what: failure.what.clone(),
                trace: keep(failure)?,
            })
        };
        let failures: Result<_, Error> = tally.failures.iter().map(told).collect();
        let seconds = took.as_secs_f64();
        Ok(Self {
            lives: tally.lives,
            seconds,
            lives_per_second: count(tally.lives) / seconds.max(f64::MIN_POSITIVE),
            simulated_days: tally.lasted.as_secs_f64() / 86_400.0,
            faults: tally.faults.clone(),
            datagrams_delivered: tally.delivered,
            pair_changes: tally.pair_changes,
            traffic_watched: tally.watched,
            repeated: tally.repeated,
            failures: failures?,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "three digits are told")]
fn count(number: u64) -> f64 {
    number as f64
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            lives,
            seconds,
            lives_per_second,
            simulated_days,
            faults,
            datagrams_delivered,
            pair_changes,
            traffic_watched,
            repeated,
            failures,
        } = self;
        writeln!(
            f,
            "{lives} lives in {seconds:.0} s, {lives_per_second:.0} a second: {simulated_days:.0} simulated days"
        )?;
        writeln!(
            f,
            "{datagrams_delivered} datagrams delivered, {pair_changes} changes of pair; traffic had to \
             flow {traffic_watched} times and did; {repeated} lives lived twice"
        )?;
        for (fault, times) in faults {
            writeln!(f, "{times:>9}  {fault:?}")?;
        }
        for Told { seed, what, trace } in failures {
            writeln!(f, "seed {seed}: {what}")?;
            writeln!(f, "    trace: {}", trace.display())?;
            writeln!(f, "    again: make campaign CAMPAIGN_ARGS='--seed {seed}'")?;
        }
        writeln!(f, "{} of {lives} lives went wrong", failures.len())
    }
}
