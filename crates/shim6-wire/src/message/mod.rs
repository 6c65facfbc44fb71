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

use crate::error::WireError;
use crate::ids::ContextTag;

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
    Keepalive = 66,
    /// See [`Probe`].
    Probe = 67,
    /// See [`Error`].
    Error = 68,
}

impl Message {
    /// Reads a message. `shim` runs from the first octet of the Shim6 header to the end of the
    /// IPv6 packet; octets after the header are ignored.
    pub fn parse(shim: &[u8]) -> Result<Self, WireError> {
        todo!("{shim:?}")
    }

    /// The whole Shim6 header, checksum included: a multiple of 8 octets.
    pub fn emit(&self) -> Vec<u8> {
        todo!()
    }

    /// Octets that [`Self::emit`] needs.
    pub fn emitted_len(&self) -> usize {
        todo!()
    }
}

/// The tag that finds the context at the receiver, read without parsing anything else.
pub fn receiver_tag(shim: &[u8]) -> Option<ContextTag> {
    todo!("{shim:?}")
}
