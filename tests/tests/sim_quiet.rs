//! While nothing is wrong: no packet changed, no message wasted, no pair left.

use std::time::Duration;

use shim6_core::{Cause, Config, Event, Instant};
use shim6_sim::{HostId, HostSpec, Link, Pattern, World};
use shim6_wire::MessageType as Ty;
use shimq_tests::{Proof, TwoHosts, locators, secs};

#[test]
fn until_a_failure_every_packet_leaves_as_it_was_handed_over() {
    for pattern in [
        Pattern::bulk(),
        Pattern::request_response(secs(1)),
        Pattern::one_way(Duration::from_millis(100)),
    ] {
        let mut scene = TwoHosts::new(1);
        let flow = scene.establish(pattern);
        scene.world.run_for(secs(60));
        // The judge compares each packet with what was handed over, the far end with what was sent.
        let stats = scene.world.stats(flow);
        let (from_a, from_b) = (
            scene.world.payload_sent(scene.a),
            scene.world.payload_sent(scene.b),
        );
        assert_eq!(from_a, (stats.sent, 0), "{pattern:?}");
        assert_eq!(from_b.1, 0, "{pattern:?}");
        assert!(stats.delivered + 3 > stats.sent, "{pattern:?}: {stats:?}");
    }
}

//= https://www.rfc-editor.org/rfc/rfc5534#section-6.3
//= type=test
//= id=R-047
//# Upon a timeout on the Keepalive Timer, the node sends one last
//# Keepalive message.
#[test]
fn an_idle_context_sends_nothing_after_three_last_keepalives() {
    let mut scene = TwoHosts::new(2);
    let flow = scene.establish(Pattern::request_response(secs(1)));
    let world = &mut scene.world;
    world.run_for(secs(30));
    let before = world.messages().len();
    world.stop(flow);
    world.run_for(secs(16));
    // The last packet was an answer, so it is the asker who owes a sign of life.
    assert_eq!(world.sent(scene.a, Ty::Keepalive), 3);
    assert_eq!(world.messages().len(), before + 3);
    world.run_for(secs(500));
    assert_eq!(world.messages().len(), before + 3);
    assert!(world.events(scene.a).len() == 1 && world.events(scene.b).len() == 1);
}

//= https://www.rfc-editor.org/rfc/rfc5534#section-6.1
//= type=test
//= id=R-009,R-045
//# While the Keepalive Timer is running, the node SHOULD send Keepalive
//# messages to the peer with an interval of Keepalive Interval seconds.
#[test]
fn one_way_traffic_draws_a_keepalive_each_interval_and_no_more() {
    let mut scene = TwoHosts::new(3);
    scene.establish(Pattern::one_way(secs(1)));
    let world = &mut scene.world;
    world.run_for(secs(151));
    assert_eq!(world.sent(scene.b, Ty::Keepalive), 30);
    assert_eq!(world.sent(scene.a, Ty::Keepalive), 0);
    assert_eq!(
        world.messages().len(),
        4 + 30,
        "the exchange and keepalives"
    );
}

//= https://www.rfc-editor.org/rfc/rfc5534#section-4.1
//= type=test
//= id=R-010
//# Keepalives are not sent at all if one
//# or more payload packets were sent within the Keepalive Interval.
#[test]
fn traffic_both_ways_draws_no_keepalive() {
    let mut scene = TwoHosts::new(4);
    scene.establish(Pattern::request_response(secs(4)));
    scene.world.run_for(secs(600));
    assert_eq!(scene.world.messages().len(), 4, "the exchange alone");
}

//= https://www.rfc-editor.org/rfc/rfc5534#section-5.3
//= type=test
//= id=R-034,R-037
//# If a node receives this option, it SHOULD
//# update its Keepalive Timeout value for the peer.
#[test]
fn a_peer_that_announces_a_longer_send_timeout_gets_fewer_keepalives() {
    let config = Config {
        send_timeout: secs(40),
        ..Config::default()
    };
    let a = HostSpec {
        config,
        ..HostSpec::shim6(locators(0, 2, Proof::Hba))
    };
    let b = HostSpec::shim6(locators(1, 2, Proof::Hba));
    let mut scene = TwoHosts::of(5, a, b);
    scene.establish(Pattern::one_way(secs(1)));
    scene.world.run_for(secs(402));
    // Three in each 40 seconds; the last of three starts the next round with a packet that is new.
    let keepalives = scene.world.sent(scene.b, Ty::Keepalive);
    assert!((29..=30).contains(&keepalives), "{keepalives}");
    assert_eq!(scene.world.events(scene.a).len(), 1, "no exploration");
}

#[test]
fn a_longer_keepalive_timeout_has_three_keepalives_too() {
    let config = Config {
        send_timeout: secs(40),
        ..Config::default()
    };
    let a = HostSpec::shim6(locators(0, 2, Proof::Hba));
    let b = HostSpec {
        config,
        ..HostSpec::shim6(locators(1, 2, Proof::Hba))
    };
    let mut scene = TwoHosts::of(5, a, b);
    let flow = scene.establish(Pattern::request_response(secs(1)));
    scene.world.run_for(secs(10));
    scene.world.stop(flow);
    scene.world.run_for(secs(400));
    assert_eq!(scene.world.sent(scene.a, Ty::Keepalive), 3);
}

