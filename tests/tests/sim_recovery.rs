//! Cuts of every kind, and what becomes of the flows.

use std::time::Duration;

use shim6_core::{Config, Event, ReapState, UlidPair};
use shim6_sim::{FlowId, HostSpec, Link, Pair, Pattern, World, prefix};
use shim6_wire::MessageType as Ty;
use shimq_tests::{Proof, TwoHosts, locators, recovery_bound, secs};

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

#[test]
fn a_cut_of_a_suspected_pair_is_repaired_in_round_trips() {
    // Both data planes hand over what is sent into silence: no Send Timeout is waited for.
    for seed in 0..20 {
        for cut in [Cut::BothWays, Cut::Forward] {
            let spec = |host| HostSpec {
                suspects: true,
                ..HostSpec::shim6(locators(host, 2, Proof::Hba))
            };
            let mut scene = TwoHosts::of(seed, spec(0), spec(1));
            let interval = Duration::from_millis(100);
            let flow = scene.establish(Pattern::request_response(interval));
            let world = &mut scene.world;
            world.run_for(secs(20));
            cut.apply(world, world.current_pair(scene.a).unwrap());
            let cut_at = world.now();
            // One interval unanswered, one seen, the test, four pairs at half a second.
            let end = cut_at + secs(4);
            let sent = world.stats(flow).sent;
            let back = world.run_until(end, |world| world.stats(flow).answered > sent);
            assert!(back, "seed {seed}, {cut:?}");
        }
    }
}

#[test]
fn a_message_of_the_exchange_that_got_lost_makes_no_later_doubt_slow() {
    for seed in 0..20 {
        for lost in [None, Some(Ty::I1), Some(Ty::I2), Some(Ty::R2)] {
            let spec = |host| HostSpec {
                suspects: true,
                ..HostSpec::shim6(locators(host, 2, Proof::Hba))
            };
            let mut scene = TwoHosts::of(seed, spec(0), spec(1));
            for host in [scene.a, scene.b] {
                if let Some(ty) = lost {
                    scene.world.lose_next(host, ty);
                }
            }
            let pattern = Pattern::request_response(Duration::from_millis(20));
            let flow = scene.establish(pattern);
            let world = &mut scene.world;
            world.run_for(secs(5));
            Cut::BothWays.apply(world, world.current_pair(scene.a).unwrap());
            let cut_at = world.now();
            let sent = world.stats(flow).sent;
            let end = cut_at + Duration::from_millis(500);
            let back = world.run_until(end, |world| world.stats(flow).answered > sent);
            assert!(back, "seed {seed}, {lost:?} lost");
        }
    }
}

#[test]
fn any_pair_that_is_left_is_found() {
    for seed in 0..10 {
        for left in 0..9 {
            let spec = |host| HostSpec::shim6(locators(host, 3, Proof::Hba));
            let mut scene = TwoHosts::of(seed, spec(0), spec(1));
            let pattern = Pattern::request_response(SECOND);
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
            // Only the end that asks notices, and its probes find the other: one round of nine.
            world.run_for(recovery_bound(&Config::default(), 9, pattern));
            let stats = world.stats(flow);
            assert!(
                stats.last_answered.unwrap() > cut_at,
                "seed {seed}, {left}: {stats:?}"
            );
            assert_eq!(world.current_pair(scene.a), Some(pairs[left]));
            assert_eq!(world.current_pair(scene.b), Some(pairs[left].reversed()));
        }
    }
}

#[test]
fn one_direction_here_and_the_other_there_is_enough() {
    for seed in 0..20 {
        let mut scene = TwoHosts::new(seed);
        let pattern = Pattern::request_response(SECOND);
        let flow = scene.establish(pattern);
        let world = &mut scene.world;
        world.run_for(secs(20));
        let (forth, back) = (
            scene.world.random(4) as usize,
            scene.world.random(4) as usize,
        );
        let pairs = scene.world.pairs(scene.a, scene.b);
        for (index, &pair) in pairs.iter().enumerate() {
            if index != forth {
                scene.world.cut_one_way(pair);
            }
            if index != back {
                scene.world.cut_one_way(pair.reversed());
            }
        }
        let cut_at = scene.world.now();
        // The other end's probes find their way only by chance: a few rounds.
        scene
            .world
            .run_for(recovery_bound(&Config::default(), 8, pattern));
        let stats = scene.world.stats(flow);
        assert!(
            stats.last_answered.unwrap() > cut_at,
            "seed {seed}: {stats:?}"
        );
        assert_eq!(scene.world.current_pair(scene.a), Some(pairs[forth]));
        assert_eq!(
            scene.world.current_pair(scene.b),
            Some(pairs[back].reversed())
        );
    }
}

