//! One address for each prefix of the chosen interfaces.
//!
//! Decides what becomes of the prefixes that others have addresses in, or that routers advertise:
//! an address in each, kept on the interface from then on, as a CGA of its own or a member of an HBA
//! set. It is formed once, kept in the [`Store`], added beside the addresses that are there, in step
//! with their lifetimes, and replaced if duplicate address detection finds another owner. It is marked
//! with [`PROTOCOL`] and brings no route of its own, so taking it away again leaves no trace. It is not
//! taken away here: connections live on it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, CacheInfo,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rand_chacha::ChaCha20Rng;
use shim6_cga::{CgaError, Pds, next_collision};

use super::advertised::Advertised;
use super::forgetting::Presence;
use super::formed::{Formed, Place};
use super::lifetime::{Lifetime, Lifetimes};
use super::netlink::Kernel;
use super::owner::{Owners, SetNumber};
use super::prefixes::{PREFIX_LEN, PrefixState, prefixes};
use super::searches::Searches;
use super::store::Store;
use super::watch::{InterfaceAddress, News, Snapshot, prefix_of};
use super::{HostError, InterfaceChoice, PROTOCOL, SubnetPrefix};

/// How long a set waits for the prefixes of routers that have not spoken yet: so long may one take to
/// answer a solicitation (`MIN_DELAY_BETWEEN_RAS` and `MAX_RA_DELAY_TIME`, RFC 4861 §6.2.6).
const ADVERTISED_BY: Duration = Duration::from_millis(3500);

/// Forms addresses, and keeps them where they belong.
pub(super) struct Former {
    kernel: Kernel,
    store: Store,
    owners: Owners,
    rng: ChaCha20Rng,
    /// Where prefixes come from; `None` if from the addresses of others.
    advertised: Option<Advertised>,
    formed: Formed,
    presence: Presence,
    searches: Searches,
    /// Where each address that was tried is somebody else's.
    given_up: BTreeSet<Place>,
    /// When sets are formed that leave out a prefix so far.
    due: BTreeMap<SetNumber, Instant>,
}

impl Former {
    /// Starts with the addresses that were formed before as the interfaces would have them now.
    pub(super) fn new(
        kernel: Kernel,
        store: Store,
        owners: Owners,
        rng: ChaCha20Rng,
        advertised: Option<Advertised>,
    ) -> Result<Self, HostError> {
        let mut formed = Formed::default();
        for interface in store.formed_interfaces()? {
            let Some(owner) = owners.of(&interface) else {
                continue;
            };
            for (address, pds) in store.formed(&interface)? {
                if owner.can_have_formed(&pds) {
                    formed.insert(&interface, address, Arc::new(pds));
                } else {
                    tracing::warn!(
                        %address,
                        interface,
                        "ignored: formed with another key or as another kind than this interface has now"
                    );
                }
            }
        }
        Ok(Self {
            kernel,
            store,
            owners,
            rng,
            advertised,
            formed,
            presence: Presence::default(),
            searches: Searches::new(),
            given_up: BTreeSet::new(),
            due: BTreeMap::new(),
        })
    }

    /// The parameters of an address that was formed for this interface.
    pub(super) fn parameters(&self, interface: &str, address: Ipv6Addr) -> Option<&Arc<Pds>> {
        self.formed.parameters(interface, address)
    }

    /// The address that new connections have in place of this one, if that was replaced.
    pub(super) fn successor(&self, interface: &str, address: Ipv6Addr) -> Option<Ipv6Addr> {
        self.formed.successor(interface, address)
    }

    /// Makes the addresses on the interfaces what they should be.
    pub(super) async fn maintain(
        &mut self,
        snapshot: &Snapshot,
        choice: &InterfaceChoice,
    ) -> Result<(), HostError> {
        let duplicates = snapshot
            .addresses
            .values()
            .filter(|address| address.duplicate());
        for address in duplicates {
            self.handle_duplicate(snapshot, (address.interface, address.address))
                .await?;
        }
        self.presence.look(snapshot, &mut self.formed, &self.store);
        let prefixes = self.prefixes(snapshot, choice);
        let named = prefixes.iter().filter_map(|(&(index, prefix), state)| {
            let interface = snapshot.interfaces.get(&index)?;
            Some((index, (interface.name.clone(), prefix), *state))
        });
        let places: Vec<_> = named.collect();
        self.form(&places, Instant::now());
        for (index, place, state) in &places {
            self.keep(*index, place, *state, snapshot).await?;
        }
        self.deprecate_abandoned(snapshot, choice, &prefixes).await
    }

