//! A random life of two hosts: whatever happened before, traffic flows once it can.
//!
//! A seed says who the hosts are, what they send and which faults befall them ([`Fault`]), one after the
//! other. The judge of `shim6_sim` looks on all the while. Whenever the hosts know each other and a pair
//! works both ways for long enough, each flow has to flow; and at the end, when all is mended or one pair
//! is.

mod fault;

use std::collections::BTreeMap;
use std::time::Duration;

use shim6_core::{Config, ContextView, Event, Instant, LocalLocator, State, UlidPair};
use shim6_sim::{FlowId, HostId, HostSpec, Pair, Pattern};
use shim6_wire::Fii;

pub use fault::Fault;

use crate::{Proof, TwoHosts, locators, secs};

/// How long traffic is watched to see whether it flows: longer than the longest interval of a flow.
const WATCHED: Duration = secs(30);

/// Longer than any packet is under way ([`Fault::Noise`]).
const UNDER_WAY_MAX: Duration = secs(1);

/// How long a context may take: the last pause of an exchange in vain (RFC 5533 §7.8: 64 s, give or take a
/// half), NO_R1_HOLDDOWN_TIME, and a minute until a flow is worth another, each at both ends.
const NEGOTIATED: Duration = secs(2 * (96 + 60 + 60));

/// What a life was like.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Story {
    /// A hash over everything that happened.
    pub trace_hash: u64,
    /// How long it lasted, on the virtual clock.
    pub lasted: Duration,
    /// What befell the hosts, and how often.
    pub faults: BTreeMap<Fault, u64>,
    /// Datagrams that arrived, answers included.
    pub delivered: u64,
    /// How often payload moved to another pair.
    pub pair_changes: u64,
    /// How often traffic had to flow and did.
    pub watched: u64,
}

/// A flow of datagrams.
#[derive(Clone, Copy, Debug)]
struct Sent {
    flow: FlowId,
    sender: HostId,
    ulids: UlidPair,
    is_answered: bool,
    /// Of its socket; 0 if that has none.
    mark: u32,
}

