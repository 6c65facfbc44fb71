//! Ls(local): what this host has, what each of its ULIDs' peers are told of it, and the proof of that.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;
use shim6_cga::{Pds, SigningKey, verify_hba};
use shim6_wire::{
    ContextTag, Fii, Generation, I2bis, InitiatorNonce, KeepaliveTimeout, ListedLocator,
    LocatorList, LocatorOptions, LocatorPreferences, Message, Preference, PreferenceFlags,
    ResponderNonce, Ulids, Validator, VerificationMethod,
};

/// Most locators that this host lists, if a message has room for them.
///
//= https://www.rfc-editor.org/rfc/rfc5533#section-5.1
//= id=S-004
//# An implementation may impose administrative restrictions to avoid excessively large Shim6
//# packets, such as a limitation on the number of locators to be used.
const LISTED_MAX: usize = 16;

/// Octets of a peer's validator that every list leaves room for; ours has as many.
const VALIDATOR_LEN: usize = 40;

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

    /// Whether it says something else than `former` of an address that both list. That an address
    /// comes or goes says nothing of how gladly it is used.
    pub(crate) fn reappraises(&self, former: &Self) -> bool {
        self.addresses().any(|address| {
            former.contains(address) && self.preference(address) != former.preference(address)
        })
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
///
/// The ULID comes first. What does not fit into a message is left out.
fn listed_for(ulid: &LocalLocator, locators: &[LocalLocator]) -> Vec<ListedLocator> {
    let others = locators
        .iter()
        .filter(|other| other.address != ulid.address);
    let mut listed: Vec<_> = std::iter::once(ulid)
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
        .collect();
    while !listed.is_empty() && !fits(ulid, &listed) {
        listed.pop();
    }
    listed
}

/// Whether the largest message with this list stays within what Shim6 may send: an I2bis for a fork
/// whose ULIDs are not the addresses of its packet, with preferences of full length.
//= https://www.rfc-editor.org/rfc/rfc5533#section-5.1
//= id=S-004
//# Shim6 signaling packets may not be larger than 1280 bytes, including the IPv6 header
//# and any intermediate headers between the IPv6 header and the Shim6 header.
fn fits(ulid: &LocalLocator, listed: &[ListedLocator]) -> bool {
    let generation = Generation(0);
    let is_signed = listed
        .iter()
        .any(|locator| locator.method == VerificationMethod::Cga);
    let signature_len = ulid.pds.rsa_bits().map(|bits| bits.div_ceil(8));
    let signature = signature_len.filter(|_| is_signed).map(|len| vec![0; len]);
    let longest = Preference {
        flags: PreferenceFlags::BROKEN,
        priority: 1,
        weight: 1,
    };
    let message = Message::I2bis(I2bis {
        initiator_tag: ContextTag::from_bits(0),
        initiator_nonce: InitiatorNonce(0),
        responder_nonce: ResponderNonce(0),
        packet_tag: ContextTag::from_bits(0),
        validator: Validator(vec![0; VALIDATOR_LEN]),
        ulids: Some(Ulids {
            sender: ulid.address,
            receiver: ulid.address,
        }),
        fii: Some(Fii(1)),
        locators: LocatorOptions {
            list: Some(LocatorList {
                generation,
                locators: listed.to_vec(),
            }),
            preferences: Some(LocatorPreferences {
                generation,
                elements: vec![longest; listed.len()],
            }),
            pds: Some(ulid.pds.octets().to_vec()),
            signature,
        },
        keepalive_timeout: Some(KeepaliveTimeout(0)),
    });
    message.fits()
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

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;
    use shim6_cga::{MultiPrefix, form_hba_set};

    use super::*;

    /// An algorithm identifier and an RSA key of so many bits, with nothing behind it
    /// (RFC 3279 section 2.3.1).
    fn public_key(bits: usize) -> Vec<u8> {
        let field = |tag: u8, contents: Vec<u8>| {
            let [high, low] = u16::try_from(contents.len()).unwrap().to_be_bytes();
            let length = match (high, low) {
                (0, 0..0x80) => vec![low],
                (0, _) => vec![0x81, low],
                _ => vec![0x82, high, low],
            };
            [vec![tag], length, contents].concat()
        };
        let mut modulus = vec![0; 1 + bits / 8];
        modulus[1] = 0x80;
        *modulus.last_mut().unwrap() = 1;
        let exponent = vec![2, 3, 1, 0, 1];
        let key = field(0x30, [field(2, modulus), exponent].concat());
        let algorithm = [
            0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0,
        ];
        let bit_string = field(3, [vec![0], key].concat());
        field(0x30, [algorithm.to_vec(), bit_string].concat())
    }

    /// So many addresses of a set with a key of so many bits, and one that is not in it.
    fn locators(bits: usize, count: u8) -> Vec<LocalLocator> {
        let key = public_key(bits);
        let signing =
            Arc::new(SigningKey::generate(1024, &mut ChaCha20Rng::seed_from_u64(1)).unwrap());
        let prefixes: Vec<_> = (0..count)
            .map(|n| [0x20, 1, 0xd, 0xb8, 0, 0, 0, n])
            .collect();
        let form = |prefixes: &[_]| {
            let set = MultiPrefix {
                has_public_key: true,
                prefixes: prefixes.to_vec(),
            };
            form_hba_set([0; 16], &set, 0, &key, 0).unwrap()
        };
        let formed = [form(&prefixes), form(&[[0x21; 8]])].concat();
        let locators = formed.into_iter().map(|(address, pds)| LocalLocator {
            address,
            pds: Arc::new(pds),
            key: Some(Arc::clone(&signing)),
            usable: true,
            preference: Preference::default(),
        });
        locators.collect()
    }

    /// How many locators the peer of the set's first address is told of.
    fn listed(bits: usize, count: u8) -> usize {
        let locators = locators(bits, count);
        assert_eq!(locators[0].pds.rsa_bits(), Some(bits));
        let listed = listed_for(&locators[0], &locators);
        assert!(fits(&locators[0], &listed));
        assert!(listed.is_empty() || listed[0].address == locators[0].address);
        listed.len()
    }

    //= https://www.rfc-editor.org/rfc/rfc5533#section-5.1
    //= type=test
    //= id=S-004
    //# Shim6 signaling packets may not be larger than 1280 bytes, including the IPv6 header
    //# and any intermediate headers between the IPv6 header and the Shim6 header.
    #[test]
    fn a_list_has_as_many_locators_as_fit_with_key_and_signature_into_one_message() {
        assert_eq!(listed(1024, 20), LISTED_MAX);
        assert_eq!(listed(2048, 7), 8, "all");
        assert_eq!(listed(2048, 8), 9, "all");
        assert_eq!(listed(SigningKey::MAX_BITS, 1), 2, "all");
        assert_eq!(listed(SigningKey::MAX_BITS, 8), 8);
        // What the limit of key lengths is for: of two, the ULID alone.
        assert_eq!(listed(4096, 1), 1);
    }
}
