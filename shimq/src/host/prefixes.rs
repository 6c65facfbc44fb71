//! The prefixes that deserve an address of ours: those in which others have addresses.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use super::lifetime::Lifetimes;
use super::watch::{Interface, InterfaceAddress, Snapshot};
use super::{InterfaceChoice, SubnetPrefix};

/// Length in bits of a prefix that a CGA can have (RFC 3972 §3).
pub(super) const PREFIX_LEN: u8 = 64;

/// What the addresses that others configured, or a router, say about a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PrefixState {
    /// The longest of theirs.
    pub(super) lifetimes: Lifetimes,
    /// New connections may have addresses in it: the prefix is worth one of ours.
    pub(super) settled: bool,
}

/// The prefixes of the chosen interfaces, by interface index, that have addresses of others.
///
/// `ours` tells which addresses do not count. Temporary addresses do not either: where there is
/// nothing else, somebody wants no lasting address.
pub(super) fn prefixes(
    snapshot: &Snapshot,
    choice: &InterfaceChoice,
    ours: impl Fn(&Interface, &InterfaceAddress) -> bool,
) -> BTreeMap<(u32, SubnetPrefix), PrefixState> {
    let mut prefixes: BTreeMap<_, PrefixState> = BTreeMap::new();
    for address in snapshot.addresses.values() {
        let Some(interface) = snapshot.interfaces.get(&address.interface) else {
            continue;
        };
        if interface.loopback
            || !choice.allows(&interface.name)
            || ours(interface, address)
            || address.prefix_len != PREFIX_LEN
            || !address.global
            || !can_have_locators(address.address)
            || address.temporary()
            || address.duplicate()
        {
            continue;
        }
        let settled = interface.up && !address.tentative() && !address.deprecated();
        prefixes
            .entry((address.interface, address.prefix()))
            .and_modify(|state| {
                state.lifetimes = state.lifetimes.max(address.lifetimes);
                state.settled |= settled;
            })
            .or_insert(PrefixState {
                lifetimes: address.lifetimes,
                settled,
            });
    }
    prefixes
}

/// Global or unique local, so that a peer elsewhere can reach it.
pub(super) fn can_have_locators(address: Ipv6Addr) -> bool {
    is_global_unicast(address) || address.is_unique_local()
}

/// In 2000::/3, where all global addresses have been assigned from (RFC 4291 §2.4).
fn is_global_unicast(address: Ipv6Addr) -> bool {
    address.segments()[0] >> 13 == 0b001
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::address::AddressFlags;

    use super::super::PROTOCOL;
    use super::super::lifetime::Lifetime;
    use super::*;

    /// A host with one interface and one address, ordinary but for what `change` does to it.
    fn host(change: impl FnOnce(&mut InterfaceAddress)) -> Snapshot {
        let mut address = InterfaceAddress {
            interface: 2,
            address: "2001:db8:1::1".parse().unwrap(),
            prefix_len: 64,
            global: true,
            protocol: 0,
            flags: AddressFlags::empty(),
            lifetimes: Lifetimes {
                valid: Lifetime::Forever,
                preferred: Lifetime::Forever,
            },
        };
        change(&mut address);
        let interface = Interface {
            name: "eth0".into(),
            up: true,
            loopback: false,
        };
        Snapshot {
            interfaces: [(2, interface)].into(),
            addresses: [((2, address.address), address)].into(),
            ..Snapshot::default()
        }
    }

    /// Whether its prefix deserves an address of ours; `None` if the prefix does not count at all.
    fn settled(snapshot: &Snapshot) -> Option<bool> {
        let prefixes = prefixes(snapshot, &InterfaceChoice::default(), |_, address| {
            address.protocol == PROTOCOL
        });
        prefixes.values().next().map(|state| state.settled)
    }

    #[test]
    fn a_prefix_deserves_an_address_while_an_ordinary_one_is_fit_for_new_connections() {
        assert_eq!(settled(&host(|_| ())), Some(true));
        let unique_local = |it: &mut InterfaceAddress| it.address = "fd00::1".parse().unwrap();
        assert_eq!(settled(&host(unique_local)), Some(true));
        for flag in [AddressFlags::Tentative, AddressFlags::Deprecated] {
            assert_eq!(
                settled(&host(|it| it.flags = flag)),
                Some(false),
                "{flag:?}"
            );
        }
    }

    #[test]
    fn addresses_that_say_nothing_lasting_about_a_prefix_do_not_count() {
        let temporary = AddressFlags::Secondary;
        let duplicate = AddressFlags::Dadfailed | AddressFlags::Tentative;
        for flags in [temporary, duplicate] {
            assert_eq!(settled(&host(|it| it.flags = flags)), None, "{flags:?}");
        }
        assert_eq!(settled(&host(|it| it.prefix_len = 128)), None);
        assert_eq!(settled(&host(|it| it.protocol = PROTOCOL)), None);
        assert_eq!(settled(&host(|it| it.global = false)), None);
        let mapped = |it: &mut InterfaceAddress| it.address = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(settled(&host(mapped)), None);
        let mut loopback = host(|_| ());
        loopback
            .interfaces
            .values_mut()
            .for_each(|interface| interface.loopback = true);
        assert_eq!(settled(&loopback), None);
    }
}
