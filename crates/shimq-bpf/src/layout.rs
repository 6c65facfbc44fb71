//! Keys and values of the programs' maps, octet by octet as `bpf/shim.bpf.c` declares them.
//!
//! Arrays of octets rather than structures: nothing here needs the promise that a structure has no
//! padding, which only `unsafe` can give.

use std::net::Ipv6Addr;
use std::time::Duration;

use shim6_core::{LocatorPair, UlidPair};
use shim6_wire::ContextTag;

/// `struct ulids`, by which outgoing packets find their flow.
pub(crate) type Ulids = [u8; 32];
/// `struct sending`: what outgoing packets become.
pub(crate) type Sending = [u8; 64];
/// `struct arrival`, by which tagged packets find their flow.
pub(crate) type Arrival = [u8; 24];
/// `struct receiving`: what tagged packets become.
pub(crate) type Receiving = [u8; 36];
/// `struct account`: what passed.
pub(crate) type Account = [u8; 128];

/// What passed in one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Packets, as many as there were on the wire: neither merged nor to be segmented.
    pub packets: u64,
    /// Octets of these packets as the local stack sees them, IPv6 headers included.
    pub bytes: u64,
    /// When the last of them passed, since boot (CLOCK_BOOTTIME).
    pub last: Option<Duration>,
}

impl Tally {
    /// Counts what `other` counted as well.
    pub(crate) fn add(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.last = self.last.max(other.last);
    }
}

/// Packets that were led to the rewriter and could not be sent, by reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Drops {
    /// No flow has these ULIDs: the flow was just removed.
    pub not_mapped: u64,
    /// It has a Shim6 header already: a message, or payload that is mapped to this ULID pair.
    pub shim6: u64,
    /// More than 128 octets of Hop-by-Hop Options, Routing header and the options between them come first.
    pub headers: u64,
    /// Larger than the link, and cannot be segmented once tagged.
    pub not_segmented: u64,
    /// The kernel had no memory for 8 octets more.
    pub no_room: u64,
}

impl Drops {
    /// Number of reasons, in the order of `enum drop`.
    pub(crate) const REASONS: usize = 5;

    /// Each reason by its name, with its count.
    #[must_use]
    pub fn by_reason(&self) -> [(&'static str, u64); Self::REASONS] {
        [
            ("not-mapped", self.not_mapped),
            ("shim6-header", self.shim6),
            ("headers-too-long", self.headers),
            ("not-segmented", self.not_segmented),
            ("no-room", self.no_room),
        ]
    }

    pub(crate) fn from_counts(counts: [u64; Self::REASONS]) -> Self {
        let [not_mapped, shim6, headers, not_segmented, no_room] = counts;
        Self {
            not_mapped,
            shim6,
            headers,
            not_segmented,
            no_room,
        }
    }
}

pub(crate) fn ulids(pair: UlidPair) -> Ulids {
    join([&pair.local.octets(), &pair.peer.octets()])
}

/// `interface` is the index of the one that packets leave by, `account` the flow's place in the
/// array of accounts.
pub(crate) fn sending(
    locators: LocatorPair,
    next_hop: Ipv6Addr,
    peer_tag: ContextTag,
    interface: u32,
    account: u32,
) -> Sending {
    join([
        &locators.local.octets(),
        &locators.peer.octets(),
        &next_hop.octets(),
        &tag(peer_tag),
        &interface.to_ne_bytes(),
        &account.to_ne_bytes(),
    ])
}

pub(crate) fn arrival(locator: Ipv6Addr, local_tag: ContextTag) -> Arrival {
    join([&locator.octets(), &tag(local_tag)])
}

pub(crate) fn receiving(pair: UlidPair, account: u32) -> Receiving {
    join([&ulids(pair), &account.to_ne_bytes()])
}

/// What was sent and what was received.
pub(crate) fn tallies(account: &Account) -> (Tally, Tally) {
    let (sent, received) = account.split_at(account.len() / 2);
    (tally(sent), tally(received))
}

fn tally(octets: &[u8]) -> Tally {
    let word = |index: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&octets[8 * index..][..8]);
        u64::from_ne_bytes(word)
    };
    Tally {
        packets: word(0),
        bytes: word(1),
        last: Some(word(2)).filter(|&at| at > 0).map(Duration::from_nanos),
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-5.2
//= id=S-006
//# P:             Set to one.  A single bit to distinguish this from the Shim6 control messages.
/// The last six octets of the header, P set, and two more that the programs keep zero.
fn tag(tag: ContextTag) -> [u8; 8] {
    (((P_BIT << ContextTag::BITS) | tag.bits()) << 16).to_be_bytes()
}

const P_BIT: u64 = 1;

/// Lays the parts out one after the other; they must add up to `N`.
fn join<const N: usize, const PARTS: usize>(parts: [&[u8]; PARTS]) -> [u8; N] {
    let mut whole = [0; N];
    let mut rest = &mut whole[..];
    for part in parts {
        let (place, after) = rest.split_at_mut(part.len());
        place.copy_from_slice(part);
        rest = after;
    }
    assert!(rest.is_empty(), "the parts do not fill {N} octets");
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: UlidPair = UlidPair {
        local: Ipv6Addr::from_bits(0x20 << 120 | 0xa),
        peer: Ipv6Addr::from_bits(0x20 << 120 | 0xb),
    };

    //= https://www.rfc-editor.org/rfc/rfc5533#section-5.2
    //= id=S-006
    //= type=test
    //# P:             Set to one.  A single bit to distinguish this from the Shim6 control messages.
    #[test]
    fn a_tag_is_stored_as_it_is_on_the_wire() {
        let tag = tag(ContextTag::from_bits(0x4abc_dead_beef));
        assert_eq!(tag, [0xca, 0xbc, 0xde, 0xad, 0xbe, 0xef, 0, 0]);
    }

    #[test]
    fn an_arrival_is_destination_then_tag() {
        let arrival = arrival(PAIR.local, ContextTag::from_bits(1));
        assert_eq!(arrival[..16], PAIR.local.octets());
        assert_eq!(arrival[16..], [0x80, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_direction_that_nothing_took_has_no_last_time() {
        let mut account = [0; 128];
        account[64..72].copy_from_slice(&3_u64.to_ne_bytes());
        account[72..80].copy_from_slice(&312_u64.to_ne_bytes());
        account[80..88].copy_from_slice(&7_000_000_001_u64.to_ne_bytes());
        let (sent, received) = tallies(&account);
        assert_eq!(sent, Tally::default());
        let last = Some(Duration::new(7, 1));
        assert_eq!((received.packets, received.bytes), (3, 312));
        assert_eq!(received.last, last);
    }
}
