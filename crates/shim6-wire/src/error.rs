//! Why octets are not what they claim to be, and what the sender of them is told.

use crate::message::{ErrorCode, MessageType};
use crate::option::OptionType;

/// Why octets from the network were not taken, or could not be rewritten.
///
/// Offsets (`at`) count octets from the start of what was handed over: of the Shim6 header for
/// [`crate::Message::parse`], of the IPv6 packet for everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum WireError {
    /// Not version 6, or shorter than the 40 octets of an IPv6 header.
    #[error("RFC 8200 section 3: no IPv6 header at octet {at}")]
    NotIpv6 {
        /// Where the IPv6 header should have been.
        at: usize,
    },
    /// A length field promises more octets than there are.
    #[error("RFC 8200 section 4: octet {at} promises {need} octets, {have} are there")]
    Truncated {
        /// Start of the header or field that is cut.
        at: usize,
        /// Octets it would take.
        need: usize,
        /// Octets there are.
        have: usize,
    },
    /// More octets than Payload Length counts, with a Payload Length of zero.
    #[error("RFC 8200 section 3: octet 4, Payload Length 0 with a payload, is not rewritten")]
    Jumbogram,
    /// Payload Length or Hdr Ext Len cannot say the length.
    #[error("RFC 8200 section 3: octet 4, Payload Length {length} does not fit 16 bits")]
    PacketTooLong {
        /// Octets after the IPv6 header, were the packet rewritten.
        length: usize,
    },
    /// Fewer than [`crate::Packet::HEADROOM`] octets are free before the packet.
    #[error("RFC 5533 section 5.2: no room for 8 octets before the packet")]
    NoHeadroom,
    /// The packet has a Shim6 header; a second one would be ambiguous.
    #[error("RFC 5533 section 4.6: octet {at}, there is a Shim6 header already")]
    AlreadyShim6 {
        /// Start of that header.
        at: usize,
    },
    /// There is no payload extension header where one was expected.
    #[error("RFC 5533 section 5.2: octet {at}, no Shim6 payload extension header")]
    NotPayloadExt {
        /// Where the header would have been.
        at: usize,
    },
    /// P is 1, but the header is not 8 octets long.
    #[error("RFC 5533 section 5.2: octet {at}, payload extension header with Hdr Ext Len not 0")]
    PayloadExtLength {
        /// Offset of Hdr Ext Len.
        at: usize,
    },

    /// P is 1: this is a payload extension header, not a control message.
    #[error("RFC 5533 section 5.3: octet 2, P is 1 in a control message")]
    NotControl,
    /// S is 1: this is a HIP message in the shared format.
    #[error("RFC 5533 section 5.3: octet 3, S is 1, so this is a HIP message")]
    Hip,
    /// Hdr Ext Len reaches past the end of the IPv6 packet.
    #[error("RFC 5533 section 12.3: octet 1 promises {need} octets of message, {have} are there")]
    PastPacketEnd {
        /// Octets that Hdr Ext Len promises.
        need: usize,
        /// Octets to the end of the IPv6 packet.
        have: usize,
    },
    /// The checksum is not that of the message.
    #[error("RFC 5533 section 12.3: octet 4, wrong checksum")]
    Checksum,
    /// A control message from or to a multicast or unspecified address.
    #[error("RFC 5533 section 12.3: octet {at}, multicast or unspecified address")]
    Address {
        /// Offset of the address in the IPv6 packet.
        at: usize,
    },
    /// A message type that no RFC known here defines.
    #[error("RFC 5533 section 12.3: octet 2, unknown message type {ty}")]
    UnknownType {
        /// The 7-bit type.
        ty: u8,
    },
    /// Shorter than the fixed fields of its type.
    #[error("RFC 5533 section 5: octet 1, {ty:?} has {have} octets and needs {need}")]
    MessageTooShort {
        /// The type of the message.
        ty: MessageType,
        /// Octets of the fixed fields.
        need: usize,
        /// Octets that Hdr Ext Len counts.
        have: usize,
    },
    /// State 3 is not defined.
    #[error("RFC 5534 section 5.2: octet 13, undefined state in a Probe")]
    ProbeState,
    /// Psent is zero: the probe does not describe itself.
    #[error("RFC 5534 section 5.2: octet 12, Psent is 0")]
    NoProbeSent,

    /// An option with C = 1 that is unknown, or has no place in this message.
    #[error("RFC 5533 section 5.15: octet {at}, critical option {ty} not recognized")]
    CriticalOption {
        /// The 15-bit option type.
        ty: u16,
        /// Offset of the Type field.
        at: usize,
    },
    /// An option reaches past the end of the message.
    #[error("RFC 5533 section 5.15: octet {at}, option takes {need} octets, {have} are left")]
    OptionPastEnd {
        /// Offset of the Type field.
        at: usize,
        /// Octets that the option takes, padding included.
        need: usize,
        /// Octets to the end of the message.
        have: usize,
    },
    /// The contents of an option do not have the length that they describe.
    #[error("RFC 5533 section 5.15: octet {at}, wrong length of option {ty:?}")]
    OptionLength {
        /// The option.
        ty: OptionType,
        /// Offset of the Type field.
        at: usize,
    },
    /// An option that may be there once is there again.
    #[error("RFC 5533 section 5.15: octet {at}, second option {ty:?}")]
    DuplicateOption {
        /// The option.
        ty: OptionType,
        /// Offset of the Type field of the second one.
        at: usize,
    },
    /// R1, I2, R1bis or I2bis without the Responder Validator option.
    #[error("RFC 5533 section 5: octet {at}, {ty:?} ends without a Responder Validator option")]
    NoValidator {
        /// The type of the message.
        ty: MessageType,
        /// Octets in the message.
        at: usize,
    },

    /// Not an ICMPv6 error (types 1 to 4).
    #[error("RFC 4443 section 2.1: octet {at}, no ICMPv6 error message")]
    NotIcmpError {
        /// Where the ICMPv6 header would have been.
        at: usize,
    },
    /// The ICMPv6 checksum is wrong.
    #[error("RFC 4443 section 2.3: octet {at}, wrong ICMPv6 checksum")]
    IcmpChecksum {
        /// Offset of the checksum.
        at: usize,
    },
}

