//! Random faults, many histories: whatever happened before, traffic flows once it can.
//!
//! The judge of `shim6_sim` looks on all the while; a failure prints the seed and the last of the
//! trace.

use shimq_tests::Life;

/// Histories in each of the tests, which run side by side.
const SEEDS: u64 = 500;

#[test]
fn traffic_flows_again_after_faults_of_every_kind_1() {
    (0..SEEDS).for_each(live_through);
}

#[test]
fn traffic_flows_again_after_faults_of_every_kind_2() {
    (SEEDS..2 * SEEDS).for_each(live_through);
}

#[test]
fn traffic_flows_again_after_faults_of_every_kind_3() {
    (2 * SEEDS..3 * SEEDS).for_each(live_through);
}

#[test]
fn traffic_flows_again_after_faults_of_every_kind_4() {
    (3 * SEEDS..4 * SEEDS).for_each(live_through);
}

#[test]
fn one_seed_is_one_history() {
    for seed in [3, 1003] {
        let stories = [(); 2].map(|()| Life::new(seed).live());
        assert_eq!(stories[0], stories[1]);
    }
    assert_ne!(Life::new(3).live(), Life::new(4).live());
}

fn live_through(seed: u64) {
    Life::new(seed).live();
}
