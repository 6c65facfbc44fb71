//! What a script does to a world.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::time::Duration;

use shim6_cga::SubnetPrefix;
use shim6_core::{
    ExplorationPolicy, ForkRefusal, LocalLocator, LocatorPair, SwitchRefusal, UlidPair,
};
use shim6_wire::MessageType;

use super::World;
use crate::host::HostId;
use crate::model::Stimulus;
use crate::net::{Link, Pair};
use crate::trace::Record;

impl World {
    /// Changes one direction of the network.
    pub fn set_link(&mut self, pair: Pair, change: impl FnOnce(&mut Link)) {
        let link = self.net.link_mut(pair);
        change(link);
        let fault = format!("{} > {}: {link:?}", pair.source, pair.destination);
        self.trace.note(self.now, Record::Fault(fault));
    }

    /// Changes all directions that [`Self::set_link`] has not touched.
    pub fn set_default_link(&mut self, link: Link) {
        self.net.default = link;
        let fault = format!("all links: {link:?}");
        self.trace.note(self.now, Record::Fault(fault));
    }

    /// Forgets what [`Self::set_link`] did.
    pub fn heal(&mut self) {
        self.net.links.clear();
        self.trace
            .note(self.now, Record::Fault("healed".to_owned()));
    }

    /// Cuts a pair of addresses in both directions.
    pub fn cut(&mut self, pair: Pair) {
        self.cut_one_way(pair);
        self.cut_one_way(pair.reversed());
    }

    /// Cuts one direction.
    pub fn cut_one_way(&mut self, pair: Pair) {
        self.set_link(pair, |link| link.up = false);
    }

    /// Mends a pair of addresses in both directions.
    pub fn mend(&mut self, pair: Pair) {
        self.set_link(pair, |link| link.up = true);
        self.set_link(pair.reversed(), |link| link.up = true);
    }

    /// Loses the next message of this type that `host` sends; twice called, the next two.
    pub fn lose_next(&mut self, host: HostId, ty: MessageType) {
        self.losses.push((host, ty));
    }

    /// Every pair of addresses between two hosts, seen from `from`.
    #[must_use]
    pub fn pairs(&self, from: HostId, to: HostId) -> Vec<Pair> {
        let addresses = |host: HostId| self.hosts[host.0].spec.locators.iter().map(|l| l.address);
        addresses(from)
            .flat_map(|source| {
                addresses(to).map(move |destination| Pair {
                    source,
                    destination,
                })
            })
            .collect()
    }

    /// From now on `host` sends by one exit, whose provider lets only this source prefix out
    /// (RFC 3704); with `None` each source leaves by its own provider.
    pub fn filter_ingress(&mut self, host: HostId, exit: Option<SubnetPrefix>) {
        match exit {
            Some(prefix) => self.net.exits.insert(host, BTreeSet::from([prefix])),
            None => self.net.exits.remove(&host),
        };
        let fault = format!("{host} sends by {exit:?}");
        self.trace.note(self.now, Record::Fault(fault));
    }

    /// Shim6 on `host` ends and starts again, with nothing remembered.
    pub fn restart(&mut self, host: HostId) {
        self.trace
            .note(self.now, Record::Fault(format!("{host} restarts")));
        self.hosts[host.0].restarts += 1;
        self.boot(host);
    }

    /// The clock of `host` jumps ahead, as it does when a laptop wakes up.
    pub fn jump_clock(&mut self, host: HostId, span: Duration) {
        let fault = format!("{host} wakes {span:?} later");
        self.trace.note(self.now, Record::Fault(fault));
        self.hosts[host.0].ahead += span;
        self.drain(host, Stimulus::Local);
    }

    /// Gives `host` these addresses instead of those that it has.
    pub fn set_locators(&mut self, host: HostId, locators: Vec<LocalLocator>) {
        let fault = format!("{host} has {} addresses", locators.len());
        self.trace.note(self.now, Record::Fault(fault));
        self.addresses.retain(|_, owner| *owner != host);
        for locator in &locators {
            self.model.own(host, locator.address);
            if locator.usable {
                self.addresses.insert(locator.address, host);
            }
        }
        self.tell_locators(host, locators);
    }

