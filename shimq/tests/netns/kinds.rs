//! Every kind of message as an independent reader sees it.
//!
//! tshark's dissector is trusted with types and checksums; options it misreads, so these are judged
//! by octets written out by hand, in the tests of shim6-wire.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;

use shim6_wire::{ContextTag, I1, InitiatorNonce, Message, MessageType};
use shimq_testbed::{Direction, find};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::support::{Daemon, FAST, Network, Recording, Side, Stream, eventually};

/// What RFC 5533 section 5.3 and RFC 5534 section 5 call the kinds, and how they number them.
const KINDS: [(MessageType, u8); 11] = [
    (MessageType::I1, 1),
    (MessageType::R1, 2),
    (MessageType::I2, 3),
    (MessageType::R2, 4),
    (MessageType::R1bis, 5),
    (MessageType::I2bis, 6),
    (MessageType::UpdateRequest, 64),
    (MessageType::UpdateAck, 65),
    (MessageType::Keepalive, 66),
    (MessageType::Probe, 67),
    (MessageType::Error, 68),
];

#[test]
fn tshark_reads_every_kind_of_message_with_its_type_and_a_good_checksum() {
    let Some(network) = Network::new() else {
        return;
    };
    let known = (0..0x80).filter_map(MessageType::from_bits);
    assert!(
        known.eq(KINDS.map(|(kind, _)| kind)),
        "a kind is missing here"
    );

    let recording = network.record("r.pcap");
    let (a, b) = Daemon::pair(&network, FAST);
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    stream.finish();
    provoke_keepalives(&network, &recording, a1, b1);
    provoke_error(&network, &recording, a1, b1);

    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    network.hosts.cut(a1, b1, Direction::Both).unwrap();
    await_kind(&recording, MessageType::Probe);
    stream.wait_for_more();
    a.kill();
    let _a = Daemon::start(&network, Side::A, FAST);
    await_kind(&recording, MessageType::I2bis);
    stream.wait_for_more();
    provoke_update(&network, &recording);
    stream.finish();

    let (file, _) = recording.stop_in_file();
    let read = read_by_tshark(&file);
    for (kind, number) in KINDS {
        let of_kind: Vec<_> = read.iter().filter(|(ty, _)| *ty == number).collect();
        assert!(!of_kind.is_empty(), "no {kind:?} among {read:?}");
        for (_, checksum) in of_kind {
            assert_eq!(checksum, GOOD, "a {kind:?}");
        }
    }
    // The one that the test sent has a number of its own kind too, so nothing else is left.
    assert!(
        read.iter()
            .all(|(ty, _)| KINDS.iter().any(|(_, number)| ty == number))
    );
}

/// Sends one way only, until the other end says that it hears.
fn provoke_keepalives(network: &Network, recording: &Recording, a1: Ipv6Addr, b1: Ipv6Addr) {
    let open = |side, address| {
        let socket = network.host(side).enter(|| UdpSocket::bind((address, 0)));
        socket.unwrap().unwrap()
    };
    let (from, to) = (open(Side::A, a1), open(Side::B, b1));
    let to = to.local_addr().unwrap();
    eventually("a keepalive", || {
        from.send_to(&[0; 100], to).unwrap();
        has_seen(recording, MessageType::Keepalive)
    });
}

/// Gives host A another prefix, which its peer hears of.
fn provoke_update(network: &Network, recording: &Recording) {
    network.run(Side::A, "ip", "-6 address add 2001:db8:a3::2/64 dev a1");
    await_kind(recording, MessageType::UpdateAck);
}

/// Sends, as host A, an I1 with a critical option that nobody knows.
fn provoke_error(network: &Network, recording: &Recording, a1: Ipv6Addr, b1: Ipv6Addr) {
    let mut message = Message::I1(I1 {
        initiator_tag: ContextTag::from_bits(1),
        initiator_nonce: InitiatorNonce(1),
        ulids: None,
        fii: None,
    })
    .emit();
    // Type 0x7000 and C = 1, Length 4 (RFC 5533 section 5.15).
    message.extend([0xe0, 0x01, 0, 4, 0, 0, 0, 0]);
    message[1] += 1;
    message[4..6].fill(0);
    let checksum = checksum(&message);
    message[4..6].copy_from_slice(&checksum.to_be_bytes());
    let protocol = Some(Protocol::from(140));
    let socket = network
        .hosts
        .a
        .enter(|| Socket::new(Domain::IPV6, Type::RAW, protocol));
    let socket = socket.unwrap().unwrap();
    let end = |address| SockAddr::from(SocketAddr::from((address, 0)));
    socket.bind(&end(a1)).unwrap();
    socket.send_to(&message, &end(b1)).unwrap();
    await_kind(recording, MessageType::Error);
}

/// The Internet checksum without a pseudo-header (RFC 5533 section 5.3).
fn checksum(message: &[u8]) -> u16 {
    let words = message
        .chunks(2)
        .map(|word| u16::from_be_bytes([word[0], word[1]]));
    let mut sum: u32 = words.map(u32::from).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn await_kind(recording: &Recording, kind: MessageType) {
    eventually(&format!("{kind:?}"), || has_seen(recording, kind));
}

fn has_seen(recording: &Recording, kind: MessageType) -> bool {
    let so_far = recording.so_far();
    let mut control = so_far.iter().filter_map(|packet| packet.control());
    control.any(|message| message[2] == kind as u8)
}

/// Type and checksum status of all Shim6 control messages.
fn read_by_tshark(file: &Path) -> Vec<(u8, String)> {
    let output = Command::new(find("tshark").unwrap())
        .arg("-r")
        .arg(file)
        .args(["-Y", "shim6.type", "-T", "fields", "-E", "separator= "])
        .args(["-e", "shim6.type", "-e", "shim6.checksum.status"])
        .output()
        .unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let read = lines.lines().map(|line| {
        let (ty, checksum) = line.split_once(' ').unwrap();
        (ty.parse().unwrap(), checksum.to_owned())
    });
    read.collect()
}

/// What tshark calls a checksum that is right.
const GOOD: &str = "1";
