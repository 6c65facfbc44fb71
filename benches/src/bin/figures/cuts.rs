//! Figure 5 of the workshop paper: how long an exploration takes if n of 18 one-way paths fail.

use std::time::Duration;

use shim6_core::ExplorationPolicy;

use crate::scene::{Manner, PATHS, Scene};

/// One distribution: seconds, sorted; in JSON, an exploration without an end is `null`.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Distribution {
    pub(crate) manner: String,
    pub(crate) broken: usize,
    pub(crate) seconds: Vec<f64>,
}

impl Distribution {
    /// Share of at most `limit` seconds.
    pub(crate) fn within(&self, limit: f64) -> f64 {
        let within = self.seconds.partition_point(|time| *time <= limit);
        within as f64 / self.seconds.len().max(1) as f64
    }
}

/// Manners that are compared where only two paths are left.
pub(crate) fn manners() -> [(&'static str, Manner); 4] {
    [
        ("random (RFC pacing)", Manner::RFC),
        (
            "disjoint first",
            Manner::with_policy(ExplorationPolicy::DisjointFirst),
        ),
        (
            "measured round trip",
            Manner::with_policy(ExplorationPolicy::MeasuredRtt),
        ),
        (
            "disjoint first,\nburst of four",
            Manner::with_policy(ExplorationPolicy::DisjointFirst).burst(4),
        ),
    ]
}

/// How long the exploration of one run takes, seconds; infinite if it does not end.
pub(crate) fn explore(seed: u64, manner: Manner, broken: usize) -> f64 {
    let mut scene = Scene::new(seed, manner);
    let Some(current) = scene.current() else {
        return f64::INFINITY;
    };
    let paths = scene.paths();
    let mut random = |below| scene.world.random(below);
    for path in choose(&paths, current, broken, &mut random) {
        scene.world.cut_one_way(path);
    }
    let cut_at = scene.world.now();
    let time = scene.exploration(cut_at);
    time.map_or(f64::INFINITY, |time: Duration| time.as_secs_f64())
}

/// The paths that break: one of the current ones if it is only one, else both and any others, as long
/// as one is left each way. `paths` are those there before those back.
pub(crate) fn choose<P: Copy + PartialEq>(
    paths: &[P],
    current: [P; 2],
    broken: usize,
    random: &mut impl FnMut(u64) -> u64,
) -> Vec<P> {
    if broken == 1 {
        return vec![current[random(2) as usize]];
    }
    let (there, back) = paths.split_at(PATHS / 2);
    let mut rest = Vec::new();
    for (direction, current) in [(there, current[0]), (back, current[1])] {
        let others = direction.iter().copied().filter(|path| *path != current);
        let mut others: Vec<P> = others.collect();
        // The one that is left.
        others.swap_remove(random(others.len() as u64) as usize);
        rest.extend(others);
    }
    let mut chosen = current.to_vec();
    while chosen.len() < broken && !rest.is_empty() {
        chosen.push(rest.swap_remove(random(rest.len() as u64) as usize));
    }
    chosen
}
