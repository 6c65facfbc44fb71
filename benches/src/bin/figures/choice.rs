//! Figures 6 and 7 of the workshop paper: which of nine pairs is chosen, if they differ in delay.
//!
//! Pair number i takes i times 10 ms each way. Whatever is in use fails, again and again, so an ideal
//! host would jump between the best two pairs. What failed works again for more than a minute before
//! the next failure: for so long a host doubts a pair that failed it, and rightly so.

use std::time::Duration;

use shim6_core::ExplorationPolicy;

use crate::scene::{Manner, PROVIDERS, Scene};

/// Pairs of addresses.
pub(crate) const PAIRS: usize = PROVIDERS * PROVIDERS;

/// Which pairs were chosen, there and back, after each of some failures.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(crate) struct Choices {
    pub(crate) manner: String,
    pub(crate) chosen: Vec<[usize; 2]>,
    /// Failures after which no pair was found.
    pub(crate) lost: usize,
}

impl Choices {
    /// Share of each pair among the one-way paths that were chosen.
    pub(crate) fn one_way(&self) -> [f64; PAIRS] {
        let mut shares = [0.0; PAIRS];
        let each = 0.5 / self.chosen.len().max(1) as f64;
        for pair in self.chosen.iter().flatten() {
            shares[*pair] += each;
        }
        shares
    }

    /// Share of each round trip, of 0, 10, ... 160 ms.
    pub(crate) fn round_trips(&self) -> [f64; 2 * PAIRS - 1] {
        let mut shares = [0.0; 2 * PAIRS - 1];
        let each = 1.0 / self.chosen.len().max(1) as f64;
        for [there, back] in &self.chosen {
            shares[there + back] += each;
        }
        shares
    }

    /// Share of the two best paths.
    pub(crate) fn best_two(&self) -> f64 {
        let [best, second, ..] = self.one_way();
        best + second
    }
}

/// The manners that are compared.
pub(crate) fn manners() -> [(&'static str, Manner); 3] {
    [
        ("random, one after the other", Manner::RFC),
        ("random, burst of four", Manner::RFC.burst(4)),
        (
            "measured round trip",
            Manner::with_policy(ExplorationPolicy::MeasuredRtt),
        ),
    ]
}

/// Has `failures` failures happen one after the other.
pub(crate) fn choose(seed: u64, manner: Manner, failures: usize) -> Choices {
    let mut scene = Scene::new(seed, manner);
    let [a, b] = scene.hosts;
    let pairs = scene.world.pairs(a, b);
    for (index, pair) in (0..).zip(&pairs) {
        let delay = Duration::from_millis(10 * index);
        for path in [*pair, pair.reversed()] {
            scene.world.set_link(path, |link| link.delay = delay);
        }
    }
    scene.rest();
    let mut choices = Choices::default();
    for _ in 0..failures {
        let Some(failing) = scene.current() else {
            choices.lost += 1;
            break;
        };
        for path in failing {
            scene.world.cut_one_way(path);
        }
        let cut_at = scene.world.now();
        let found = scene.exploration(cut_at);
        let [there, back] = scene.current().unwrap_or(failing);
        let index = |pair| pairs.iter().position(|other| *other == pair);
        match (found, index(there), index(back.reversed())) {
            (Some(_), Some(there), Some(back)) => choices.chosen.push([there, back]),
            _ => choices.lost += 1,
        }
        for path in failing {
            scene.world.set_link(path, |link| link.up = true);
        }
        scene.world.run_for(MENDED);
        scene.rest();
    }
    choices
}

const MENDED: Duration = Duration::from_secs(65);