impl WireError {
    /// What the sender of a control message is told, or `None` if it is dropped in silence.
    ///
    /// The pointer counts from the start of the Shim6 header; in an Error message it counts from
    /// the start of the IPv6 packet in error.
    ///
    /// Source: RFC 5533 §5.14, §12.3.
    pub fn report(self) -> Option<(ErrorCode, u16)> {
        match self {
            //= https://www.rfc-editor.org/rfc/rfc5533#section-12.3
            //= id=S-163
            //# The Pointer field is set to point at the first octet of the shim message type.
            Self::UnknownType { .. } => Some((ErrorCode::UnknownMessageType, 2)),
            //= https://www.rfc-editor.org/rfc/rfc5533#section-12.3
            //= id=S-164
            //# If there is any option in the message with C=1 that isn't known to the host, then
            //# the host MUST send a Shim6 Error message with Error Code=1 with the Pointer field
            //# referencing the first octet of the Option Type.
            Self::CriticalOption { at, .. } => Some((ErrorCode::CriticalOption, at as u16)),
            Self::NotIpv6 { .. }
            | Self::Truncated { .. }
            | Self::Jumbogram
            | Self::PacketTooLong { .. }
            | Self::NoHeadroom
            | Self::AlreadyShim6 { .. }
            | Self::NotPayloadExt { .. }
            | Self::PayloadExtLength { .. }
            | Self::NotControl
            | Self::Hip
            | Self::PastPacketEnd { .. }
            | Self::Checksum
            | Self::Address { .. }
            | Self::MessageTooShort { .. }
            | Self::ProbeState
            | Self::NoProbeSent
            | Self::OptionPastEnd { .. }
            | Self::OptionLength { .. }
            | Self::DuplicateOption { .. }
            | Self::NoValidator { .. }
            | Self::NotIcmpError { .. }
            | Self::IcmpChecksum { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_section_and_the_octet() {
        let error = WireError::CriticalOption { ty: 11, at: 24 };
        let text = "RFC 5533 section 5.15: octet 24, critical option 11 not recognized";
        assert_eq!(error.to_string(), text);
        let error = WireError::MessageTooShort {
            ty: MessageType::I2,
            need: 24,
            have: 16,
        };
        let text = "RFC 5533 section 5: octet 1, I2 has 16 octets and needs 24";
        assert_eq!(error.to_string(), text);
    }
}
