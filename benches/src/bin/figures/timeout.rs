//! Figure 9 of the journal paper: recovery against the Send Timeout, with nothing but timers.

use std::time::Duration;

use shim6_core::ExplorationPolicy;
use shimq_benches::percentiles::{percentile, sort};

use crate::scene::{Manner, Scene};

/// Percentiles 5, 50 and 95 of the recovery time at one Send Timeout, seconds.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct Recovery {
    pub(crate) send_timeout: f64,
    pub(crate) p5: f64,
    pub(crate) p50: f64,
    pub(crate) p95: f64,
}

impl Recovery {
    pub(crate) fn of(send_timeout: f64, mut seconds: Vec<f64>) -> Self {
        sort(&mut seconds);
        let at = |percent| percentile(&seconds, percent).unwrap_or(f64::INFINITY);
        Self {
            send_timeout,
            p5: at(5),
            p50: at(50),
            p95: at(95),
        }
    }
}

/// Seconds from the last datagram before a silent cut to the first one after it.
pub(crate) fn recover(seed: u64, send_timeout: Duration) -> f64 {
    let manner = Manner {
        send_timeout,
        ..Manner::with_policy(ExplorationPolicy::DisjointFirst)
    };
    let mut scene = Scene::with_interval(seed, manner, Duration::from_millis(20));
    let (Some(current), world) = (scene.current(), &mut scene.world) else {
        return f64::INFINITY;
    };
    for path in current {
        world.cut_one_way(path);
    }
    let before = world.stats(scene.flow);
    let end = world.now() + Duration::from_secs(300);
    let flow = scene.flow;
    let recovered = world.run_until(end, |world| world.stats(flow).delivered > before.delivered);
    let first = world.stats(flow).last_delivered;
    match (recovered, before.last_delivered, first) {
        (true, Some(last), Some(first)) => first.since(last).as_secs_f64(),
        _ => f64::INFINITY,
    }
}

/// When TCP would send again by itself, not before `recovered` seconds after its last data got through:
/// after 200 ms, and each time after twice as long.
pub(crate) fn after_back_off(recovered: f64) -> f64 {
    let (mut at, mut wait) = (0.2, 0.2);
    while at < recovered {
        wait *= 2.0;
        at += wait;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_makes_steps() {
        assert!((after_back_off(3.1) - 6.2).abs() < 1e-9);
        assert!((after_back_off(6.1) - 6.2).abs() < 1e-9);
    }
}
