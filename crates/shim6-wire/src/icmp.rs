//! ICMPv6 errors about packets that carried a Shim6 header (RFC 5533 §8).
//!
//! Decides whether an error is about such a packet, what it says, and how it reads to an upper
//! layer that knows nothing of the shim. Whether the shim acts on it instead is for others.

use std::net::Ipv6Addr;

use pnet_packet::icmpv6::{self, Icmpv6Packet, Icmpv6Types, MutableIcmpv6Packet};
use pnet_packet::ip::IpNextHeaderProtocols;
use pnet_packet::ipv6::MutableIpv6Packet;

use crate::error::WireError;
use crate::ids::{ContextTag, InitiatorNonce};
use crate::ipv6::{self, DESTINATION, Headers, PAYLOAD_EXT, PAYLOAD_LENGTH, Place, SHIM6, SOURCE};
use crate::message::{self, MessageType};

/// An ICMPv6 error about a packet that carried a Shim6 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// What went wrong.
    pub kind: IcmpKind,
    /// Source of the packet in error: Lp(local) when it was sent.
    pub quoted_source: Ipv6Addr,
    /// Destination of the packet in error: Lp(peer) when it was sent.
    pub quoted_destination: Ipv6Addr,
    /// CT(peer): the receiver's tag in the packet in error, if its header has one and was quoted.
    pub tag: Option<ContextTag>,
    /// Type of the control message in error; `None` for a payload packet.
    pub control: Option<MessageType>,
    /// Initiator Nonce of an I1 in error: whoever quotes it has seen the I1.
    pub initiator_nonce: Option<InitiatorNonce>,
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

impl IcmpKind {
    /// Whether the shim may be able to do something about the error, by choosing another path.
    ///
    /// Errors of which this is false are for the upper layer, after [`translate`].
    ///
    /// Source: RFC 5533 §8.
    pub const fn concerns_shim6(self) -> bool {
        match self {
            //= https://www.rfc-editor.org/rfc/rfc5533#section-8
            //= id=S-133
            //# According to that recommendation, the following ICMP error messages should be
            //# processed by the Shim6 layer and not passed to the ULP:
            Self::DestinationUnreachable { code } => matches!(code, 0..=3 | 5 | 6),
            //= https://www.rfc-editor.org/rfc/rfc5533#section-8
            //= id=S-134
            //# The following ICMP error messages report problems that cannot be addressed by the
            //# Shim6 layer and that should be passed to the ULP (as described below):
            Self::PacketTooBig { .. } => false,
            Self::TimeExceeded { .. } => true,
            Self::ParameterProblem { in_shim6, .. } => in_shim6,
        }
    }
}

/// The error in `packet`, whose headers end at `place`, if it is about a packet with a Shim6 header.
///
/// # Errors
///
/// [`WireError::IcmpChecksum`]: it would be, but it did not arrive as it was sent.
pub(crate) fn about_shim6(packet: &[u8], place: Place) -> Result<Option<IcmpError>, WireError> {
    let Some(error) = Error::parse(packet, place) else {
        return Ok(None);
    };
    let Some((quoted, shim6)) = error.quoted_shim6() else {
        return Ok(None);
    };
    error.check_checksum(packet)?;
    let shim = &quoted[shim6.at.min(quoted.len())..];
    Ok(Some(IcmpError {
        kind: error.kind(shim6, shim),
        quoted_source: ipv6::address(quoted, SOURCE),
        quoted_destination: ipv6::address(quoted, DESTINATION),
        tag: message::receiver_tag(shim),
        control: message::peek_type(shim),
        initiator_nonce: message::peek_initiator_nonce(shim),
    }))
}

