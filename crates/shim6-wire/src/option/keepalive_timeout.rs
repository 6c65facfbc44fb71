//! Keepalive Timeout option (RFC 5534 §5.3).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |           Type = 10         |0|        Length  = 4            |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! +           Reserved            |      Keepalive Timeout        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

/// The Keepalive Timeout that the sender asks of the receiver, in seconds: its own Send Timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeepaliveTimeout(pub u16);

impl KeepaliveTimeout {
    /// `None` if the Length is not 4.
    pub(super) fn parse(contents: &[u8]) -> Option<Self> {
        //= https://www.rfc-editor.org/rfc/rfc5534#section-5.3
        //= id=R-039
        //# Length This field MUST be set as specified in Section 5.1 of the Shim6 protocol
        //# description [RFC5533] -- that is, set to 4.
        let [_, _, high, low]: [u8; 4] = contents.try_into().ok()?;
        //= https://www.rfc-editor.org/rfc/rfc5534#section-5.3
        //= id=R-040
        //# Reserved A 16-bit field reserved for future use.  It is set to zero upon transmit and
        //# MUST be ignored upon receipt.
        Some(Self(u16::from_be_bytes([high, low])))
    }

    pub(super) fn contents(self) -> [u8; 4] {
        let [high, low] = self.0.to_be_bytes();
        [0, 0, high, low]
    }
}
