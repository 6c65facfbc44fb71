//! ICMPv6 errors about packets that carried a Shim6 header (RFC 5533 §8).

use std::net::Ipv6Addr;

use crate::error::WireError;
use crate::ids::ContextTag;
use crate::message::MessageType;

/// An ICMPv6 error about a packet that carried a Shim6 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// What went wrong.
    pub kind: IcmpKind,
    /// Source of the packet in error: Lp(local) when it was sent.
    pub quoted_source: Ipv6Addr,
    /// Destination of the packet in error: Lp(peer) when it was sent.
    pub quoted_destination: Ipv6Addr,
    /// CT(peer): the receiver's tag in the packet in error, if its header has one and it is quoted.
    pub tag: Option<ContextTag>,
    /// Type of the control message in error; `None` for a payload packet.
    pub control: Option<MessageType>,
}

/// The errors of RFC 4443 §3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpKind {
    /// Type 1.
    DestinationUnreachable {
        /// Why.
        code: u8,
    },
    /// Type 2.
    PacketTooBig {
        /// Octets that the next hop takes, as it counts them: the Shim6 header included.
        mtu: u32,
    },
    /// Type 3.
    TimeExceeded {
        /// Hop limit, or reassembly.
        code: u8,
    },
    /// Type 4.
    ParameterProblem {
        /// Why.
        code: u8,
        /// Offset in the packet in error.
        pointer: u32,
        /// Whether the offset is in the Shim6 header, or at the Next Header field that announces it.
        in_shim6: bool,
    },
}

/// The error as the upper layer would have seen it without Shim6.
pub fn translate(
    packet: &[u8],
    local_ulid: Ipv6Addr,
    peer_ulid: Ipv6Addr,
) -> Result<Vec<u8>, WireError> {
    todo!("{packet:?} {local_ulid} {peer_ulid}")
}