#[test]
fn a_second_cut_after_the_first_has_healed_is_survived_too() {
    let bound = recovery_bound(&Config::default(), 4, Pattern::request_response(SECOND));
    for seed in 0..10 {
        let mut scene = TwoHosts::new(seed);
        let flow = scene.establish(Pattern::request_response(SECOND));
        let world = &mut scene.world;
        for round in 0..6 {
            let cut_at = world.now();
            world.cut(world.current_pair(scene.a).unwrap());
            world.run_for(bound);
            let stats = world.stats(flow);
            assert!(
                stats.last_answered.unwrap() > cut_at,
                "seed {seed}, {round}: {stats:?}"
            );
            world.heal();
            world.run_for(secs(30));
        }
    }
}

#[test]
fn when_the_pair_returns_to_the_ulids_packets_are_untouched_again() {
    let mut scene = TwoHosts::new(1);
    let flow = scene.establish(Pattern::request_response(SECOND));
    let ulids = scene.ulids();
    let world = &mut scene.world;
    world.cut(ulids);
    world.run_for(secs(30));
    assert_ne!(world.current_pair(scene.a), Some(ulids));
    world.heal();
    for pair in world.pairs(scene.a, scene.b) {
        if pair != ulids {
            world.cut(pair);
        }
    }
    world.run_for(secs(60));
    assert_eq!(world.current_pair(scene.a), Some(ulids));
    let (before, mapped) = world.payload_sent(scene.a);
    world.run_for(secs(60));
    assert_eq!(world.payload_sent(scene.a), (before + 60, mapped));
    let last_answered = world.stats(flow).last_answered.unwrap();
    assert!(world.now().since(last_answered) < SECOND);
}

#[test]
fn a_provider_that_filters_foreign_sources_is_found_out() {
    for seed in 0..10 {
        let mut scene = TwoHosts::new(seed);
        let pattern = Pattern::request_response(SECOND);
        let flow = scene.establish(pattern);
        let world = &mut scene.world;
        world.run_for(secs(20));
        // All leaves by the second provider, which knows only addresses of its own.
        world.filter_ingress(scene.a, Some(prefix(0, 1)));
        let filtered_at = world.now();
        world.run_for(recovery_bound(&Config::default(), 4, pattern));
        assert!(
            world.stats(flow).last_answered.unwrap() > filtered_at,
            "seed {seed}"
        );
        assert_eq!(
            world.current_pair(scene.a).unwrap().source,
            world.address(scene.a, 1)
        );
    }
}

#[test]
fn without_hints_recovery_takes_the_send_timeout_and_a_second_at_most() {
    // The line of Computer Networks 2011, figure 9: no steps, for what was sent into the silence is sent
    // again when the pair changes.
    for send_timeout in (3..=30).step_by(3).map(secs) {
        let spec = |host| HostSpec {
            suspects: true,
            config: Config {
                send_timeout,
                hints: false,
                ..Config::default()
            },
            ..HostSpec::shim6(locators(host, 2, Proof::Hba))
        };
        let mut scene = TwoHosts::of(send_timeout.as_secs(), spec(0), spec(1));
        let flow = scene.establish(Pattern::request_response(Duration::from_millis(100)));
        let world = &mut scene.world;
        world.run_for(secs(20));
        world.cut(world.current_pair(scene.a).unwrap());
        let cut_at = world.now();
        let sent = world.stats(flow).sent;
        let end = cut_at + secs(60);
        assert!(world.run_until(end, |world| world.stats(flow).answered > sent));
        let recovery = world.now().since(cut_at);
        let most = send_timeout * 105 / 100 + SECOND;
        assert!(
            (send_timeout..most).contains(&recovery),
            "{send_timeout:?}: {recovery:?}"
        );
    }
}

#[test]
fn the_only_path_left_each_way_is_found() {
    // The pair that the peer is heard on is of no use for an answer; what it reports to have seen is.
    for seed in 0..100 {
        let spec = |host| HostSpec {
            config: Config {
                send_timeout: secs(3),
                hints: false,
                ..Config::default()
            },
            ..HostSpec::shim6(locators(host, 3, Proof::Hba))
        };
        let mut scene = TwoHosts::of(seed, spec(0), spec(1));
        let flow = scene.establish(Pattern::request_response(SECOND));
        let world = &mut scene.world;
        world.run_for(secs(5));
        let pairs = world.pairs(scene.a, scene.b);
        let mut left = || pairs[1 + world.random(8) as usize];
        let (there, back) = (left(), left());
        for pair in pairs {
            if pair != there {
                world.cut_one_way(pair);
            }
            if pair != back {
                world.cut_one_way(pair.reversed());
            }
        }
        // Nearly always within half a minute; where both ends are heard at the same moment, the probes
        // that tell each of it are lost on the way, and the next round is slower.
        world.run_for(secs(120));
        let found = world.stats(flow);
        world.run_for(secs(10));
        let later = world.stats(flow);
        assert!(
            later.answered >= found.answered + 9,
            "seed {seed}: {later:?}"
        );
    }
}

