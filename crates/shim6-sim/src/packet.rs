//! The octets that hosts send: toy datagrams of the upper layers, control messages, ICMPv6 refusals.
//!
//! A datagram is UDP in form and says in its payload which flow it belongs to and which packet of it
//! this is; the rest is a pattern, so that the receiver can make the very packet that was sent and
//! compare all of it.

use std::net::Ipv6Addr;

use shim6_core::{Transmit, UlidPair};

const IPV6: usize = 40;
const UDP: usize = 8;
/// Octets of a datagram's payload before the pattern: kind and sequence number.
const HEAD: usize = 1 + 8;

const NEXT_HEADER_UDP: u8 = 17;
const NEXT_HEADER_ICMPV6: u8 = 58;
const SHIM6: u8 = 140;

/// Least octets of a datagram's packet.
pub(crate) const SHORTEST: usize = IPV6 + UDP + HEAD;

/// Which way a datagram goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Direction {
    Forth,
    Back,
}

/// What a datagram says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Datagram {
    /// Its sender's view: from `local` to `peer`.
    pub(crate) ulids: UlidPair,
    pub(crate) flow: u16,
    pub(crate) direction: Direction,
    pub(crate) sequence: u64,
    /// Octets of the whole packet.
    pub(crate) length: usize,
}

impl Datagram {
    /// The packet.
    pub(crate) fn emit(&self) -> Vec<u8> {
        let mut packet = header(
            NEXT_HEADER_UDP,
            self.length - IPV6,
            self.ulids.local,
            self.ulids.peer,
        );
        packet.resize(self.length, 0);
        let udp = &mut packet[IPV6..];
        let udp_length = udp.len() as u16;
        udp[0..2].copy_from_slice(&self.flow.to_be_bytes());
        udp[2..4].copy_from_slice(&self.flow.to_be_bytes());
        udp[4..6].copy_from_slice(&udp_length.to_be_bytes());
        udp[UDP] = match self.direction {
            Direction::Forth => 1,
            Direction::Back => 2,
        };
        udp[UDP + 1..UDP + HEAD].copy_from_slice(&self.sequence.to_be_bytes());
        for (at, octet) in udp[UDP + HEAD..].iter_mut().enumerate() {
            *octet = (at as u64 ^ self.sequence) as u8;
        }
        let checksum = upper_layer_checksum(&packet, NEXT_HEADER_UDP);
        packet[IPV6 + 6..IPV6 + 8].copy_from_slice(&checksum.to_be_bytes());
        packet
    }

    /// Reads a packet as its receiver's upper layer does: checksum over the addresses it sees.
    pub(crate) fn parse(packet: &[u8]) -> Result<Self, &'static str> {
        if packet.len() < SHORTEST || packet[6] != NEXT_HEADER_UDP {
            return Err("not a datagram");
        }
        if upper_layer_checksum(packet, NEXT_HEADER_UDP) != 0 {
            return Err("checksum over the ULIDs is wrong");
        }
        let udp = &packet[IPV6..];
        let word = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
        let direction = match udp[UDP] {
            1 => Direction::Forth,
            2 => Direction::Back,
            _ => return Err("unknown direction"),
        };
        let mut sequence = [0; 8];
        sequence.copy_from_slice(&udp[UDP + 1..UDP + HEAD]);
        let datagram = Self {
            ulids: UlidPair {
                local: address(packet, 8),
                peer: address(packet, 24),
            },
            flow: word(0),
            direction,
            sequence: u64::from_be_bytes(sequence),
            length: packet.len(),
        };
        if datagram.emit() != packet {
            return Err("not the octets that were sent");
        }
        Ok(datagram)
    }
}

/// A control message in its IPv6 packet.
#[must_use]
pub fn control_packet(transmit: &Transmit) -> Vec<u8> {
    let mut packet = header(
        SHIM6,
        transmit.message.len(),
        transmit.source,
        transmit.destination,
    );
    packet.extend_from_slice(&transmit.message);
    packet
}