    /// An address of `host` goes out of use: packets still come and go by it, but none should
    /// (deprecated, RFC 4862 §5.5.4).
    pub fn deprecate(&mut self, host: HostId, index: usize) {
        let mut locators = self.locators(host).to_vec();
        locators[index].usable = false;
        let fault = format!("{host} deprecates {}", locators[index].address);
        self.trace.note(self.now, Record::Fault(fault));
        self.tell_locators(host, locators);
    }

    fn tell_locators(&mut self, host: HostId, locators: Vec<LocalLocator>) {
        self.model.stimulated();
        let now = self.clock_of(host);
        let this = &mut self.hosts[host.0];
        this.spec.locators = locators;
        if let Some(engine) = &mut this.engine {
            engine
                .endpoint
                .handle_local_locators(now, &this.spec.locators);
        }
        self.drain(host, Stimulus::Local);
    }

    /// Begins a context by hand.
    pub fn trigger(&mut self, host: HostId, ulids: UlidPair) {
        self.model.stimulated();
        let now = self.clock_of(host);
        if let Some(engine) = &mut self.hosts[host.0].engine {
            engine.endpoint.handle_trigger(now, ulids);
        }
        self.drain(host, Stimulus::Local);
    }

    /// `host` probes in another order from now on, until it restarts.
    pub fn set_exploration(&mut self, host: HostId, policy: ExplorationPolicy) {
        if let Some(engine) = &mut self.hosts[host.0].engine {
            engine.endpoint.set_exploration(policy);
        }
    }

    /// An operator of `host` wants its only context to move.
    ///
    /// # Errors
    ///
    /// Why it does not even try; for want of a context, too.
    pub fn switch(
        &mut self,
        host: HostId,
        to: Option<LocatorPair>,
    ) -> Result<LocatorPair, SwitchRefusal> {
        self.model.stimulated();
        let now = self.clock_of(host);
        let tag = self.contexts(host).first().map(|view| view.local_tag);
        let engine = self.hosts[host.0].engine.as_mut();
        let (tag, engine) = tag.zip(engine).ok_or(SwitchRefusal::NoContext)?;
        let target = engine.endpoint.switch(now, tag, to);
        self.drain(host, Stimulus::Local);
        target
    }

    /// Forks a context of `host` for flows with `mark`, on `pair`.
    ///
    /// # Errors
    ///
    /// Why it does not even try; for want of a context, too.
    pub fn fork(
        &mut self,
        host: HostId,
        ulids: UlidPair,
        mark: u32,
        pair: Pair,
    ) -> Result<(), ForkRefusal> {
        self.model.stimulated();
        let now = self.clock_of(host);
        let engine = self.hosts[host.0].engine.as_mut();
        let engine = engine.ok_or(ForkRefusal::NoContext)?;
        let pair = LocatorPair {
            local: pair.source,
            peer: pair.destination,
        };
        let forked = engine.endpoint.fork(now, ulids, mark, Some(pair));
        self.drain(host, Stimulus::Local);
        forked
    }

    /// Has `host` take a fork back; says whether there was one.
    pub fn end_fork(&mut self, host: HostId, ulids: UlidPair, mark: u32) -> bool {
        self.model.stimulated();
        let engine = self.hosts[host.0].engine.as_mut();
        let ended = engine.is_some_and(|engine| engine.endpoint.end_fork(ulids, mark));
        self.drain(host, Stimulus::Local);
        ended
    }

    /// Sends any octets in the name of `host`.
    pub fn inject(&mut self, host: HostId, octets: Vec<u8>) {
        self.post(host, octets);
    }

    /// Lets others take `address` for one of `claimant`'s: it has a sound proof of what is not true.
    /// They may probe it, and still have to keep payload away from it.
    pub fn allow_probes(&mut self, claimant: HostId, address: Ipv6Addr) {
        self.model.allow_probes(claimant, address);
    }

    /// From now on it is a violation to send anything to `address`.
    pub fn forbid(&mut self, address: Ipv6Addr) {
        self.model.forbid(address);
    }
}