/// A Packet Too Big for the local stack: `packet`, which it sent, needs an MTU of `mtu`.
///
/// It goes from the packet's source to the packet's source, as what a host tells itself does, and
/// quotes as much of the packet as fits into 1280 octets.
///
/// # Errors
///
/// What keeps `packet` from being an IPv6 packet.
///
/// Source: RFC 4443 §3.2.
pub fn packet_too_big(packet: &[u8], mtu: u32) -> Result<Vec<u8>, WireError> {
    /// Octets of the IPv6 and the ICMPv6 header.
    const HEADERS: usize = ipv6::IPV6_HEADER + ICMP_HEADER;
    let packet = &packet[..ipv6::packet_len(packet)?];
    let quoted = &packet[..packet.len().min(message::MAX_CONTROL_PACKET - HEADERS)];
    let host = ipv6::address(packet, SOURCE);
    let mut out = vec![0; HEADERS];
    out.extend_from_slice(quoted);
    let payload_len = out.len() - ipv6::IPV6_HEADER;
    if let Some(mut header) = MutableIpv6Packet::new(&mut out) {
        header.set_version(6);
        header.set_payload_length(payload_len as u16);
        header.set_next_header(IpNextHeaderProtocols::Icmpv6);
        header.set_hop_limit(64);
        header.set_source(host);
        header.set_destination(host);
    }
    out[ipv6::IPV6_HEADER + WORD..HEADERS].copy_from_slice(&mtu.to_be_bytes());
    if let Some(mut error) = MutableIcmpv6Packet::new(&mut out[ipv6::IPV6_HEADER..]) {
        error.set_icmpv6_type(Icmpv6Types::PacketTooBig);
        error.set_checksum(icmpv6::checksum(&error.to_immutable(), &host, &host));
    }
    Ok(out)
}

/// The error as the upper layer would have seen it without Shim6.
///
/// `packet` is the error from its IPv6 header on; the packet in error has a payload extension
/// header, and `local_ulid` sent it to `peer_ulid`. The result is addressed to `local_ulid`.
///
/// # Errors
///
/// [`WireError::NotIcmpError`]; [`WireError::IcmpChecksum`]; [`WireError::NotPayloadExt`],
/// [`WireError::PayloadExtLength`] and [`WireError::Truncated`] about the packet in error, with
/// offsets in that.
///
/// Source: RFC 5533 §8, figure 9.
pub fn translate(
    packet: &[u8],
    local_ulid: Ipv6Addr,
    peer_ulid: Ipv6Addr,
) -> Result<Vec<u8>, WireError> {
    let packet = &packet[..ipv6::packet_len(packet)?];
    let place = Headers::walk(packet)?.last;
    let not_icmp_error = WireError::NotIcmpError { at: place.at };
    let error = Error::parse(packet, place).ok_or(not_icmp_error)?;
    error.check_checksum(packet)?;
    let (_, shim6) = error
        .quoted_shim6()
        .ok_or(WireError::NotPayloadExt { at: 0 })?;

    let mut out = packet.to_vec();
    let quoted_at = error.at + ICMP_HEADER;
    let quoted_end = quoted_at + error.quoted_len();
    //= https://www.rfc-editor.org/rfc/rfc5533#section-8
    //= id=S-135
    //# After the "packet in error" has had the original ULIDs inserted, then this Shim6 Payload
    //# Extension header can be removed.
    let quoted = &mut out[quoted_at..quoted_end];
    ipv6::set_address(quoted, SOURCE, local_ulid);
    ipv6::set_address(quoted, DESTINATION, peer_ulid);
    ipv6::strip_payload_ext(quoted)?;
    out.drain(quoted_at..quoted_at + PAYLOAD_EXT);
    if error.has_extensions() {
        // The Length of RFC 4884 counts the packet in error, and 128 octets are the least it may
        // say: fill up with zeros, as a short packet is.
        let end = quoted_end - PAYLOAD_EXT;
        out.splice(end..end, [0; PAYLOAD_EXT]);
    } else {
        let shorter = ipv6::payload_length(packet) - PAYLOAD_EXT;
        out[PAYLOAD_LENGTH].copy_from_slice(&(shorter as u16).to_be_bytes());
    }
    error.translate_word(shim6, &mut out[error.at + WORD..quoted_at]);
    ipv6::set_address(&mut out, DESTINATION, local_ulid);

    let source = ipv6::address(&out, SOURCE);
    if let Some(mut view) = MutableIcmpv6Packet::new(&mut out[error.at..]) {
        let checksum = icmpv6::checksum(&view.to_immutable(), &source, &local_ulid);
        view.set_checksum(checksum);
    }
    Ok(out)
}

/// An ICMPv6 error, types 1 to 4, in its packet.
struct Error<'a> {
    /// Offset of the ICMPv6 header in the packet.
    at: usize,
    /// The ICMPv6 message.
    view: Icmpv6Packet<'a>,
    /// The second 32 bits of it, whose meaning depends on the type.
    word: u32,
    /// The packet in error and any extensions of RFC 4884 after it.
    body: &'a [u8],
}

