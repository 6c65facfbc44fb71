//! Which address of a prefix new outgoing connections choose: ours.
//!
//! Decides by address labels, rule 6 of source address selection (RFC 6724 §5): a source whose label
//! equals the destination's wins. Two entries per address of ours bring that about, and change
//! nothing about the addresses that were there:
//!
//! * its /64 gets [`LABEL`], which no destination elsewhere has;
//! * the address itself keeps the label that its prefix had before, normally that of `::/0`.
//!
//! So for destinations off the link our address wins. A destination in the same /64 has [`LABEL`]
//! too, so there the ordinary addresses go on being chosen: on one link there is nothing to be
//! multihomed about. The labels go when the daemon stops, because without it a connection from our
//! address is worth no more than any other. (The flag for home addresses would do as well, but
//! most kernels are built without Mobile IPv6, and home addresses we have not.)

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use netlink_packet_route::addrlabel::{AddrLabelAttribute, AddrLabelMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::netlink::Kernel;
use super::{HostError, Removed};

/// The label of a /64 in which an address of ours is to be preferred.
pub(super) const LABEL: u32 = 140;

/// The label of destinations that no entry matches (RFC 6724 §2.1, `::/0`).
const DEFAULT_LABEL: u32 = 1;

/// What an entry is about: a prefix and its length in bits. Entries for one interface only have
/// their index as well, and are never ours.
type Key = (Ipv6Addr, u8, u32);

/// The kernel's label table.
type Labels = BTreeMap<Key, u32>;

/// Makes `preferred`, and no other addresses, the ones that new connections choose.
pub(super) async fn prefer(
    kernel: &Kernel,
    preferred: &BTreeSet<Ipv6Addr>,
) -> Result<(), HostError> {
    let present = dump(kernel).await?;
    let ours = ours(&present);
    let wanted = wanted(preferred, &present);
    // Addresses go before prefixes, and come after them: an address is known as ours by the label of
    // its prefix, so an interrupted change can be finished.
    for (&key, &label) in ours.iter().rev() {
        if wanted.get(&key) != Some(&label) {
            remove(kernel, key, label).await?;
        }
    }
    for prefix_len in [64, 128] {
        for (&key, &label) in wanted.iter().filter(|((_, len, _), _)| *len == prefix_len) {
            if ours.get(&key) != Some(&label) {
                let request = RouteNetlinkMessage::NewAddrLabel(message(key, label));
                kernel.add("adding an address label", request).await?;
            }
        }
    }
    Ok(())
}

/// Removes all labels of ours, and lists them.
pub(super) async fn release(kernel: &Kernel) -> Result<Vec<Removed>, HostError> {
    let mut removed = Vec::new();
    for ((address, prefix_len, interface), label) in ours(&dump(kernel).await?).into_iter().rev() {
        remove(kernel, (address, prefix_len, interface), label).await?;
        removed.push(Removed::Label {
            prefix: address,
            prefix_len,
        });
    }
    Ok(removed)
}

/// The entries that are ours: each /64 with our label, and single addresses inside.
fn ours(present: &Labels) -> Labels {
    let our_prefix = |address| present.get(&(prefix(address), 64, 0)) == Some(&LABEL);
    present
        .iter()
        .filter(|((address, len, interface), _)| {
            *interface == 0 && (*len == 64 || *len == 128) && our_prefix(*address)
        })
        .map(|(&key, &label)| (key, label))
        .collect()
}

/// The entries that should be ours. A /64 that somebody else has labelled is left to them.
fn wanted(preferred: &BTreeSet<Ipv6Addr>, present: &Labels) -> Labels {
    let mut wanted = Labels::new();
    for &address in preferred {
        let prefix = prefix(address);
        if present
            .get(&(prefix, 64, 0))
            .is_none_or(|&label| label == LABEL)
        {
            wanted.insert((prefix, 64, 0), LABEL);
            wanted.insert((address, 128, 0), label_of_others(prefix, present));
        }
    }
    wanted
}

/// The label of destinations like `prefix`, without our doing: that of the longest entry above.
fn label_of_others(prefix: Ipv6Addr, present: &Labels) -> u32 {
    present
        .iter()
        .filter(|((network, len, interface), _)| {
            *interface == 0 && *len < 64 && mask(prefix, *len) == *network
        })
        .max_by_key(|((_, len, _), _)| *len)
        .map_or(DEFAULT_LABEL, |(_, &label)| label)
}

fn prefix(address: Ipv6Addr) -> Ipv6Addr {
    mask(address, 64)
}

/// The first `len` bits of an address, then zeros.
fn mask(address: Ipv6Addr, len: u8) -> Ipv6Addr {
    let host_bits = u32::from(128 - len);
    Ipv6Addr::from(u128::from(address) & u128::MAX.checked_shl(host_bits).unwrap_or(0))
}

async fn dump(kernel: &Kernel) -> Result<Labels, HostError> {
    let mut request = AddrLabelMessage::default();
    request.header.family = AddressFamily::Inet6;
    let request = RouteNetlinkMessage::GetAddrLabel(request);
    let answers = kernel.dump("listing address labels", request).await?;
    Ok(answers.iter().filter_map(parse).collect())
}

fn parse(answer: &RouteNetlinkMessage) -> Option<(Key, u32)> {
    let RouteNetlinkMessage::NewAddrLabel(message) = answer else {
        return None;
    };
    let mut prefix = None;
    let mut label = None;
    for attribute in &message.attributes {
        if let AddrLabelAttribute::Address(IpAddr::V6(address)) = attribute {
            prefix = Some(*address);
        } else if let AddrLabelAttribute::Label(number) = attribute {
            label = Some(*number);
        }
    }
    Some((
        (prefix?, message.header.prefix_len, message.header.index),
        label?,
    ))
}

fn message((prefix, prefix_len, interface): Key, label: u32) -> AddrLabelMessage {
    let mut message = AddrLabelMessage::default();
    message.header.family = AddressFamily::Inet6;
    message.header.prefix_len = prefix_len;
    message.header.index = interface;
    message.attributes = vec![
        AddrLabelAttribute::Address(prefix.into()),
        AddrLabelAttribute::Label(label),
    ];
    message
}

async fn remove(kernel: &Kernel, key: Key, label: u32) -> Result<(), HostError> {
    let request = RouteNetlinkMessage::DelAddrLabel(message(key, label));
    kernel
        .remove("removing an address label", request)
        .await
        .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(entries: &[(&str, u8, u32)]) -> Labels {
        entries
            .iter()
            .map(|&(prefix, len, label)| ((prefix.parse().unwrap(), len, 0), label))
            .collect()
    }

    /// The kernel's own entries that can matter, from `ip addrlabel`.
    const KERNEL: [(&str, u8, u32); 4] = [
        ("2001::", 32, 6),
        ("2002::", 16, 2),
        ("fc00::", 7, 5),
        ("::", 0, 1),
    ];

    fn wanted_beside(entries: &[(&str, u8, u32)], address: &str) -> Labels {
        let mut present = labels(&KERNEL);
        present.extend(labels(entries));
        wanted(&BTreeSet::from([address.parse().unwrap()]), &present)
    }

    #[test]
    fn an_address_keeps_the_label_that_its_prefix_had() {
        assert_eq!(
            wanted_beside(&[], "2001:db8:1::c"),
            labels(&[("2001:db8:1::", 64, LABEL), ("2001:db8:1::c", 128, 1)])
        );
        assert_eq!(
            wanted_beside(&[("fd00::", 64, LABEL)], "fd00::c"),
            labels(&[("fd00::", 64, LABEL), ("fd00::c", 128, 5)])
        );
    }

    #[test]
    fn a_prefix_that_somebody_else_labelled_is_left_alone() {
        assert_eq!(
            wanted_beside(&[("2001:db8:1::", 64, 99)], "2001:db8:1::c"),
            Labels::new()
        );
    }

    #[test]
    fn only_entries_in_a_prefix_with_our_label_are_ours() {
        let ours_now = [("2001:db8:1::", 64, LABEL), ("2001:db8:1::c", 128, 1)];
        let mut present = labels(&KERNEL);
        present.extend(labels(&ours_now));
        present.extend(labels(&[
            ("2001:db8:2::", 64, 99),
            ("2001:db8:2::c", 128, 1),
        ]));
        assert_eq!(ours(&present), labels(&ours_now));
    }
}
