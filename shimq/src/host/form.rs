//! One CGA for each prefix of the chosen interfaces.
//!
//! Decides what becomes of the prefixes that others have addresses in, or that routers advertise:
//! an address in each, kept on the interface from then on. It is formed
//! once, kept in the [`Store`], added beside the addresses that are there, in step with their
//! lifetimes, and replaced if duplicate address detection finds another owner. It is marked with
//! [`PROTOCOL`] and brings no route of its own, so taking it away again leaves no trace. It is not
//! taken away here: connections live on it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, CacheInfo,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rand_chacha::ChaCha20Rng;
use shim6_cga::{
    CgaError, Modifier, Pds, Search, SigningKey, form_address, next_collision, random_modifier,
};
use tokio::task::JoinSet;

use super::advertised::Advertised;
use super::lifetime::{Lifetime, Lifetimes};
use super::netlink::Kernel;
use super::owner::{Owner, Owners};
use super::prefixes::{PREFIX_LEN, PrefixState, prefixes};
use super::store::{Parameters, Store};
use super::watch::{InterfaceAddress, News, Snapshot};
use super::{HostError, InterfaceChoice, PROTOCOL, SubnetPrefix};
use crate::search::all_processors;

/// Where an address belongs: an interface, by name because its index changes, and a prefix on it.
type Place = (String, SubnetPrefix);

/// Forms addresses, and keeps them where they belong.
pub(super) struct Former {
    kernel: Kernel,
    store: Store,
    owners: Owners,
    rng: ChaCha20Rng,
    /// Where prefixes come from; `None` if from the addresses of others.
    advertised: Option<Advertised>,
    formed: BTreeMap<Place, (Ipv6Addr, Arc<Pds>)>,
    /// Searches that run on other threads.
    searches: JoinSet<(Place, Result<Option<Parameters>, CgaError>)>,
    /// Where an address is being searched for, or was given up.
    pending: BTreeSet<Place>,
    /// Tells the searches that nobody waits for them any more.
    unwanted: Arc<AtomicBool>,
}

impl Drop for Former {
    fn drop(&mut self) {
        self.unwanted.store(true, Ordering::Relaxed);
    }
}

