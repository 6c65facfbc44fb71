//! Cuts of every kind, and what becomes of the flows.

use std::time::Duration;

use shim6_core::{Config, ReapState};
use shim6_sim::{Pair, Pattern, World};
use shimq_tests::{TwoHosts, recovery_bound, secs};

const SECOND: Duration = secs(1);

/// What a cut leaves of a pair.
#[derive(Clone, Copy, Debug)]
enum Cut {
    BothWays,
    Forward,
    Backward,
}

impl Cut {
    fn apply(self, world: &mut World, pair: Pair) {
        match self {
            Self::BothWays => world.cut(pair),
            Self::Forward => world.cut_one_way(pair),
            Self::Backward => world.cut_one_way(pair.reversed()),
        }
    }
}

fn patterns() -> [Pattern; 3] {
    [
        Pattern::request_response(SECOND),
        Pattern::one_way(SECOND),
        Pattern::request_response(Duration::from_millis(100)),
    ]
}

#[test]
fn a_cut_of_the_current_pair_is_repaired_within_the_bound() {
    for seed in 0..20 {
        for cut in [Cut::BothWays, Cut::Forward, Cut::Backward] {
            for pattern in patterns() {
                let bound = recovery_bound(&Config::default(), 4, pattern);
                let mut scene = TwoHosts::new(seed);
                let flow = scene.establish(pattern);
                let world = &mut scene.world;
                world.run_for(secs(20));
                let broken = world.current_pair(scene.a).unwrap();
                let (cut_at, before) = (world.now(), world.stats(flow));
                cut.apply(world, broken);
                world.run_for(bound);
                let after = world.stats(flow);
                world.run_for(secs(20));
                let later = world.stats(flow);
                let what = format!("seed {seed}, {cut:?}, {pattern:?}");
                assert!(
                    after.last_delivered.unwrap() > cut_at
                        && later.delivered >= after.delivered + 19,
                    "{what}: {before:?} {after:?} {later:?}"
                );
                if pattern.answer_every > 0 {
                    assert!(later.answered >= after.answered + 19, "{what}: {later:?}");
                }
                for host in [scene.a, scene.b] {
                    for context in world.contexts(host) {
                        assert_eq!(context.reap, ReapState::Operational, "{what}");
                    }
                }
            }
        }
    }
}
