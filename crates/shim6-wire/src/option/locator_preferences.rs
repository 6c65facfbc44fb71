//! Locator Preferences option (RFC 5533 §5.15.3).

use crate::ids::Generation;

/// What the sender thinks of the locators in its list, in the order of that list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocatorPreferences {
    /// The list that the elements are about.
    pub generation: Generation,
    /// One element for each locator; at most 255.
    pub elements: Vec<Preference>,
}

/// What the sender thinks of one locator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Preference {
    /// Whether the locator works and lasts.
    pub flags: PreferenceFlags,
    /// Lower is tried first, as in DNS SRV; 0 if the element was too short to say.
    pub priority: u8,
    /// Share among equal priorities, as in DNS SRV; 0 if the element was too short to say.
    pub weight: u8,
}

/// The flags of one locator; bits without a name are carried along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PreferenceFlags(pub u8);

impl PreferenceFlags {
    /// The locator is known not to work.
    pub const BROKEN: Self = Self(0x01);
    /// The locator is less stable than others.
    pub const TRANSIENT: Self = Self(0x02);

    /// Whether every flag of `flags` is set.
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// These flags and those of `flags`.
    #[must_use]
    pub const fn union(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }
}
