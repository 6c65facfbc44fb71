//! Numbers that hosts give to each other, each a type of its own so that none is taken for another.

use std::fmt;

/// A context tag: 47 bits that the receiver of a packet allocated to find its context by.
///
/// Source: RFC 5533 §4.1, §5.2.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContextTag(u64);

impl ContextTag {
    /// Bits in a tag.
    pub const BITS: u32 = 47;

    const MASK: u64 = (1 << Self::BITS) - 1;

    /// The tag made of the low 47 bits of `bits`; the rest is dropped.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits & Self::MASK)
    }

    /// The tag in six octets of a header, of which the first bit is not part of it.
    pub(crate) fn from_octets(octets: [u8; 6]) -> Self {
        let mut bits = [0; 8];
        bits[2..].copy_from_slice(&octets);
        Self::from_bits(u64::from_be_bytes(bits))
    }

    /// The tag as a number below 2^47.
    pub const fn bits(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for ContextTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContextTag({:#014x})", self.0)
    }
}

/// Defines 32-bit numbers that compare, hash and print in hexadecimal.
macro_rules! words {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#010x})"), self.0)
            }
        }
    )*};
}

words! {
    /// Forked Instance Identifier: tells apart contexts of one ULID pair (RFC 5533 §2.1, §5.15.7).
    Fii;
    /// Picked by the initiator of an exchange, returned by the responder (RFC 5533 §5.4).
    InitiatorNonce;
    /// Picked by the responder, returned in I2 and I2bis (RFC 5533 §5.5, §5.8).
    ResponderNonce;
    /// Matches an Update Acknowledgement to its request (RFC 5533 §5.10).
    RequestNonce;
    /// Matches the report of a probe to the probe sent (RFC 5534 §5.2).
    ProbeNonce;
    /// Locator List Generation: which list a set of preferences is about (RFC 5533 §5.15.2).
    Generation;
}

impl Fii {
    /// The context that exists without forking.
    pub const DEFAULT: Self = Self(0);
}

/// What a responder can check without having kept state; opaque to everyone else.
///
/// Source: RFC 5533 §5.15.1.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Validator(pub Vec<u8>);

impl fmt::Debug for Validator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Validator(")?;
        for octet in &self.0 {
            write!(f, "{octet:02x}")?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_tag_keeps_47_bits() {
        assert_eq!(ContextTag::from_bits(u64::MAX).bits(), 0x7fff_ffff_ffff);
    }

    #[test]
    fn identifiers_print_in_hexadecimal() {
        let tag = ContextTag::from_bits(0x1a);
        assert_eq!(format!("{tag:?}"), "ContextTag(0x00000000001a)");
        assert_eq!(format!("{:?}", Fii(0x1a)), "Fii(0x0000001a)");
        assert_eq!(format!("{:?}", Validator(vec![1, 0xfe])), "Validator(01fe)");
    }
}
