//! The two pairs of addresses that a context joins: who, and where.

use std::net::Ipv6Addr;

/// Two upper-layer identifiers: what applications use and transport checksums cover (RFC 5533 §2.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UlidPair {
    /// ULID(local).
    pub local: Ipv6Addr,
    /// ULID(peer).
    pub peer: Ipv6Addr,
}

/// Two locators: what the IPv6 header carries (RFC 5533 §2.1). "Address pair" in RFC 5534 §3.5.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LocatorPair {
    /// Lp(local): the source of what is sent.
    pub local: Ipv6Addr,
    /// Lp(peer): the destination of what is sent.
    pub peer: Ipv6Addr,
}

impl LocatorPair {
    /// Whether no address is common to the two pairs: a failure of one says least about the other.
    #[must_use]
    pub fn is_disjoint(self, other: Self) -> bool {
        self.local != other.local && self.peer != other.peer
    }
}

impl From<UlidPair> for LocatorPair {
    /// The initial locators of a context are its ULIDs (RFC 5533 §6.1).
    fn from(ulids: UlidPair) -> Self {
        Self {
            local: ulids.local,
            peer: ulids.peer,
        }
    }
}

impl std::fmt::Display for UlidPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} - {}", self.local, self.peer)
    }
}

impl std::fmt::Display for LocatorPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} > {}", self.local, self.peer)
    }
}
