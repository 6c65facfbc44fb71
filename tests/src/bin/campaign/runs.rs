//! Many lives at a time.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use indicatif::ProgressBar;
use shimq_tests::{Fault, Life, Story};

/// Of so many lives one is lived twice.
const TWICE_EVERY: u64 = 100;

/// A life that went wrong.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) seed: u64,
    pub(crate) what: String,
    pub(crate) trace: String,
}

/// What many lives were like.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) lives: u64,
    /// Of which were lived twice, and alike.
    pub(crate) repeated: u64,
    /// All of them together, on the virtual clock.
    pub(crate) lasted: Duration,
    pub(crate) faults: BTreeMap<Fault, u64>,
    pub(crate) delivered: u64,
    pub(crate) pair_changes: u64,
    pub(crate) watched: u64,
    /// By seed.
    pub(crate) failures: Vec<Failure>,
}

impl Tally {
    fn add(&mut self, story: &Story) {
        self.lasted += story.lasted;
        self.delivered += story.delivered;
        self.pair_changes += story.pair_changes;
        self.watched += story.watched;
        for (&fault, &times) in &story.faults {
            *self.faults.entry(fault).or_insert(0) += times;
        }
    }
}

thread_local! {
    /// What the last panic of this thread said, and where.
    static SAID: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Has panics noted from now on, for [`live`] to tell, and no more printed.
pub(crate) fn note_panics() {
    panic::set_hook(Box::new(|info| {
        SAID.with(|said| *said.borrow_mut() = info.to_string());
    }));
}

/// Lives `life` to its end; tells why if it goes wrong.
pub(crate) fn live(life: &mut Life) -> Result<Story, String> {
    // A life that went wrong is looked at and not lived on.
    panic::catch_unwind(AssertUnwindSafe(|| life.live())).map_err(|_| SAID.take())
}

/// Lives the life of `seed`, now and then twice.
fn live_through(seed: u64) -> Result<Story, Failure> {
    let mut life = Life::new(seed);
    let failed = |what, life: &Life| Failure {
        seed,
        what,
        trace: life.trace(),
    };
    let story = live(&mut life).map_err(|what| failed(what, &life))?;
    if is_repeated(seed) {
        let mut again = Life::new(seed);
        if live(&mut again).as_ref() != Ok(&story) {
            return Err(failed("the same seed makes another life".into(), &again));
        }
    }
    Ok(story)
}

fn is_repeated(seed: u64) -> bool {
    seed.is_multiple_of(TWICE_EVERY)
}

/// Lives the lives of `seeds`, `jobs` at a time, until `failures_max` of them went wrong.
pub(crate) fn live_all(
    seeds: Range<u64>,
    jobs: usize,
    failures_max: u64,
    progress: &ProgressBar,
) -> Tally {
    let next = AtomicU64::new(seeds.start);
    let all = Mutex::new(Tally::default());
    // Nothing is left half done in a tally, whatever panics elsewhere.
    let tally = || all.lock().unwrap_or_else(PoisonError::into_inner);
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || tally().failures.len() as u64 >= failures_max {
                        break;
                    }
                    let outcome = live_through(seed);
                    let mut tally = tally();
                    tally.lives += 1;
                    match outcome {
                        Ok(story) => {
                            tally.add(&story);
                            tally.repeated += u64::from(is_repeated(seed));
                        }
                        Err(failure) => {
                            tally.failures.push(failure);
                            let count = tally.failures.len();
                            progress.set_message(format!("{count} WENT WRONG"));
                        }
                    }
                    progress.inc(1);
                }
            });
        }
    });
    let mut tally = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    tally.failures.sort_by_key(|failure| failure.seed);
    tally
}
