//! IPv6 packets: the way through their headers to the Shim6 header, and that header put in and out.
//!
//! Decides where the payload extension header goes and keeps Next Header and Payload Length right
//! around it. Upper-layer checksums stay as they are: they are over the ULIDs, which the other end
//! puts back.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |  Next Header  |       0       |1|                             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+                             |
//! |                      Receiver Context Tag                     |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use std::net::Ipv6Addr;
use std::ops::Range;

use crate::error::WireError;
use crate::ids::ContextTag;
use crate::message::P_BIT;

/// Next Header value of a Shim6 header (RFC 5533 §5).
//= https://www.rfc-editor.org/rfc/rfc5533#section-5
//= id=S-003
//# The Shim6 messages are all carried using a new IP protocol number (140).
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
    /// Octets that have to be free before a packet for a header to be put into it.
    pub const HEADROOM: usize = PAYLOAD_EXT;

    /// The packet in `buf[start..end]`; octets there that Payload Length does not count are cut
    /// off its end.
    ///
    /// # Errors
    ///
    /// [`WireError::NotIpv6`]; [`WireError::Truncated`] if `end` is past the buffer or Payload
    /// Length past `end`; [`WireError::Jumbogram`].
    pub fn new(buf: &'a mut [u8], start: usize, end: usize) -> Result<Self, WireError> {
        let have = buf.len();
        let packet = buf.get(start..end).ok_or(WireError::Truncated {
            at: start,
            need: end,
            have,
        })?;
        let end = start + packet_len(packet)?;
        Ok(Self { buf, start, end })
    }

    /// Where the packet is in the buffer.
    pub fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// The packet.
    pub fn octets(&self) -> &[u8] {
        &self.buf[self.range()]
    }

    /// The packet, to change what is not its length.
    pub fn octets_mut(&mut self) -> &mut [u8] {
        &mut self.buf[self.start..self.end]
    }

    /// Source address.
    pub fn source(&self) -> Ipv6Addr {
        address(self.octets(), SOURCE)
    }

    /// Destination address.
    pub fn destination(&self) -> Ipv6Addr {
        address(self.octets(), DESTINATION)
    }

    /// Overwrites both addresses.
    pub fn set_addresses(&mut self, source: Ipv6Addr, destination: Ipv6Addr) {
        set_address(self.octets_mut(), SOURCE, source);
        set_address(self.octets_mut(), DESTINATION, destination);
    }

    /// Puts a payload extension header into the packet, and the locators into its addresses.
    ///
    /// The packet grows by 8 octets at its front, into the headroom.
    ///
    /// # Errors
    ///
    /// The packet is as it was: [`WireError::NoHeadroom`]; [`WireError::AlreadyShim6`];
    /// [`WireError::PacketTooLong`] if Payload Length would pass 65535; [`WireError::Truncated`] if
    /// an extension header before the place is cut.
    ///
    /// Source: RFC 5533 §4.6, §5.2, §11.1.
    pub fn insert_payload_ext(
        &mut self,
        receiver_tag: ContextTag,
        source: Ipv6Addr,
        destination: Ipv6Addr,
    ) -> Result<(), WireError> {
        let headers = Headers::walk(self.octets())?;
        if headers.last.next_header == SHIM6 {
            return Err(WireError::AlreadyShim6 {
                at: headers.last.at,
            });
        }
        let length = self.end - self.start - IPV6_HEADER + PAYLOAD_EXT;
        let payload_length =
            u16::try_from(length).map_err(|_| WireError::PacketTooLong { length })?;
        let start = self
            .start
            .checked_sub(Self::HEADROOM)
            .ok_or(WireError::NoHeadroom)?;

        let Place {
            at,
            next_header_at,
            next_header,
        } = headers.shim6;
        self.buf.copy_within(self.start..self.start + at, start);
        self.start = start;
        let packet = self.octets_mut();
        packet[next_header_at] = SHIM6;
        packet[PAYLOAD_LENGTH].copy_from_slice(&payload_length.to_be_bytes());
        //= https://www.rfc-editor.org/rfc/rfc5533#section-5.2
        //= id=S-006
        //# Hdr Ext Len:   0 (since the header is 8 octets).
        let tag = receiver_tag.bits().to_be_bytes();
        packet[at..at + PAYLOAD_EXT].copy_from_slice(&tag);
        packet[at] = next_header;
        packet[at + 2] |= P_BIT;
        //= https://www.rfc-editor.org/rfc/rfc5533#section-11.1
        //= id=S-157
        //# Note that this MUST NOT cause any recalculation of the ULP checksums, since the ULP
        //# checksums are carried end-to-end and the ULP pseudo-header contains the ULIDs that are
        //# preserved end-to-end.
        self.set_addresses(source, destination);
        Ok(())
    }

    /// Takes the payload extension header out of the packet, and puts the ULIDs into its
    /// addresses. Returns the tag that was in it.
    ///
    /// The packet shrinks by 8 octets at its front.
    ///
    /// # Errors
    ///
    /// The packet is as it was: [`WireError::NotPayloadExt`]; [`WireError::PayloadExtLength`];
    /// [`WireError::Truncated`].
    ///
    /// Source: RFC 5533 §12.2.
    pub fn remove_payload_ext(
        &mut self,
        source: Ipv6Addr,
        destination: Ipv6Addr,
    ) -> Result<ContextTag, WireError> {
        let tag = strip_payload_ext(self.octets_mut())?;
        self.start += PAYLOAD_EXT;
        self.set_addresses(source, destination);
        Ok(tag)
    }
}

