//! Headers before and behind the Shim6 header, and what upper layers there are.

use std::io::{self, Read};
use std::net::{Ipv6Addr, SocketAddr};

use shimq_testbed::{A, B};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{PAUSE, until_received};
use crate::support::{Mode, Moved, Network, Packet, Side, eventually, say};

/// An IPv6 packet, by hand: `headers` are from the first extension header on.
fn packet(
    next_header: u8,
    (source, destination): (Ipv6Addr, Ipv6Addr),
    headers: &[u8],
    upper: &[u8],
) -> Vec<u8> {
    // Traffic class 0xbb, expedited forwarding and CE; flow label 0xabcde.
    let mut packet = vec![0x6b, 0xba, 0xbc, 0xde];
    packet.extend(((headers.len() + upper.len()) as u16).to_be_bytes());
    packet.extend([next_header, 33]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(headers);
    packet.extend(upper);
    packet
}

/// A UDP datagram between these addresses, with its checksum.
fn datagram(ends: (Ipv6Addr, Ipv6Addr), [from, to]: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let mut udp = Vec::new();
    for word in [from, to, length, 0] {
        udp.extend(word.to_be_bytes());
    }
    udp.extend(payload);
    let checksum = Packet(packet(UDP, ends, &[], &udp)).checksum();
    udp[6..8].copy_from_slice(&checksum.to_be_bytes());
    udp
}

/// Chains of extension headers before a UDP header, each with the Next Header of its beginning, and
/// what precedes the Shim6 header on the wire.
const CHAINS: [(&str, u8, &[u8], &[u8]); 5] = [
    (
        "Hop-by-Hop options, Router Alert",
        HOP_BY_HOP,
        &[UDP, 0, 5, 2, 0, 0, 1, 0],
        &[SHIM6, 0, 5, 2, 0, 0, 1, 0],
    ),
    (
        "Destination options",
        DESTINATION_OPTIONS,
        &[UDP, 0, 1, 4, 0, 0, 0, 0],
        &[],
    ),
    (
        "Hop-by-Hop and Destination options",
        HOP_BY_HOP,
        &[
            DESTINATION_OPTIONS,
            0,
            1,
            4,
            0,
            0,
            0,
            0,
            UDP,
            0,
            1,
            4,
            0,
            0,
            0,
            0,
        ],
        &[SHIM6, 0, 1, 4, 0, 0, 0, 0],
    ),
    (
        "Routing header, at its end",
        ROUTING,
        &[UDP, 0, 253, 0, 0, 0, 0, 0],
        &[SHIM6, 0, 253, 0, 0, 0, 0, 0],
    ),
    (
        "All that routers look at, and options for the end",
        HOP_BY_HOP,
        [
            [DESTINATION_OPTIONS, 0, 1, 4, 0, 0, 0, 0],
            [ROUTING, 0, 1, 4, 0, 0, 0, 0],
            [DESTINATION_OPTIONS, 0, 253, 0, 0, 0, 0, 0],
            [UDP, 0, 1, 4, 0, 0, 0, 0],
        ]
        .as_flattened(),
        [
            [DESTINATION_OPTIONS, 0, 1, 4, 0, 0, 0, 0],
            [ROUTING, 0, 1, 4, 0, 0, 0, 0],
            [SHIM6, 0, 253, 0, 0, 0, 0, 0],
        ]
        .as_flattened(),
    ),
];

fn extension_headers_keep_their_places(mode: Mode) {
    let Some(network) = Network::new() else {
        return;
    };
    let Some(moved) = Moved::new(&network, mode) else {
        return;
    };
    let recording = network.record("headers.pcap");
    for from in [Side::A, Side::B] {
        let to = if from == Side::A { Side::B } else { Side::A };
        let ends = moved.ends(from);
        let receiver = moved.udp(to);
        let port = receiver.local_addr().unwrap().port();
        let sender = moved.raw(from, WHOLE_PACKETS);
        for (index, (name, first, headers, _)) in CHAINS.into_iter().enumerate() {
            let payload = [index as u8; 100];
            let udp = datagram(ends, [7, port], &payload);
            let whole = packet(first, ends, headers, &udp);
            let destination = SockAddr::from(SocketAddr::from((ends.1, 0)));
            let mut received = [0; 200];
            until_received(
                name,
                || {
                    sender.send_to(&whole, &destination).unwrap();
                },
                || matches!(receiver.recv(&mut received), Ok(100) if received[..100] == payload),
            );
        }
    }
    let packets = recording.stop();
    for (name, first, _, before) in CHAINS {
        for prefix in [A[1].prefix, B[1].prefix] {
            let as_it_should_be = |packet: &&Packet| {
                let first = if before.is_empty() { SHIM6 } else { first };
                let behind = &packet.0[40..];
                prefix.contains(packet.source())
                    && packet.0[..4] == [0x6b, 0xba, 0xbc, 0xde]
                    && packet.next_header() == first
                    && behind.starts_with(before)
                    && behind[before.len() + 2] & 0x80 != 0
            };
            assert!(
                packets.iter().any(|packet| as_it_should_be(&packet)),
                "{name}"
            );
        }
    }
    moved.finish();
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-4.6
//= id=S-002
//= type=test
//# but after any routing-related headers (Hop-by-Hop Extensions
//# header, Routing header, and a Destinations Options header, which
//# precedes a Routing header).
#[test]
fn extension_headers_keep_their_places_where_queues_map() {
    extension_headers_keep_their_places(Mode::Queue);
}

#[test]
fn extension_headers_keep_their_places_where_the_kernel_maps() {
    extension_headers_keep_their_places(Mode::Bpf);
}

#[test]
fn what_the_programs_in_the_kernel_cannot_map_is_counted() {
    let Some(network) = Network::new() else {
        return;
    };
    let Some(moved) = Moved::new(&network, Mode::Bpf) else {
        return;
    };
    let ends = moved.ends(Side::A);
    // Padding of 134 octets.
    let mut options = vec![0; 136];
    options[..4].copy_from_slice(&[UDP, 16, 1, 132]);
    let whole = packet(HOP_BY_HOP, ends, &options, &datagram(ends, [7, 7], b"x"));
    let destination = SockAddr::from(SocketAddr::from((ends.1, 0)));
    let sender = moved.raw(Side::A, WHOLE_PACKETS);
    sender.send_to(&whole, &destination).unwrap();
    let counted = "/datapath/kernel/dropped/headers-too-long";
    eventually("it is counted", || moved.a.count(counted) == 1);
    moved.finish();
}

/// Traffic class, flow label and hop limit arrive as they were sent, save what routers do to the last.
fn traffic_class_and_flow_label_survive(mode: Mode) {
    let Some(network) = Network::new() else {
        return;
    };
    let Some(moved) = Moved::new(&network, mode) else {
        return;
    };
    let ends = moved.ends(Side::A);
    let receiver = moved.udp(Side::B);
    let port = receiver.local_addr().unwrap().port();
    // Behind what unmaps.
    let rules = format!(
        "table ip6 seen {{ chain input {{ type filter hook input priority 0;
            udp dport {port} ip6 dscp ef ip6 ecn ce ip6 flowlabel 0xabcde ip6 hoplimit 32 \
            ip6 saddr {} ip6 daddr {} counter
        }}
        }}\n",
        ends.0, ends.1
    );
    network.hosts.b.feed("nft", ["-f", "-"], &rules).unwrap();
    let whole = packet(UDP, ends, &[], &datagram(ends, [7, port], b"marked"));
    let destination = SockAddr::from(SocketAddr::from((ends.1, 0)));
    let sender = moved.raw(Side::A, WHOLE_PACKETS);
    let mut received = [0; 10];
    until_received(
        "a datagram with a traffic class",
        || {
            sender.send_to(&whole, &destination).unwrap();
        },
        || receiver.recv(&mut received).is_ok(),
    );
    let seen = network.run(Side::B, "nft", "list chain ip6 seen input");
    assert!(!seen.contains("packets 0 "), "{seen}");
    moved.finish();
}

