//! Ls(peer): what a peer has proven to be its own, and what came back from there.

use std::net::Ipv6Addr;
use std::sync::Arc;

use shim6_cga::{PeerPds, VerifiedLocator};
use shim6_wire::{Generation, Preference};

/// A locator that answered: verified, and something sent there came back.
///
//= https://www.rfc-editor.org/rfc/rfc5533#section-7.2
//= id=S-064
//# In addition, it MUST verify that the ULID is indeed present at that locator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProbedLocator(VerifiedLocator);

impl ProbedLocator {
    /// Only an [`Answer`] makes a locator a destination.
    pub(crate) fn new(locator: VerifiedLocator, _: Answer) -> Self {
        Self(locator)
    }

    /// The ULID itself: where payload goes without Shim6, so nothing is gained by doubting it.
    pub(crate) fn ulid(ulid: Ipv6Addr) -> Self {
        Self(VerifiedLocator::ulid(ulid))
    }

    /// The address.
    #[must_use]
    pub fn address(self) -> Ipv6Addr {
        self.0.address()
    }
}

/// Evidence that whoever is at a locator received what was sent there.
#[derive(Debug)]
pub(crate) struct Answer(());

impl Answer {
    /// A validator of ours came back from that address: the `Responder` checked it.
    pub(crate) fn validator() -> Self {
        Self(())
    }

    /// A nonce that was sent to that address came back: in R2, or reported in a Probe.
    pub(crate) fn nonce() -> Self {
        Self(())
    }
}

/// Ls(peer): what the peer proved to be its own.
#[derive(Clone, Debug)]
pub(crate) struct PeerLocators {
    verified: Vec<VerifiedLocator>,
    /// Of the list that `verified` came from; `None` when the peer never sent one.
    pub(crate) generation: Option<Generation>,
    /// In the order of `verified`; empty when the peer never sent any.
    pub(crate) preferences: Vec<Preference>,
    /// The PDS that belongs to the ULID, once seen.
    pub(crate) pds: Option<Arc<PeerPds>>,
}

impl PeerLocators {
    /// A peer that listed nothing: its ULID is all there is.
    pub(crate) fn ulid_alone(ulid: Ipv6Addr) -> Self {
        Self {
            verified: vec![VerifiedLocator::ulid(ulid)],
            generation: None,
            preferences: Vec::new(),
            pds: None,
        }
    }

    pub(crate) fn with_pds(self, pds: Option<Arc<PeerPds>>) -> Self {
        Self { pds, ..self }
    }

    pub(crate) fn new(
        verified: Vec<VerifiedLocator>,
        generation: Generation,
        pds: Arc<PeerPds>,
    ) -> Self {
        Self {
            verified,
            generation: Some(generation),
            preferences: Vec::new(),
            pds: Some(pds),
        }
    }

    pub(crate) fn verified(&self, address: Ipv6Addr) -> Option<VerifiedLocator> {
        self.verified
            .iter()
            .copied()
            .find(|locator| locator.address() == address)
    }

    pub(crate) fn contains(&self, address: Ipv6Addr) -> bool {
        self.verified(address).is_some()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = VerifiedLocator> + '_ {
        self.verified.iter().copied()
    }

    /// What the peer says of `address`.
    pub(crate) fn preference(&self, address: Ipv6Addr) -> Preference {
        let index = self.iter().position(|known| known.address() == address);
        let told = index.and_then(|index| self.preferences.get(index));
        told.copied().unwrap_or_default()
    }

    /// Whether it says something else than `former` of an address that both list. That an address
    /// comes or goes says nothing of how gladly it is used.
    pub(crate) fn reappraises(&self, former: &Self) -> bool {
        self.with_preferences()
            .any(|(address, told)| former.contains(address) && told != former.preference(address))
    }

    pub(crate) fn len(&self) -> usize {
        self.verified.len()
    }

    /// Each locator with what the peer says of it.
    pub(crate) fn with_preferences(&self) -> impl Iterator<Item = (Ipv6Addr, Preference)> + '_ {
        let told = self.preferences.iter().copied();
        let told = told.chain(std::iter::repeat(Preference::default()));
        self.iter().map(VerifiedLocator::address).zip(told)
    }
}
