//! Locator List option (RFC 5533 §5.15.2).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |           Type = 2          |0|            Length             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                     Locator List Generation                   |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |  Num Locators |            N Octets of Verification Method    |
//! +-+-+-+-+-+-+-+-+                                               |
//! ~                                               +-+-+-+-+-+-+-+-+
//! ~                                               |    Padding    |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                     Locators 1 through N                      ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use std::net::Ipv6Addr;

use super::TYPE_AND_LENGTH;
use crate::ids::Generation;

/// All locators of the sender; preferences refer to them by their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocatorList {
    /// Which list this is.
    pub generation: Generation,
    /// The locators; at most 255.
    pub locators: Vec<ListedLocator>,
}

/// A locator and how it can be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListedLocator {
    /// The address.
    pub address: Ipv6Addr,
    /// What ties the address to the ULID.
    pub method: VerificationMethod,
}

/// How a locator is tied to the ULID (RFC 5533 §5.15.2, table 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VerificationMethod {
    /// Hash-Based Address (RFC 5535).
    Hba,
    /// Cryptographically Generated Address (RFC 3972) and a signature.
    Cga,
    /// A method not known here, by its number.
    Other(u8),
}

impl LocatorList {
    /// `None` if the Length is not that of as many locators as are announced.
    pub(super) fn parse(contents: &[u8]) -> Option<Self> {
        let (generation, rest) = contents.split_first_chunk()?;
        let (&count, _) = rest.split_first()?;
        let methods = contents.get(FIXED..FIXED + usize::from(count))?;
        //= https://www.rfc-editor.org/rfc/rfc5533#section-5.15.2
        //= id=S-052
        //# This internal padding is included in the Length field.
        let addresses = contents.get(locators_at(methods.len())..)?;
        let (addresses, []) = addresses.as_chunks::<16>() else {
            return None;
        };
        (addresses.len() == methods.len()).then(|| Self {
            generation: Generation(u32::from_be_bytes(*generation)),
            locators: addresses
                .iter()
                .zip(methods)
                .map(|(&address, &method)| ListedLocator {
                    address: address.into(),
                    method: VerificationMethod::from_octet(method),
                })
                .collect(),
        })
    }

    pub(super) fn contents(&self) -> Vec<u8> {
        let mut contents = self.generation.0.to_be_bytes().to_vec();
        contents.push(self.locators.len() as u8);
        contents.extend(self.locators.iter().map(|locator| locator.method.octet()));
        contents.resize(locators_at(self.locators.len()), 0);
        contents.extend(
            self.locators
                .iter()
                .flat_map(|locator| locator.address.octets()),
        );
        contents
    }
}

impl VerificationMethod {
    /// The method with this number.
    pub const fn from_octet(method: u8) -> Self {
        match method {
            Self::HBA => Self::Hba,
            Self::CGA => Self::Cga,
            _ => Self::Other(method),
        }
    }

    /// The number of this method.
    pub const fn octet(self) -> u8 {
        match self {
            Self::Hba => Self::HBA,
            Self::Cga => Self::CGA,
            Self::Other(method) => method,
        }
    }

    // Table 4 of §5.15.2 and the IANA text of §17 have the two the other way round. We follow the
    // table, as does the only other implementation known.
    const HBA: u8 = 1;
    const CGA: u8 = 2;
}

/// Octets before the verification methods in the Contents: generation and number of locators.
const FIXED: usize = 5;

/// Offset of the first locator in the Contents of a list of `count` locators.
fn locators_at(count: usize) -> usize {
    //= https://www.rfc-editor.org/rfc/rfc5533#section-5.15.2
    //= id=S-052
    //# Padding:       Padding, 0-7 bytes, added if needed so that the Locators start on a
    //# multiple-of-8-octet boundary.
    (TYPE_AND_LENGTH + FIXED + count).next_multiple_of(8) - TYPE_AND_LENGTH
}
