//! The control messages of RFC 5533 §5 and RFC 5534 §5.
//!
//! Decides which octets are a valid message and how one is laid out; what all messages share is
//! here, the rest in a file for each.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |  Next Header  |  Hdr Ext Len  |P|     Type    |Type-specific|S|
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |            Checksum           |                               |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+                               |
//! |                    Type-specific format                       |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

mod error;
mod i1;
mod i2;
mod i2bis;
mod keepalive;
mod probe;
mod r1;
mod r1bis;
mod r2;
mod update_ack;
mod update_request;

pub use error::{Error, ErrorCode};
pub use i1::I1;
pub use i2::I2;
pub use i2bis::I2bis;
pub use keepalive::Keepalive;
pub use probe::{Probe, ProbeReport, ProbeState};
pub use r1::R1;
pub use r1bis::R1bis;
pub use r2::R2;
pub use update_ack::UpdateAck;
pub use update_request::UpdateRequest;

use crate::checksum;
use crate::error::WireError;
use crate::ids::{ContextTag, InitiatorNonce};
use crate::ipv6::IPV6_HEADER;
use crate::octets::{Reader, Writer};

/// Octets that an IPv6 packet with a control message may have, IPv6 header included.
///
/// Source: RFC 5533 §5.1.
pub const MAX_CONTROL_PACKET: usize = 1280;

/// A Shim6 control message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// First establishment message from the initiator.
    I1(I1),
    /// First establishment message from the responder.
    R1(R1),
    /// Second establishment message from the initiator.
    I2(I2),
    /// Second establishment message from the responder.
    R2(R2),
    /// Reply to a reference to a context that does not exist.
    R1bis(R1bis),
    /// Reply to an R1bis message.
    I2bis(I2bis),
    /// New locators or preferences.
    UpdateRequest(UpdateRequest),
    /// They arrived.
    UpdateAck(UpdateAck),
    /// Packets arrive.
    Keepalive(Keepalive),
    /// Test of an address pair.
    Probe(Probe),
    /// A packet could not be processed.
    Error(Error),
}

/// The 7-bit types of the control messages (RFC 5533 §5.3, table 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum MessageType {
    /// See [`I1`].
    I1 = 1,
    /// See [`R1`].
    R1 = 2,
    /// See [`I2`].
    I2 = 3,
    /// See [`R2`].
    R2 = 4,
    /// See [`R1bis`].
    R1bis = 5,
    /// See [`I2bis`].
    I2bis = 6,
    /// See [`UpdateRequest`].
    UpdateRequest = 64,
    /// See [`UpdateAck`].
    UpdateAck = 65,
    /// See [`Keepalive`].
    //= https://www.rfc-editor.org/rfc/rfc5534#section-5.1
    //= id=R-017
    //# This field identifies the Keepalive message and MUST be set to 66 (Keepalive).
    Keepalive = 66,
    /// See [`Probe`].
    //= https://www.rfc-editor.org/rfc/rfc5534#section-5.2
    //= id=R-023
    //# This field identifies the Probe message and MUST be set to 67 (Probe).
    Probe = 67,
    /// See [`Error`].
    Error = 68,
}

impl Message {
    /// Reads a message. `shim` runs from the first octet of the Shim6 header to the end of the
    /// IPv6 packet.
    ///
    /// Reserved fields and Next Header are not looked at, nor is what follows the header.
    ///
    /// # Errors
    ///
    /// Anything wrong between the P bit and the end of the last option;
    /// [`WireError::report`] says which errors the sender is told.
    ///
    /// Source: RFC 5533 §5, §12.3; RFC 5534 §5.
    pub fn parse(shim: &[u8]) -> Result<Self, WireError> {
        let header = Header::parse(shim)?;
        //= https://www.rfc-editor.org/rfc/rfc5533#section-12.3
        //= id=S-162
        //# A shim control message has the Checksum field verified.
        if !checksum::is_valid(header.message) {
            return Err(WireError::Checksum);
        }
        let ty =
            MessageType::from_bits(header.ty).ok_or(WireError::UnknownType { ty: header.ty })?;
        let fields = Reader::new(ty, header.message)?;
        Ok(match ty {
            MessageType::I1 => Self::I1(I1::parse(fields)?),
            MessageType::R1 => Self::R1(R1::parse(fields)?),
            MessageType::I2 => Self::I2(I2::parse(fields)?),
            MessageType::R2 => Self::R2(R2::parse(fields)?),
            MessageType::R1bis => Self::R1bis(R1bis::parse(fields)?),
            MessageType::I2bis => Self::I2bis(I2bis::parse(fields)?),
            MessageType::UpdateRequest => Self::UpdateRequest(UpdateRequest::parse(fields)?),
            MessageType::UpdateAck => Self::UpdateAck(UpdateAck::parse(fields)?),
            MessageType::Keepalive => Self::Keepalive(Keepalive::parse(fields)?),
            MessageType::Probe => Self::Probe(Probe::parse(fields)?),
            MessageType::Error => Self::Error(Error::parse(header.type_specific, fields)?),
        })
    }