impl Former {
    /// Starts with the addresses that were formed before with the keys that the interfaces have now.
    pub(super) fn new(
        kernel: Kernel,
        store: Store,
        owners: Owners,
        rng: ChaCha20Rng,
        advertised: Option<Advertised>,
    ) -> Result<Self, HostError> {
        let mut formed: BTreeMap<Place, (Ipv6Addr, Arc<Pds>)> = BTreeMap::new();
        for interface in store.formed_interfaces()? {
            let key = owners.of(&interface).key.public_key();
            for (address, pds) in store.formed(&interface)? {
                if pds.public_key() != key {
                    tracing::warn!(
                        %address,
                        interface,
                        "ignored: formed with another key than this interface has now"
                    );
                    continue;
                }
                // Two for one prefix: the writer was killed after a collision.
                let place = (interface.clone(), pds.subnet_prefix());
                let later = formed
                    .get(&place)
                    .is_none_or(|(_, other)| other.collision_count() < pds.collision_count());
                if later {
                    formed.insert(place, (address, Arc::new(pds)));
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
            searches: JoinSet::new(),
            pending: BTreeSet::new(),
            unwanted: Arc::new(AtomicBool::new(false)),
        })
    }

    /// The parameters of an address that was formed for this interface.
    pub(super) fn parameters(&self, interface: &str, address: Ipv6Addr) -> Option<&Arc<Pds>> {
        let place = (interface.to_owned(), super::watch::prefix_of(address));
        self.formed
            .get(&place)
            .filter(|(formed, _)| *formed == address)
            .map(|(_, pds)| pds)
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
        let prefixes = self.prefixes(snapshot, choice);
        for (&(index, prefix), state) in &prefixes {
            let Some(interface) = snapshot.interfaces.get(&index) else {
                continue;
            };
            let place = (interface.name.clone(), prefix);
            if let Some(&(address, _)) = self.formed.get(&place) {
                let present = snapshot.addresses.get(&(index, address));
                self.keep(index, address, present, *state).await?;
            } else if state.settled && self.pending.insert(place.clone()) {
                self.search(place);
            }
        }
        self.deprecate_abandoned(snapshot, choice, &prefixes).await
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
        for ((name, prefix), (address, _)) in &self.formed {
            let Some((index, interface)) = snapshot.interface_named(name) else {
                continue;
            };
            match snapshot.addresses.get(&(index, *address)) {
                Some(present) => advertised.adopt((index, *prefix), present.lifetimes),
                None if !interface.up => advertised.forget((index, *prefix)),
                None => {}
            }
        }
        advertised.handle(news, snapshot, choice, Instant::now());
    }

    /// When [`Self::handle_advertised`] wants to be called without news.
    pub(super) fn due(&self) -> Option<Instant> {
        self.advertised.as_ref()?.due()
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

    /// Waits for an address to be found, and keeps it; for ever if none is searched for.
    pub(super) async fn found(&mut self) -> Result<(), HostError> {
        let Some(joined) = self.searches.join_next().await else {
            return std::future::pending().await;
        };
        let (place, found) = joined.map_err(|error| {
            HostError::netlink("searching a modifier", std::io::Error::other(error))
        })?;
        // Unless all goes well, a later round searches again.
        self.pending.remove(&place);
        if let Some((address, pds)) = found? {
            self.store.save_formed(&place.0, address, &pds)?;
            tracing::info!(%address, interface = place.0, "address formed");
            self.formed.insert(place, (address, Arc::new(pds)));
        }
        Ok(())
    }

    /// Goes on to the next address after duplicate address detection refused one.
    pub(super) async fn handle_duplicate(
        &mut self,
        snapshot: &Snapshot,
        (index, address): (u32, Ipv6Addr),
    ) -> Result<(), HostError> {
        let Some(interface) = snapshot.interfaces.get(&index) else {
            return Ok(());
        };
        let Some(pds) = self.parameters(&interface.name, address).cloned() else {
            return Ok(());
        };
        let place = (interface.name.clone(), pds.subnet_prefix());
        //= https://www.rfc-editor.org/rfc/rfc3972#section-4
        //= id=C-019
        //# If an address collision is detected, increment the collision count
        //# by one and go back to step 5.  However, after three collisions,
        //# stop and report the error.
        match next_collision(address, &pds) {
            Ok((next, next_pds)) => {
                tracing::warn!(%address, %next, interface = place.0, "address is in use");
                self.store.save_formed(&place.0, next, &next_pds)?;
                self.store.remove_formed(&place.0, address)?;
                self.formed.insert(place, (next, Arc::new(next_pds)));
            }
            Err(error) => {
                tracing::error!(
                    %address,
                    interface = place.0,
                    "no address formed: {error}; look for a host that answers for every address"
                );
                self.formed.remove(&place);
                self.pending.insert(place);
            }
        }
        let request = RouteNetlinkMessage::DelAddress(message(index, address));
        self.kernel
            .remove("removing a duplicate address", request)
            .await
            .map(|_| ())
    }

    /// Adds an address, or gives it the lifetimes that others in its prefix have now.
    async fn keep(
        &self,
        interface: u32,
        address: Ipv6Addr,
        present: Option<&InterfaceAddress>,
        state: PrefixState,
    ) -> Result<(), HostError> {
        let now = Instant::now();
        let right = match present {
            Some(present) => {
                present.duplicate() || present.lifetimes.agree_with(state.lifetimes, now)
            }
            None => !state.settled,
        };
        if right || state.lifetimes.valid.seconds(now) == 0 {
            return Ok(());
        }
        self.set(interface, address, state.lifetimes, now).await
    }

    /// Deprecates addresses whose prefix nobody else uses any more: for old connections only.
    async fn deprecate_abandoned(
        &self,
        snapshot: &Snapshot,
        choice: &InterfaceChoice,
        prefixes: &BTreeMap<(u32, SubnetPrefix), PrefixState>,
    ) -> Result<(), HostError> {
        for ((name, prefix), (address, _)) in &self.formed {
            let Some((index, _)) = snapshot.interface_named(name) else {
                continue;
            };
            let Some(present) = snapshot.addresses.get(&(index, *address)) else {
                continue;
            };
            if choice.allows(name)
                && !prefixes.contains_key(&(index, *prefix))
                && !present.deprecated()
                && !present.duplicate()
            {
                let now = Instant::now();
                let lifetimes = Lifetimes {
                    valid: present.lifetimes.valid,
                    preferred: Lifetime::Until(now),
                };
                self.set(index, *address, lifetimes, now).await?;
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

    /// Searches a modifier for a place on another thread.
    fn search(&mut self, place: Place) {
        let start = random_modifier(&mut self.rng);
        let Owner { key, sec } = self.owners.of(&place.0).clone();
        let unwanted = Arc::clone(&self.unwanted);
        self.searches.spawn_blocking(move || {
            let found = search(&key, place.1, sec, start, &unwanted);
            (place, found)
        });
    }
}

/// Forms an address; `None` if it became unwanted before it was found.
fn search(
    key: &SigningKey,
    prefix: SubnetPrefix,
    sec: u8,
    start: Modifier,
    unwanted: &AtomicBool,
) -> Result<Option<Parameters>, CgaError> {
    let whole = Search::new(key.public_key(), &[], sec, start)?;
    crate::search::search(&whole, all_processors(), |_| {
        !unwanted.load(Ordering::Relaxed)
    })
    .map(|modifier| form_address(modifier, prefix, 0, key.public_key(), &[], sec))
    .transpose()
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
