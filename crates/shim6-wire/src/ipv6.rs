//! IPv6 packets.

use std::net::Ipv6Addr;
use std::ops::Range;

use crate::error::WireError;
use crate::ids::ContextTag;

/// Next Header value of a Shim6 header (RFC 5533 §5).
pub const SHIM6: u8 = 140;
/// Next Header value that says that nothing follows (RFC 8200 §4.7).
pub const NO_NEXT_HEADER: u8 = 59;

/// An IPv6 packet in a buffer with headroom before it: rewriting moves headers, never the payload.
#[derive(Debug)]
pub struct Packet<'a> {
    buf: &'a mut [u8],
    start: usize,
    end: usize,
}

impl<'a> Packet<'a> {
    /// Octets that have to be free before a packet to insert a header.
    pub const HEADROOM: usize = 8;

    /// The packet in `buf[start..end]`.
    pub fn new(buf: &'a mut [u8], start: usize, end: usize) -> Result<Self, WireError> {
        Ok(Self { buf, start, end })
    }

    /// Where the packet is in the buffer.
    pub fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// The packet.
    pub fn octets(&self) -> &[u8] {
        &self.buf[self.start..self.end]
    }

    /// The packet, to change it.
    pub fn octets_mut(&mut self) -> &mut [u8] {
        &mut self.buf[self.start..self.end]
    }

    /// Source address.
    pub fn source(&self) -> Ipv6Addr {
        todo!()
    }

    /// Destination address.
    pub fn destination(&self) -> Ipv6Addr {
        todo!()
    }

    /// Overwrites both addresses; no checksum is touched.
    pub fn set_addresses(&mut self, source: Ipv6Addr, destination: Ipv6Addr) {
        todo!("{source} {destination}")
    }

    /// Puts a payload extension header into the packet.
    pub fn insert_payload_ext(
        &mut self,
        receiver_tag: ContextTag,
        source: Ipv6Addr,
        destination: Ipv6Addr,
    ) -> Result<(), WireError> {
        todo!("{receiver_tag:?} {source} {destination}")
    }

    /// Takes the payload extension header out of the packet.
    pub fn remove_payload_ext(
        &mut self,
        source: Ipv6Addr,
        destination: Ipv6Addr,
    ) -> Result<ContextTag, WireError> {
        todo!("{source} {destination}")
    }
}
