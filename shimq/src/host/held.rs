//! ULIDs that outlive the address on the interface.
//!
//! Decides how long an address that the kernel took away can still be a ULID. A link that goes down
//! takes its addresses along, a person or a DHCP client deletes one: the connections on it have done
//! nothing to deserve their end, and their packets travel by other locators. Such an address is no
//! locator any more, but stays a ULID until its valid lifetime ends, as if it were still there; only
//! then is it invalid (RFC 5533 §1.5).

use std::collections::VecDeque;
use std::time::Instant;

use super::LocalLocator;
use super::lifetime::Lifetime;

/// So many addresses are held; those that went first give way. More than the contexts of a host that
/// moves from network to network can live on.
pub(super) const MAX: usize = 32;

/// A locator, and how long its address is valid.
pub(super) type Valid = (LocalLocator, Lifetime);

/// Remembers the addresses of this host that went before their time.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Those that were there at the last look.
    present: Vec<Valid>,
    /// Those that went, the latest last. None of them is usable.
    gone: VecDeque<Valid>,
}

impl Held {
    /// Takes in the locators that are there at `now`, and returns them with the held ones, by
    /// interface index and address.
    ///
    /// `is_ours` tells whether an address still has the parameters that prove it: one that was given
    /// up as a duplicate belongs to somebody else, and is not held.
    pub(super) fn join(
        &mut self,
        present: Vec<Valid>,
        now: Instant,
        is_ours: impl Fn(&LocalLocator) -> bool,
    ) -> Vec<LocalLocator> {
        let is_present = |locator: &LocalLocator| {
            let same = |(other, _): &Valid| other.address == locator.address;
            present.iter().any(same)
        };
        let lost = std::mem::take(&mut self.present).into_iter();
        self.gone.extend(lost.map(|(mut locator, valid)| {
            locator.usable = false;
            (locator, valid)
        }));
        self.gone.retain(|(locator, valid)| {
            *valid > Lifetime::Until(now) && !is_present(locator) && is_ours(locator)
        });
        let surplus = self.gone.len().saturating_sub(MAX);
        self.gone.drain(..surplus);
        let mut joined: Vec<_> = present
            .iter()
            .chain(&self.gone)
            .map(|(locator, _)| locator.clone())
            .collect();
        joined.sort_by_key(|locator| (locator.interface, locator.address));
        self.present = present;
        joined
    }

    /// When the next of the held addresses becomes invalid.
    pub(super) fn due(&self) -> Option<Instant> {
        let ends = self.gone.iter().filter_map(|(_, valid)| match valid {
            Lifetime::Until(end) => Some(*end),
            Lifetime::Forever => None,
        });
        ends.min()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;
    use std::sync::Arc;
    use std::time::Duration;

    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;
    use shim6_cga::{Pds, generate_hba};

    use super::*;

    fn parameters() -> Arc<Pds> {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut set = generate_hba(&[[0x20, 1, 0xd, 0xb8, 0, 0, 0, 1]], None, 0, &mut rng).unwrap();
        Arc::new(set.remove(0).1)
    }

    fn locator(pds: &Arc<Pds>, last: u16) -> LocalLocator {
        LocalLocator {
            address: Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, last),
            interface: 2,
            interface_name: "eth0".into(),
            pds: Arc::clone(pds),
            key: None,
            usable: true,
        }
    }

    /// Whether each address that there is can be a locator, by its last 16 bits.
    fn shape(locators: &[LocalLocator]) -> Vec<(u16, bool)> {
        let shape = |locator: &LocalLocator| (locator.address.segments()[7], locator.usable);
        locators.iter().map(shape).collect()
    }

    #[test]
    fn an_address_that_went_stays_a_ulid_until_it_comes_back() {
        let (pds, now) = (parameters(), Instant::now());
        let both = || {
            [1, 2]
                .map(|last| (locator(&pds, last), Lifetime::Forever))
                .to_vec()
        };
        let mut held = Held::default();
        let joined = held.join(both(), now, |_| true);
        assert_eq!(shape(&joined), [(1, true), (2, true)]);
        for _ in 0..2 {
            let joined = held.join(both().split_off(1), now, |_| true);
            assert_eq!(shape(&joined), [(1, false), (2, true)]);
        }
        let joined = held.join(both(), now, |_| true);
        assert_eq!(shape(&joined), [(1, true), (2, true)]);
    }

    //= https://www.rfc-editor.org/rfc/rfc5533#section-1.5
    //= type=test
    //= id=S-001
    //# any communication using a ULID MUST be terminated when the ULID becomes
    //# invalid (due to the underlying prefix becoming invalid).
    #[test]
    fn an_address_is_held_no_longer_than_it_is_valid() {
        let (pds, now) = (parameters(), Instant::now());
        let end = now + Duration::from_secs(60);
        let mut held = Held::default();
        held.join(vec![(locator(&pds, 1), Lifetime::Until(end))], now, |_| {
            true
        });
        assert_eq!(held.due(), None, "it is there");
        assert_eq!(held.join(vec![], now, |_| true).len(), 1);
        assert_eq!(held.due(), Some(end));
        assert_eq!(held.join(vec![], end, |_| true), []);
        assert_eq!(held.due(), None);
    }

    #[test]
    fn a_duplicate_is_not_held() {
        let (pds, now) = (parameters(), Instant::now());
        let mut held = Held::default();
        held.join(vec![(locator(&pds, 1), Lifetime::Forever)], now, |_| true);
        assert_eq!(held.join(vec![], now, |_| false), []);
    }

    #[test]
    fn those_that_went_first_give_way() {
        let (pds, now) = (parameters(), Instant::now());
        let mut held = Held::default();
        for last in 0..100 {
            held.join(vec![(locator(&pds, last), Lifetime::Forever)], now, |_| {
                true
            });
        }
        let joined = held.join(vec![], now, |_| true);
        assert_eq!(shape(&joined)[0], (68, false));
        assert_eq!(joined.len(), MAX);
    }
}
