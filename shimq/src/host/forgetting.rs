//! Which of the addresses that were formed are forgotten.
//!
//! Decides how many are kept that no interface has. A host that moves from network to network forms
//! addresses in each, and has the same ones again where it comes back; but most networks it never sees
//! again. So those that were there last are kept, sets as a whole, and as many as can still be ULIDs after
//! the kernel took them away: no connection loses what proves its address. When an address was there last
//! is the time of its file, so that it outlives a restart.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use super::formed::Formed;
use super::held;
use super::store::Store;
use super::watch::Snapshot;

/// Sets, and addresses that are in none, that are kept though no interface has them.
const KEPT: usize = held::MAX;

/// Which addresses were on interfaces at the last look.
#[derive(Debug, Default)]
pub(super) struct Presence {
    there: BTreeSet<Ipv6Addr>,
}

impl Presence {
    /// Looks again: notes what came and went, and forgets what nobody has had for too long.
    pub(super) fn look(&mut self, snapshot: &Snapshot, formed: &mut Formed, store: &Store) {
        let addresses = snapshot.addresses.values();
        let there: BTreeSet<_> = addresses.map(|address| address.address).collect();
        for (interface, address) in formed.iter() {
            if there.contains(&address) != self.there.contains(&address)
                && let Err(error) = store.touch_formed(interface, address)
            {
                // It is forgotten sooner than it should be.
                tracing::debug!(%address, %error, "not noted when it was there");
            }
        }
        self.there = there;
        for (interface, address) in self.outdated(formed, store) {
            formed.remove(&interface, address);
            match store.remove_formed(&interface, address) {
                Ok(()) => tracing::info!(%address, interface, "forgotten: not seen for long"),
                Err(error) => tracing::warn!("{error}"),
            }
        }
    }

    /// The addresses that are to be forgotten, with their interfaces.
    fn outdated(&self, formed: &Formed, store: &Store) -> Vec<(String, Ipv6Addr)> {
        if formed.iter().count() <= KEPT {
            return Vec::new();
        }
        let mut unused = formed.groups();
        unused.retain(|group| {
            let mut members = group.iter();
            !members.any(|(_, address)| self.there.contains(address))
        });
        unused.sort_by_cached_key(|group| {
            let times = group.iter();
            let times = times.filter_map(|(name, address)| store.formed_time(name, *address));
            Reverse(times.max())
        });
        unused.into_iter().skip(KEPT).flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;
    use shim6_cga::generate_hba;

    use super::*;

    /// Forms a set over two prefixes that only it has.
    fn form(number: u8, formed: &mut Formed, store: &Store) -> Vec<Ipv6Addr> {
        let mut rng = ChaCha20Rng::seed_from_u64(number.into());
        let prefixes = [
            [0x20, number, 0, 0, 0, 0, 0, 1],
            [0x20, number, 0, 0, 0, 0, 0, 2],
        ];
        let set = generate_hba(&prefixes, None, 0, &mut rng).unwrap();
        let members = set.into_iter().map(|(address, pds)| {
            store.save_formed("eth0", address, &pds).unwrap();
            formed.insert("eth0", address, Arc::new(pds));
            address
        });
        members.collect()
    }

    #[test]
    fn the_sets_that_were_there_last_are_kept_and_those_that_are_there() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path());
        let mut formed = Formed::default();
        let sets: Vec<_> = (0..=KEPT as u8 + 1)
            .map(|number| form(number, &mut formed, &store))
            .collect();
        let mut presence = Presence::default();
        // Of the first, one address is there; the third was seen after all others.
        presence.there.insert(sets[0][1]);
        store.touch_formed("eth0", sets[2][0]).unwrap();
        let second = sets[1].iter().map(|&address| ("eth0".to_owned(), address));
        let mut outdated = presence.outdated(&formed, &store);
        outdated.sort();
        let mut expected: Vec<_> = second.collect();
        expected.sort();
        assert_eq!(outdated, expected);
        presence.there.clear();
        assert_eq!(presence.outdated(&formed, &store).len(), 4, "two sets");
    }
}
