//! The network between hosts: for each pair of addresses and each direction a link of its own.
//!
//! Decides the fate of a packet: lost, filtered, when it arrives, how often. Who receives it is the
//! world's matter.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;
use shim6_cga::SubnetPrefix;

use crate::host::HostId;

/// A direction: from this source address to that destination address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Pair {
    /// Source address of what passes.
    pub source: Ipv6Addr,
    /// Destination address of what passes.
    pub destination: Ipv6Addr,
}

impl Pair {
    /// The other direction.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
        }
    }
}

/// How one direction behaves. Shares are in thousandths of the packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// Whether anything passes.
    pub up: bool,
    /// Shortest time in transit.
    pub delay: Duration,
    /// Longest addition to `delay`; packets that are closer together than that change places.
    pub jitter: Duration,
    /// Share that is lost.
    pub loss: u32,
    /// Share that arrives twice.
    pub duplication: u32,
    /// Share that arrives with one bit changed, anywhere.
    pub corruption: u32,
}

impl Default for Link {
    /// 20 ms, nothing lost.
    fn default() -> Self {
        Self {
            up: true,
            delay: Duration::from_millis(20),
            jitter: Duration::ZERO,
            loss: 0,
            duplication: 0,
            corruption: 0,
        }
    }
}

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It arrives after these times in transit.
    Arrives(Duration, Option<Duration>),
    /// The link is cut.
    Cut,
    /// It happens to get lost.
    Lost,
    /// The provider does not know its source address (RFC 3704).
    Filtered,
    /// Its sender does not have its source address, or not any more.
    NoAddress,
}

#[derive(Debug, Default)]
pub(crate) struct Net {
    /// All that are not in `links` behave like this.
    pub(crate) default: Link,
    pub(crate) links: BTreeMap<Pair, Link>,
    /// Hosts whose exit lets only these source prefixes out; others use the right exit for each.
    pub(crate) exits: BTreeMap<HostId, BTreeSet<SubnetPrefix>>,
}

impl Net {
    pub(crate) fn link(&self, pair: Pair) -> Link {
        self.links.get(&pair).copied().unwrap_or(self.default)
    }

    pub(crate) fn link_mut(&mut self, pair: Pair) -> &mut Link {
        self.links.entry(pair).or_insert(self.default)
    }

    /// Whether the exit of `sender` lets `source` out.
    pub(crate) fn lets_out(&self, sender: HostId, source: Ipv6Addr) -> bool {
        let allowed = self.exits.get(&sender);
        allowed.is_none_or(|allowed| allowed.contains(&prefix_of(source)))
    }

    pub(crate) fn fate(&self, sender: HostId, pair: Pair, rng: &mut ChaCha20Rng) -> Fate {
        if !self.lets_out(sender, pair.source) {
            return Fate::Filtered;
        }
        let link = self.link(pair);
        if !link.up {
            return Fate::Cut;
        }
        if link.loss > 0 && happens(link.loss, rng) {
            return Fate::Lost;
        }
        let mut transit = || {
            let jitter = u64::try_from(link.jitter.as_micros()).unwrap_or(u64::MAX);
            match jitter {
                0 => link.delay,
                _ => link.delay + Duration::from_micros(rng.next_u64() % jitter),
            }
        };
        let first = transit();
        let again = transit();
        let twice = link.duplication > 0 && happens(link.duplication, rng);
        Fate::Arrives(first, twice.then_some(again))
    }
}

/// Whether something that happens `share` times in a thousand happens now.
pub(crate) fn happens(share: u32, rng: &mut ChaCha20Rng) -> bool {
    rng.next_u32() % 1000 < share
}

/// The /64 of an address.
pub(crate) fn prefix_of(address: Ipv6Addr) -> SubnetPrefix {
    let mut prefix = SubnetPrefix::default();
    prefix.copy_from_slice(&address.octets()[..8]);
    prefix
}
