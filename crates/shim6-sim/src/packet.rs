//! The octets that hosts send: toy datagrams of the upper layers, control messages, ICMPv6 refusals.
//!
//! A datagram is UDP in form and says in its payload which flow it belongs to and which packet of it
//! this is; the rest is filled with what follows from that, so that the receiver can make the very
//! packet that was sent and compare all of it, the checksum over its ULIDs included.

use std::net::Ipv6Addr;

use shim6_core::{Transmit, UlidPair};

const IPV6: usize = 40;
const UDP: usize = 8;
/// Offset of the checksum.
const CHECKSUM: usize = IPV6 + 6;
/// Octets of a datagram's payload before the filling: direction and sequence number.
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
        packet.resize(self.length, self.sequence as u8);
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
        udp[6..UDP].fill(0);
        let checksum = upper_layer_checksum(&packet, NEXT_HEADER_UDP);
        packet[CHECKSUM..IPV6 + UDP].copy_from_slice(&checksum.to_be_bytes());
        packet
    }

    /// Reads a packet as its receiver's upper layer sees it: the checksum has to fit these addresses.
    pub(crate) fn parse(packet: &[u8]) -> Result<Self, &'static str> {
        if packet.len() < SHORTEST || packet[6] != NEXT_HEADER_UDP {
            return Err("not a datagram");
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
        let as_sent = datagram.emit();
        if as_sent == packet {
            Ok(datagram)
        } else if as_sent[..CHECKSUM] == packet[..CHECKSUM] {
            Err("checksum over the ULIDs is wrong")
        } else {
            Err("not the octets that were sent")
        }
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
#[must_use]
pub fn unrecognized_next_header(packet: &[u8]) -> Vec<u8> {
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

/// The complement of the sum over pseudo-header and upper layer (RFC 8200 §8.1).
fn upper_layer_checksum(packet: &[u8], next_header: u8) -> u16 {
    let upper = &packet[IPV6..];
    let mut sum = word_sum(&packet[8..IPV6]) + word_sum(upper);
    sum += upper.len() as u64 + u64::from(next_header);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A sum that folds to that of the 16-bit words: 32 bits at a time, since most of what a simulation
/// does is to add these up.
fn word_sum(octets: &[u8]) -> u64 {
    let mut words = octets.chunks_exact(4);
    let mut sum = 0;
    for word in &mut words {
        sum += u64::from(u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
    }
    let mut rest = [0; 4];
    rest[..words.remainder().len()].copy_from_slice(words.remainder());
    sum + u64::from(u32::from_be_bytes(rest))
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
    fn the_checksum_is_the_complement_of_the_sum_of_words() {
        // One octet "A" from ::1 port 7 to ::1 port 7: 0x0007 + 0x0007 + 0x0009 +
        // 0x4100 + 0x0001 + 0x0001 + 0x0009 + 0x0011 = 0x4133.
        let mut packet = header(17, 9, Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
        packet.extend_from_slice(&[0, 7, 0, 7, 0, 9, 0, 0, 0x41]);
        assert_eq!(upper_layer_checksum(&packet, 17), !0x4133);
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
