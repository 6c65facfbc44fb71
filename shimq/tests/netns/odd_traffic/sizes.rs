//! Datagrams that fit, that no longer do with eight octets more, and that never did.

use shimq_testbed::{A, B};

use super::until_received;
use crate::support::{Mode, Moved, Network, Packet, Side, eventually};

/// Octets of an IPv6 and a UDP header.
const HEADERS: usize = 48;

/// Sends datagrams so long that their packets have these lengths, both ways.
fn exchange(moved: &Moved<'_>, lengths: impl Iterator<Item = usize>) {
    let (at_a, at_b) = (moved.udp(Side::A), moved.udp(Side::B));
    let mut received = vec![0; 1 << 16];
    for length in lengths {
        let datagram: Vec<u8> = (0..length - HEADERS).map(|at| (at % 251) as u8).collect();
        for (from, to) in [(&at_a, &at_b), (&at_b, &at_a)] {
            let destination = to.local_addr().unwrap();
            until_received(
                &format!("{length} octets"),
                || {
                    from.send_to(&datagram, destination).unwrap();
                },
                || match to.recv(&mut received) {
                    // One of before may come late.
                    Ok(octets) => octets == datagram.len() && received[..octets] == datagram,
                    Err(_) => false,
                },
            );
        }
    }
}

fn datagrams_of_every_size_arrive(mode: Mode) {
    let Some(network) = Network::new() else {
        return;
    };
    let Some(moved) = Moved::new(&network, mode) else {
        return;
    };
    if mode == Mode::QueueBeforeTracking {
        let tracking = "table ip6 tracking { chain input {
            type filter hook input priority filter;
            ct state invalid drop
        }
        }\n";
        for side in [Side::A, Side::B] {
            let host = network.host(side);
            host.feed("nft", ["-f", "-"], tracking).unwrap();
        }
    }
    let recording = network.record("sizes.pcap");
    let around_the_borders = || (1272..=1281).chain(1440..=1500);
    exchange(
        &moved,
        around_the_borders().chain([8_000, 65_000 + HEADERS]),
    );
    network.without_offload();
    exchange(
        &moved,
        around_the_borders().step_by(7).chain([65_000 + HEADERS]),
    );

    let packets = recording.stop();
    let fragments = |packet: &&Packet| packet.is_tagged() && packet.0[40] == FRAGMENT;
    for prefix in [A[1].prefix, B[1].prefix] {
        let sent = packets
            .iter()
            .filter(|packet| prefix.contains(packet.source()));
        // 46 of each of the largest, at least.
        assert!(sent.filter(fragments).count() > 92, "{mode:?}");
    }
    for packet in packets.iter().filter(fragments) {
        assert!(packet.0.len() <= 1500, "{} octets", packet.0.len());
    }
    assert!(
        packets
            .iter()
            .all(|packet| packet.next_header() != FRAGMENT),
        "a fragment without, or before, a Shim6 header"
    );
    if mode != Mode::Bpf {
        let cut = |daemon: &crate::support::Daemon<'_>| daemon.count("/queues/1/fragmented");
        assert!(cut(&moved.a) > 0 && cut(&moved.b) > 0);
    }
    moved.finish();
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-4.6
//= id=S-002
//= type=test
//# the Shim header will be placed before any
//# Endpoint Extension headers (Fragmentation headers, Destination
//# Options header, AH, ESP)
#[test]
fn datagrams_of_every_size_arrive_where_queues_map() {
    datagrams_of_every_size_arrive(Mode::Queue);
}

#[test]
fn datagrams_of_every_size_arrive_where_connections_are_tracked() {
    datagrams_of_every_size_arrive(Mode::QueueBeforeTracking);
}

#[test]
fn datagrams_of_every_size_arrive_where_the_kernel_maps() {
    datagrams_of_every_size_arrive(Mode::Bpf);
}

fn echoes_of_8_kilobytes_return(mode: Mode) {
    let Some(network) = Network::new() else {
        return;
    };
    let Some(moved) = Moved::new(&network, mode) else {
        return;
    };
    for side in [Side::A, Side::B] {
        let (from, to) = moved.ends(side);
        let words = format!("-6 -c 3 -i 0.1 -W 5 -s 8192 -I {from} {to}");
        let said = network.run(side, "ping", &words);
        assert!(said.contains(" 0% packet loss"), "{said}");
    }
    moved.finish();
}

#[test]
fn echoes_of_8_kilobytes_return_where_queues_map() {
    echoes_of_8_kilobytes_return(Mode::Queue);
}

#[test]
fn echoes_of_8_kilobytes_return_where_the_kernel_maps() {
    echoes_of_8_kilobytes_return(Mode::Bpf);
}

/// The kernel copies 65531 octets of a packet at most; it may have 65575.
#[test]
fn a_datagram_that_is_longer_than_the_kernel_copies_is_counted() {
    let Some(network) = Network::new() else {
        return;
    };
    let Some(moved) = Moved::new(&network, Mode::Queue) else {
        return;
    };
    let (from, to) = (moved.udp(Side::A), moved.udp(Side::B));
    let longest = 65_531 - HEADERS;
    exchange(&moved, [longest + HEADERS].into_iter());
    let counted = || moved.a.count("/queues/1/passed_unmapped");
    assert_eq!(counted(), 0);
    let datagram = vec![1; longest + 1];
    from.send_to(&datagram, to.local_addr().unwrap()).unwrap();
    eventually("it is counted", || counted() == 1);
    moved.finish();
}

/// A socket that wants its datagrams whole learns what is left of its path.
#[test]
fn a_socket_that_wants_no_fragments_learns_what_its_path_takes() {
    let Some(network) = Network::new() else {
        return;
    };
    let Some(moved) = Moved::new(&network, Mode::Queue) else {
        return;
    };
    let (from, to) = (moved.udp(Side::A), moved.udp(Side::B));
    let discover = rustix::net::sockopt::Ipv6PathMtuDiscovery::DO;
    rustix::net::sockopt::set_ipv6_mtu_discover(&from, discover).unwrap();
    from.connect(to.local_addr().unwrap()).unwrap();
    let datagram = [7; 1500 - HEADERS];
    until_received(
        "the size of the path",
        || {
            // Fails once it is known; then it is.
            let _ = from.send(&datagram);
        },
        || rustix::net::sockopt::ipv6_mtu(&from).unwrap() == 1492,
    );
    moved.finish();
}

/// Next Header value of a Fragment header.
const FRAGMENT: u8 = 44;
