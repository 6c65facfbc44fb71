//! In which order pairs are tried, and what that is good for.

use std::time::Duration;

use shim6_core::{Config, ExplorationPolicy};
use shim6_sim::{FlowId, HostSpec, Pair, Pattern};
use shimq_tests::{Proof, TwoHosts, locators, recovery_bound, secs};

/// Two hosts with three providers each: nine pairs.
fn nine_pairs(seed: u64, config: &Config) -> TwoHosts {
    let spec = |host| HostSpec {
        config: config.clone(),
        suspects: true,
        ..HostSpec::shim6(locators(host, 3, Proof::Hba))
    };
    TwoHosts::of(seed, spec(0), spec(1))
}

#[test]
fn every_policy_finds_the_pair_that_is_left() {
    let pattern = Pattern::request_response(secs(1));
    for policy in ExplorationPolicy::ALL {
        let config = Config {
            exploration: policy,
            ..Config::default()
        };
        for left in 0..9 {
            let mut scene = nine_pairs(left as u64, &config);
            let flow = scene.establish(pattern);
            let world = &mut scene.world;
            world.run_for(secs(20));
            let pairs = world.pairs(scene.a, scene.b);
            for (index, &pair) in pairs.iter().enumerate() {
                if index != left {
                    world.cut(pair);
                }
            }
            let cut_at = world.now();
            world.run_for(recovery_bound(&config, 9, pattern));
            let last = world.stats(flow).last_answered.unwrap();
            assert!(last > cut_at, "{policy}, {left}");
            assert_eq!(world.current_pair(scene.a), Some(pairs[left]));
        }
    }
}

#[test]
fn a_policy_can_be_chosen_while_contexts_live() {
    let mut scene = nine_pairs(1, &Config::default());
    scene.establish(Pattern::request_response(secs(1)));
    scene
        .world
        .set_exploration(scene.a, ExplorationPolicy::MeasuredRtt);
    // Of the pairs none is measured but the current one: all others come before it, in any order.
    let broken = scene.world.current_pair(scene.a).unwrap();
    scene.world.cut(broken);
    scene.world.run_for(secs(30));
    assert_ne!(scene.world.current_pair(scene.a), Some(broken));
}

/// Of `rounds` failures of the current pair, how often one of the two shortest of nine pairs was found
/// in its place. Pair number n takes 10 n ms, each way.
fn share_of_best(config: &Config, rounds: u32, seed: u64) -> f64 {
    let mut scene = nine_pairs(seed, config);
    let interval = Duration::from_millis(100);
    scene.establish(Pattern {
        length: 160,
        ..Pattern::request_response(interval)
    });
    let pairs = scene.world.pairs(scene.a, scene.b);
    for (index, &pair) in pairs.iter().enumerate() {
        let delay = Duration::from_micros(100) + Duration::from_millis(10) * index as u32;
        for way in [pair, pair.reversed()] {
            scene.world.set_link(way, |link| link.delay = delay);
        }
    }
    let mut best = 0;
    for _ in 0..rounds {
        let broken = scene.world.current_pair(scene.a).expect("one context");
        scene.world.cut(broken);
        let moved = |scene: &TwoHosts| scene.world.current_pair(scene.a) != Some(broken);
        let end = scene.world.now() + secs(60);
        scene
            .world
            .run_until(end, |world| world.current_pair(scene.a) != Some(broken));
        assert!(moved(&scene), "seed {seed}");
        // Of those that are left, the two shortest.
        let left: Vec<Pair> = pairs.iter().copied().filter(|&it| it != broken).collect();
        let found = scene.world.current_pair(scene.a).expect("one context");
        best += u32::from(left[..2].contains(&found));
        scene.world.run_for(secs(2));
        scene.world.mend(broken);
        scene.world.run_for(secs(70));
    }
    f64::from(best) / f64::from(rounds)
}

#[test]
fn a_burst_finds_short_paths_more_often_and_measured_round_trips_nearly_always() {
    let of = |exploration, initial_burst| {
        let config = Config {
            exploration,
            initial_burst,
            // Where a failure leaves payload is where the next one meets it.
            return_interval: secs(1_000_000),
            ..Config::default()
        };
        share_of_best(&config, 100, 1)
    };
    let random = of(ExplorationPolicy::Random, 1);
    let burst = of(ExplorationPolicy::Random, 4);
    let measured = of(ExplorationPolicy::MeasuredRtt, 1);
    println!("two best of nine: random {random}, burst of four {burst}, measured {measured}");
    assert!(burst > random, "{burst} {random}");
    assert!(burst >= 0.46, "{burst}");
    assert!(measured >= 0.9, "{measured}");
}

#[test]
fn one_seed_is_one_history_under_every_policy() {
    for policy in ExplorationPolicy::ALL {
        let live = || {
            let config = Config {
                exploration: policy,
                initial_burst: 3,
                ..Config::default()
            };
            let mut scene = nine_pairs(5, &config);
            let _: FlowId = scene.establish(Pattern::request_response(secs(1)));
            scene.world.cut(scene.ulids());
            scene.world.run_for(secs(60));
            scene.world.trace_hash()
        };
        assert_eq!(live(), live(), "{policy}");
    }
}
