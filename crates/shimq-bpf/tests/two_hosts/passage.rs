//! What a packet is on the wire, and what the stacks at both ends see of it.

use std::fs;
use std::net::{Ipv6Addr, UdpSocket};
use std::time::Duration;

use shim6_wire::Packet;
use shimq_bpf::{Drops, FlowCounters, Tally};
use shimq_testbed::{A, B, Namespace, packets, uninterrupted};

use crate::support::{
    Mapped, PORT, TAG_A, TAG_B, connect, flow_of_a, flow_of_b, ping, run, transfer,
};

#[test]
fn a_transfer_over_the_locators_arrives_as_it_was_sent_either_way() {
    let Some(mapped) = Mapped::new() else { return };
    let (at_a, at_b) = connect(&mapped.hosts);
    transfer(at_a, at_b, 16 << 20);
    let (at_a, at_b) = connect(&mapped.hosts);
    transfer(at_b, at_a, 16 << 20);
    assert_eq!(mapped.a.drops().unwrap(), Drops::default());
    assert_eq!(mapped.b.drops().unwrap(), Drops::default());
}

#[test]
fn packets_on_the_wire_carry_the_header_and_a_checksum_over_the_ulids() {
    let Some(mapped) = Mapped::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("router.pcap");
    // The virtual links would leave checksums to a device that does not exist.
    run(&mapped.hosts.a, "ethtool", "-K a2 tx off");
    run(&mapped.hosts.b, "ethtool", "-K b2 tx off");
    let capture = mapped.hosts.capture(&file).unwrap();
    let (at_a, at_b) = connect(&mapped.hosts);
    transfer(at_a, at_b, 4 << 20);
    capture.stop().unwrap();

    let (mut from_a, mut from_b) = (0, 0);
    for packet in packets(&fs::read(&file).unwrap()) {
        assert!(packet.len() <= 1500, "{} octets", packet.len());
        let ends = (address(packet, 8), address(packet, 24));
        let (source, destination, tag, count) = if ends == (A[1].host(), B[1].host()) {
            (A[0].host(), B[0].host(), TAG_B, &mut from_a)
        } else if ends == (B[1].host(), A[1].host()) {
            (B[0].host(), A[0].host(), TAG_A, &mut from_b)
        } else {
            // Of the links themselves at most.
            assert!(
                ends.0.is_unicast_link_local() || ends.1.is_multicast() || packet[6] == ICMPV6,
                "{ends:?}"
            );
            continue;
        };
        assert_eq!(packet[6], SHIM6);
        let mut octets = packet.to_vec();
        let end = octets.len();
        let mut packet = Packet::new(&mut octets, 0, end).unwrap();
        assert_eq!(packet.remove_payload_ext(source, destination), Ok(tag));
        assert_eq!(packet.octets()[6], TCP);
        assert_eq!(transport_checksum(packet.octets()), 0xffff);
        *count += 1;
    }
    assert!(from_a > (4 << 20) / 1432, "{from_a} packets from A");
    assert!(from_b > 2, "{from_b} packets from B");
}

#[test]
fn the_stack_receives_segments_merged() {
    let Some(mapped) = Mapped::new() else { return };
    let (at_a, at_b) = connect(&mapped.hosts);
    transfer(at_a, at_b, 16 << 20);
    let snmp = run(&mapped.hosts.b, "cat", "/proc/net/snmp6");
    let mut lines = snmp.lines();
    let delivered = lines.find_map(|line| line.strip_prefix("Ip6InDelivers"));
    let delivered: u64 = delivered.unwrap().trim().parse().unwrap();
    let on_wire = mapped.b.counters().unwrap()[0].received.packets;
    assert!(on_wire > (16 << 20) / 1432, "{on_wire}");
    assert!(delivered * 4 < on_wire, "{delivered} of {on_wire}");
}