#[test]
fn traffic_class_and_flow_label_survive_where_queues_map() {
    traffic_class_and_flow_label_survive(Mode::Queue);
}

#[test]
fn traffic_class_and_flow_label_survive_where_the_kernel_maps() {
    traffic_class_and_flow_label_survive(Mode::Bpf);
}

/// Protocols by their numbers, each with what might be its packet.
fn protocols() -> [(&'static str, u8, Vec<u8>); 3] {
    let body: Vec<u8> = (0..1000_u32).map(|at| (at * 7) as u8).collect();
    // Ports, verification tag, checksum; a DATA chunk would follow.
    let mut sctp = vec![0x13, 0x88, 0x13, 0x89, 1, 2, 3, 4, 0, 0, 0, 0];
    sctp.extend(&body);
    let checksum = crc32c(&sctp);
    sctp[8..12].copy_from_slice(&checksum.to_le_bytes());
    [
        ("SCTP", 132, sctp),
        ("DCCP", 33, body.clone()),
        ("ESP", 50, body),
    ]
}

/// The kernel need not know a protocol to carry it.
fn any_upper_layer_is_carried(mode: Mode) {
    let Some(network) = Network::new() else {
        return;
    };
    let Some(moved) = Moved::new(&network, mode) else {
        return;
    };
    for (name, protocol, sent) in protocols() {
        for from in [Side::A, Side::B] {
            let to = if from == Side::A { Side::B } else { Side::A };
            let (_, peer) = moved.ends(from);
            let (sender, receiver) = (moved.raw(from, protocol), moved.raw(to, protocol));
            let destination = SockAddr::from(SocketAddr::from((peer, 0)));
            let mut received = [0; 2000];
            until_received(
                name,
                || {
                    sender.send_to(&sent, &destination).unwrap();
                },
                || match (&receiver).read(&mut received) {
                    Ok(octets) => {
                        assert_eq!(received[..octets], sent, "{name}");
                        true
                    }
                    Err(_) => false,
                },
            );
        }
    }
    moved.finish();
}

#[test]
fn any_upper_layer_is_carried_where_queues_map() {
    any_upper_layer_is_carried(Mode::Queue);
}

#[test]
fn any_upper_layer_is_carried_where_the_kernel_maps() {
    any_upper_layer_is_carried(Mode::Bpf);
}

/// The receiving stack checks its checksum.
fn udp_lite_is_carried(mode: Mode) {
    let Some(network) = Network::new() else {
        return;
    };
    let Some(moved) = Moved::new(&network, mode) else {
        return;
    };
    let open = |side| {
        let (local, _) = moved.ends(side);
        let open = || {
            let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDPLITE))?;
            socket.bind(&SockAddr::from(SocketAddr::from((local, 0))))?;
            socket.set_read_timeout(Some(PAUSE))?;
            io::Result::Ok(socket)
        };
        network.host(side).enter(open).unwrap()
    };
    match (open(Side::A), open(Side::B)) {
        (Ok(at_a), Ok(at_b)) => {
            let sent: Vec<u8> = (0..1400_u32).map(|at| (at * 3) as u8).collect();
            for (from, to) in [(&at_a, &at_b), (&at_b, &at_a)] {
                let destination = to.local_addr().unwrap();
                let mut received = [0; 1500];
                until_received(
                    "UDP-Lite",
                    || {
                        from.send_to(&sent, &destination).unwrap();
                    },
                    || {
                        let mut to = to;
                        matches!(to.read(&mut received), Ok(octets) if received[..octets] == sent)
                    },
                );
            }
        }
        (Err(error), _) | (_, Err(error)) => {
            say(&format!("SKIPPED: no UDP-Lite in this kernel: {error}"));
        }
    }
    moved.finish();
}

#[test]
fn udp_lite_is_carried_where_queues_map() {
    udp_lite_is_carried(Mode::Queue);
}

#[test]
fn udp_lite_is_carried_where_the_kernel_maps() {
    udp_lite_is_carried(Mode::Bpf);
}

/// CRC32c (RFC 9260 appendix A), a bit at a time.
fn crc32c(octets: &[u8]) -> u32 {
    let crc = octets.iter().fold(u32::MAX, |crc, octet| {
        (0..8).fold(crc ^ u32::from(*octet), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 }
        })
    });
    !crc
}

const HOP_BY_HOP: u8 = 0;
const UDP: u8 = 17;
const ROUTING: u8 = 43;
const DESTINATION_OPTIONS: u8 = 60;
const SHIM6: u8 = 140;
/// IPPROTO_RAW: the IPv6 header is the sender's.
const WHOLE_PACKETS: u8 = 255;
