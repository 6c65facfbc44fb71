//! Locator List option (RFC 5533 §5.15.2).

use std::net::Ipv6Addr;

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