/// Whether `packet` carries payload, tagged or not, and no control message.
#[must_use]
pub fn is_payload(packet: &[u8]) -> bool {
    packet[6] != SHIM6 || packet[IPV6 + 2] & 0x80 != 0
}

/// The tag, if `packet` has a payload extension header.
pub(crate) fn tag_of(packet: &[u8]) -> Option<u64> {
    let mut octets = [0; 8];
    octets.copy_from_slice(packet.get(IPV6..IPV6 + 8)?);
    let tagged = packet[6] == SHIM6 && octets[2] & 0x80 != 0;
    tagged.then_some(u64::from_be_bytes(octets) & 0x7fff_ffff_ffff)
}

/// What a host without Shim6 may answer: Parameter Problem, unrecognized Next Header (RFC 4443 §3.4).
pub(crate) fn unrecognized_next_header(packet: &[u8]) -> Vec<u8> {
    /// Octets of an error, headers included: the IPv6 minimum MTU.
    const MTU: usize = 1280;
    /// Where the Next Header field of the packet in error is.
    const POINTER: u32 = 6;
    let quoted = &packet[..packet.len().min(MTU - IPV6 - 8)];
    let mut error = header(
        NEXT_HEADER_ICMPV6,
        8 + quoted.len(),
        address(packet, 24),
        address(packet, 8),
    );
    error.extend_from_slice(&[4, 1, 0, 0]);
    error.extend_from_slice(&POINTER.to_be_bytes());
    error.extend_from_slice(quoted);
    let checksum = upper_layer_checksum(&error, NEXT_HEADER_ICMPV6);
    error[IPV6 + 2..IPV6 + 4].copy_from_slice(&checksum.to_be_bytes());
    error
}

/// Whether `packet` is ICMPv6.
pub(crate) fn is_icmpv6(packet: &[u8]) -> bool {
    packet[6] == NEXT_HEADER_ICMPV6
}

fn header(next_header: u8, length: usize, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    let mut packet = Vec::with_capacity(IPV6 + length);
    packet.extend_from_slice(&[0x60, 0, 0, 0]);
    packet.extend_from_slice(&(length as u16).to_be_bytes());
    packet.extend_from_slice(&[next_header, 64]);
    packet.extend_from_slice(&source.octets());
    packet.extend_from_slice(&destination.octets());
    packet
}

/// Source address.
pub(crate) fn source(packet: &[u8]) -> Ipv6Addr {
    address(packet, 8)
}

/// Destination address.
pub(crate) fn destination(packet: &[u8]) -> Ipv6Addr {
    address(packet, 24)
}

fn address(packet: &[u8], at: usize) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&packet[at..at + 16]);
    octets.into()
}

/// The complement of the sum over pseudo-header and upper layer (RFC 8200 §8.1): zero if the packet
/// holds the right checksum already.
fn upper_layer_checksum(packet: &[u8], next_header: u8) -> u16 {
    let upper = &packet[IPV6..];
    let words = |octets: &[u8]| -> u64 {
        octets
            .chunks(2)
            .map(|pair| u64::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u64::from))
            .sum()
    };
    let mut sum =
        words(&packet[8..40]) + upper.len() as u64 + u64::from(next_header) + words(upper);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram() -> Datagram {
        Datagram {
            ulids: UlidPair {
                local: "2001:db8::1".parse().unwrap(),
                peer: "2001:db8::2".parse().unwrap(),
            },
            flow: 7,
            direction: Direction::Back,
            sequence: 0x0102_0304_0506_0708,
            length: 301,
        }
    }

    #[test]
    fn a_datagram_reads_as_it_was_written() {
        assert_eq!(Datagram::parse(&datagram().emit()), Ok(datagram()));
    }

    #[test]
    fn no_octet_of_addresses_or_contents_can_change_unseen() {
        let packet = datagram().emit();
        for at in (8..packet.len()).filter(|&at| at != 6) {
            let mut changed = packet.clone();
            changed[at] ^= 4;
            assert!(Datagram::parse(&changed).is_err(), "octet {at}");
        }
    }
}
