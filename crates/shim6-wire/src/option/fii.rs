//! Forked Instance Identifier option (RFC 5533 §5.15.7).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |           Type = 7          |0|         Length = 4            |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                  Forked Instance Identifier                   |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use crate::ids::Fii;

/// `None` if the Length is not 4.
pub(super) fn parse(contents: &[u8]) -> Option<Fii> {
    contents
        .try_into()
        .ok()
        .map(|octets| Fii(u32::from_be_bytes(octets)))
}

pub(super) fn contents(fii: Fii) -> [u8; 4] {
    fii.0.to_be_bytes()
}
