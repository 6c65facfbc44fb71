//! Packets with a Shim6 header that do not fit their path, cut into fragments.
//!
//! Decides where a packet may be cut: behind the Shim6 header, so that the receiving shim takes its
//! header out of each fragment, and the stack above it puts together what the stack of the sender
//! would have cut. The Fragment header (RFC 8200 §4.5):
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |  Next Header  |   Reserved    |      Fragment Offset    |Res|M|
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                         Identification                        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use crate::error::WireError;
use crate::ipv6::{self, Headers, IPV6_HEADER, PAYLOAD_EXT, PAYLOAD_LENGTH, SHIM6};

/// The fragments of one packet, in order; see [`Fragments::of`].
#[derive(Debug)]
pub struct Fragments<'a> {
    /// From the IPv6 header to the end of the Shim6 header: each fragment begins with these.
    headers: &'a [u8],
    /// Offset in `headers` of the Next Header field of the Shim6 header.
    next_header_at: usize,
    rest: &'a [u8],
    /// Octets of `rest` in each fragment but the last.
    share: usize,
    /// Octets that went into earlier fragments.
    offset: usize,
    identification: u32,
}

impl<'a> Fragments<'a> {
    /// Cuts `packet`, which has a payload extension header, into fragments of at most `mtu` octets.
    ///
    /// `identification` is to be another one for each packet between the same addresses.
    ///
    /// # Errors
    ///
    /// [`WireError::NotPayloadExt`], also of a packet that is a fragment already;
    /// [`WireError::PacketTooLong`] if `mtu` leaves no room for a fragment;
    /// [`WireError::NotIpv6`] and [`WireError::Truncated`].
    ///
    /// Source: RFC 5533 §4.6, RFC 8200 §4.5.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-4.6
    //= id=S-002
    //# the Shim header will be placed before any
    //# Endpoint Extension headers (Fragmentation headers, Destination
    //# Options header, AH, ESP)
    pub fn of(packet: &'a [u8], mtu: usize, identification: u32) -> Result<Self, WireError> {
        let packet = &packet[..ipv6::packet_len(packet)?];
        let at = Headers::walk(packet)?.last;
        if at.next_header != SHIM6 {
            return Err(WireError::NotPayloadExt { at: at.at });
        }
        let (_, next_header) = ipv6::payload_ext(packet, at.at)?;
        if next_header == FRAGMENT {
            return Err(WireError::NotPayloadExt { at: at.at });
        }
        let (headers, rest) = packet.split_at(at.at + PAYLOAD_EXT);
        let share = mtu.saturating_sub(headers.len() + FRAGMENT_HEADER) / UNIT * UNIT;
        if share == 0 {
            return Err(WireError::PacketTooLong { length: rest.len() });
        }
        Ok(Self {
            headers,
            next_header_at: at.at,
            rest,
            share,
            offset: 0,
            identification,
        })
    }

    /// Writes the next fragment over all of `out`; false if there is none.
    pub fn write_next(&mut self, out: &mut Vec<u8>) -> bool {
        let left = &self.rest[self.offset.min(self.rest.len())..];
        if left.is_empty() {
            return false;
        }
        let part = &left[..left.len().min(self.share)];
        let more = u16::from(part.len() < left.len());
        out.clear();
        out.extend_from_slice(self.headers);
        let next_header = std::mem::replace(&mut out[self.next_header_at], FRAGMENT);
        out.extend([next_header, 0]);
        // The offset is in units of eight octets, three bits up: so it is the number of octets.
        out.extend((self.offset as u16 | more).to_be_bytes());
        out.extend(self.identification.to_be_bytes());
        out.extend_from_slice(part);
        let payload_length = (out.len() - IPV6_HEADER) as u16;
        out[PAYLOAD_LENGTH].copy_from_slice(&payload_length.to_be_bytes());
        self.offset += part.len();
        true
    }
}

