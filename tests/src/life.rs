//! A random life of two hosts: whatever happened before, traffic flows once it can.
//!
//! The judge of `shim6_sim` looks on all the while.

use std::time::Duration;

use shim6_core::{Config, ContextView, Instant, State, UlidPair};
use shim6_sim::{FlowId, HostId, HostSpec, Link, Pair, Pattern, prefix};

use crate::{Proof, TwoHosts, locators, secs};

/// Two hosts, some flows, and what befalls them.
#[derive(Debug)]
pub struct Life {
    seed: u64,
    scene: TwoHosts,
    providers: u16,
    config: Config,
    flows: Vec<(FlowId, UlidPair)>,
}

impl Life {
    /// The life that `seed` stands for: the same one each time.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // RSA costs more than all else: one history in eight has signatures.
        let proof = if seed.is_multiple_of(8) {
            Proof::Cga
        } else {
            Proof::Hba
        };
        let providers = 2 + (seed / 8 % 2) as u16;
        // The pace of probes after a long outage is what makes a history long: one in eight has the
        // RFC's.
        let max_probe_timeout = if seed % 8 == 1 { secs(60) } else { secs(8) };
        let config = Config {
            max_probe_timeout,
            ..Config::default()
        };
        let spec = |host| HostSpec {
            config: config.clone(),
            suspects: seed / 16 % 2 == 1,
            ..HostSpec::shim6(locators(host, providers, proof))
        };
        let scene = TwoHosts::of(seed, spec(0), spec(1));
        Self {
            seed,
            scene,
            providers,
            config,
            flows: Vec::new(),
        }
    }

    /// Faults, then peace, then the question whether traffic flows; returns the hash of the trace.
    ///
    /// # Panics
    ///
    /// If it does not, or if the judge of the world finds fault.
    pub fn live(mut self) -> u64 {
        self.start_flows();
        self.wait(secs(30));
        for _ in 0..4 + self.random(9) {
            self.suffer();
            let pause = match self.random(4) {
                0 => Duration::from_millis(self.random(3_000)),
                1 | 2 => secs(self.random(30)),
                _ => secs(self.random(200)),
            };
            self.wait(pause);
        }
        self.make_peace();
        self.wait(self.patience());
        let since = self.scene.world.now();
        self.wait(secs(30));
        self.assert_traffic_flows(since);
        self.scene.world.trace_hash()
    }

    fn start_flows(&mut self) {
        for _ in 0..=self.random(2) {
            let interval = Duration::from_millis(500 + self.random(5_000));
            let pattern = match self.random(3) {
                0 => Pattern::one_way(interval),
                _ => Pattern::request_response(interval),
            };
            // Small: what is in them takes the longest.
            let pattern = Pattern {
                length: 160,
                ..pattern
            };
            let (from, to) = self.some_direction();
            let Pair {
                source,
                destination,
            } = if self.seed % 4 == 3 {
                // Several contexts between two hosts.
                self.some_pair(from, to)
            } else {
                self.scene.world.pairs(from, to)[0]
            };
            let ulids = UlidPair {
                local: source,
                peer: destination,
            };
            let flow = self.scene.world.start_between(from, to, ulids, pattern);
            self.flows.push((flow, ulids));
        }
    }

    /// One fault.
    fn suffer(&mut self) {
        let (from, to) = self.some_direction();
        let pair = self.some_pair(from, to);
        match self.random(12) {
            0 => self.scene.world.cut(pair),
            1 => self.scene.world.cut_one_way(pair),
            2 => self.cut_current(from),
            3 => self
                .scene
                .world
                .pairs(from, to)
                .into_iter()
                .for_each(|pair| {
                    self.scene.world.cut(pair);
                }),
            4 => self.scene.world.heal(),
            5 => self.make_noise(pair),
            6 => {
                let provider = self.random(u64::from(self.providers)) as u16;
                self.scene
                    .world
                    .filter_ingress(from, Some(prefix(from.0 as u16, provider)));
            }
            7 => self.scene.world.filter_ingress(from, None),
            8 => self.scene.world.restart(from),
            9 => {
                let span = secs(1 + self.random(3_600));
                self.scene.world.jump_clock(from, span);
            }
            10 => self.toggle_address(from),
            _ => self.cut_all_but(pair),
        }
    }

    fn cut_current(&mut self, host: HostId) {
        for context in self.scene.world.contexts(host) {
            self.scene.world.cut(Pair {
                source: context.current.local,
                destination: context.current.peer,
            });
        }
    }

    fn cut_all_but(&mut self, kept: Pair) {
        for pair in self.scene.world.pairs(self.scene.a, self.scene.b) {
            if pair == kept || pair == kept.reversed() {
                self.scene.world.mend(pair);
            } else {
                self.scene.world.cut(pair);
            }
        }
    }

    fn make_noise(&mut self, pair: Pair) {
        let noise = Link {
            up: true,
            delay: Duration::from_millis(1 + self.random(300)),
            jitter: Duration::from_millis(self.random(500)),
            loss: self.random(500) as u32,
            duplication: self.random(200) as u32,
            corruption: self.random(100) as u32,
        };
        self.scene.world.set_link(pair, |link| *link = noise);
    }

    /// An address that is in use goes out of use, or the other way round.
    fn toggle_address(&mut self, host: HostId) {
        let mut locators = self.scene.world.locators(host).to_vec();
        let index = self.random(locators.len() as u64) as usize;
        locators[index].usable = !locators[index].usable;
        self.scene.world.set_locators(host, locators);
    }

    /// From now on everything works, or where both ends know each other one pair does.
    fn make_peace(&mut self) {
        let (a, b) = (self.scene.a, self.scene.b);
        for host in [a, b] {
            self.scene.world.filter_ingress(host, None);
            let mut locators = self.scene.world.locators(host).to_vec();
            if locators.iter().any(|locator| !locator.usable) {
                for locator in &mut locators {
                    locator.usable = true;
                }
                self.scene.world.set_locators(host, locators);
            }
        }
        self.scene.world.heal();
        if self.random(2) == 0 {
            // Long enough for updates: a peer does not take probes from addresses it does not know.
            self.wait(secs(200));
            if self.know_each_other() {
                let pair = self.some_pair(a, b);
                self.cut_all_but(pair);
            }
        }
    }

    /// Whether each flow has a context at both ends, each of which knows all addresses of the other.
    fn know_each_other(&self) -> bool {
        let [ours, theirs] =
            [self.scene.a, self.scene.b].map(|host| self.scene.world.contexts(host));
        let all = usize::from(self.providers);
        let knows = |one: &ContextView, other: &ContextView| {
            one.state == State::Established
                && one.peer_tag == Some(other.local_tag)
                && one.peer_locators.len() == all
        };
        let is_known = |&(_, ulids): &(FlowId, UlidPair)| {
            let back = UlidPair {
                local: ulids.peer,
                peer: ulids.local,
            };
            let is_of = |context: &&ContextView| [ulids, back].contains(&context.ulids);
            let found = (ours.iter().find(is_of), theirs.iter().find(is_of));
            matches!(found, (Some(one), Some(other)) if knows(one, other) && knows(other, one))
        };
        self.flows.iter().all(is_known)
    }

    /// Twice the Send Timeout and the time in which one end tries every pair, at the slowest pace.
    fn patience(&self) -> Duration {
        let pairs = u32::from(self.providers) * u32::from(self.providers);
        let round = self.config.max_probe_timeout * 120 / 100 * pairs;
        (self.config.send_timeout * 105 / 100 + round) * 2
    }

    fn assert_traffic_flows(&self, since: Instant) {
        for &(flow, _) in &self.flows {
            let stats = self.scene.world.stats(flow);
            assert!(
                stats.last_delivered > Some(since),
                "{flow:?} {stats:?} since {since:?}"
            );
            if stats.answered > 0 {
                assert!(
                    stats.last_answered > Some(since),
                    "{flow:?} {stats:?} since {since:?}"
                );
            }
        }
    }

    fn some_direction(&mut self) -> (HostId, HostId) {
        match self.random(2) {
            0 => (self.scene.a, self.scene.b),
            _ => (self.scene.b, self.scene.a),
        }
    }

    fn some_pair(&mut self, from: HostId, to: HostId) -> Pair {
        let pairs = self.scene.world.pairs(from, to);
        pairs[self.random(pairs.len() as u64) as usize]
    }

    fn random(&mut self, below: u64) -> u64 {
        self.scene.world.random(below)
    }

    fn wait(&mut self, span: Duration) {
        self.scene.world.run_for(span);
    }
}
