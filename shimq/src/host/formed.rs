//! The addresses that were formed, and which of them new connections get.
//!
//! Decides which HBA set holds where several interfaces share one. A set binds the prefixes that were
//! known when it was formed, for good (RFC 5535 §5): a prefix that appears later is in none. The set
//! that holds then gives way to a new one over all prefixes, so that each provider can stand in for each
//! other one again (§8.1). Its addresses stay for the connections that have them. A set that was formed
//! before and has all prefixes that there are is as good as a new one: a host that comes back to
//! a network has the addresses again that it had there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::sync::Arc;

use shim6_cga::{Modifier, Pds};

use super::SubnetPrefix;
use super::watch::prefix_of;

/// Where an address belongs: an interface, by name because its index changes, and a prefix on it.
pub(super) type Place = (String, SubnetPrefix);

/// Most prefixes that a set is formed over: as many locators as a peer can be told of, with the longest
/// keys, in one message.
const SET_MAX: usize = 8;

/// What the members of a set have in common (RFC 5535 §6).
type SetParameters = (u8, Modifier, Vec<u8>, Vec<u8>);

/// Every address that was formed and is not somebody else's.
#[derive(Debug, Default)]
pub(super) struct Formed {
    /// By interface and address.
    addresses: BTreeMap<(String, Ipv6Addr), Arc<Pds>>,
    /// The address that new connections get; others at the same place are for those that have them.
    current: BTreeMap<Place, Ipv6Addr>,
}

impl Formed {
    /// Takes in an address that was formed some time ago.
    pub(super) fn insert(&mut self, interface: &str, address: Ipv6Addr, pds: Arc<Pds>) {
        self.addresses.insert((interface.to_owned(), address), pds);
    }

    /// Takes in an address that is for new connections from now on.
    pub(super) fn insert_current(&mut self, place: Place, address: Ipv6Addr, pds: Arc<Pds>) {
        self.insert(&place.0, address, pds);
        self.current.insert(place, address);
    }

    /// Forgets an address.
    pub(super) fn remove(&mut self, interface: &str, address: Ipv6Addr) {
        self.addresses.remove(&(interface.to_owned(), address));
        let place = (interface.to_owned(), prefix_of(address));
        if self.current.get(&place) == Some(&address) {
            self.current.remove(&place);
        }
    }

    /// The parameters of an address that was formed for this interface.
    pub(super) fn parameters(&self, interface: &str, address: Ipv6Addr) -> Option<&Arc<Pds>> {
        self.addresses.get(&(interface.to_owned(), address))
    }

    /// The address that new connections get here.
    pub(super) fn current(&self, place: &Place) -> Option<Ipv6Addr> {
        self.current.get(place).copied()
    }

    /// The address that took the place of this one, if any did.
    pub(super) fn successor(&self, interface: &str, address: Ipv6Addr) -> Option<Ipv6Addr> {
        self.parameters(interface, address)?;
        let place = (interface.to_owned(), prefix_of(address));
        self.current(&place).filter(|current| *current != address)
    }

