//! Scenes that several scenarios play in, and the times that the RFCs promise.

mod life;

use std::time::Duration;

use shim6_core::{Config, LocalLocator, State, UlidPair};
use shim6_sim::{FlowId, HostId, HostSpec, Pair, Pattern, World, cga, hba, prefix};

pub use life::{Fault, Life, Story};

/// `n` seconds.
#[must_use]
pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// How the hosts of a scene prove their addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// One CGA for each provider, all of one key.
    Cga,
    /// An HBA set over all providers.
    Hba,
}

/// The addresses of host number `host`, one for each of `providers`.
#[must_use]
pub fn locators(host: u16, providers: u16, proof: Proof) -> Vec<LocalLocator> {
    let prefixes: Vec<_> = (0..providers)
        .map(|provider| prefix(host, provider))
        .collect();
    match proof {
        Proof::Cga => cga(host, &prefixes, usize::from(host)),
        Proof::Hba => hba(host, &prefixes),
    }
}

/// Two hosts, two providers each: four pairs of addresses.
#[derive(Debug)]
pub struct TwoHosts {
    /// Where they are.
    pub world: World,
    /// The host that flows start from.
    pub a: HostId,
    /// The host that they go to.
    pub b: HostId,
}

impl TwoHosts {
    /// Both with Shim6, with HBAs.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::proven_by(seed, Proof::Hba)
    }

    /// Both with Shim6.
    #[must_use]
    pub fn proven_by(seed: u64, proof: Proof) -> Self {
        Self::of(
            seed,
            HostSpec::shim6(locators(0, 2, proof)),
            HostSpec::shim6(locators(1, 2, proof)),
        )
    }

    /// Any two.
    #[must_use]
    pub fn of(seed: u64, a: HostSpec, b: HostSpec) -> Self {
        let mut world = World::new(seed);
        let a = world.add_host(a);
        let b = world.add_host(b);
        Self { world, a, b }
    }

    /// The pair that the ULIDs are, from `a` to `b`.
    #[must_use]
    pub fn ulids(&self) -> Pair {
        Pair {
            source: self.world.address(self.a, 0),
            destination: self.world.address(self.b, 0),
        }
    }

    /// The same as the two hosts see it: `a`'s view, `b`'s view.
    #[must_use]
    pub fn world_ulids(&self) -> (UlidPair, UlidPair) {
        let Pair {
            source: a,
            destination: b,
        } = self.ulids();
        let view = |local, peer| UlidPair { local, peer };
        (view(a, b), view(b, a))
    }

    /// Starts a flow from `a` to `b` and waits until both have a context.
    ///
    /// # Panics
    ///
    /// If that takes more than three minutes.
    pub fn establish(&mut self, pattern: Pattern) -> FlowId {
        let flow = self.world.start(self.a, self.b, pattern);
        let end = self.world.now() + secs(180);
        let (a, b) = (self.a, self.b);
        let up = self.world.run_until(end, |world| {
            is_established(world, a) && is_established(world, b)
        });
        assert!(up, "no context after three minutes");
        flow
    }
}

/// Whether `host` has one context, and that is established.
#[must_use]
pub fn is_established(world: &World, host: HostId) -> bool {
    matches!(&world.contexts(host)[..], [context] if context.state == State::Established)
}

/// How long a flow may be silent after a failure of its pair that leaves another, if nothing else is
/// lost.
///
/// - Keepalive Timeout: where nothing but keepalives comes back, the peer goes on sending them for
///   that long after the payload has stopped to arrive (RFC 5534 §4.1).
/// - Send Timeout, up to 5 % longer (RFC 5534 §4.1, §7).
/// - As many probes as there are pairs from the end that noticed, and as many from the other end:
///   the interval is the Initial Probe Timeout for the first four, then doubles (RFC 5534 §4.3), and
///   is up to 20 % longer.
/// - The interval of the flow and a second, for round trips.
#[must_use]
pub fn recovery_bound(config: &Config, pairs: u32, pattern: Pattern) -> Duration {
    let keepalives = match pattern.answer_every {
        0 => config.send_timeout,
        _ => Duration::ZERO,
    };
    let send_timeout = config.send_timeout * 105 / 100;
    keepalives + send_timeout + exploration_bound(config, pairs) + pattern.interval + secs(1)
}

/// How long it takes both ends to try `pairs` pairs, one after the other.
#[must_use]
pub fn exploration_bound(config: &Config, pairs: u32) -> Duration {
    let mut exploring = Duration::ZERO;
    let mut interval = config.initial_probe_timeout;
    for probe in 1..=pairs {
        exploring += interval;
        if probe > config.initial_probes {
            interval = (interval * 2).min(config.max_probe_timeout);
        }
    }
    exploring * 2 * 120 / 100
}