    /// Searches addresses for places that want one and have none.
    fn form(&mut self, places: &[(u32, Place, PrefixState)], now: Instant) {
        let mut sets: BTreeMap<SetNumber, BTreeMap<Place, bool>> = BTreeMap::new();
        for (_, place, state) in places {
            if self.given_up.contains(place) {
                continue;
            }
            if let Some(number) = self.owners.set_of(&place.0) {
                let set = sets.entry(number).or_default();
                set.insert(place.clone(), state.settled);
                continue;
            }
            self.formed.choose(place);
            let is_missing = self.formed.current(place).is_none();
            if is_missing
                && state.settled
                && !self.searches.runs_for(place)
                && let Some(owner) = self.owners.of(&place.0)
            {
                self.searches
                    .start(vec![place.clone()], owner, &mut self.rng);
            }
        }
        self.due.retain(|number, _| sets.contains_key(number));
        for (number, places) in sets {
            let over = self.formed.choose_set(&places);
            let runs = places.keys().any(|place| self.searches.runs_for(place));
            let Some(over) = over.filter(|_| !runs) else {
                self.due.remove(&number);
                continue;
            };
            if *self.due.entry(number).or_insert(now + ADVERTISED_BY) <= now {
                self.due.remove(&number);
                if let Some(owner) = self.owners.of(&over[0].0) {
                    self.searches.start(over, owner, &mut self.rng);
                }
            }
        }
    }

    /// Takes in what routers advertised.
    pub(super) fn handle_advertised(
        &mut self,
        news: &News,
        snapshot: &Snapshot,
        choice: &InterfaceChoice,
    ) {
        let Some(advertised) = &mut self.advertised else {
            return;
        };
        let mut known: BTreeMap<(u32, SubnetPrefix), Option<Lifetimes>> = BTreeMap::new();
        for (name, address) in self.formed.iter() {
            let Some((index, interface)) = snapshot.interface_named(name) else {
                continue;
            };
            let present = snapshot.addresses.get(&(index, address));
            if present.is_none() && interface.up {
                continue;
            }
            let lifetimes = known.entry((index, prefix_of(address))).or_default();
            let present = present.map(|present| present.lifetimes);
            *lifetimes = match (*lifetimes, present) {
                (Some(one), Some(other)) => Some(one.max(other)),
                (one, other) => one.or(other),
            };
        }
        for (place, lifetimes) in known {
            match lifetimes {
                Some(lifetimes) => advertised.adopt(place, lifetimes),
                None => advertised.forget(place),
            }
        }
        advertised.handle(news, snapshot, choice, Instant::now());
    }

    /// When to look without news.
    pub(super) fn due(&self) -> Option<Instant> {
        let advertised = self.advertised.as_ref().and_then(Advertised::due);
        advertised
            .into_iter()
            .chain(self.due.values().copied())
            .min()
    }

    /// The prefixes that addresses of ours are for.
    fn prefixes(
        &self,
        snapshot: &Snapshot,
        choice: &InterfaceChoice,
    ) -> BTreeMap<(u32, SubnetPrefix), PrefixState> {
        if let Some(advertised) = &self.advertised {
            return advertised.prefixes(snapshot, choice, Instant::now());
        }
        prefixes(snapshot, choice, |interface, address| {
            address.protocol == PROTOCOL
                || self.parameters(&interface.name, address.address).is_some()
        })
    }

    /// Waits for addresses to be found, and keeps them; for ever if none are searched for. Unless all
    /// goes well, a later round searches again.
    pub(super) async fn found(&mut self) -> Result<(), HostError> {
        let found = self.searches.found().await?;
        for ((interface, _), address, pds) in &found {
            self.store.save_formed(interface, *address, pds)?;
        }
        for (place, address, pds) in found {
            tracing::info!(%address, interface = place.0, "address formed");
            self.formed.insert_current(place, address, Arc::new(pds));
        }
        Ok(())
    }

    /// Goes on to the next address after duplicate address detection refused one; where that is of
    /// a set, to the next of each of its addresses.
    pub(super) async fn handle_duplicate(
        &mut self,
        snapshot: &Snapshot,
        (index, address): (u32, Ipv6Addr),
    ) -> Result<(), HostError> {
        let Some(interface) = snapshot.interfaces.get(&index) else {
            return Ok(());
        };
        let name = &interface.name;
        if self.parameters(name, address).is_none() {
            return Ok(());
        }
        let place = (name.clone(), prefix_of(address));
        if self.formed.current(&place) == Some(address) {
            self.replace_duplicate(&place, address)?;
        }
        self.formed.remove(name, address);
        let request = RouteNetlinkMessage::DelAddress(message(index, address));
        self.kernel
            .remove("removing a duplicate address", request)
            .await
            .map(|_| ())
    }

