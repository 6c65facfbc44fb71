//! Where this host and its peers can be reached, and how well each address is proven.
//!
//! Three grades, and no way to skip one: an address is octets from a message until HBA or CGA ties
//! it to the ULID ([`VerifiedLocator`]), and payload goes to it only after something that was sent
//! there came back ([`ProbedLocator`]).

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;
use shim6_cga::{Pds, PeerPds, SigningKey, VerifiedLocator, verify_hba};
use shim6_wire::{
    Generation, ListedLocator, LocatorList, LocatorOptions, LocatorPreferences, Preference,
    VerificationMethod,
};

/// Most locators that this host lists, so that I2bis with a 2048-bit key stays within 1280 octets.
///
//= https://www.rfc-editor.org/rfc/rfc5533#section-5.1
//= id=S-004
//# An implementation may impose administrative restrictions to avoid excessively large Shim6
//# packets, such as a limitation on the number of locators to be used.
const LISTED_MAX: usize = 16;

/// An address of this host that peers can verify.
#[derive(Clone, Debug)]
pub struct LocalLocator {
    /// The address.
    pub address: Ipv6Addr,
    /// The parameters that it was formed from: it can be a ULID.
    pub pds: Arc<Pds>,
    /// The private key of these parameters; `None` for an HBA without a public key.
    pub key: Option<Arc<SigningKey>>,
    /// Whether packets can be sent from it now. One that is not usable stays a ULID: its link may
    /// come back, and connections that live on it go on over other locators.
    pub usable: bool,
    /// How gladly this host is reached there, which its peers are told (RFC 5533 §5.15.3).
    pub preference: Preference,
}

/// What the peers of one local ULID are told: Ls(local) and its proof.
#[derive(Debug)]
pub(crate) struct Announcement {
    list: LocatorList,
    /// In the order of `list`; `None` if the peers never need to be told that all are alike.
    preferences: Option<Vec<Preference>>,
    pds: Arc<Pds>,
    signature: Option<Vec<u8>>,
}

impl Announcement {
    /// The options that carry it in I2, R2, I2bis and Update Request.
    pub(crate) fn options(&self) -> LocatorOptions {
        LocatorOptions {
            //= https://www.rfc-editor.org/rfc/rfc5533#section-7.6
            //= id=S-067
            //# we require that those messages MUST include a sufficiently large set of locators
            //# in a Locator List option that the peer can determine whether or not two contexts
            //# have the same host as the peer
            list: Some(self.list.clone()),
            //= https://www.rfc-editor.org/rfc/rfc5533#section-10.1
            //= id=S-040
            //# Any Locator Preference option, whether sent in the same Update Request or in some future
            //# Update Request, will use that generation number to make sure the preferences get applied
            //# to the correct version of the locator list.
            preferences: self
                .preferences
                .as_ref()
                .map(|preferences| LocatorPreferences {
                    generation: self.list.generation,
                    elements: preferences.clone(),
                }),
            //= https://www.rfc-editor.org/rfc/rfc5533#section-5.6
            //= id=S-025,S-026,S-030,S-037,S-090,S-119
            //# This option MUST be included in the I2 message when the locator list is included
            //# so the receiver can verify the locator list.
            pds: Some(self.pds.octets().to_vec()),
            signature: self.signature.clone(),
        }
    }

    pub(crate) fn contains(&self, address: Ipv6Addr) -> bool {
        self.addresses().any(|listed| listed == address)
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = Ipv6Addr> + '_ {
        self.list.locators.iter().map(|locator| locator.address)
    }

    /// How gladly this host is reached at `address`.
    pub(crate) fn preference(&self, address: Ipv6Addr) -> Preference {
        let index = self.addresses().position(|listed| listed == address);
        let told = index.and_then(|index| self.preferences.as_ref()?.get(index));
        told.copied().unwrap_or_default()
    }

    fn prefers_like(&self, preferences: &[Preference]) -> bool {
        match &self.preferences {
            Some(known) => known == preferences,
            None => preferences.iter().all(|p| *p == Preference::default()),
        }
    }

    /// The same list with other preferences.
    fn preferring(&self, preferences: Vec<Preference>) -> Self {
        Self {
            list: self.list.clone(),
            preferences: Some(preferences),
            pds: Arc::clone(&self.pds),
            signature: self.signature.clone(),
        }
    }
}