    /// All addresses, with the names of their interfaces.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, Ipv6Addr)> {
        let all = self.addresses.keys();
        all.map(|(interface, address)| (interface.as_str(), *address))
    }

    /// The addresses with these parameters but for the prefix: those of one set, or a CGA alone.
    pub(super) fn formed_with(
        &self,
        interface: &str,
        address: Ipv6Addr,
    ) -> Vec<(Place, Ipv6Addr, Arc<Pds>)> {
        let Some(pds) = self.parameters(interface, address) else {
            return Vec::new();
        };
        let members = self.addresses.iter().filter(|((name, other), parameters)| {
            let is_it = name == interface && *other == address;
            let is_set = pds.multi_prefix().is_some();
            is_it || (is_set && set_parameters(parameters) == set_parameters(pds))
        });
        let described = members.map(|((name, member), parameters)| {
            let place = (name.clone(), prefix_of(*member));
            (place, *member, Arc::clone(parameters))
        });
        described.collect()
    }

    /// The addresses that were formed together, with their interfaces: each set, and each CGA alone.
    pub(super) fn groups(&self) -> Vec<Vec<(String, Ipv6Addr)>> {
        let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (key, pds) in &self.addresses {
            let alone = pds.multi_prefix().is_none().then_some(key.1);
            let group = groups.entry((set_parameters(pds), alone)).or_default();
            group.push(key.clone());
        }
        groups.into_values().collect()
    }

    /// Has new connections get the last address that was formed at a place.
    pub(super) fn choose(&mut self, place: &Place) {
        if !self.current.contains_key(place) {
            // Two for one prefix: the writer was killed after a collision.
            let last = self.at(place).max_by_key(|(_, pds)| pds.collision_count());
            let last = last.map(|(address, _)| address);
            self.current
                .extend(last.map(|address| (place.clone(), address)));
        }
    }

    /// Has new connections get the addresses of the set that serves these places best; they are
    /// mapped to whether new addresses are wanted there.
    ///
    /// Returns the places that a new set should be formed over, if the best one leaves out any.
    pub(super) fn choose_set(&mut self, places: &BTreeMap<Place, bool>) -> Option<Vec<Place>> {
        if !places.values().any(|wanted| *wanted) {
            for place in places.keys() {
                self.choose(place);
            }
            return None;
        }
        let mut sets: BTreeMap<SetParameters, BTreeMap<Place, Ipv6Addr>> = BTreeMap::new();
        for place in places.keys() {
            for (address, pds) in self.at(place) {
                let members = sets.entry(set_parameters(pds)).or_default();
                members.insert(place.clone(), address);
            }
        }
        let wanted_of = |members: &BTreeMap<Place, Ipv6Addr>| {
            let wanted = members.iter().filter(|(place, _)| places[*place]);
            wanted.fold((0, 0), |(serves, holds), (place, address)| {
                let is_current = self.current.get(place) == Some(address);
                (serves + 1, holds + usize::from(is_current))
            })
        };
        // Of sets that serve as many places, the one that goes on; at a start, the one that would serve
        // more places yet.
        let best = sets
            .iter()
            .max_by_key(|((collision_count, _, _, extension), members)| {
                let (serves, holds) = wanted_of(members);
                (serves, holds, extension.len(), *collision_count)
            })
            .map(|(_, members)| members.clone())
            .unwrap_or_default();
        for place in places.keys() {
            match best.get(place) {
                Some(&address) => {
                    self.current.insert(place.clone(), address);
                }
                // Until there is a set that has it.
                None => self.choose(place),
            }
        }
        let over = places_of_new_set(places, &best);
        let is_left_out = |place: &Place| places[place] && !best.contains_key(place);
        over.iter().any(is_left_out).then_some(over)
    }

    /// The addresses at a place.
    fn at(&self, place: &Place) -> impl Iterator<Item = (Ipv6Addr, &Arc<Pds>)> {
        let first = u128::from(u64::from_be_bytes(place.1)) << 64;
        let last = first | u128::from(u64::MAX);
        let [first, last] =
            [first, last].map(|address| (place.0.clone(), Ipv6Addr::from_bits(address)));
        let range = self.addresses.range(first..=last);
        range.map(|((_, address), pds)| (*address, pds))
    }
}

fn set_parameters(pds: &Pds) -> SetParameters {
    (
        pds.collision_count(),
        pds.modifier(),
        pds.public_key().to_owned(),
        pds.extensions().to_owned(),
    )
}

