//! Locator Preferences option (RFC 5533 §5.15.3).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |           Type = 3          |0|            Length             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                     Locator List Generation                   |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |  Element Len  |  Element[1]   |  Element[2]   |  Element[3]   |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                              ...              +-+-+-+-+-+-+-+-+
//! ~                                               |    Padding    |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

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

impl LocatorPreferences {
    /// `None` if Element Len is 0 or does not divide the octets that are left.
    pub(super) fn parse(contents: &[u8]) -> Option<Self> {
        let (generation, rest) = contents.split_first_chunk()?;
        let (&element_len, elements) = rest.split_first()?;
        let element_len = usize::from(element_len);
        if element_len == 0 || !elements.len().is_multiple_of(element_len) {
            return None;
        }
        Some(Self {
            generation: Generation(u32::from_be_bytes(*generation)),
            elements: elements
                .chunks_exact(element_len)
                .map(Preference::parse)
                .collect(),
        })
    }

    /// Elements are as short as can say what all of them say.
    pub(super) fn contents(&self) -> Vec<u8> {
        let says = |octet: fn(&Preference) -> u8| self.elements.iter().any(|e| octet(e) != 0);
        //= https://www.rfc-editor.org/rfc/rfc5533#section-5.15.3
        //= id=S-053
        //# This specification defines the cases when the length is 1, 2, or 3.
        let element_len: u8 = match (says(|e| e.priority), says(|e| e.weight)) {
            (false, false) => 1,
            (true, false) => 2,
            (_, true) => 3,
        };
        let mut contents = self.generation.0.to_be_bytes().to_vec();
        contents.push(element_len);
        for element in &self.elements {
            let octets = [element.flags.0, element.priority, element.weight];
            contents.extend_from_slice(&octets[..usize::from(element_len)]);
        }
        contents
    }
}

impl Preference {
    fn parse(element: &[u8]) -> Self {
        //= https://www.rfc-editor.org/rfc/rfc5533#section-5.15.3
        //= id=S-054
        //# This document doesn't specify the format when the Element length is more than three,
        //# except that any such formats MUST be defined so that the first three octets are the
        //# same as in the above case, that is, a one-octet Flags field followed by a one-octet
        //# Priority field, and a one-octet Weight field.
        let octet = |at| element.get(at).copied().unwrap_or(0);
        Self {
            flags: PreferenceFlags(octet(0)),
            priority: octet(1),
            weight: octet(2),
        }
    }
}