#[test]
fn a_silence_is_noticed_although_nothing_more_is_sent() {
    // TCP with a full window sends nothing more until its retransmission timer expires.
    for seed in 0..20 {
        let spec = |host| HostSpec {
            suspects: true,
            ..HostSpec::shim6(locators(host, 2, Proof::Hba))
        };
        let mut scene = TwoHosts::of(seed, spec(0), spec(1));
        scene.world.set_default_link(Link {
            delay: Duration::from_millis(100),
            ..Link::default()
        });
        let flow = scene.establish(Pattern::request_response(Duration::from_millis(110)));
        let world = &mut scene.world;
        world.run_for(secs(5));
        world.cut(world.current_pair(scene.a).unwrap());
        let cut_at = world.now();
        // Answers are on their way for 100 ms, so it is too soon for any doubt.
        world.run_for(Duration::from_millis(350));
        let suspected = |world: &World| {
            let mut events = world.events(scene.a).iter();
            events.any(|(at, event)| *at > cut_at && matches!(event, Event::Exploring { .. }))
        };
        assert!(!suspected(world), "seed {seed}\n{}", world.trace());
        world.stop(flow);
        world.run_for(secs(2));
        assert!(suspected(world), "seed {seed}\n{}", world.trace());
    }
}

/// A pure upload from a host, which had to leave the ULIDs.
fn upload_on_another_pair(seed: u64) -> (TwoHosts, FlowId) {
    let pattern = Pattern::one_way(SECOND);
    let mut scene = TwoHosts::new(seed);
    let flow = scene.establish(pattern);
    let ulids = scene.ulids();
    scene.world.cut(ulids);
    let bound = recovery_bound(&Config::default(), 4, pattern);
    scene.world.run_for(bound);
    assert_ne!(scene.world.current_pair(scene.a), Some(ulids));
    (scene, flow)
}

#[test]
fn a_host_that_slept_keeps_the_contexts_that_its_flows_live_on() {
    for seed in 0..10 {
        let (mut scene, flow) = upload_on_another_pair(seed);
        let world = &mut scene.world;
        world.jump_clock(scene.a, secs(1_800));
        let delivered = world.stats(flow).delivered;
        world.run_for(secs(30));
        assert!(world.stats(flow).delivered >= delivered + 29, "seed {seed}");
    }
}

#[test]
fn a_sender_that_forgot_everything_is_found_by_the_keepalives_of_whoever_only_receives() {
    for seed in 0..10 {
        let (mut scene, flow) = upload_on_another_pair(seed);
        let world = &mut scene.world;
        world.restart(scene.a);
        // It sends to the only address that it knows, where nothing arrives; a keepalive comes at the
        // latest after a Keepalive Interval.
        world.run_for(secs(6));
        let delivered = world.stats(flow).delivered;
        world.run_for(secs(30));
        assert!(world.stats(flow).delivered >= delivered + 29, "seed {seed}");
    }
}

#[test]
fn a_sender_that_forgot_everything_too_long_ago_is_not_found_until_its_peer_sends() {
    for seed in 0..10 {
        let (mut scene, flow) = upload_on_another_pair(seed);
        let ulids = scene.ulids();
        let world = &mut scene.world;
        for pair in world.pairs(scene.a, scene.b) {
            world.cut(pair);
        }
        // Meanwhile the peer has sent all the keepalives that it owes.
        world.run_for(secs(30));
        world.restart(scene.a);
        world.heal();
        world.cut(ulids);
        let delivered = world.stats(flow).delivered;
        world.run_for(secs(120));
        assert_eq!(world.stats(flow).delivered, delivered, "seed {seed}");
        let Pair {
            source,
            destination,
        } = ulids.reversed();
        let back = UlidPair {
            local: source,
            peer: destination,
        };
        world.start_between(scene.b, scene.a, back, Pattern::one_way(secs(10)));
        world.run_for(secs(30));
        assert!(world.stats(flow).delivered >= delivered + 25, "seed {seed}");
    }
}