/// Takes the payload extension header out of `packet`, which then starts 8 octets further on.
///
/// The end of `packet` may be cut off, as it is in ICMPv6 errors.
pub(crate) fn strip_payload_ext(packet: &mut [u8]) -> Result<ContextTag, WireError> {
    let Place {
        at, next_header_at, ..
    } = Headers::walk(packet)?.last_if_shim6()?;
    let (tag, next_header) = payload_ext(packet, at)?;
    let payload_length = payload_length(packet);
    let Some(shorter) = payload_length.checked_sub(PAYLOAD_EXT) else {
        let (need, have) = (PAYLOAD_EXT, payload_length);
        return Err(WireError::Truncated {
            at: PAYLOAD_LENGTH.start,
            need,
            have,
        });
    };
    packet[PAYLOAD_LENGTH].copy_from_slice(&(shorter as u16).to_be_bytes());
    //= https://www.rfc-editor.org/rfc/rfc5533#section-12.2
    //= id=S-161
    //# Finally, the Shim6 Payload Extension header is removed from the packet (so that the ULP
    //# doesn't get confused by it), and the Next Header value in the preceding header is set to be
    //# the actual protocol number for the payload.
    packet[next_header_at] = next_header;
    packet.copy_within(..at, PAYLOAD_EXT);
    Ok(tag)
}

/// The tag and the Next Header of the payload extension header at `at`.
pub(crate) fn payload_ext(packet: &[u8], at: usize) -> Result<(ContextTag, u8), WireError> {
    let header = packet.get(at..).unwrap_or_default();
    let Some(&octets) = header.first_chunk::<PAYLOAD_EXT>() else {
        return Err(WireError::Truncated {
            at,
            need: PAYLOAD_EXT,
            have: header.len(),
        });
    };
    let [next_header, hdr_ext_len, p, ..] = octets;
    if p & P_BIT == 0 {
        return Err(WireError::NotPayloadExt { at });
    }
    if hdr_ext_len != 0 {
        return Err(WireError::PayloadExtLength { at: at + 1 });
    }
    Ok((
        ContextTag::from_bits(u64::from_be_bytes(octets)),
        next_header,
    ))
}

/// A border between two headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Start of what follows.
    pub(crate) at: usize,
    /// Where the header before it says what follows.
    pub(crate) next_header_at: usize,
    /// What follows.
    pub(crate) next_header: u8,
}

/// The way through the headers that routers and the shim deal with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Headers {
    /// Where a Shim6 header goes if it is put in.
    pub(crate) shim6: Place,
    /// The first header that is not Hop-by-Hop, Routing or Destination Options: the Shim6 header
    /// if there is one. Destination Options before it that no Routing header follows are not where
    /// a shim puts them, but a receiver takes headers as they come.
    pub(crate) last: Place,
}