    fn replace_duplicate(&mut self, place: &Place, address: Ipv6Addr) -> Result<(), HostError> {
        let interface = &place.0;
        let formed = self.formed.formed_with(interface, address);
        //= https://www.rfc-editor.org/rfc/rfc3972#section-4
        //= id=C-019
        //# If an address collision is detected, increment the collision count
        //# by one and go back to step 5.  However, after three collisions,
        //# stop and report the error.
        //= https://www.rfc-editor.org/rfc/rfc5535#section-6
        //= id=H-012
        //# If an address collision is detected, increment the collision count by
        //# one and go back to step (6).
        let next = formed.into_iter().map(|(place, address, pds)| {
            let (next, pds) = next_collision(address, &pds)?;
            Ok((place, next, pds))
        });
        match next.collect::<Result<Vec<_>, CgaError>>() {
            Ok(next) => {
                for (place, next, pds) in &next {
                    tracing::warn!(%address, %next, interface = place.0, "address is in use");
                    self.store.save_formed(&place.0, *next, pds)?;
                }
                self.store.remove_formed(interface, address)?;
                for (place, next, pds) in next {
                    self.formed.insert_current(place, next, Arc::new(pds));
                }
            }
            Err(error) => {
                tracing::error!(
                    %address,
                    interface,
                    "no address formed: {error}; look for a host that answers for every address"
                );
                self.given_up.insert(place.clone());
            }
        }
        Ok(())
    }

    /// Adds the address of a place, gives it the lifetimes that others in its prefix have now, and
    /// leaves those that it replaced to the connections that have them, for as long.
    async fn keep(
        &self,
        interface: u32,
        place: &Place,
        state: PrefixState,
        snapshot: &Snapshot,
    ) -> Result<(), HostError> {
        let now = Instant::now();
        if state.lifetimes.valid.seconds(now) == 0 {
            return Ok(());
        }
        let Some(current) = self.formed.current(place) else {
            return Ok(());
        };
        let present = snapshot.addresses.get(&(interface, current));
        if present.is_some() || state.settled {
            self.adjust(interface, current, present, state.lifetimes, now)
                .await?;
        }
        // Not before the new one can be used.
        if present.is_none_or(InterfaceAddress::tentative) {
            return Ok(());
        }
        let replaced = snapshot.addresses.values().filter(|address| {
            let successor = self.successor(&place.0, address.address);
            address.interface == interface && successor == Some(current)
        });
        for present in replaced {
            let lifetimes = Lifetimes {
                preferred: Lifetime::Until(now),
                ..state.lifetimes
            };
            self.adjust(interface, present.address, Some(present), lifetimes, now)
                .await?;
        }
        Ok(())
    }

    /// Adds an address that is not there, or changes lifetimes that are not right.
    async fn adjust(
        &self,
        interface: u32,
        address: Ipv6Addr,
        present: Option<&InterfaceAddress>,
        lifetimes: Lifetimes,
        now: Instant,
    ) -> Result<(), HostError> {
        let is_right = present.is_some_and(|present| {
            present.duplicate() || present.lifetimes.agree_with(lifetimes, now)
        });
        if is_right {
            return Ok(());
        }
        self.set(interface, address, lifetimes, now).await
    }

    /// Deprecates addresses whose prefix nobody else uses any more: for old connections only.
    async fn deprecate_abandoned(
        &self,
        snapshot: &Snapshot,
        choice: &InterfaceChoice,
        prefixes: &BTreeMap<(u32, SubnetPrefix), PrefixState>,
    ) -> Result<(), HostError> {
        for (name, address) in self.formed.iter() {
            let Some((index, _)) = snapshot.interface_named(name) else {
                continue;
            };
            let Some(present) = snapshot.addresses.get(&(index, address)) else {
                continue;
            };
            if choice.allows(name)
                && !prefixes.contains_key(&(index, prefix_of(address)))
                && !present.deprecated()
                && !present.duplicate()
            {
                let now = Instant::now();
                let lifetimes = Lifetimes {
                    valid: present.lifetimes.valid,
                    preferred: Lifetime::Until(now),
                };
                self.set(index, address, lifetimes, now).await?;
            }
        }
        Ok(())
    }

    async fn set(
        &self,
        interface: u32,
        address: Ipv6Addr,
        lifetimes: Lifetimes,
        now: Instant,
    ) -> Result<(), HostError> {
        let mut info = CacheInfo::default();
        info.ifa_valid = lifetimes.valid.seconds(now);
        info.ifa_preferred = lifetimes.preferred.seconds(now).min(info.ifa_valid);
        let mut message = message(interface, address);
        message.attributes.extend([
            AddressAttribute::CacheInfo(info),
            // The prefix has its route already, and keeps it when this address goes.
            AddressAttribute::Flags(AddressFlags::Noprefixroute),
            AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)),
        ]);
        let request = RouteNetlinkMessage::NewAddress(message);
        self.kernel.replace("adding an address", request).await
    }
}

/// A message about an address of ours.
pub(super) fn message(interface: u32, address: Ipv6Addr) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet6;
    message.header.prefix_len = PREFIX_LEN;
    message.header.index = interface;
    message.attributes = vec![
        AddressAttribute::Address(address.into()),
        AddressAttribute::Local(address.into()),
    ];
    message
}
