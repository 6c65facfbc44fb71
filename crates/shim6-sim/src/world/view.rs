//! What a script sees of a world.

use std::net::Ipv6Addr;

use rand_core::RngCore;
use shim6_core::{ContextView, Counters, DropReason, Event, Instant, LocalLocator, LocatorPair};
use shim6_wire::MessageType;

use super::World;
use crate::host::HostId;
use crate::net::Pair;
use crate::traffic::{FlowId, FlowStats};

impl World {
    /// The time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// A hash over everything that happened so far.
    #[must_use]
    pub fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    /// The last of what happened, for a reader.
    #[must_use]
    pub fn trace(&self) -> String {
        self.trace.text()
    }

    /// Randomness of this history, for the script's own choices.
    pub fn random(&mut self, below: u64) -> u64 {
        self.rng.next_u64() % below
    }

    /// Address number `index` of a host.
    #[must_use]
    pub fn address(&self, host: HostId, index: usize) -> Ipv6Addr {
        self.hosts[host.0].spec.locators[index].address
    }

    /// The addresses of a host as its Shim6 was told of them.
    #[must_use]
    pub fn locators(&self, host: HostId) -> &[LocalLocator] {
        &self.hosts[host.0].spec.locators
    }

    /// Whether whatever is sent on `pair` now arrives, and as it was sent: both addresses are in use, and
    /// nothing between them cuts, filters, loses or changes packets.
    #[must_use]
    pub fn works(&self, pair: Pair) -> bool {
        let link = self.net.link(pair);
        let in_use = |address: Ipv6Addr| {
            let host = self.addresses.get(&address)?;
            let mut locators = self.hosts[host.0].spec.locators.iter();
            let usable = locators.any(|it| it.address == address && it.usable);
            usable.then_some(*host)
        };
        let ends = in_use(pair.source).zip(in_use(pair.destination));
        let passes = ends.is_some_and(|(sender, _)| self.net.lets_out(sender, pair.source));
        passes && link.up && link.loss == 0 && link.corruption == 0
    }

    /// How a flow fares.
    #[must_use]
    pub fn stats(&self, flow: FlowId) -> FlowStats {
        self.flows[usize::from(flow.0)].stats
    }

    /// The contexts of a host.
    #[must_use]
    pub fn contexts(&self, host: HostId) -> Vec<ContextView> {
        let engine = self.hosts[host.0].engine.as_ref();
        engine.map_or_else(Vec::new, |engine| engine.endpoint.contexts())
    }

    /// When a host's Shim6 next wants to be asked; `None` while nothing waits in it.
    #[must_use]
    pub fn timer(&self, host: HostId) -> Option<Instant> {
        self.timer_of.get(&host).copied()
    }

    /// The pair that a host's only context sends on, seen by the network; `None` if it has none, or
    /// several.
    #[must_use]
    pub fn current_pair(&self, host: HostId) -> Option<Pair> {
        let contexts = self.contexts(host);
        let [context] = &contexts[..] else {
            return None;
        };
        let LocatorPair { local, peer } = context.current;
        Some(Pair {
            source: local,
            destination: peer,
        })
    }

    /// What a host's Shim6 counted since it started.
    #[must_use]
    pub fn counters(&self, host: HostId) -> Option<&Counters> {
        let engine = self.hosts[host.0].engine.as_ref()?;
        Some(engine.endpoint.counters())
    }

    /// How often a host's Shim6 let something go for `reason` since it started.
    #[must_use]
    pub fn dropped(&self, host: HostId, reason: DropReason) -> u64 {
        self.counters(host)
            .map_or(0, |counters| counters.dropped(reason))
    }

    /// What a host's Shim6 told its operator, in all its lives.
    #[must_use]
    pub fn events(&self, host: HostId) -> &[(Instant, Event)] {
        &self.hosts[host.0].events
    }

    /// The control messages that hosts sent, in order.
    #[must_use]
    pub fn messages(&self) -> &[(Instant, HostId, MessageType)] {
        &self.messages
    }

    /// How many messages of a type a host sent.
    #[must_use]
    pub fn sent(&self, host: HostId, ty: MessageType) -> usize {
        let of_host = |&&(_, sender, sent): &&_| (sender, sent) == (host, ty);
        self.messages.iter().filter(of_host).count()
    }

    /// Payload packets that a host sent as its upper layer handed them over, and with a tag.
    #[must_use]
    pub fn payload_sent(&self, host: HostId) -> (u64, u64) {
        let host = &self.hosts[host.0];
        (host.untouched, host.mapped)
    }

    /// Takes what arrived for a puppet.
    pub fn take_inbox(&mut self, host: HostId) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.hosts[host.0].inbox)
    }

    /// Whether anything waits for a puppet.
    #[must_use]
    pub fn has_mail(&self, host: HostId) -> bool {
        !self.hosts[host.0].inbox.is_empty()
    }
}