#[test]
fn two_keepalives_lost_in_a_row_raise_no_doubt() {
    for seed in 0..20 {
        let mut scene = TwoHosts::new(seed);
        scene.establish(Pattern::one_way(secs(1)));
        let world = &mut scene.world;
        // The first three; then three in each 15 seconds, of which the last arrives.
        world.run_for(Duration::from_millis(16_500));
        for _ in 0..20 {
            world.lose_next(scene.b, Ty::Keepalive);
            world.lose_next(scene.b, Ty::Keepalive);
            world.run_for(secs(15));
        }
        assert_eq!(world.sent(scene.a, Ty::Probe), 0, "seed {seed}");
    }
}

#[test]
fn a_day_of_loss_and_jitter_moves_nothing() {
    let mut scene = TwoHosts::new(6);
    scene.world.set_default_link(lossy());
    let pattern = Pattern {
        length: 160,
        ..Pattern::request_response(secs(1))
    };
    scene.establish(pattern);
    scene.world.run_for(secs(24 * 3600));
    for host in [scene.a, scene.b] {
        assert_eq!(scene.world.counters(host).unwrap().pair_changes, 0);
        let explorations = scene
            .world
            .events(host)
            .iter()
            .filter(|(_, event)| matches!(event, Event::Exploring { .. }));
        assert_eq!(explorations.count(), 0);
    }
}

/// A tenth lost, in disorder.
fn lossy() -> Link {
    Link {
        jitter: Duration::from_millis(30),
        loss: 100,
        duplication: 10,
        ..Link::default()
    }
}

#[test]
fn a_pair_that_only_lost_its_keepalives_is_asked_and_kept() {
    // Where nothing but keepalives comes back, three lost in a row look like a failure: at a tenth lost
    // that happens twenty times a day. The pair in doubt is asked first, and answers.
    let (mut explorations, mut changes) = (0, 0);
    for seed in 0..4 {
        let mut scene = TwoHosts::new(seed);
        scene.world.set_default_link(lossy());
        let pattern = Pattern {
            length: 160,
            ..Pattern::one_way(secs(3))
        };
        scene.establish(pattern);
        scene.world.run_for(secs(12 * 3600));
        changes += scene.world.counters(scene.a).unwrap().pair_changes;
        explorations += begun(&scene.world, scene.a).len();
    }
    assert!(explorations > 10, "{explorations}");
    assert_eq!(changes, 0, "of {explorations}");
}

/// When a host began to doubt its pair by itself.
fn begun(world: &World, host: HostId) -> Vec<Instant> {
    let own = |event: &Event| matches!(event, Event::Exploring { cause, .. } if *cause != Cause::PeerExploring);
    let begun = world.events(host).iter().filter(|(_, event)| own(event));
    begun.map(|&(at, _)| at).collect()
}

/// Two hosts that suspect a silent pair at once, on a path with `link` both ways.
fn suspicious(seed: u64, link: Link) -> TwoHosts {
    let spec = |host| HostSpec {
        suspects: true,
        ..HostSpec::shim6(locators(host, 2, Proof::Hba))
    };
    let mut scene = TwoHosts::of(seed, spec(0), spec(1));
    scene.world.set_default_link(link);
    scene
}

#[test]
fn an_hour_of_jitter_and_loss_raises_one_doubt_a_second_at_most_and_moves_nothing() {
    let link = Link {
        delay: Duration::from_millis(10),
        jitter: Duration::from_millis(50),
        loss: 50,
        ..Link::default()
    };
    for (seed, interval) in [(1, 20), (2, 100), (3, 1_000)] {
        let mut scene = suspicious(seed, link);
        scene.establish(Pattern {
            length: 160,
            ..Pattern::request_response(Duration::from_millis(interval))
        });
        scene.world.run_for(secs(3600));
        for host in [scene.a, scene.b] {
            assert_eq!(scene.world.counters(host).unwrap().pair_changes, 0);
            let begun = begun(&scene.world, host);
            println!("every {interval} ms: {} doubts in an hour", begun.len());
            let soonest = begun.windows(2).map(|two| two[1].since(two[0])).min();
            assert!(
                soonest.is_none_or(|soonest| soonest >= secs(1)),
                "{soonest:?}"
            );
        }
    }
}

#[test]
fn a_suspicious_day_at_a_tenth_lost_moves_nothing() {
    for (seed, interval) in [(1, 1_000), (2, 3_000)] {
        let mut scene = suspicious(seed, lossy());
        scene.establish(Pattern {
            length: 160,
            ..Pattern::request_response(Duration::from_millis(interval))
        });
        scene.world.run_for(secs(24 * 3600));
        for host in [scene.a, scene.b] {
            let doubts = begun(&scene.world, host).len();
            println!("every {interval} ms: {doubts} doubts in a day");
            assert_eq!(
                scene.world.counters(host).unwrap().pair_changes,
                0,
                "of {doubts}"
            );
        }
    }
}
