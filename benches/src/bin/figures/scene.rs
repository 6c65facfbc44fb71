//! Two hosts with three providers each on a virtual clock: nine pairs, eighteen one-way paths.
//!
//! As in the papers' testbed: one datagram a second both ways, a Send Timeout of 3 s, and nothing but
//! the timers of RFC 5534 to notice a failure.

use std::time::Duration;

use shim6_core::{Config, Event, ExplorationPolicy, Instant, UlidPair};
use shim6_sim::{FlowId, HostId, HostSpec, Link, Pair, Pattern, World, hba, prefix};

/// How hosts explore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Manner {
    pub(crate) policy: ExplorationPolicy,
    /// Probes at once.
    pub(crate) burst: u32,
    /// Send Timeout.
    pub(crate) send_timeout: Duration,
}

impl Manner {
    /// The RFC's pacing in any order, as LinShim6 had it.
    pub(crate) const RFC: Self = Self {
        policy: ExplorationPolicy::Random,
        burst: 1,
        send_timeout: PAPERS_SEND_TIMEOUT,
    };

    /// The same with another policy.
    pub(crate) const fn with_policy(policy: ExplorationPolicy) -> Self {
        Self {
            policy,
            ..Self::RFC
        }
    }

    /// The same with `burst` probes at once.
    pub(crate) const fn burst(self, burst: u32) -> Self {
        Self { burst, ..self }
    }

    /// What a daemon's configuration has to say for it.
    pub(crate) fn toml(self) -> String {
        let Self {
            policy,
            burst,
            send_timeout,
        } = self;
        format!(
            "[reap]\nsend-timeout = {}\nexploration = '{policy}'\ninitial-burst = {burst}\nhints = false\n",
            send_timeout.as_secs()
        )
    }

    fn config(self) -> Config {
        Config {
            send_timeout: self.send_timeout,
            exploration: self.policy,
            initial_burst: self.burst,
            hints: false,
            ..Config::default()
        }
    }
}

/// The Send Timeout of the papers' measurements.
pub(crate) const PAPERS_SEND_TIMEOUT: Duration = Duration::from_secs(3);

/// Providers of each host.
pub(crate) const PROVIDERS: usize = 3;

/// One-way paths.
pub(crate) const PATHS: usize = 2 * PROVIDERS * PROVIDERS;

/// The hosts, with an established context and flows both ways.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) hosts: [HostId; 2],
    /// From the first host to the second.
    pub(crate) flow: FlowId,
}

impl Scene {
    /// Sets the stage; the same seed sets the same one. All paths take no time.
    pub(crate) fn new(seed: u64, manner: Manner) -> Self {
        Self::with_interval(seed, manner, Duration::from_secs(1))
    }

    /// The same with a datagram each `interval`.
    pub(crate) fn with_interval(seed: u64, manner: Manner, interval: Duration) -> Self {
        let mut world = World::new(seed);
        world.set_default_link(Link {
            delay: Duration::ZERO,
            ..Link::default()
        });
        let hosts = [0, 1].map(|host| {
            let prefixes = [0, 1, 2].map(|provider| prefix(host, provider));
            world.add_host(HostSpec {
                config: manner.config(),
                ..HostSpec::shim6(hba(host, &prefixes))
            })
        });
        let [a, b] = hosts;
        let ulids = UlidPair {
            local: world.address(a, 0),
            peer: world.address(b, 0),
        };
        world.trigger(a, ulids);
        let flow = world.start(a, b, Pattern::one_way(interval));
        world.start(b, a, Pattern::one_way(interval));
        let mut scene = Self { world, hosts, flow };
        scene.rest();
        scene
    }

    /// Lets some quiet time pass, not always the same.
    pub(crate) fn rest(&mut self) {
        let more = Duration::from_micros(self.world.random(1_000_000));
        self.world.run_for(Duration::from_secs(5) + more);
    }

    /// Every one-way path, those from the first host before those from the second.
    pub(crate) fn paths(&self) -> Vec<Pair> {
        let [a, b] = self.hosts;
        let there = self.world.pairs(a, b);
        let back: Vec<Pair> = there.iter().map(|pair| pair.reversed()).collect();
        [there, back].concat()
    }

    /// The paths that the hosts send on now.
    pub(crate) fn current(&self) -> Option<[Pair; 2]> {
        let [a, b] = self.hosts.map(|host| self.world.current_pair(host));
        Some([a?, b?])
    }

    /// Lets time pass until the exploration that a failure `since` causes has ended on both hosts, and
    /// returns how long the host that noticed it explored. `None` if it takes ten minutes.
    pub(crate) fn exploration(&mut self, since: Instant) -> Option<Duration> {
        let hosts = self.hosts;
        let end = since + Duration::from_secs(600);
        let done = self.world.run_until(end, |world| {
            hosts
                .iter()
                .all(|host| span(world, *host, since).is_some_and(|(_, end)| end.is_some()))
        });
        let spans = hosts
            .iter()
            .filter_map(|host| span(&self.world, *host, since));
        let (began, ended) = spans.min_by_key(|(began, _)| *began)?;
        done.then_some(ended?.since(began))
    }
}

/// When a host's first exploration after `since` began, and ended.
fn span(world: &World, host: HostId, since: Instant) -> Option<(Instant, Option<Instant>)> {
    let events = world.events(host);
    let first = events.partition_point(|(at, _)| *at < since);
    let mut after = events[first..].iter();
    let (began, _) = after.find(|(_, event)| matches!(event, Event::Exploring { .. }))?;
    let ended = after.find(|(_, event)| {
        matches!(
            event,
            Event::PairChanged { .. } | Event::PairConfirmed { .. }
        )
    });
    Some((*began, ended.map(|(at, _)| *at)))
}
