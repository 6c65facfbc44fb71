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

/// Lives of `make campaign` that went wrong once, because a list of locators that was overtaken by a newer
/// one was taken for the newest, or the newest for one that was overtaken.
#[test]
fn the_newest_list_of_locators_is_the_one_that_stays() {
    [19_476, 32_500, 32_561, 55_872, 67_504]
        .into_iter()
        .for_each(live_through);
}

/// Lives in which a list changed between an I2 and an I1, to which the peer answered with R2.
#[test]
fn a_list_that_an_exchange_did_not_tell_is_told_after_it() {
    [1_010_112, 1_047_042, 1_048_600, 1_064_661, 1_081_031]
        .into_iter()
        .for_each(live_through);
}

/// A life in which a host slept through several of its own deadlines.
#[test]
fn a_host_that_slept_does_once_what_is_due() {
    live_through(1_005_536);
}

/// A life in which a link that works took every answer for half a minute.
#[test]
fn chance_is_no_fault() {
    live_through(87_957);
}

fn live_through(seed: u64) {
    Life::new(seed).live();
}
