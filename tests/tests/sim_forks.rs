//! Forked contexts on a virtual clock: two pairs at once, each with a fate of its own (RFC 5533 §4.2).

use std::time::Duration;

use shim6_core::{Config, ContextView, LocatorPair, State};
use shim6_sim::{FlowId, Pair, Pattern};
use shim6_wire::Fii;
use shimq_tests::{TwoHosts, recovery_bound, secs};

const MARK: u32 = 7;

/// Two hosts with a fork on their second addresses, and a flow on each context.
struct Scene {
    hosts: TwoHosts,
    default: FlowId,
    forked: FlowId,
    /// Where the fork begins.
    pair: Pair,
}

fn pattern() -> Pattern {
    Pattern::request_response(Duration::from_millis(200))
}

impl Scene {
    fn new(seed: u64) -> Self {
        let mut hosts = TwoHosts::new(seed);
        let default = hosts.establish(pattern());
        let pair = Pair {
            source: hosts.world.address(hosts.a, 1),
            destination: hosts.world.address(hosts.b, 1),
        };
        let (ulids, _) = hosts.world_ulids();
        let forked = hosts.world.fork(hosts.a, ulids, MARK, pair);
        assert_eq!(forked, Ok(()));
        let forked = hosts.world.start(hosts.a, hosts.b, pattern());
        hosts.world.mark(forked, MARK);
        hosts.world.run_for(secs(5));
        Self {
            hosts,
            default,
            forked,
            pair,
        }
    }

    /// The context of host A with this identifier.
    fn context(&self, fii: Fii) -> ContextView {
        let contexts = self.hosts.world.contexts(self.hosts.a);
        let mut contexts = contexts.into_iter().filter(|context| context.fii == fii);
        contexts.next().expect("it is there")
    }

    /// Lets what was cut be noticed; then both flows have to arrive.
    fn assert_both_flow(&mut self, seed: u64) {
        // The fork's packets are answered on the default context, so it is a flow one way.
        let bound = recovery_bound(&Config::default(), 4, Pattern::one_way(secs(1)));
        self.hosts.world.run_for(bound);
        for flow in [self.default, self.forked] {
            let before = self.hosts.world.stats(flow);
            self.hosts.world.run_for(secs(5));
            let after = self.hosts.world.stats(flow);
            let delivered = after.delivered - before.delivered;
            assert!(delivered >= 20, "seed {seed}: {delivered} of 25");
        }
    }
}

fn locators(pair: Pair) -> LocatorPair {
    LocatorPair {
        local: pair.source,
        peer: pair.destination,
    }
}

#[test]
fn a_fork_lives_on_its_own_pair_beside_the_default_context() {
    for seed in 0..32 {
        let scene = Scene::new(seed);
        let fork = scene.context(Fii(MARK));
        assert_eq!(fork.state, State::Established, "seed {seed}");
        assert_eq!(fork.current, locators(scene.pair), "seed {seed}");
        let ulids = locators(scene.hosts.ulids());
        assert_eq!(scene.context(Fii::DEFAULT).current, ulids, "seed {seed}");
        assert!(fork.account.packets().0 >= 20, "seed {seed}");
        // At the peer there is one as well, which sends nothing.
        let contexts = scene.hosts.world.contexts(scene.hosts.b);
        let mut forks = contexts.iter().filter(|context| context.fii == Fii(MARK));
        let received = forks.next().expect("it is there").account.packets();
        assert!(
            received.0 == 0 && received.1 >= 20,
            "seed {seed}: {received:?}"
        );
    }
}

#[test]
fn a_failure_of_either_pair_moves_the_context_on_it_and_not_the_other() {
    for seed in 0..12 {
        for cut_fork in [false, true] {
            let mut scene = Scene::new(seed);
            let ulids = scene.hosts.ulids();
            let cut = if cut_fork { scene.pair } else { ulids };
            scene.hosts.world.cut(cut);
            scene.assert_both_flow(seed);
            let fork = scene.context(Fii(MARK)).current;
            let default = scene.context(Fii::DEFAULT).current;
            assert_eq!(fork == locators(scene.pair), !cut_fork, "seed {seed}");
            assert_eq!(default == locators(ulids), cut_fork, "seed {seed}");
        }
    }
}