/// Two hosts, some flows, and what befalls them.
#[derive(Debug)]
pub struct Life {
    seed: u64,
    scene: TwoHosts,
    providers: u16,
    config: Config,
    /// The addresses of each host, all in use.
    whole: [Vec<LocalLocator>; 2],
    flows: Vec<Sent>,
    faults: BTreeMap<Fault, u64>,
    watched: u64,
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
        let whole = [0, 1].map(|host| locators(host, providers, proof));
        let [a, b] = whole.clone().map(|locators| HostSpec {
            config: config.clone(),
            suspects: seed / 16 % 2 == 1,
            ..HostSpec::shim6(locators)
        });
        let scene = TwoHosts::of(seed, a, b);
        Self {
            seed,
            scene,
            providers,
            config,
            whole,
            flows: Vec::new(),
            faults: BTreeMap::new(),
            watched: 0,
        }
    }

    /// Faults, then peace; each time that traffic has to flow, whether it does.
    ///
    /// # Panics
    ///
    /// If it does not, or if the judge of the world finds fault.
    pub fn live(&mut self) -> Story {
        self.start_flows();
        self.wait(secs(30));
        for _ in 0..4 + self.random(9) {
            let fault = Fault::any(self);
            fault.befall(self);
            *self.faults.entry(fault).or_insert(0) += 1;
            let pause = match self.random(4) {
                0 => Duration::from_millis(self.random(3_000)),
                1 | 2 => secs(self.random(30)),
                _ => secs(self.random(200)),
            };
            self.pause(pause);
        }
        self.make_peace();
        self.wait(self.patience());
        self.watch();
        self.wait_for_contexts();
        self.story()
    }

    /// What happened lately, for a reader.
    #[must_use]
    pub fn trace(&self) -> String {
        self.scene.world.trace()
    }

    fn story(&self) -> Story {
        let world = &self.scene.world;
        let stats = self.flows.iter().map(|sent| world.stats(sent.flow));
        let changed = |event: &&(Instant, Event)| matches!(event.1, Event::PairChanged { .. });
        let hosts = [self.scene.a, self.scene.b];
        let changes = hosts.map(|host| world.events(host).iter().filter(changed).count() as u64);
        Story {
            trace_hash: world.trace_hash(),
            lasted: world.now().since(Instant::default()),
            faults: self.faults.clone(),
            delivered: stats.map(|stats| stats.delivered + stats.answered).sum(),
            pair_changes: changes.iter().sum(),
            watched: self.watched,
        }
    }

    /// Lets time pass after a fault; if that left a pair, and the time is enough to find it, traffic has
    /// to flow in the end.
    fn pause(&mut self, span: Duration) {
        let long_enough = span >= self.patience() + WATCHED;
        if long_enough && self.know_each_other() && self.a_pair_works() {
            self.wait(span.saturating_sub(WATCHED));
            self.watch();
        } else {
            self.wait(span);
        }
    }

    fn a_pair_works(&self) -> bool {
        let world = &self.scene.world;
        let pairs = world.pairs(self.scene.a, self.scene.b);
        let works = |pair: &Pair| world.works(*pair) && world.works(pair.reversed());
        pairs.iter().any(works)
    }

    /// Each flow is worth a context, so it gets one: after the exchange that may be under way in vain, its
    /// negative cache, and the time that the heuristic takes to ask for another.
    fn wait_for_contexts(&mut self) {
        let end = self.scene.world.now() + NEGOTIATED;
        while !self.know_each_other() {
            assert!(self.scene.world.now() < end, "a flow has no context");
            self.wait(secs(5));
        }
    }

    /// Looks on for a while: each flow has to flow.
    ///
    /// A pair that loses every other packet is no pair that failed, so hosts may stay on it though a
    /// better one is there; and sometimes chance takes all that a flow sends for half a minute. Only
    /// what it took is excused: what was cut off, filtered or thrown away in that time is not.
    fn watch(&mut self) {
        let since = self.scene.world.now();
        self.wait(WATCHED);
        let spared: Vec<_> = self.flows.iter().map(|sent| self.spared(sent)).collect();
        if !self.all_flow(since) {
            // What was sent last is on its way.
            self.wait(UNDER_WAY_MAX);
        }
        for (&Sent { flow, .. }, (datagram, answer)) in self.flows.iter().zip(spared) {
            let stats = self.scene.world.stats(flow);
            let flows = stats.last_delivered > Some(since) || datagram <= Some(since);
            assert!(flows, "{flow:?} {stats:?} since {since:?}");
            if stats.answered > 0 {
                let flows = stats.last_answered > Some(since) || answer <= Some(since);
                assert!(flows, "{flow:?} {stats:?} since {since:?}");
            }
        }
        self.watched += 1;
    }

    /// When the last datagram and the last answer of a flow were sent that chance did not take.
    fn spared(&self, sent: &Sent) -> (Option<Instant>, Option<Instant>) {
        let stats = self.scene.world.stats(sent.flow);
        (stats.last_spared, stats.last_answer_spared)
    }

    /// Whether something of each flow arrived.
    fn all_flow(&self, since: Instant) -> bool {
        self.flows.iter().all(|sent| {
            let stats = self.scene.world.stats(sent.flow);
            let is_answered = stats.answered == 0 || stats.last_answered > Some(since);
            stats.last_delivered > Some(since) && is_answered
        })
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
            self.flows.push(Sent {
                flow,
                sender: from,
                ulids,
                is_answered: pattern.answer_every > 0,
                mark: 0,
            });
        }
    }

    /// From now on everything works, or where both ends know each other one pair does.
    fn make_peace(&mut self) {
        let (a, b) = (self.scene.a, self.scene.b);
        for host in [a, b] {
            self.scene.world.filter_ingress(host, None);
            self.restore_addresses(host);
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

    /// Gives `host` back all addresses that it had in the beginning; their preferences stay, so that there
    /// is no more to tell than need be.
    fn restore_addresses(&mut self, host: HostId) {
        let present = self.scene.world.locators(host);
        let whole = &self.whole[host.0];
        if present.len() < whole.len() || present.iter().any(|locator| !locator.usable) {
            let restored = whole.iter().map(|locator| {
                let known = present.iter().find(|it| it.address == locator.address);
                LocalLocator {
                    preference: known.map_or(locator.preference, |known| known.preference),
                    ..locator.clone()
                }
            });
            let restored = restored.collect();
            self.scene.world.set_locators(host, restored);
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
        let is_known = |&Sent { ulids, .. }: &Sent, fii: Fii| {
            let back = UlidPair {
                local: ulids.peer,
                peer: ulids.local,
            };
            let is_of = |context: &&ContextView| {
                context.fii == fii && [ulids, back].contains(&context.ulids)
            };
            let found = (ours.iter().find(is_of), theirs.iter().find(is_of));
            matches!(found, (Some(one), Some(other)) if knows(one, other) && knows(other, one))
        };
        self.flows.iter().all(|sent| {
            let contexts = if sent.sender == self.scene.a {
                &ours
            } else {
                &theirs
            };
            let is_its_fork = |context: &&ContextView| {
                context.mark == Some(sent.mark)
                    && context.ulids == sent.ulids
                    && context.state == State::Established
            };
            // What is sent on a fork is answered on the default context, which nothing else keeps alive.
            let fork = contexts.iter().find(is_its_fork).map(|context| context.fii);
            let default = Some(Fii::DEFAULT).filter(|_| fork.is_none() || sent.is_answered);
            let mut needed = fork.into_iter().chain(default);
            needed.all(|fii| is_known(sent, fii))
        })
    }

    /// Twice the Send Timeout and the time in which one end tries every pair, at the slowest pace.
    fn patience(&self) -> Duration {
        let pairs = u32::from(self.providers) * u32::from(self.providers);
        let round = self.config.max_probe_timeout * 120 / 100 * pairs;
        (self.config.send_timeout * 105 / 100 + round) * 2
    }

    fn some_flow(&mut self) -> usize {
        self.random(self.flows.len() as u64) as usize
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