/// Next Header value of a Fragment header (RFC 8200 §4.5).
const FRAGMENT: u8 = 44;
/// Octets of a Fragment header.
const FRAGMENT_HEADER: usize = 8;
/// Offsets of fragments are multiples of this many octets.
const UNIT: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{ContextTag, Packet};

    /// A packet of UDP with so many octets behind its Shim6 header, Hop-by-Hop options before it or not.
    fn mapped(payload: usize, has_options: bool) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, 17, 64];
        packet.extend([0x20; 32]);
        if has_options {
            packet[6] = 0;
            packet.extend([17, 0, 1, 4, 0, 0, 0, 0]);
        }
        packet.extend((0..payload).map(|at| at as u8));
        let length = (packet.len() - 40) as u16;
        packet[4..6].copy_from_slice(&length.to_be_bytes());
        let mut buf = [&[0; Packet::HEADROOM][..], &packet].concat();
        let end = buf.len();
        let mut packet = Packet::new(&mut buf, Packet::HEADROOM, end).unwrap();
        let tag = ContextTag::from_bits(7);
        let [source, destination] = [packet.source(), packet.destination()];
        packet.insert_payload_ext(tag, source, destination).unwrap();
        packet.octets().to_vec()
    }

    //= https://www.rfc-editor.org/rfc/rfc5533#section-4.6
    //= id=S-002
    //= type=test
    //# the Shim header will be placed before any
    //# Endpoint Extension headers (Fragmentation headers, Destination
    //# Options header, AH, ESP)
    #[test]
    fn the_shim6_header_precedes_the_fragment_header() {
        let packet = mapped(1460, false);
        let mut fragments = Fragments::of(&packet, 1500, 0x0102_0304).unwrap();
        let mut out = vec![0xa5; 3];
        assert!(fragments.write_next(&mut out));
        assert_eq!(out.len(), 1496);
        assert_eq!(out[..8], [0x60, 0, 0, 0, 0x05, 0xb0, 140, 64]);
        assert_eq!(out[40..48], [44, 0, 0x80, 0, 0, 0, 0, 7]);
        assert_eq!(out[48..56], [17, 0, 0, 1, 1, 2, 3, 4]);
        assert!(fragments.write_next(&mut out));
        assert_eq!(out.len(), 56 + 1460 - 1440);
        assert_eq!(out[48..56], [17, 0, 0x05, 0xa0, 1, 2, 3, 4]);
        assert!(!fragments.write_next(&mut out));
    }

    #[test]
    fn what_is_no_whole_packet_of_a_context_is_not_cut() {
        let packet = mapped(2000, false);
        assert!(Fragments::of(&packet, 63, 1).is_err(), "no room");
        let mut unmapped = packet.clone();
        unmapped[6] = 17;
        assert!(Fragments::of(&unmapped, 1280, 1).is_err());
        let mut fragment = Vec::new();
        Fragments::of(&packet, 1280, 1)
            .unwrap()
            .write_next(&mut fragment);
        assert!(Fragments::of(&fragment, 600, 1).is_err());
    }

    proptest! {
        /// Fragments fit, and their parts in the order of their offsets are what was cut.
        #[test]
        fn fragments_are_the_packet(payload in 1..65_400_usize, mtu in 100..9000_usize, options: bool) {
            let packet = mapped(payload, options);
            let shim6 = if options { 48 } else { 40 };
            let mut fragments = Fragments::of(&packet, mtu, 9).unwrap();
            let mut together = Vec::new();
            let mut fragment = Vec::new();
            let mut is_last = false;
            while fragments.write_next(&mut fragment) {
                prop_assert!(!is_last && fragment.len() <= mtu);
                let (headers, part) = fragment.split_at(shim6 + 16);
                let offset = u16::from_be_bytes([headers[shim6 + 10], headers[shim6 + 11]]);
                prop_assert_eq!(usize::from(offset & !7), together.len());
                is_last = offset & 1 == 0;
                prop_assert_eq!(ipv6::packet_len(&fragment).unwrap(), fragment.len());
                together.extend_from_slice(part);
            }
            prop_assert!(is_last);
            prop_assert_eq!(&together[..], &packet[shim6 + 8..]);
        }

        /// Hostile octets are cut or refused, and never a reason to panic.
        #[test]
        fn anything_is_cut_or_refused(octets: Vec<u8>, mtu in 0..2000_usize) {
            let mut fragment = Vec::new();
            if let Ok(mut fragments) = Fragments::of(&octets, mtu, 1) {
                while fragments.write_next(&mut fragment) {
                    prop_assert!(fragment.len() <= mtu);
                }
            }
        }
    }
}