#[test]
fn an_echo_passes_and_is_counted_at_both_ends() {
    let Some(mapped) = Mapped::new() else { return };
    let before = boot_time();
    ping(&mapped.hosts.a, &format!("-c 3 {}", B[0].host())).unwrap();
    let after = boot_time();
    // IPv6 and ICMPv6 headers, 56 octets; not the header that is on the wire only.
    let three = |tally: Tally| {
        assert_eq!((tally.packets, tally.bytes), (3, 3 * 104));
        let last = tally.last.unwrap();
        assert!(
            before <= last && last <= after,
            "{before:?} {last:?} {after:?}"
        );
    };
    for (rewriter, ulids) in [
        (&mapped.a, flow_of_a().ulids),
        (&mapped.b, flow_of_b().ulids),
    ] {
        let counters = rewriter.counters().unwrap();
        let [
            FlowCounters {
                ulids: of,
                sent,
                received,
            },
        ] = counters[..]
        else {
            panic!("{counters:?}");
        };
        assert_eq!(of, ulids);
        three(sent);
        three(received);
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-4.6
//= id=S-002
//= type=test
//# the Shim header will be placed before any
//# Endpoint Extension headers (Fragmentation headers, Destination
//# Options header, AH, ESP)
#[test]
fn a_datagram_larger_than_the_path_is_fragmented_behind_the_header() {
    let Some(mapped) = Mapped::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("router.pcap");
    let capture = mapped.hosts.capture(&file).unwrap();
    let socket = |host: &Namespace, address: Ipv6Addr| {
        let socket = host.enter(|| UdpSocket::bind((address, PORT)));
        socket.unwrap().unwrap()
    };
    let at_a = socket(&mapped.hosts.a, A[0].host());
    let at_b = socket(&mapped.hosts.b, B[0].host());
    at_b.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let datagram: Vec<u8> = (0..4000_u32).map(|octet| (octet % 251) as u8).collect();
    at_a.send_to(&datagram, at_b.local_addr().unwrap()).unwrap();
    let mut received = [0; 5000];
    let (length, from) = uninterrupted(|| at_b.recv_from(&mut received)).unwrap();
    assert_eq!(&received[..length], datagram);
    assert_eq!(from, at_a.local_addr().unwrap());
    capture.stop().unwrap();

    let pcap = fs::read(&file).unwrap();
    let tagged: Vec<_> = packets(&pcap).filter(|packet| packet[6] == SHIM6).collect();
    assert_eq!(tagged.len(), 3);
    for packet in tagged {
        assert!(packet.len() <= 1500);
        assert_eq!(packet[40], FRAGMENT);
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-4.6
//= id=S-002
//= type=test
//# but after any routing-related headers (Hop-by-Hop Extensions
//# header, Routing header, and a Destinations Options header, which
//# precedes a Routing header).
#[test]
fn options_for_routers_stay_before_the_header() {
    let Some(mapped) = Mapped::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("router.pcap");
    let capture = mapped.hosts.capture(&file).unwrap();
    // Option 54 is IPV6_HOPOPTS: 12 octets of padding, of which the kernel fills in the first two.
    let script = format!(
        "import socket as s
end = s.socket(s.AF_INET6, s.SOCK_DGRAM)
end.bind(('{}', 0))
end.setsockopt(s.IPPROTO_IPV6, 54, bytes([0, 1, 1, 12] + [0] * 12))
end.sendto(b'x' * 100, ('{}', {PORT}))",
        A[0].host(),
        B[0].host(),
    );
    mapped.hosts.a.run("python3", ["-c", &script]).unwrap();
    capture.stop().unwrap();
    let pcap = fs::read(&file).unwrap();
    let tagged = packets(&pcap).find(|packet| packet[6] == HOP_BY_HOP && packet[40] == SHIM6);
    let mut octets = tagged.unwrap().to_vec();
    assert_eq!(octets[40..44], [SHIM6, 1, 1, 12]);
    assert_eq!(octets[56], UDP);
    let end = octets.len();
    let mut packet = Packet::new(&mut octets, 0, end).unwrap();
    let restored = packet.remove_payload_ext(A[0].host(), B[0].host());
    assert_eq!(restored, Ok(TAG_B));
    assert_eq!(packet.octets()[40], UDP);
    assert_eq!(packet.octets().len(), 40 + 16 + 8 + 100);
    assert_eq!(mapped.a.drops().unwrap(), Drops::default());
}

/// The time that the programs note, CLOCK_BOOTTIME.
fn boot_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(
        time.tv_sec.try_into().unwrap(),
        time.tv_nsec.try_into().unwrap(),
    )
}

fn address(packet: &[u8], at: usize) -> Ipv6Addr {
    <[u8; 16]>::try_from(&packet[at..at + 16]).unwrap().into()
}

/// The Internet checksum over pseudo-header and payload, 0xffff if the packet's own is right.
fn transport_checksum(packet: &[u8]) -> u16 {
    let payload = &packet[40..];
    let mut sum = payload.len() as u32 + u32::from(packet[6]);
    for pair in packet[8..40].chunks(2).chain(payload.chunks(2)) {
        let [high, low] = [pair[0], pair.get(1).copied().unwrap_or(0)];
        sum += u32::from(u16::from_be_bytes([high, low]));
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

/// Next Header values.
const HOP_BY_HOP: u8 = 0;
const TCP: u8 = 6;
const UDP: u8 = 17;
const FRAGMENT: u8 = 44;
const ICMPV6: u8 = 58;
const SHIM6: u8 = 140;
