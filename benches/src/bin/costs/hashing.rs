//! Hashes a second of the modifier search, beside plain loops over the crates sha1 and ring.

use std::collections::BTreeSet;
use std::thread;

use serde::Serialize;
use shimq_benches::modifier_search::{TRIES, contenders, together};

use crate::median;

/// A contender on so many threads.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) contender: String,
    pub(crate) threads: usize,
    /// Million hashes a second, all threads together.
    pub(crate) rate: f64,
    /// The rate beside that of the crate sha1 on as many threads.
    pub(crate) times_sha1: f64,
}

/// Measures on one thread and on one for each processor; all contenders take turns.
pub(crate) fn measure(rounds: usize, progress: impl Fn()) -> Vec<Row> {
    let all = thread::available_parallelism().map_or(1, usize::from);
    let mut rows = Vec::new();
    for threads in BTreeSet::from([1, all]) {
        let names: Vec<String> = contenders().into_iter().map(|(name, _)| name).collect();
        let mut rates = vec![Vec::new(); names.len()];
        for _ in 0..rounds {
            for (index, rates) in rates.iter_mut().enumerate() {
                let runs = (0..threads).map(|_| contenders().swap_remove(index).1);
                let took = together(runs, CALLS).as_secs_f64();
                rates.push((CALLS * TRIES * threads as u64) as f64 / took / 1e6);
            }
            progress();
        }
        let rates: Vec<f64> = rates.into_iter().map(median).collect();
        rows.extend(names.into_iter().zip(&rates).map(|(contender, &rate)| Row {
            contender,
            threads,
            rate,
            times_sha1: rate / rates[0],
        }));
    }
    rows
}

/// Calls a round, for tens of milliseconds.
const CALLS: u64 = 8;
