//! ULID Pair option (RFC 5533 §5.15.6).

use std::net::Ipv6Addr;

/// The ULIDs of a context, when they are not the addresses of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ulids {
    /// ULID of the host that sends the message.
    pub sender: Ipv6Addr,
    /// ULID of the host that receives it.
    pub receiver: Ipv6Addr,
}