impl<'a> Error<'a> {
    fn parse(packet: &'a [u8], place: Place) -> Option<Self> {
        if place.next_header != ICMPV6 {
            return None;
        }
        let message = packet.get(place.at..)?;
        let (header, body) = message.split_first_chunk::<ICMP_HEADER>()?;
        let view = Icmpv6Packet::new(message)?;
        let [_, _, _, _, a, b, c, d] = *header;
        let is_error = matches!(
            view.get_icmpv6_type(),
            Icmpv6Types::DestinationUnreachable
                | Icmpv6Types::PacketTooBig
                | Icmpv6Types::TimeExceeded
                | Icmpv6Types::ParameterProblem
        );
        let word = u32::from_be_bytes([a, b, c, d]);
        is_error.then_some(Self {
            at: place.at,
            view,
            word,
            body,
        })
    }

    /// The packet in error and the place of the Shim6 header in it, if it has one. Of that header
    /// nothing may be left.
    fn quoted_shim6(&self) -> Option<(&'a [u8], Place)> {
        let quoted = &self.body[..self.quoted_len()];
        ipv6::check_header(quoted).ok()?;
        let place = Headers::walk(quoted).ok()?.last;
        (place.next_header == SHIM6).then_some((quoted, place))
    }

    /// Octets of the packet in error.
    fn quoted_len(&self) -> usize {
        match self.extensible_len() {
            Some(length) if length != 0 => length.min(self.body.len()),
            Some(_) | None => self.body.len(),
        }
    }

    /// Whether a Length field says where the packet in error ends.
    fn has_extensions(&self) -> bool {
        self.extensible_len().is_some_and(|length| length != 0)
    }

    /// The Length field of RFC 4884 §4.4, §4.5, in octets, in the types that have it.
    fn extensible_len(&self) -> Option<usize> {
        match self.view.get_icmpv6_type() {
            Icmpv6Types::DestinationUnreachable | Icmpv6Types::TimeExceeded => {
                Some((self.word >> 24) as usize * 8)
            }
            _ => None,
        }
    }

    fn check_checksum(&self, packet: &[u8]) -> Result<(), WireError> {
        let source = ipv6::address(packet, SOURCE);
        let destination = ipv6::address(packet, DESTINATION);
        if icmpv6::checksum(&self.view, &source, &destination) == self.view.get_checksum() {
            Ok(())
        } else {
            Err(WireError::IcmpChecksum { at: self.at + 2 })
        }
    }

    fn kind(&self, shim6: Place, shim: &[u8]) -> IcmpKind {
        let code = self.view.get_icmpv6_code().0;
        match self.view.get_icmpv6_type() {
            Icmpv6Types::DestinationUnreachable => IcmpKind::DestinationUnreachable { code },
            Icmpv6Types::PacketTooBig => IcmpKind::PacketTooBig { mtu: self.word },
            Icmpv6Types::TimeExceeded => IcmpKind::TimeExceeded { code },
            _ => {
                let hdr_ext_len = shim.get(1).copied().map_or(0, usize::from);
                let header = shim6.at..shim6.at + 8 + hdr_ext_len * 8;
                let at = self.word as usize;
                let in_shim6 = at == shim6.next_header_at || header.contains(&at);
                IcmpKind::ParameterProblem {
                    code,
                    pointer: self.word,
                    in_shim6,
                }
            }
        }
    }

    /// Rewrites the second 32 bits for a packet in error without the header at `shim6`.
    fn translate_word(&self, shim6: Place, word: &mut [u8]) {
        let (at, header) = (shim6.at as u32, PAYLOAD_EXT as u32);
        let translated = match self.view.get_icmpv6_type() {
            //= https://www.rfc-editor.org/rfc/rfc5533#section-15.4
            //= id=S-168
            //# By conveying the information to the transport layer, it can adapt and reduce the
            //# Maximum Segment Size (MSS) accordingly.
            //= https://www.rfc-editor.org/rfc/rfc5533#section-8
            //= id=S-136
            //# If the ICMP error is a "packet too big", the reported MTU must be adjusted to be 8
            //# octets less, since the shim will add 8 octets when sending packets.
            Icmpv6Types::PacketTooBig => self.word.saturating_sub(header),
            Icmpv6Types::ParameterProblem if self.word >= at + header => self.word - header,
            // In the header that goes: what is left of it is the field that announced it.
            Icmpv6Types::ParameterProblem if self.word >= at => shim6.next_header_at as u32,
            _ => self.word,
        };
        word.copy_from_slice(&translated.to_be_bytes());
    }
}

/// Next Header value of ICMPv6.
const ICMPV6: u8 = 58;

/// Octets before the packet in error.
const ICMP_HEADER: usize = 8;

/// Offset in the ICMPv6 message of the 32 bits whose meaning depends on the type.
const WORD: usize = 4;

#[cfg(test)]
mod tests;