    /// The whole Shim6 header, checksum included: a multiple of 8 octets.
    ///
    /// Options that Hdr Ext Len cannot count any more, beyond 2048 octets, are left out. A message
    /// that [`fits`](Self::fits) is far from that.
    pub fn emit(&self) -> Vec<u8> {
        self.write().finish()
    }

    /// Octets that the message takes, all options included.
    pub fn emitted_len(&self) -> usize {
        self.write().needed()
    }

    /// Whether the message may be sent in an IPv6 packet that has no other header: it makes that
    /// no longer than [`MAX_CONTROL_PACKET`].
    pub fn fits(&self) -> bool {
        //= https://www.rfc-editor.org/rfc/rfc5533#section-5.1
        //= id=S-004
        //# Shim6 signaling packets may not be larger than 1280 bytes, including the IPv6 header
        //# and any intermediate headers between the IPv6 header and the Shim6 header.
        IPV6_HEADER + self.emitted_len() <= MAX_CONTROL_PACKET
    }

    /// The type of this message.
    pub fn message_type(&self) -> MessageType {
        match self {
            Self::I1(_) => MessageType::I1,
            Self::R1(_) => MessageType::R1,
            Self::I2(_) => MessageType::I2,
            Self::R2(_) => MessageType::R2,
            Self::R1bis(_) => MessageType::R1bis,
            Self::I2bis(_) => MessageType::I2bis,
            Self::UpdateRequest(_) => MessageType::UpdateRequest,
            Self::UpdateAck(_) => MessageType::UpdateAck,
            Self::Keepalive(_) => MessageType::Keepalive,
            Self::Probe(_) => MessageType::Probe,
            Self::Error(_) => MessageType::Error,
        }
    }

    fn write(&self) -> Writer {
        let type_specific = match self {
            Self::Error(error) => error.type_specific(),
            Self::I1(_)
            | Self::R1(_)
            | Self::I2(_)
            | Self::R2(_)
            | Self::R1bis(_)
            | Self::I2bis(_)
            | Self::UpdateRequest(_)
            | Self::UpdateAck(_)
            | Self::Keepalive(_)
            | Self::Probe(_) => 0,
        };
        let mut out = Writer::new(self.message_type(), type_specific);
        match self {
            Self::I1(message) => message.emit(&mut out),
            Self::R1(message) => message.emit(&mut out),
            Self::I2(message) => message.emit(&mut out),
            Self::R2(message) => message.emit(&mut out),
            Self::R1bis(message) => message.emit(&mut out),
            Self::I2bis(message) => message.emit(&mut out),
            Self::UpdateRequest(message) => message.emit(&mut out),
            Self::UpdateAck(message) => message.emit(&mut out),
            Self::Keepalive(message) => message.emit(&mut out),
            Self::Probe(message) => message.emit(&mut out),
            Self::Error(message) => message.emit(&mut out),
        }
        out
    }
}

impl MessageType {
    /// The message of a 7-bit type; `None` if it is not known here.
    pub const fn from_bits(ty: u8) -> Option<Self> {
        Some(match ty {
            1 => Self::I1,
            2 => Self::R1,
            3 => Self::I2,
            4 => Self::R2,
            5 => Self::R1bis,
            6 => Self::I2bis,
            64 => Self::UpdateRequest,
            65 => Self::UpdateAck,
            66 => Self::Keepalive,
            67 => Self::Probe,
            68 => Self::Error,
            _ => return None,
        })
    }

    /// Whether octets 6 to 12 are a tag by which the receiver finds the context.
    const fn has_receiver_tag(self) -> bool {
        match self {
            //= https://www.rfc-editor.org/rfc/rfc5533#section-5.3
            //= id=S-009
            //# Type codes 0-63 will not trigger R1bis messages on a missing context, while codes
            //# 64-127 will trigger R1bis.
            Self::UpdateRequest | Self::UpdateAck | Self::Keepalive | Self::Probe => true,
            Self::I1 | Self::R1 | Self::I2 | Self::R2 | Self::R1bis | Self::I2bis | Self::Error => {
                false
            }
        }
    }

    /// Octets that a message of this type has at least.
    pub(crate) const fn min_len(self) -> usize {
        match self {
            Self::I1 => I1::MIN_LEN,
            Self::R1 => R1::MIN_LEN,
            Self::I2 => I2::MIN_LEN,
            Self::R2 => R2::MIN_LEN,
            Self::R1bis => R1bis::MIN_LEN,
            Self::I2bis => I2bis::MIN_LEN,
            Self::UpdateRequest => UpdateRequest::MIN_LEN,
            Self::UpdateAck => UpdateAck::MIN_LEN,
            Self::Keepalive => Keepalive::MIN_LEN,
            Self::Probe => Probe::MIN_LEN,
            Self::Error => Error::MIN_LEN,
        }
    }
}

