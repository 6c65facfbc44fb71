//! What an IPv6 packet is to Shim6.

use crate::error::WireError;
use crate::icmp::IcmpError;
use crate::ids::ContextTag;

/// What an IPv6 packet is to Shim6. Offsets are octets from the start of the IPv6 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Anything without a Shim6 header that is not about a packet with one.
    Payload,
    /// A payload packet whose addresses the receiver has to put back.
    PayloadExt {
        /// Tag that the receiver allocated.
        tag: ContextTag,
        /// Start of the Shim6 header.
        at: usize,
    },
    /// A control message, not parsed yet.
    Control {
        /// Start of the Shim6 header.
        at: usize,
    },
    /// An ICMPv6 error about a packet that carried a Shim6 header.
    IcmpError(IcmpError),
    /// Not IPv6, cut, or a Shim6 header that breaks a rule.
    Malformed(WireError),
}

/// Says what `packet` is, from its IPv6 header on.
pub fn classify(packet: &[u8]) -> Class {
    todo!("{packet:?}")
}
