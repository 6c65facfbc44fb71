//! Many contexts meet one failure.

use std::time::Duration;

use shim6_core::Config;
use shim6_sim::{HostSpec, Pattern, World};
use shim6_wire::MessageType;
use shimq_tests::{Proof, locators, secs};

/// A site's host and as many peers with a context each. What is said of ten thousand contexts with the
/// default budget is played with a hundred and a hundredth of it.
const PEERS: u16 = 100;

#[test]
fn when_an_uplink_fails_all_contexts_move_within_five_seconds_at_a_bounded_rate_of_probes() {
    let config = Config {
        probes_per_second: Config::default().probes_per_second / 100,
        ..Config::default()
    };
    let spec = |host| HostSpec {
        suspects: true,
        config: config.clone(),
        ..HostSpec::shim6(locators(host, 2, Proof::Hba))
    };
    let mut world = World::new(1);
    let site = world.add_host(spec(0));
    let peers: Vec<_> = (1..=PEERS).map(|host| world.add_host(spec(host))).collect();
    for &peer in &peers {
        world.start(
            site,
            peer,
            Pattern {
                length: 160,
                ..Pattern::request_response(Duration::from_millis(500))
            },
        );
    }
    world.run_for(secs(70));
    assert_eq!(world.contexts(site).len(), usize::from(PEERS));

    let uplink = world.address(site, 0);
    for &peer in &peers {
        for pair in world.pairs(site, peer) {
            if pair.source == uplink {
                world.cut(pair);
            }
        }
    }
    let cut_at = world.now();
    // Half a second until each flow sends into silence, then the five seconds.
    let end = cut_at + Duration::from_millis(5_500);
    let all_moved = world.run_until(end, |world| {
        let moved = |view: &shim6_core::ContextView| view.current.local != uplink;
        world.contexts(site).iter().all(moved)
    });
    let took = world.now().since(cut_at);
    let probes: Vec<_> = world
        .messages()
        .iter()
        .filter(|(at, host, ty)| *host == site && *ty == MessageType::Probe && *at >= cut_at)
        .map(|(at, _, _)| *at)
        .collect();
    println!(
        "{PEERS} contexts moved in {took:?} with {} probes",
        probes.len()
    );
    assert!(all_moved, "{took:?}");
    // The budget, as much again that was saved up, and two answers to each peer.
    let most = 2 * config.probes_per_second + 2 * u32::from(PEERS);
    for (index, &first) in probes.iter().enumerate() {
        let within = probes[index..]
            .iter()
            .take_while(|at| at.since(first) < secs(1));
        assert!(
            within.count() <= most as usize,
            "more than {most} in a second"
        );
    }
}