/// The tag by which the receiver of `shim` finds its context, read without parsing anything else.
///
/// `shim` runs from the first octet of the Shim6 header. `None` if it is cut, and for messages that
/// do not refer to a context in this way: establishment, recovery, Error and unknown types.
///
/// Source: RFC 5533 §5.2, §7.17; RFC 5534 §5.
pub fn receiver_tag(shim: &[u8]) -> Option<ContextTag> {
    let [_, _, p_and_type, _] = *shim.first_chunk()?;
    let tag_at = if p_and_type & P_BIT != 0 {
        2
    } else if MessageType::from_bits(p_and_type).is_some_and(MessageType::has_receiver_tag) {
        6
    } else {
        return None;
    };
    shim.get(tag_at..)?
        .first_chunk()
        .copied()
        .map(ContextTag::from_octets)
}

/// The type of the control message at the start of `shim`, even if the rest of it is cut off;
/// `None` for a payload extension header or an unknown type.
pub(crate) fn peek_type(shim: &[u8]) -> Option<MessageType> {
    MessageType::from_bits(*shim.get(2)?)
}

/// The Initiator Nonce of the I1 at the start of `shim`, even if what follows is cut off.
pub(crate) fn peek_initiator_nonce(shim: &[u8]) -> Option<InitiatorNonce> {
    /// Offset of the Initiator Nonce in I1 (RFC 5533 §5.4).
    const NONCE: std::ops::Range<usize> = 12..16;
    if peek_type(shim)? != MessageType::I1 {
        return None;
    }
    let nonce = shim.get(NONCE)?.try_into().ok()?;
    Some(InitiatorNonce(u32::from_be_bytes(nonce)))
}

/// The message at the start of `shim`, and the offset of the first option in it.
pub(crate) fn options(shim: &[u8]) -> Option<(&[u8], usize)> {
    let message = Header::parse(shim).ok()?.message;
    let first = match peek_type(message)? {
        MessageType::Probe => probe::options_at(message)?,
        MessageType::Error => return None,
        ty @ (MessageType::I1
        | MessageType::R1
        | MessageType::I2
        | MessageType::R2
        | MessageType::R1bis
        | MessageType::I2bis
        | MessageType::UpdateRequest
        | MessageType::UpdateAck
        | MessageType::Keepalive) => ty.min_len(),
    };
    (first <= message.len()).then_some((message, first))
}

/// Checks what RFC 5533 §12.3 asks of the octets of a control message before its checksum.
pub(crate) fn check_length(shim: &[u8]) -> Result<(), WireError> {
    Header::parse(shim).map(|_| ())
}

/// The P bit, in the third octet of every Shim6 header. Section 12 has it the wrong way round.
//= https://www.rfc-editor.org/rfc/rfc5533#section-12
//= type=exception
//= id=S-005
//= reason=contradicts 5.1, 5.2 and 5.3, where P = 1 marks the payload extension header (A2)
//# If this bit is zero, then the packet must be passed to the Shim6 payload handling for rewriting.
pub(crate) const P_BIT: u8 = 0x80;

/// The S bit, in the fourth octet of a control message; HIP messages have it set.
const S_BIT: u8 = 0x01;

/// What control messages begin with.
struct Header<'a> {
    /// All of the message and nothing else.
    message: &'a [u8],
    /// The 7-bit type.
    ty: u8,
    /// The 7 bits whose meaning depends on the type.
    type_specific: u8,
}

impl<'a> Header<'a> {
    fn parse(shim: &'a [u8]) -> Result<Self, WireError> {
        let have = shim.len();
        let &[_, hdr_ext_len, p_and_type, specific_and_s, ..] = shim else {
            return Err(WireError::PastPacketEnd { need: 8, have });
        };
        if p_and_type & P_BIT != 0 {
            return Err(WireError::NotControl);
        }
        //= https://www.rfc-editor.org/rfc/rfc5533#section-5.3
        //= id=S-007
        //# S:             A single bit set to zero that allows Shim6 and HIP to have a common
        //# header format yet still distinguishes between Shim6 and HIP messages.
        if specific_and_s & S_BIT != 0 {
            return Err(WireError::Hip);
        }
        //= https://www.rfc-editor.org/rfc/rfc5533#section-12.3
        //= id=S-162
        //# The Shim Header Length field is also verified against the length of the IPv6 packet to
        //# make sure that the shim message doesn't claim to end past the end of the IPv6 packet.
        let need = 8 + usize::from(hdr_ext_len) * 8;
        let message = shim
            .get(..need)
            .ok_or(WireError::PastPacketEnd { need, have })?;
        Ok(Self {
            message,
            ty: p_and_type,
            type_specific: specific_and_s >> 1,
        })
    }
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
