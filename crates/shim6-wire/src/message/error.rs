//! Error message (RFC 5533 §5.14).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |       59      |  Hdr Ext Len  |0|  Type = 68  |  Error Code |0|
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |            Checksum           |            Pointer            |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                        Packet in error                        ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use crate::error::WireError;
use crate::ipv6::IPV6_HEADER;
use crate::octets::{Reader, Writer};

use super::MAX_CONTROL_PACKET;

/// Says that a packet held something critical that could not be processed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What was wrong.
    pub code: ErrorCode,
    /// Where: octets from the start of the packet in error.
    pub pointer: u16,
    /// The packet in error from its IPv6 header on, as much of it as fits. What is emitted is a
    /// multiple of 8 octets, at least 8: zero octets fill it up.
    pub packet: Vec<u8>,
}

/// What was wrong with a packet (RFC 5533 §5.14, table 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorCode {
    /// Unknown Shim6 message type.
    UnknownMessageType,
    /// Critical option not recognized.
    CriticalOption,
    /// Locator verification method failed; the pointer is at the method.
    VerificationMethod,
    /// Locator List Generation number out of sync.
    Generation,
    /// Error in the number of locators in a Locator Preference option.
    LocatorCount,
    /// A code not known here; 120 to 127 are for debugging.
    Other(u8),
}

impl Error {
    /// Octets of the fixed fields and of the least packet in error.
    pub(super) const MIN_LEN: usize = 16;

    /// Octets of the packet in error that are sent.
    ///
    /// Source: RFC 5533 §5.14, "as much of invoking packet as possible".
    pub const MAX_PACKET: usize = MAX_CONTROL_PACKET - IPV6_HEADER - FIXED;

    pub(super) fn parse(code: u8, mut fields: Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            code: ErrorCode::from_bits(code),
            pointer: u16::from_be_bytes(fields.array()?),
            packet: fields.rest().to_vec(),
        })
    }

    pub(super) fn emit(&self, out: &mut Writer) {
        //= https://www.rfc-editor.org/rfc/rfc5533#section-5.14
        //= id=S-043
        //# As much of invoking packet as possible without the Error message packet exceeding the
        //# minimum IPv6 MTU.
        let packet = &self.packet[..self.packet.len().min(Self::MAX_PACKET)];
        let fill = packet.len().next_multiple_of(8).max(8) - packet.len();
        out.put(&self.pointer.to_be_bytes())
            .put(packet)
            .put(&[0; 8][..fill]);
    }

    /// The octet of the header that holds the code, S included.
    pub(super) fn type_specific(&self) -> u8 {
        self.code.bits() << 1
    }
}

impl ErrorCode {
    /// The code with this number; 7 bits are looked at.
    pub const fn from_bits(code: u8) -> Self {
        match code & 0x7f {
            0 => Self::UnknownMessageType,
            1 => Self::CriticalOption,
            2 => Self::VerificationMethod,
            3 => Self::Generation,
            4 => Self::LocatorCount,
            other => Self::Other(other),
        }
    }

    /// The 7-bit number of this code.
    pub const fn bits(self) -> u8 {
        match self {
            Self::UnknownMessageType => 0,
            Self::CriticalOption => 1,
            Self::VerificationMethod => 2,
            Self::Generation => 3,
            Self::LocatorCount => 4,
            Self::Other(code) => code & 0x7f,
        }
    }
}

/// Octets before the packet in error.
const FIXED: usize = 8;

#[cfg(test)]
mod tests {
    use crate::message::MessageType;
    use crate::message::golden::assert_too_short;

    #[test]
    fn a_message_shorter_than_its_fixed_fields_is_refused() {
        assert_too_short(MessageType::Error, 16);
    }
}
