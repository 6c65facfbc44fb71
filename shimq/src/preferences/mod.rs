//! How gladly this host is reached at which of its addresses (RFC 5533 §5.15.3): what the configuration
//! says, and the operator after it.

mod command;

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use shim6_wire::{Preference, PreferenceFlags};

pub(crate) use command::{SetArgs, in_words, set};

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
    /// Whether `address` begins so.
    pub(crate) fn contains(self, address: Ipv6Addr) -> bool {
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

/// One `[[locators]]` of the configuration, and what `shimq locators set` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct LocatorRule {
    /// The locators that it is about; of several rules the one with the longest prefix holds.
    pub(crate) prefix: AddressPrefix,
    /// Lower is tried first, as in DNS SRV records.
    #[serde(default)]
    pub(crate) priority: u8,
    /// Share among locators of equal priority, as in DNS SRV records.
    #[serde(default)]
    pub(crate) weight: u8,
    /// Known not to work: used only when nothing else does.
    #[serde(default)]
    pub(crate) broken: bool,
    /// Less stable than others.
    #[serde(default)]
    pub(crate) transient: bool,
    /// What it is kept for, in place of a priority.
    #[serde(default)]
    pub(crate) role: Option<Role>,
}

/// What a locator is kept for that is not used like any other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Role {
    /// Used when no other works, and left when one does.
    Backup,
    /// Paid for by what passes: used when nothing else works, not even a backup.
    Metered,
}

impl Role {
    /// What peers are told: they know no names, only numbers. Both ends' add up: behind any priorities
    /// up to 49 come backups, at one end or at both, and what is metered is behind these.
    fn priority(self) -> u8 {
        match self {
            Self::Backup => 100,
            Self::Metered => 250,
        }
    }
}

impl From<LocatorRule> for Preference {
    fn from(rule: LocatorRule) -> Self {
        let flags = [
            (rule.broken, PreferenceFlags::BROKEN),
            (rule.transient, PreferenceFlags::TRANSIENT),
        ];
        let set = flags
            .into_iter()
            .filter_map(|(is, flag)| is.then_some(flag));
        Self {
            flags: set.fold(PreferenceFlags::default(), PreferenceFlags::union),
            priority: rule.role.map_or(rule.priority, Role::priority),
            weight: rule.weight,
        }
    }
}

/// The preference of one locator, for programs.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct PreferenceReport {
    address: Ipv6Addr,
    priority: u8,
    weight: u8,
    broken: bool,
    transient: bool,
}

impl PreferenceReport {
    pub(crate) fn new(address: Ipv6Addr, preference: Preference) -> Self {
        Self {
            address,
            priority: preference.priority,
            weight: preference.weight,
            broken: preference.flags.contains(PreferenceFlags::BROKEN),
            transient: preference.flags.contains(PreferenceFlags::TRANSIENT),
        }
    }
}

/// All rules in force.
#[derive(Clone, Debug, Default)]
pub(crate) struct Preferences(BTreeMap<AddressPrefix, Preference>);

impl Preferences {
    /// Those of the configuration.
    pub(crate) fn new(rules: &[LocatorRule]) -> Self {
        let all = rules.iter().map(|&rule| (rule.prefix, rule.into()));
        Self(all.collect())
    }

    /// Adds a rule, or replaces that for the same prefix.
    pub(crate) fn set(&mut self, rule: LocatorRule) {
        self.0.insert(rule.prefix, rule.into());
    }

    /// What holds for `address`.
    pub(crate) fn of(&self, address: Ipv6Addr) -> Preference {
        let holding = self.0.iter().filter(|(prefix, _)| prefix.contains(address));
        let closest = holding.max_by_key(|(prefix, _)| prefix.len);
        closest.map_or_else(Preference::default, |(_, &preference)| preference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(prefix: &str, priority: u8) -> LocatorRule {
        LocatorRule {
            prefix: prefix.parse().unwrap(),
            priority,
            weight: 0,
            broken: priority == 9,
            transient: false,
            role: None,
        }
    }

    #[test]
    fn what_is_metered_is_behind_backups_at_both_ends_and_these_behind_the_rest() {
        let told = |role, priority| {
            let rule = LocatorRule {
                role,
                ..rule("::/0", priority)
            };
            u16::from(Preference::from(rule).priority)
        };
        let (usual, least) = (told(None, 0), told(None, 49));
        let backup = told(Some(Role::Backup), 0);
        let metered = told(Some(Role::Metered), 0);
        assert!(least + least < usual + backup && backup + backup < usual + metered);
    }

    #[test]
    fn the_longest_prefix_holds_and_what_is_set_later_replaces() {
        let mut preferences = Preferences::new(&[
            rule("2001:db8::/32", 1),
            rule("2001:db8:1::/48", 2),
            rule("2001:db8:1::7", 3),
        ]);
        let of = |preferences: &Preferences, address: &str| {
            preferences.of(address.parse().unwrap()).priority
        };
        assert_eq!(of(&preferences, "2001:db8:2::1"), 1);
        assert_eq!(of(&preferences, "2001:db8:1::1"), 2);
        assert_eq!(of(&preferences, "2001:db8:1::7"), 3);
        assert_eq!(of(&preferences, "fd00::1"), 0);
        preferences.set(rule("2001:db8:1::/48", 9));
        let preference = preferences.of("2001:db8:1::1".parse().unwrap());
        assert_eq!(preference.flags, PreferenceFlags::BROKEN);
        assert_eq!(of(&preferences, "2001:db8:1::7"), 3);
    }

    #[test]
    fn a_prefix_with_bits_behind_it_or_too_long_is_none() {
        for text in ["2001:db8::1/64", "2001:db8::/129", "192.0.2.1", "2001:db8"] {
            assert!(text.parse::<AddressPrefix>().is_err(), "{text}");
        }
        for text in ["::/0", "2001:db8::/64", "2001:db8::1"] {
            assert_eq!(text.parse::<AddressPrefix>().unwrap().to_string(), text);
        }
    }
}
