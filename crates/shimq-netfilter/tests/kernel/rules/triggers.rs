//! When a pair without a context is asked about.

use std::time::{Duration, Instant};

use super::{address, host_and_peer, queued, send_to};
use crate::support::{HOST, Peer, enter_namespace, run};
use shimq_netfilter::queue::{BatchQueue, QueueConfig};
use shimq_netfilter::rules::{Change, Ruleset, RulesetConfig, Trigger};

#[test]
fn two_kilobytes_pass_before_a_pair_is_asked_about() {
    if !enter_namespace() {
        return;
    }
    let _peer = Peer::connect();
    let config = RulesetConfig::default();
    let mut queue = BatchQueue::open(&QueueConfig::observe(config.observe.start)).unwrap();
    let mut rules = Ruleset::load(&config).unwrap();
    rules.apply(&[Change::AddIdentity(address(HOST))]).unwrap();
    // 8 packets of 250 octets make 2000; 9 make 2250.
    for _ in 0..8 {
        send_to(9, &[0; 250 - 48]);
    }
    assert_eq!(queued(&mut queue), 0);
    for _ in 0..3 {
        send_to(9, &[0; 250 - 48]);
    }
    assert_eq!(queued(&mut queue), 1, "the ninth stands for those after it");

    rules
        .apply(&[Change::Decline(host_and_peer(), Duration::from_secs(60))])
        .unwrap();
    send_to(9, b"x");
    assert_eq!(queued(&mut queue), 0, "declined");
}

#[test]
fn a_pair_that_nobody_answers_for_is_shown_once_in_a_while() {
    if !enter_namespace() {
        return;
    }
    let _peer = Peer::connect();
    let config = RulesetConfig::default();
    // Bound and not served, as by a process that is stopped.
    let mut queue = BatchQueue::open(&QueueConfig::observe(config.observe.start)).unwrap();
    let mut rules = Ruleset::load(&config).unwrap();
    rules.apply(&[Change::AddIdentity(address(HOST))]).unwrap();
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < Duration::from_millis(1500) {
        send_to(9, &[0; 1000]);
        sent += 1;
        std::thread::sleep(Duration::from_millis(5));
    }
    let periods = start.elapsed().as_secs() as u32 + 1;
    let held = queued(&mut queue);
    assert!((2..=periods).contains(&held), "{held} of {sent}");
}

#[test]
fn who_only_responds_is_asked_nothing() {
    if !enter_namespace() {
        return;
    }
    let _peer = Peer::connect();
    let config = RulesetConfig {
        trigger: Trigger::Never,
        ..RulesetConfig::default()
    };
    let mut queue = BatchQueue::open(&QueueConfig::observe(config.observe.start)).unwrap();
    let mut rules = Ruleset::load(&config).unwrap();
    let decline = Change::Decline(host_and_peer(), Duration::from_secs(60));
    rules
        .apply(&[Change::AddIdentity(address(HOST)), decline])
        .unwrap();
    for _ in 0..10 {
        send_to(9, &[0; 1000]);
    }
    assert_eq!(queued(&mut queue), 0);
    let table = run("nft list table ip6 shimq");
    for set in ["young", "active", "asked", "declined"] {
        assert!(!table.contains(&format!("set {set}")), "{table}");
    }
}

#[test]
fn without_a_rule_in_the_kernel_the_first_packet_asks() {
    if !enter_namespace() {
        return;
    }
    let _peer = Peer::connect();
    let config = RulesetConfig {
        trigger: Trigger::Everything,
        ..RulesetConfig::default()
    };
    let mut queue = BatchQueue::open(&QueueConfig::observe(config.observe.start)).unwrap();
    let mut rules = Ruleset::load(&config).unwrap();
    rules.apply(&[Change::AddIdentity(address(HOST))]).unwrap();
    send_to(9, b"x");
    assert_eq!(queued(&mut queue), 1);
}

#[test]
fn a_pair_that_sends_little_but_long_is_asked_about_at_its_age() {
    if !enter_namespace() {
        return;
    }
    let _peer = Peer::connect();
    let age = Duration::from_secs(1);
    let config = RulesetConfig {
        trigger: Trigger::Counted {
            octets: 1 << 30,
            age,
        },
        ..RulesetConfig::default()
    };
    let mut queue = BatchQueue::open(&QueueConfig::observe(config.observe.start)).unwrap();
    let mut rules = Ruleset::load(&config).unwrap();
    rules.apply(&[Change::AddIdentity(address(HOST))]).unwrap();
    let start = Instant::now();
    let asked_after = loop {
        send_to(9, b"x");
        if queued(&mut queue) > 0 {
            break start.elapsed();
        }
        assert!(start.elapsed() < 5 * age, "never asked");
        std::thread::sleep(age / 20);
    };
    // The kernel tells ages in ticks.
    assert!(
        asked_after + Duration::from_millis(20) >= age,
        "{asked_after:?}"
    );
    assert!(asked_after < 2 * age, "{asked_after:?}");
}

#[test]
fn a_pair_that_pauses_for_the_age_starts_anew() {
    if !enter_namespace() {
        return;
    }
    let _peer = Peer::connect();
    let age = Duration::from_millis(300);
    let config = RulesetConfig {
        trigger: Trigger::Counted { octets: 2048, age },
        ..RulesetConfig::default()
    };
    let mut queue = BatchQueue::open(&QueueConfig::observe(config.observe.start)).unwrap();
    let mut rules = Ruleset::load(&config).unwrap();
    rules.apply(&[Change::AddIdentity(address(HOST))]).unwrap();
    for _ in 0..3 {
        send_to(9, b"x");
        std::thread::sleep(2 * age);
    }
    assert_eq!(queued(&mut queue), 0);
}
