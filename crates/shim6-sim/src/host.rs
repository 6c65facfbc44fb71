//! One host: what it is made of, and the two ways into its Shim6.

use std::fmt;
use std::time::Duration;

use shim6_core::{
    Config, Endpoint, Event, FlowTable, Heuristic, Instant, LocalLocator, VolumeOrAge,
};

/// Which host of a world.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostId(pub usize);

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host {}", self.0)
    }
}

/// What a host knows of Shim6.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It runs [`Endpoint`] and [`FlowTable`].
    Shim6,
    /// Its kernel answers next header 140 with an ICMPv6 Parameter Problem.
    Refusing,
    /// Next header 140 vanishes, in it or in a firewall before it.
    Silent,
    /// It does nothing by itself: a test reads its inbox and sends in its name.
    Puppet,
}

/// What to make a host of.
#[derive(Debug)]
pub struct HostSpec {
    /// What it knows of Shim6.
    pub kind: Kind,
    /// Its addresses; the first is the one that its flows use as a ULID by default.
    pub locators: Vec<LocalLocator>,
    /// The numbers that it runs by.
    pub config: Config,
    /// Whether its data plane hands over what is sent into silence, so that the core suspects a pair
    /// before the Send Timeout does. Without it, the timers are those of RFC 5534 alone.
    pub suspects: bool,
    /// Makes its heuristic, again after each restart.
    pub heuristic: fn() -> Box<dyn Heuristic>,
}

impl HostSpec {
    /// A host with Shim6 and the defaults of the RFCs.
    #[must_use]
    pub fn shim6(locators: Vec<LocalLocator>) -> Self {
        Self {
            kind: Kind::Shim6,
            locators,
            config: Config::default(),
            suspects: false,
            heuristic: || Box::new(VolumeOrAge::default()),
        }
    }

    /// The same host, but of this kind.
    #[must_use]
    pub fn kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }
}

/// A host in its world.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) spec: HostSpec,
    pub(crate) engine: Option<Engine>,
    /// How far its clock is ahead of the world's: it was asleep for so long, all in all.
    pub(crate) ahead: Duration,
    /// What arrived for a puppet.
    pub(crate) inbox: Vec<Vec<u8>>,
    pub(crate) events: Vec<(Instant, Event)>,
    pub(crate) restarts: u64,
    /// Payload packets that left as the upper layer handed them over.
    pub(crate) untouched: u64,
    /// Payload packets that left with a tag.
    pub(crate) mapped: u64,
}

impl Host {
    pub(crate) fn new(spec: HostSpec) -> Self {
        Self {
            spec,
            engine: None,
            ahead: Duration::ZERO,
            inbox: Vec::new(),
            events: Vec::new(),
            restarts: 0,
            untouched: 0,
            mapped: 0,
        }
    }

    /// Starts Shim6 without any memory of an earlier life.
    pub(crate) fn start(&mut self, seed: [u8; 32], now: Instant) {
        if self.spec.kind != Kind::Shim6 {
            return;
        }
        let mut endpoint = Endpoint::new(self.spec.config.clone(), (self.spec.heuristic)(), seed);
        let table = endpoint.flow_table();
        endpoint.handle_local_locators(now, &self.spec.locators);
        self.engine = Some(Engine { endpoint, table });
    }
}

/// The two halves of the core, as the daemon has them.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) endpoint: Endpoint,
    pub(crate) table: FlowTable,
}