/// The places that a set can have: one for each prefix, those of `best` before others, and of these
/// those where an address is wanted now.
fn places_of_new_set(
    places: &BTreeMap<Place, bool>,
    best: &BTreeMap<Place, Ipv6Addr>,
) -> Vec<Place> {
    let mut ordered: Vec<_> = places.iter().collect();
    ordered.sort_by_key(|(place, wanted)| (!best.contains_key(*place), !**wanted));
    let mut prefixes = BTreeSet::new();
    let first_of_prefix = ordered
        .into_iter()
        .filter(|((_, prefix), _)| prefixes.insert(*prefix));
    first_of_prefix
        .map(|(place, _)| place.clone())
        .take(SET_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;
    use shim6_cga::{MultiPrefix, form_hba_set, generate_hba, next_collision, random_nonce};

    use super::*;

    const PREFIXES: [SubnetPrefix; 3] = [[0x20; 8], [0x21; 8], [0x22; 8]];

    /// Place `n` is prefix `n` on an interface of its own.
    fn place(n: usize) -> Place {
        (format!("eth{n}"), PREFIXES[n])
    }

    /// Places that are known, each with whether an address is wanted there now.
    fn known(places: &[(usize, bool)]) -> BTreeMap<Place, bool> {
        let known = places.iter().map(|&(n, wanted)| (place(n), wanted));
        known.collect()
    }

    fn wanted(places: &[usize]) -> BTreeMap<Place, bool> {
        let known: Vec<_> = places.iter().map(|&n| (n, true)).collect();
        self::known(&known)
    }

    /// The addresses of a set over the prefixes of some places.
    fn set(seed: u64, places: &[usize]) -> Vec<(usize, Ipv6Addr, Arc<Pds>)> {
        let prefixes: Vec<_> = places.iter().map(|&n| PREFIXES[n]).collect();
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let members = generate_hba(&prefixes, None, 0, &mut rng).unwrap();
        let members = places.iter().zip(members);
        members
            .map(|(&n, (address, pds))| (n, address, Arc::new(pds)))
            .collect()
    }

    /// What a daemon finds at its start.
    fn found(sets: &[Vec<(usize, Ipv6Addr, Arc<Pds>)>]) -> Formed {
        let mut formed = Formed::default();
        for (n, address, pds) in sets.iter().flatten() {
            formed.insert(&place(*n).0, *address, Arc::clone(pds));
        }
        formed
    }

    fn current(formed: &Formed) -> Vec<Option<Ipv6Addr>> {
        (0..3).map(|n| formed.current(&place(n))).collect()
    }

    #[test]
    fn a_set_is_wanted_over_all_prefixes_that_there_are() {
        let mut formed = Formed::default();
        let over = formed.choose_set(&known(&[(0, true), (1, true), (2, false)]));
        assert_eq!(over, Some(vec![place(0), place(1), place(2)]));
        assert_eq!(formed.choose_set(&known(&[(0, false)])), None, "not now");
        assert_eq!(formed.choose_set(&BTreeMap::new()), None);
    }

    //= https://www.rfc-editor.org/rfc/rfc5535#section-8.1
    //= type=test
    //= id=H-017
    //# it will need to re-generate the HBA sets assigned to hosts
    //# including the new prefix in the prefix set, which will result in
    //# different addresses
    #[test]
    fn a_prefix_that_appears_makes_a_new_set_and_the_former_addresses_stay() {
        let (old, new) = (set(1, &[0]), set(2, &[0, 1]));
        let mut formed = found(std::slice::from_ref(&old));
        assert_eq!(formed.choose_set(&wanted(&[0])), None, "it has all");
        assert_eq!(
            formed.choose_set(&wanted(&[0, 1])),
            Some(vec![place(0), place(1)])
        );
        assert_eq!(formed.current(&place(0)), Some(old[0].1), "until then");
        for (n, address, pds) in &new {
            formed.insert_current(place(*n), *address, Arc::clone(pds));
        }
        assert_eq!(formed.choose_set(&wanted(&[0, 1])), None);
        assert_eq!(current(&formed), [Some(new[0].1), Some(new[1].1), None]);
        assert!(formed.parameters("eth0", old[0].1).is_some());
        assert_eq!(formed.successor("eth0", old[0].1), Some(new[0].1));
        assert_eq!(formed.successor("eth0", new[0].1), None);
    }

    #[test]
    fn a_prefix_that_goes_changes_no_address_and_neither_does_its_return() {
        let (both, one) = (set(1, &[0, 1]), set(2, &[0]));
        let mut formed = found(&[both.clone(), one]);
        for seen in [
            known(&[(0, true), (1, true)]),
            known(&[(0, true), (1, false)]),
            known(&[(0, true)]),
            known(&[(0, false)]),
            known(&[(0, true), (1, true)]),
        ] {
            assert_eq!(formed.choose_set(&seen), None, "{seen:?}");
            assert_eq!(
                current(&formed),
                [Some(both[0].1), Some(both[1].1), None],
                "{seen:?}"
            );
        }
    }

    #[test]
    fn after_a_restart_the_set_with_the_most_prefixes_holds_whichever_comes_first() {
        let (one, both) = (set(1, &[0]), set(2, &[0, 1]));
        let mut formed = found(&[one, both.clone()]);
        assert_eq!(formed.choose_set(&wanted(&[0])), None);
        assert_eq!(formed.current(&place(0)), Some(both[0].1));
        assert_eq!(formed.choose_set(&wanted(&[0, 1])), None);
        assert_eq!(current(&formed), [Some(both[0].1), Some(both[1].1), None]);
    }

    #[test]
    fn a_set_holds_on_while_no_other_serves_more_of_what_there_is() {
        let (first, second) = (set(1, &[0, 1]), set(2, &[0, 2]));
        let mut formed = found(&[first.clone(), second.clone()]);
        for (holds, other) in [(1, 2), (2, 1)] {
            assert_eq!(formed.choose_set(&wanted(&[0, holds])), None);
            let seen = known(&[(0, true), (holds, false), (other, false)]);
            assert_eq!(formed.choose_set(&seen), None);
            let holding = if holds == 1 { &first } else { &second };
            assert_eq!(formed.current(&place(0)), Some(holding[0].1));
        }
    }

    #[test]
    fn a_set_that_was_not_written_whole_is_formed_anew() {
        let mut half = set(1, &[0, 1]);
        half.pop();
        let mut formed = found(&[half]);
        assert!(formed.choose_set(&wanted(&[0, 1])).is_some());
    }

    #[test]
    fn two_links_with_one_prefix_have_one_member_between_them() {
        let there = ("eth7".to_owned(), PREFIXES[0]);
        let mut places = wanted(&[0, 1]);
        places.insert(there.clone(), true);
        let mut formed = Formed::default();
        assert_eq!(
            formed.choose_set(&places),
            Some(vec![place(0), place(1)]),
            "the same address would be on both"
        );
        for (n, address, pds) in set(1, &[0, 1]) {
            formed.insert_current(place(n), address, pds);
        }
        assert_eq!(formed.choose_set(&places), None);
        assert_eq!(formed.current(&there), None);
    }

    #[test]
    fn a_set_has_no_more_members_than_a_peer_can_be_told_of() {
        let place = |n: u8| ("eth0".to_owned(), [n; 8]);
        let places: BTreeMap<_, _> = (0..20).map(|n| (place(n), n >= 10)).collect();
        let mut formed = Formed::default();
        let over = formed.choose_set(&places).unwrap();
        assert_eq!(over.len(), SET_MAX);
        assert!(over.iter().all(|place| places[place]), "wanted ones first");
        let prefixes: Vec<_> = over.iter().map(|(_, prefix)| *prefix).collect();
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let set = generate_hba(&prefixes, None, 0, &mut rng).unwrap();
        for (place, (address, pds)) in over.into_iter().zip(set) {
            formed.insert_current(place, address, Arc::new(pds));
        }
        assert_eq!(formed.choose_set(&places), None, "the others go without");
    }

    //= https://www.rfc-editor.org/rfc/rfc5535#section-6
    //= type=test
    //= id=H-012
    //# If an address collision is detected, increment the collision count by
    //# one and go back to step (6).
    #[test]
    fn a_collision_concerns_the_whole_set_and_a_cga_alone() {
        let nonce = random_nonce(&mut ChaCha20Rng::seed_from_u64(3));
        let multi_prefix = MultiPrefix {
            has_public_key: false,
            prefixes: PREFIXES[..2].to_vec(),
        };
        let set = form_hba_set([7; 16], &multi_prefix, 0, &nonce, 0).unwrap();
        let mut formed = found(&[self::set(9, &[0, 1])]);
        for (n, (address, pds)) in set.iter().enumerate() {
            formed.insert_current(place(n), *address, Arc::new(pds.clone()));
        }
        let concerned = formed.formed_with("eth1", set[1].0);
        let concerned: Vec<_> = concerned
            .into_iter()
            .map(|(_, address, _)| address)
            .collect();
        assert_eq!(concerned, [set[0].0, set[1].0]);
        assert_eq!(formed.formed_with("eth1", set[0].0).len(), 0, "not there");

        // The first of the new ones is stored, then the duplicate goes, then power fails: the next start
        // goes on with what has more members.
        let (next, pds) = next_collision(set[0].0, &set[0].1).unwrap();
        formed.insert("eth0", next, Arc::new(pds));
        formed.remove("eth1", set[1].0);
        assert_eq!(formed.current(&place(1)), None);
    }
}
