//! Many contexts meet one failure.

use std::time::Duration;

use shim6_core::{Config, State, UlidPair};
use shim6_sim::{FlowId, HostId, HostSpec, Pattern, World};
use shim6_wire::MessageType;
use shimq_tests::{Proof, locators, secs};

/// Addresses of each peer, and contexts with it: one for each of them as a ULID.
const PER_PEER: usize = 2;

/// Time between two questions of a flow.
const INTERVAL: Duration = Duration::from_millis(500);

/// How long it may take: until each flow sent into silence, and five seconds.
const LIMIT: Duration = Duration::from_millis(5_500);

/// A host of a site with two uplinks, and its peers; each context has a flow that asks and is answered.
struct Site {
    world: World,
    host: HostId,
    peers: Vec<HostId>,
    flows: Vec<FlowId>,
}

/// What followed upon the failure of an uplink.
#[derive(Debug)]
struct Storm {
    contexts: usize,
    /// When the last of them was on another pair, after the cut.
    moved: Duration,
    /// Probes of the host until then.
    probes: usize,
    /// The most of them within a second.
    most_in_a_second: usize,
}

impl Site {
    /// As many contexts as this, established; `probes` a second are the most that the host sends of
    /// itself.
    fn with_contexts(contexts: usize, probes: u32) -> Self {
        let spec = |host| HostSpec {
            suspects: true,
            config: Config {
                probes_per_second: probes,
                contexts_max: 2 * contexts,
                ..Config::default()
            },
            ..HostSpec::shim6(locators(host, PER_PEER as u16, Proof::Hba))
        };
        let mut world = World::new(1);
        let host = world.add_host(spec(0));
        let peers = (1..=contexts / PER_PEER).map(|peer| world.add_host(spec(peer as u16)));
        let peers: Vec<_> = peers.collect();
        let mut flows = Vec::new();
        for &peer in &peers {
            for index in 0..PER_PEER {
                let ulids = UlidPair {
                    local: world.address(host, 0),
                    peer: world.address(peer, index),
                };
                let pattern = Pattern {
                    length: 160,
                    ..Pattern::request_response(INTERVAL)
                };
                flows.push(world.start_between(host, peer, ulids, pattern));
                // The flows of a site are not in step.
                world.run_for(INTERVAL / contexts as u32);
            }
        }
        world.run_for(secs(70));
        let established = world.contexts(host);
        let established = established
            .iter()
            .filter(|it| it.state == State::Established);
        assert_eq!(established.count(), contexts);
        Self {
            world,
            host,
            peers,
            flows,
        }
    }

    /// Cuts the uplink that all contexts use, in silence.
    fn fail(&mut self) -> Storm {
        let (world, host) = (&mut self.world, self.host);
        let uplink = world.address(host, 0);
        for &peer in &self.peers {
            for pair in world.pairs(host, peer) {
                if pair.source == uplink {
                    world.cut(pair);
                }
            }
        }
        let cut_at = world.now();
        let mut left = self.flows.len();
        while left > 0 && world.now().since(cut_at) < LIMIT {
            // A look at all contexts costs more than what happens between two looks.
            world.run_for(Duration::from_millis(10));
            let contexts = world.contexts(host);
            left = contexts
                .iter()
                .filter(|it| it.current.local == uplink)
                .count();
        }
        assert_eq!(left, 0, "contexts on the dead uplink after {LIMIT:?}");
        let moved = world.now().since(cut_at);
        let probes = world.messages().iter().filter(|(at, sender, ty)| {
            (*sender, *ty) == (host, MessageType::Probe) && *at >= cut_at
        });
        let probes: Vec<_> = probes.map(|(at, _, _)| *at).collect();
        let mut first = 0;
        let mut most_in_a_second = 0;
        for (last, at) in probes.iter().enumerate() {
            while at.since(probes[first]) >= secs(1) {
                first += 1;
            }
            most_in_a_second = most_in_a_second.max(last + 1 - first);
        }
        Storm {
            contexts: self.flows.len(),
            moved,
            probes: probes.len(),
            most_in_a_second,
        }
    }

    /// Whether each flow is answered again soon.
    fn is_well(&mut self) -> bool {
        let since = self.world.now();
        self.world.run_for(2 * INTERVAL);
        let answered = |&flow: &FlowId| self.world.stats(flow).last_answered >= Some(since);
        self.flows.iter().all(answered)
    }
}

/// A tenth of the contexts of the whole, with a tenth of the default budget.
#[test]
fn when_an_uplink_fails_all_contexts_move_within_five_seconds_at_a_bounded_rate_of_probes() {
    storm(1_000, Config::default().probes_per_second / 10);
}

#[test]
#[ignore = "takes minutes; `make storm` plays it"]
fn when_an_uplink_fails_ten_thousand_contexts_move_within_five_seconds() {
    storm(10_000, Config::default().probes_per_second);
}

fn storm(contexts: usize, budget: u32) {
    let mut site = Site::with_contexts(contexts, budget);
    let storm = site.fail();
    println!(
        "{} contexts moved within {:?} of the cut, with {} probes, at most {} of them in a second",
        storm.contexts, storm.moved, storm.probes, storm.most_in_a_second
    );
    // What was saved up, the budget, and an answer to each peer.
    let most = 2 * budget as usize + contexts;
    assert!(storm.most_in_a_second <= most, "{storm:?}");
    assert!(site.is_well(), "{storm:?}");
}
