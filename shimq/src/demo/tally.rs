//! Many runs: several at a time, each on a network of its own, and how many survived.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use serde::Serialize;

use super::report::{Recovery, Report, Verdict};
use super::timeline::Voice;
use super::trial::Plan;
use super::{DemoError, hold};

/// What all runs amount to, as `tally.json` has it.
#[derive(Debug, Serialize)]
pub(super) struct Tally {
    survived: u64,
    of: u64,
    /// Median and maximum over the runs that survived.
    first_application_byte_ms: Option<Spread>,
    /// In the order of their seeds.
    runs: Vec<Run>,
}

/// One run; its own report is in the folder `seed-N`.
#[derive(Debug, Serialize)]
struct Run {
    seed: u64,
    /// `None` if there is no verdict; the reason tells why.
    verdict: Option<Verdict>,
    reason: Option<String>,
    recovery: Option<Recovery>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Spread {
    median: f64,
    maximum: f64,
}

impl Tally {
    /// Holds `runs` demonstrations, `parallel` at a time, like `plan` but with seeds counting up
    /// from its own.
    ///
    /// # Errors
    ///
    /// [`DemoError::Interrupted`] only; what else goes wrong in a run is in the tally.
    pub(super) fn take(
        plan: &Plan,
        runs: u64,
        parallel: u64,
        interrupted: &AtomicBool,
    ) -> Result<Self, DemoError> {
        let next = AtomicU64::new(0);
        let done = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for _ in 0..parallel.min(runs) {
                scope.spawn(|| {
                    while !interrupted.load(Ordering::Relaxed) {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= runs {
                            break;
                        }
                        let run = Run::hold(plan, plan.seed.wrapping_add(index), interrupted);
                        plan.voice.say(&run.to_string());
                        done.lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(run);
                    }
                });
            }
        });
        if interrupted.load(Ordering::Relaxed) {
            return Err(DemoError::Interrupted);
        }
        let mut runs = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        runs.sort_by_key(|run| run.seed);
        Ok(Self::count(runs))
    }

    fn count(runs: Vec<Run>) -> Self {
        let survivors = runs
            .iter()
            .filter(|run| run.verdict == Some(Verdict::Survived));
        let mut times: Vec<f64> = survivors
            .clone()
            .filter_map(|run| run.recovery?.first_application_byte_ms)
            .collect();
        times.sort_by(f64::total_cmp);
        let spread = times.last().map(|maximum| Spread {
            median: times[times.len() / 2],
            maximum: *maximum,
        });
        Self {
            survived: survivors.count() as u64,
            of: runs.len() as u64,
            first_application_byte_ms: spread,
            runs,
        }
    }

    pub(super) fn all_survived(&self) -> bool {
        self.survived == self.of
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} connections survived", self.survived, self.of)?;
        if let Some(Spread { median, maximum }) = self.first_application_byte_ms {
            write!(
                f,
                "; first byte {median:.0} ms after the cut (median), {maximum:.0} ms at most"
            )?;
        }
        f.write_str(".")
    }
}

impl Run {
    fn hold(plan: &Plan, seed: u64, interrupted: &AtomicBool) -> Self {
        let plan = Plan {
            seed,
            out: plan.out.join(format!("seed-{seed}")),
            voice: Voice::Silent,
            progress: false,
            ..plan.clone()
        };
        match hold(&plan, interrupted) {
            Ok(Report {
                verdict,
                reason,
                recovery,
                ..
            }) => Self {
                seed,
                verdict: Some(verdict),
                reason,
                recovery: Some(recovery),
            },
            Err(error) => Self {
                seed,
                verdict: None,
                reason: Some(error.to_string()),
                recovery: None,
            },
        }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Some(Verdict::Survived) => "survived",
            Some(Verdict::Lost) => "LOST",
            None => "NO VERDICT",
        };
        write!(f, "seed {}: {verdict}", self.seed)?;
        match (&self.reason, &self.recovery) {
            (Some(reason), _) => write!(f, ": {reason}"),
            (None, Some(recovery)) => write!(f, ". {recovery}"),
            (None, None) => Ok(()),
        }
    }
}