/// Ls(local), and one announcement for each address that can be a ULID.
#[derive(Debug, Default)]
pub(crate) struct LocalLocators {
    announcements: BTreeMap<Ipv6Addr, Arc<Announcement>>,
}

impl LocalLocators {
    /// Takes over the host's addresses. Signatures are made here, ahead of any exchange.
    pub(crate) fn replace(&mut self, locators: &[LocalLocator], rng: &mut ChaCha20Rng) {
        let former = std::mem::take(&mut self.announcements);
        for ulid in locators {
            let listed = listed_for(ulid, locators);
            let preferences = preferences_of(&listed, locators);
            let known = former.get(&ulid.address);
            let announcement = match known.filter(|known| known.list.locators == listed) {
                Some(known) if known.prefers_like(&preferences) => Arc::clone(known),
                Some(known) => Arc::new(known.preferring(preferences)),
                //= https://www.rfc-editor.org/rfc/rfc5533#section-10.1
                //= id=S-139
                //# the host picks a new random, local generation number, records this in the context,
                //# and puts it in the Locator List option.
                None => Arc::new(announce(ulid, listed, preferences, rng)),
            };
            self.announcements.insert(ulid.address, announcement);
        }
    }

    pub(crate) fn announcement(&self, ulid: Ipv6Addr) -> Option<&Arc<Announcement>> {
        self.announcements.get(&ulid)
    }

    pub(crate) fn contains(&self, address: Ipv6Addr) -> bool {
        self.announcements.contains_key(&address)
    }
}

/// Which of `locators` the peer of `ulid` can verify, and how: HBA where the set holds it, else CGA.
fn listed_for(ulid: &LocalLocator, locators: &[LocalLocator]) -> Vec<ListedLocator> {
    let others = locators
        .iter()
        .filter(|other| other.address != ulid.address);
    std::iter::once(ulid)
        .chain(others)
        .filter(|locator| locator.usable)
        .filter_map(|locator| {
            let method = if verify_hba(locator.address, &ulid.pds).is_ok() {
                VerificationMethod::Hba
            } else if ulid.key.is_some() {
                VerificationMethod::Cga
            } else {
                return None;
            };
            Some(ListedLocator {
                address: locator.address,
                method,
            })
        })
        .take(LISTED_MAX)
        .collect()
}

/// The preferences of what is listed, in its order.
fn preferences_of(listed: &[ListedLocator], locators: &[LocalLocator]) -> Vec<Preference> {
    let preference = |listed: &ListedLocator| {
        let is_it = |locator: &&LocalLocator| locator.address == listed.address;
        let locator = locators.iter().find(is_it);
        locator.map_or_else(Preference::default, |locator| locator.preference)
    };
    listed.iter().map(preference).collect()
}

fn announce(
    ulid: &LocalLocator,
    locators: Vec<ListedLocator>,
    preferences: Vec<Preference>,
    rng: &mut ChaCha20Rng,
) -> Announcement {
    let generation = Generation(rng.next_u32());
    let by_cga: Vec<_> = locators
        .iter()
        .filter(|locator| locator.method == VerificationMethod::Cga)
        .map(|locator| locator.address)
        .collect();
    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.11
    //= id=S-027,S-090,S-119,S-140
    //# If CGA (and not HBA) is used to verify one or more of the
    //# locators included in the locator list, then the initiator must also
    //# include a CGA Signature option containing the signature.
    let signature = ulid
        .key
        .as_ref()
        .filter(|_| !by_cga.is_empty())
        .map(|key| key.sign(generation.0, &by_cga, rng));
    Announcement {
        list: LocatorList {
            generation,
            locators,
        },
        preferences: Some(preferences)
            .filter(|all| all.iter().any(|p| *p != Preference::default())),
        pds: Arc::clone(&ulid.pds),
        signature,
    }
}

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

    pub(crate) fn len(&self) -> usize {
        self.verified.len()
    }

    /// Each locator with what the peer says of it.
    pub(crate) fn with_preferences(&self) -> impl Iterator<Item = (Ipv6Addr, Preference)> + '_ {
        let told = self.preferences.iter().copied();
        let told = told.chain(std::iter::repeat(Preference::default()));
        self.iter().map(VerifiedLocator::address).zip(told)
    }

    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.iter().any(|locator| other.contains(locator.address()))
    }
}
