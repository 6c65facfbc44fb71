//! Which locators a preference is about.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::host;

/// Addresses that begin alike; a single one is a prefix of 128 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct AddressPrefix {
    address: Ipv6Addr,
    len: u8,
}

/// The text is no prefix.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("an IPv6 prefix such as 2001:db8::/32, or an address")]
pub(crate) struct NoPrefix;

impl AddressPrefix {
    fn contains(self, address: Ipv6Addr) -> bool {
        let differing = self.address.to_bits() ^ address.to_bits();
        differing.leading_zeros() >= u32::from(self.len)
    }
}

impl FromStr for AddressPrefix {
    type Err = NoPrefix;

    fn from_str(text: &str) -> Result<Self, NoPrefix> {
        let (address, len) = text.split_once('/').unwrap_or((text, "128"));
        let (address, len) = address.parse().ok().zip(len.parse().ok()).ok_or(NoPrefix)?;
        let prefix = Self { address, len };
        let host_bits = 128_u32.checked_sub(u32::from(len)).ok_or(NoPrefix)?;
        let below = address.to_bits().trailing_zeros() < host_bits;
        (!below).then_some(prefix).ok_or(NoPrefix)
    }
}

impl TryFrom<String> for AddressPrefix {
    type Error = NoPrefix;

    fn try_from(text: String) -> Result<Self, NoPrefix> {
        text.parse()
    }
}

impl From<AddressPrefix> for String {
    fn from(prefix: AddressPrefix) -> Self {
        prefix.to_string()
    }
}

impl fmt::Display for AddressPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.len {
            128 => write!(f, "{}", self.address),
            len => write!(f, "{}/{len}", self.address),
        }
    }
}

/// The name of an interface; with a `*` at its end, of all that begin so.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct InterfaceName(String);

/// The text is no name of an interface.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the name of an interface, or eth* for all that begin so")]
pub(crate) struct NoInterfaceName;

impl InterfaceName {
    /// The one interface that is named; `None` if it is all that begin so.
    pub(crate) fn single(&self) -> Option<&str> {
        Some(self.0.as_str()).filter(|name| !name.ends_with('*'))
    }
}

impl TryFrom<String> for InterfaceName {
    type Error = NoInterfaceName;

    fn try_from(text: String) -> Result<Self, NoInterfaceName> {
        if host::is_interface_pattern(&text) {
            Ok(Self(text))
        } else {
            Err(NoInterfaceName)
        }
    }
}

impl From<InterfaceName> for String {
    fn from(name: InterfaceName) -> Self {
        name.0
    }
}

/// Which locators a preference is about.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Subject {
    /// Those with this prefix.
    Prefix(AddressPrefix),
    /// Those on this interface.
    Interface(InterfaceName),
}

/// The text names no locators.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum NoSubject {
    /// It looks like an address.
    #[error(transparent)]
    Prefix(#[from] NoPrefix),
    /// It does not.
    #[error(transparent)]
    Interface(#[from] NoInterfaceName),
}

impl Subject {
    /// Whether it is about `address`, which is on `interface` as far as that is known.
    pub(crate) fn includes(&self, address: Ipv6Addr, interface: Option<&str>) -> bool {
        match self {
            Self::Prefix(prefix) => prefix.contains(address),
            Self::Interface(name) => interface.is_some_and(|known| host::matches(&name.0, known)),
        }
    }

    /// How closely it names what it is about: of several subjects the greatest holds. An interface is
    /// what a /64 is, and its prefix says more; a whole name says more than the beginning of one.
    pub(super) fn closeness(&self) -> (u8, bool, bool, usize) {
        /// Bits of the prefix of one link.
        const LINK: u8 = 64;
        match self {
            Self::Prefix(prefix) => (prefix.len, true, true, 0),
            Self::Interface(name) => (LINK, false, name.single().is_some(), name.0.len()),
        }
    }
}

impl FromStr for Subject {
    type Err = NoSubject;

    fn from_str(text: &str) -> Result<Self, NoSubject> {
        Ok(if text.contains(':') {
            Self::Prefix(text.parse()?)
        } else {
            Self::Interface(text.to_owned().try_into()?)
        })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(prefix) => prefix.fmt(f),
            Self::Interface(name) => f.write_str(&name.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_with_bits_behind_it_or_too_long_is_none() {
        for text in ["2001:db8::1/64", "2001:db8::/129", "192.0.2.1", "2001:db8"] {
            assert!(text.parse::<AddressPrefix>().is_err(), "{text}");
        }
        for text in ["::/0", "2001:db8::/64", "2001:db8::1"] {
            assert_eq!(text.parse::<AddressPrefix>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_has_a_colon_is_meant_as_a_prefix_and_all_else_as_an_interface() {
        for text in ["::/0", "2001:db8::1", "wwan0", "wwan*", "*"] {
            assert_eq!(text.parse::<Subject>().unwrap().to_string(), text);
        }
        for (text, meant) in [
            ("2001:db8::1/64", "prefix"),
            ("", "interface"),
            ("ww*0", "interface"),
        ] {
            let said = text.parse::<Subject>().unwrap_err().to_string();
            assert!(said.contains(meant), "{text}: {said}");
        }
    }
}
