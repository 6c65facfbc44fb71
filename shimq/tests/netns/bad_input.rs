//! Octets that no peer of good will sends, as fast as they come.

use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::thread;

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use serde_json::Value;
use shim6_wire::{ContextTag, I1, InitiatorNonce, Message};
use shimq_testbed::{B, Direction};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::support::{Daemon, FAST, Network, Side, Stream, eventually};

/// Counts Shim6 packets and ICMPv6 errors about such before anything else looks at them.
const WITNESS: &str = "\
table ip6 witness {
    counter shim6 { }
    chain before {
        type filter hook prerouting priority -500; policy accept;
        meta l4proto 140 counter name shim6
        icmpv6 type 1-4 @th,112,8 140 counter name shim6
    }
}
";

#[test]
fn hostile_packets_at_line_rate_are_all_accounted_for_and_harm_nobody() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, FAST);
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    network.hosts.b.feed("nft", ["-f", "-"], WITNESS).unwrap();
    let before = b.ask("status");

    // From the provider's router, with its own address and with the one of a peer.
    let floods = [B[0].router(), a1].map(|source| {
        let socket = network.hosts.router.enter(raw_socket).unwrap();
        thread::spawn(move || flood(&socket, source, b1))
    });
    stream.wait_for_more();
    for flood in floods {
        flood.join().unwrap();
    }
    stream.wait_for_more();

    assert!(witnessed(&network) > PACKETS);
    eventually("every packet is accounted for", || {
        let accounted = accounted(&b.ask("status")) - accounted(&before);
        // While the flood delays everything, the queue may be shown some of the stream as well.
        (0..100).contains(&accounted.wrapping_sub(witnessed(&network)))
    });
    let status = b.ask("status");
    for pointer in [
        "/queues/1/dropped/malformed",
        "/queues/1/dropped/unknown-tag",
        "/counters/dropped/malformed",
    ] {
        assert!(status.pointer(pointer).is_some(), "{pointer}: {status:#}");
    }

    // Nothing of it made a context, and the one there was still does what it is for.
    assert_eq!(status["contexts"], 1, "{status:#}");
    let mut events = b.events();
    network.hosts.cut(a1, b1, Direction::Both).unwrap();
    events.wait_for("pair-changed");
    stream.wait_for_more();
    stream.finish();
}

/// Packets that reached the queue of what is received, or were lost in front of it.
fn accounted(status: &Value) -> u64 {
    let queue = &status["queues"][1];
    let counts = ["packets", "kernel_queue_dropped", "kernel_user_dropped"];
    counts
        .map(|count| queue[count].as_u64().unwrap())
        .iter()
        .sum()
}

/// What the witness at host B has counted.
fn witnessed(network: &Network) -> u64 {
    let listing = network.run(Side::B, "nft", "-j list counter ip6 witness shim6");
    let listing: Value = serde_json::from_str(&listing).unwrap();
    let mut objects = listing["nftables"].as_array().unwrap().iter();
    let counter = objects.find_map(|object| object["counter"]["packets"].as_u64());
    counter.unwrap()
}

fn raw_socket() -> Socket {
    // Whole packets are sent.
    let protocol = Protocol::from(255);
    Socket::new(Domain::IPV6, Type::RAW, Some(protocol)).unwrap()
}

fn flood(socket: &Socket, source: Ipv6Addr, destination: Ipv6Addr) {
    let mut random = ChaCha20Rng::seed_from_u64(u64::from(source.octets()[5]));
    let to = SockAddr::from(SocketAddr::from((destination, 0)));
    for _ in 0..PACKETS {
        let (next_header, content) = hostile(&mut random);
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend((content.len() as u16).to_be_bytes());
        packet.extend([next_header, 64]);
        packet.extend(source.octets());
        packet.extend(destination.octets());
        packet.extend(content);
        // A full device queue refuses some: they count as never sent.
        let _ = socket.send_to(&packet, &to);
    }
}

/// Something that is almost, or not at all, what it says.
fn hostile(random: &mut ChaCha20Rng) -> (u8, Vec<u8>) {
    let i1 = Message::I1(I1 {
        initiator_tag: ContextTag::from_bits(random.next_u64()),
        initiator_nonce: InitiatorNonce(random.next_u32()),
        ulids: None,
        fii: None,
    })
    .emit();
    let mut up_to = |most: u32| random.next_u32() % (most + 1);
    let length = up_to(1400) as usize;
    let place = up_to(i1.len() as u32 - 1) as usize;
    let kind = up_to(6);
    let mut garbage = vec![0; length];
    random.fill_bytes(&mut garbage);
    let mut content = i1.clone();
    match kind {
        0 => return (SHIM6, garbage),
        1 => content.truncate(place),
        2 => content[place] ^= 1 << (length % 8),
        3 => content[1] = content[1].wrapping_add(1 + length as u8 % 255),
        // A payload header with somebody's tag, and what follows it.
        4 => {
            content.truncate(8);
            content[1] = 0;
            content[2] |= 0x80;
            content.extend(garbage);
        }
        // A sound beginning, and options that are none.
        5 => content.extend(garbage),
        // An ICMPv6 error about a Shim6 packet that was never sent.
        _ => {
            let mut error = vec![
                1 + length as u8 % 4,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0x60,
                0,
                0,
                0,
                0,
                16,
            ];
            error.extend([SHIM6, 64]);
            error.extend(garbage);
            return (ICMPV6, error);
        }
    }
    (SHIM6, content)
}

/// Packets of each of the floods.
const PACKETS: u64 = 100_000;

const SHIM6: u8 = 140;
const ICMPV6: u8 = 58;
