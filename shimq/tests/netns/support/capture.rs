//! What passed on the wire, as the router saw it.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use shimq_testbed::{Capture, packets};

/// A running capture.
pub(crate) struct Recording {
    capture: Capture,
    file: PathBuf,
}

impl Recording {
    pub(crate) fn new(capture: Capture, file: PathBuf) -> Self {
        Self { capture, file }
    }

    /// What has been written to the file until now.
    pub(crate) fn so_far(&self) -> Vec<Packet> {
        read(&self.file)
    }

    /// Ends it; the packets are in the order of their arrival.
    pub(crate) fn stop(self) -> Vec<Packet> {
        self.stop_in_file().1
    }

    /// The same, for programs that read pcap files.
    pub(crate) fn stop_in_file(self) -> (PathBuf, Vec<Packet>) {
        self.capture.stop().unwrap();
        let packets = read(&self.file);
        (self.file, packets)
    }
}

/// A packet, from its IPv6 header on, without extension headers before the Shim6 header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet(pub(crate) Vec<u8>);

impl Packet {
    pub(crate) fn source(&self) -> Ipv6Addr {
        let octets: [u8; 16] = self.0[8..24].try_into().unwrap();
        octets.into()
    }

    pub(crate) fn destination(&self) -> Ipv6Addr {
        let octets: [u8; 16] = self.0[24..40].try_into().unwrap();
        octets.into()
    }

    pub(crate) fn next_header(&self) -> u8 {
        self.0[6]
    }

    /// The Shim6 control message, from its header on.
    pub(crate) fn control(&self) -> Option<&[u8]> {
        let shim = &self.0[40..];
        (self.next_header() == SHIM6 && shim[2] & P_BIT == 0).then_some(shim)
    }

    /// Whether it is payload that carries a context's tag.
    pub(crate) fn is_tagged(&self) -> bool {
        self.next_header() == SHIM6 && self.0[42] & P_BIT != 0
    }

    /// What the packet was before it was tagged, and will be again, by RFC 5533 section 5.2:
    /// written here again, so that it owes nothing to what it tests.
    pub(crate) fn untagged(&self, source: Ipv6Addr, destination: Ipv6Addr) -> Self {
        assert!(self.is_tagged());
        let mut octets = self.0.clone();
        let length = u16::from_be_bytes([octets[4], octets[5]]) - 8;
        octets[4..6].copy_from_slice(&length.to_be_bytes());
        octets[6] = octets[40];
        octets[8..24].copy_from_slice(&source.octets());
        octets[24..40].copy_from_slice(&destination.octets());
        octets.drain(40..48);
        Self(octets)
    }

    /// Whether the upper-layer checksum is right for the addresses that the packet has.
    pub(crate) fn has_right_checksum(&self) -> bool {
        self.checksum() == 0
    }

    /// The upper-layer checksum, over the field that will hold it as well (RFC 8200 section 8.1):
    /// what belongs there if it is 0, and 0 if it is right.
    pub(crate) fn checksum(&self) -> u16 {
        let payload = &self.0[40..];
        let mut sum = u64::from(self.next_header()) + payload.len() as u64;
        for part in [&self.0[8..40], payload] {
            for word in part.chunks(2) {
                let [high, low] = [word[0], *word.get(1).unwrap_or(&0)];
                sum += u64::from(u16::from_be_bytes([high, low]));
            }
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }
}

/// The ways, and whether tagged, of TCP packets that left host A from this port.
pub(crate) fn ways(packets: &[Packet], port: u16) -> BTreeSet<(Ipv6Addr, Ipv6Addr, bool)> {
    let of_port = |packet: &&Packet| {
        let (at, next) = if packet.is_tagged() {
            (48, packet.0[40])
        } else {
            (40, packet.next_header())
        };
        next == 6 && packet.0[at..at + 2] == port.to_be_bytes()
    };
    let way = |packet: &Packet| (packet.source(), packet.destination(), packet.is_tagged());
    packets.iter().filter(of_port).map(way).collect()
}

fn read(pcap: &Path) -> Vec<Packet> {
    let octets = fs::read(pcap).unwrap();
    packets(&octets)
        .map(|packet| Packet(packet.to_vec()))
        .collect()
}

/// Next Header of Shim6 (RFC 5533 section 5).
const SHIM6: u8 = 140;

/// What tells tagged payload from control messages (RFC 5533 section 5.1).
const P_BIT: u8 = 0x80;
