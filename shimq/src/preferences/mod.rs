//! How gladly this host is reached at which of its addresses (RFC 5533 §5.15.3): what the configuration
//! says, and the operator after it.

mod command;
mod subject;

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};
use shim6_wire::{Preference, PreferenceFlags};

pub(crate) use command::{SetArgs, in_words, set};
pub(crate) use subject::Subject;
use subject::{AddressPrefix, InterfaceName};

/// One `[[locators]]` of the configuration, and what `shimq locators set` says.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct LocatorRule {
    /// The locators that it is about; of several rules the one with the longest prefix holds.
    prefix: Option<AddressPrefix>,
    /// In place of a prefix, the interface of the locators that it is about: closer than a prefix of less
    /// than 64 bits, and less close than others.
    interface: Option<InterfaceName>,
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

impl LocatorRule {
    /// A rule that has these locators be like any other.
    fn about(subject: Subject) -> Self {
        let (prefix, interface) = match subject {
            Subject::Prefix(prefix) => (Some(prefix), None),
            Subject::Interface(name) => (None, Some(name)),
        };
        Self {
            prefix,
            interface,
            priority: 0,
            weight: 0,
            broken: false,
            transient: false,
            role: None,
        }
    }

    /// The locators that it is about; `None` if it names none, or names them twice.
    pub(crate) fn subject(&self) -> Option<Subject> {
        match (self.prefix, self.interface.clone()) {
            (Some(prefix), None) => Some(Subject::Prefix(prefix)),
            (None, Some(name)) => Some(Subject::Interface(name)),
            (None, None) | (Some(_), Some(_)) => None,
        }
    }
}

impl From<&LocatorRule> for Preference {
    fn from(rule: &LocatorRule) -> Self {
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
pub(crate) struct Preferences(BTreeMap<Subject, Preference>);

impl Preferences {
    /// Those of the configuration.
    pub(crate) fn new(rules: &[LocatorRule]) -> Self {
        let all = rules
            .iter()
            .filter_map(|rule| Some((rule.subject()?, rule.into())));
        Self(all.collect())
    }

    /// Adds a rule about `subject`, or replaces the one that there is.
    pub(crate) fn set(&mut self, subject: Subject, preference: Preference) {
        self.0.insert(subject, preference);
    }

    /// What holds for `address`, which is on `interface` as far as that is known.
    pub(crate) fn of(&self, address: Ipv6Addr, interface: Option<&str>) -> Preference {
        let rules = self.0.iter();
        let holding = rules.filter(|(subject, _)| subject.includes(address, interface));
        let closest = holding.max_by_key(|(subject, _)| subject.closeness());
        closest.map_or_else(Preference::default, |(_, &preference)| preference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(subject: &str, priority: u8) -> LocatorRule {
        LocatorRule {
            priority,
            broken: priority == 9,
            ..LocatorRule::about(subject.parse().unwrap())
        }
    }

    #[test]
    fn what_is_metered_is_behind_backups_at_both_ends_and_these_behind_the_rest() {
        let told = |role, priority| {
            let rule = LocatorRule {
                role,
                ..rule("::/0", priority)
            };
            u16::from(Preference::from(&rule).priority)
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
            preferences.of(address.parse().unwrap(), None).priority
        };
        assert_eq!(of(&preferences, "2001:db8:2::1"), 1);
        assert_eq!(of(&preferences, "2001:db8:1::1"), 2);
        assert_eq!(of(&preferences, "2001:db8:1::7"), 3);
        assert_eq!(of(&preferences, "fd00::1"), 0);
        let broken = rule("2001:db8:1::/48", 9);
        preferences.set(broken.subject().unwrap(), (&broken).into());
        let preference = preferences.of("2001:db8:1::1".parse().unwrap(), None);
        assert_eq!(preference.flags, PreferenceFlags::BROKEN);
        assert_eq!(of(&preferences, "2001:db8:1::7"), 3);
    }

    #[test]
    fn an_interface_is_closer_than_a_short_prefix_and_less_close_than_that_of_a_link() {
        let preferences = Preferences::new(&[
            rule("::/0", 1),
            rule("ww*", 2),
            rule("wwan*", 3),
            rule("wwan0", 4),
            rule("2001:db8:0:1::/64", 5),
        ]);
        let of = |address: &str, interface| {
            let address = address.parse().unwrap();
            preferences.of(address, interface).priority
        };
        assert_eq!(of("2001:db8::1", None), 1);
        assert_eq!(of("2001:db8::1", Some("eth0")), 1);
        assert_eq!(of("2001:db8::1", Some("wwx1")), 2);
        assert_eq!(of("2001:db8::1", Some("wwan1")), 3);
        assert_eq!(of("2001:db8::1", Some("wwan0")), 4);
        assert_eq!(of("2001:db8:0:1::1", Some("wwan0")), 5);
    }
}
