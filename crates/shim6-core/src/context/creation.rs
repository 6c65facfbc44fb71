//! A new context: its tags, its nonce, its place in the table (RFC 5533 §6.1, §7.1).

use std::sync::Arc;

use rand_core::RngCore;
use shim6_wire::{ContextTag, Fii, InitiatorNonce};

use super::fork::FORKS_MAX;
use super::{Context, CurrentPair, State};
use crate::account::Account;
use crate::budget::Site;
use crate::endpoint::Endpoint;
use crate::event::DropReason;
use crate::locator::PeerLocators;
use crate::pair::UlidPair;
use crate::reap::Reap;
use crate::table::Taken;
use crate::time::Instant;

impl Endpoint {
    /// Whether there is room for a context that `site` begins, or this host.
    pub(super) fn check_room(
        &self,
        ulids: UlidPair,
        fii: Fii,
        site: Option<Site>,
    ) -> Result<(), DropReason> {
        if fii != Fii::DEFAULT && self.table.forks(ulids) >= FORKS_MAX {
            return Err(DropReason::TooManyForks);
        }
        if self.table.len() >= self.config.contexts_max {
            return Err(DropReason::TableFull);
        }
        match site {
            Some(site) => self.shares.check(site, &self.config),
            None if self.table.unanswered() >= self.config.contexts_max / 4 => {
                Err(DropReason::TooManyUnanswered)
            }
            None => Ok(()),
        }
    }

    /// Allocates a context with an unused tag, begun by `site` or by this host. `None` if `ulids.local`
    /// is no ULID of this host, or if there is no room.
    pub(super) fn new_context(
        &mut self,
        ulids: UlidPair,
        fii: Fii,
        site: Option<Site>,
        now: Instant,
    ) -> Option<Taken> {
        let announcement = Arc::clone(self.local.announcement(ulids.local)?);
        if let Err(reason) = self.check_room(ulids, fii, site) {
            self.counters.drop(reason);
            return None;
        }
        if let Some(site) = site {
            self.shares.take(site);
        }
        let state = match site {
            Some(_) => State::Established,
            None => State::I1Sent,
        };
        self.counters.contexts_created += 1;
        let context = Context {
            ulids,
            fii,
            state,
            local_tag: self.unused_tag(),
            peer_tag: None,
            initiator_nonce: self.unused_nonce(),
            acknowledged: Arc::clone(&announcement),
            announcement,
            told: Instant::default(),
            strays_until: Instant::default(),
            peer: PeerLocators::ulid_alone(ulids.peer),
            current: CurrentPair::of_ulids(ulids),
            inbound: ulids.into(),
            exchange: None,
            fell_back: false,
            update: None,
            reap: Reap::new(&self.config, &mut self.rng),
            mark: None,
            wish: None,
            silence: None,
            false_alarms: (0, now),
            stay: super::stay::Stay::default(),
            tested_at: Instant::default(),
            relied: false,
            account: Arc::new(Account::default()),
            site,
            created: now,
            end: None,
        };
        Some(self.table.insert(context, now))
    }

    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.1
    //= id=S-059
    //# the Context Tag MUST be unique for each context.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.1
    //= id=S-060
    //# at least 30 bits of the Context Tag MUST be unstructured and populated by random or
    //# pseudo-random bits.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.1
    //= id=S-061
    //# the host SHOULD randomly cycle through the unstructured tag name space that is reserved
    //# for randomly assigned Context Tag values
    fn unused_tag(&mut self) -> ContextTag {
        loop {
            let tag = ContextTag::from_bits(self.rng.next_u64());
            if self.table.by_local_tag(tag).is_none() {
                return tag;
            }
        }
    }

    pub(super) fn unused_nonce(&mut self) -> InitiatorNonce {
        loop {
            let nonce = InitiatorNonce(self.rng.next_u32());
            if self.table.by_nonce(nonce).is_none() {
                return nonce;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use rand_core::SeedableRng;
    use shim6_cga::{MultiPrefix, form_hba_set, random_nonce};
    use shim6_wire::Preference;

    use super::*;
    use crate::locator::LocalLocator;
    use crate::trigger::VolumeOrAge;

    /// A host with one HBA.
    fn endpoint() -> (Endpoint, Ipv6Addr) {
        let config = crate::Config::default();
        let mut endpoint = Endpoint::new(config, Box::new(VolumeOrAge::default()), [7; 32]);
        let set = MultiPrefix {
            has_public_key: false,
            prefixes: vec![[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 1]],
        };
        let nonce = random_nonce(&mut rand_chacha::ChaCha20Rng::seed_from_u64(1));
        let (address, pds) = form_hba_set([0; 16], &set, 0, &nonce, 0).unwrap().remove(0);
        let locator = LocalLocator {
            address,
            pds: Arc::new(pds),
            key: None,
            usable: true,
            preference: Preference::default(),
        };
        endpoint.handle_local_locators(Instant::from_micros(1), &[locator]);
        (endpoint, address)
    }

    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.1
    //= type=test
    //= id=S-059
    //# the Context Tag MUST be unique for each context.
    #[test]
    fn a_tag_in_use_is_not_drawn_again() {
        let (mut endpoint, local) = endpoint();
        let now = Instant::from_micros(1);
        let before = endpoint.rng.clone();
        for host in 1..=3 {
            // Every context draws from the same numbers.
            endpoint.rng = before.clone();
            let peer = Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, host);
            assert!(endpoint.initiate(UlidPair { local, peer }, now));
        }
        let mut tags: Vec<_> = endpoint.contexts().iter().map(|c| c.local_tag).collect();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), 3);
    }
}