impl Headers {
    /// Walks the headers of `packet`, which has an IPv6 header.
    pub(crate) fn walk(packet: &[u8]) -> Result<Self, WireError> {
        let next_header = packet[NEXT_HEADER];
        let mut last = Place {
            at: IPV6_HEADER,
            next_header_at: NEXT_HEADER,
            next_header,
        };
        let mut shim6 = last;
        //= https://www.rfc-editor.org/rfc/rfc5533#section-4.6
        //= id=S-002
        //# the Shim header will be placed before any Endpoint Extension headers (Fragmentation
        //# headers, Destination Options header, AH, ESP) but after any routing-related headers
        //# (Hop-by-Hop Extensions header, Routing header, and a Destinations Options header, which
        //# precedes a Routing header).
        loop {
            match last.next_header {
                HOP_BY_HOP | ROUTING => {
                    last = last.after(packet)?;
                    shim6 = last;
                }
                DESTINATION_OPTIONS => last = last.after(packet)?,
                _ => return Ok(Self { shim6, last }),
            }
        }
    }

    fn last_if_shim6(self) -> Result<Place, WireError> {
        match self.last.next_header {
            SHIM6 => Ok(self.last),
            _ => Err(WireError::NotPayloadExt { at: self.last.at }),
        }
    }
}

impl Place {
    /// The end of the extension header that starts here (RFC 8200 §4.3, §4.4, §4.6).
    fn after(self, packet: &[u8]) -> Result<Self, WireError> {
        let at = self.at;
        let header = packet.get(at..).unwrap_or_default();
        let have = header.len();
        let &[next_header, hdr_ext_len, ..] = header else {
            return Err(WireError::Truncated { at, need: 8, have });
        };
        let need = 8 + usize::from(hdr_ext_len) * 8;
        if have < need {
            return Err(WireError::Truncated { at, need, have });
        }
        Ok(Self {
            at: at + need,
            next_header_at: at,
            next_header,
        })
    }
}

/// Checks that `packet` starts with an IPv6 header.
pub(crate) fn check_header(packet: &[u8]) -> Result<(), WireError> {
    match packet.first() {
        Some(first) if first >> 4 == 6 && packet.len() >= IPV6_HEADER => Ok(()),
        _ => Err(WireError::NotIpv6 { at: 0 }),
    }
}

/// Octets of the IPv6 packet at the start of `octets`.
pub(crate) fn packet_len(octets: &[u8]) -> Result<usize, WireError> {
    check_header(octets)?;
    let need = IPV6_HEADER + payload_length(octets);
    let have = octets.len();
    if have < need {
        return Err(WireError::Truncated { at: 0, need, have });
    }
    if need == IPV6_HEADER && have > IPV6_HEADER {
        return Err(WireError::Jumbogram);
    }
    Ok(need)
}

/// The Payload Length of `packet`, which has an IPv6 header.
pub(crate) fn payload_length(packet: &[u8]) -> usize {
    let [high, low] = [
        packet[PAYLOAD_LENGTH.start],
        packet[PAYLOAD_LENGTH.start + 1],
    ];
    usize::from(u16::from_be_bytes([high, low]))
}

/// The address at [`SOURCE`] or [`DESTINATION`] of `packet`, which has an IPv6 header.
pub(crate) fn address(packet: &[u8], at: usize) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&packet[at..at + 16]);
    octets.into()
}

/// Overwrites the address at [`SOURCE`] or [`DESTINATION`].
pub(crate) fn set_address(packet: &mut [u8], at: usize, address: Ipv6Addr) {
    packet[at..at + 16].copy_from_slice(&address.octets());
}

/// Octets of the IPv6 header.
pub(crate) const IPV6_HEADER: usize = 40;
/// Octets of the payload extension header.
pub(crate) const PAYLOAD_EXT: usize = 8;
/// Offset of the source address.
pub(crate) const SOURCE: usize = 8;
/// Offset of the destination address.
pub(crate) const DESTINATION: usize = 24;
/// Octets of the Payload Length field.
pub(crate) const PAYLOAD_LENGTH: Range<usize> = 4..6;

const NEXT_HEADER: usize = 6;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const DESTINATION_OPTIONS: u8 = 60;

#[cfg(test)]
mod tests;
