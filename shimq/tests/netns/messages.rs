//! What is on the wire, octet by octet: control messages, and payload before and after a failure.

use std::io;
use std::net::{Ipv6Addr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use shim6_wire::{LocatorOptions, Message};
use shimq_testbed::{Direction, Namespace, find, uninterrupted};

use crate::support::{Daemon, FAST, Network, Packet, Side, Stream, eventually};

/// Never begins a context, so that it is known who does.
const RESPOND_ONLY: &str = "[trigger]\nheuristic = 'respond-only'\n[reap]\nsend-timeout = 2\n";

//= https://www.rfc-editor.org/rfc/rfc5533#section-7.3
//= type=test
//# The normal context establishment consists of a 4-message exchange in
//# the order of I1, R1, I2, R2
#[test]
fn a_context_is_made_by_i1_r1_i2_r2_and_tshark_reads_them_so() {
    let Some(network) = Network::new() else {
        return;
    };
    let recording = network.record("r.pcap");
    let a = Daemon::start(&network, Side::A, FAST);
    let b = Daemon::start(&network, Side::B, RESPOND_ONLY);
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    stream.finish();
    let (file, packets) = recording.stop_in_file();

    let tshark = Command::new(find("tshark").unwrap())
        .arg("-r")
        .arg(file)
        .args(["-Y", "shim6.type < 64"])
        .args(["-T", "fields", "-E", "separator= "])
        .args(["-e", "ipv6.src", "-e", "ipv6.dst"])
        .args([
            "-e",
            "shim6.type",
            "-e",
            "shim6.len",
            "-e",
            "shim6.checksum.status",
        ])
        .output()
        .unwrap();
    // All that make or mend a context. When the stream pauses, the pair may be asked for.
    let makes = |octets: &[u8]| octets[2] & 0x7f < 64;
    let control: Vec<_> = packets
        .iter()
        .filter(|packet| packet.control().is_some_and(makes))
        .collect();
    // One line a message. Status 1 is "good".
    let wanted = control.iter().zip([1, 2, 3, 4]).map(|(packet, kind)| {
        let (from, to) = if kind % 2 == 1 { (a1, b1) } else { (b1, a1) };
        let length = packet.control().unwrap().len() / 8 - 1;
        format!("{from} {to} {kind} {length} 1\n")
    });
    assert_eq!(
        String::from_utf8(tshark.stdout).unwrap(),
        wanted.collect::<String>()
    );

    let [i1, r1, i2, r2] = &control[..] else {
        panic!("{} control messages", control.len());
    };
    assert!(matches!(message(i1), Message::I1(_)));
    assert!(matches!(message(r1), Message::R1(_)));
    // tshark 4.0 does not read options: it takes their contents for other ones.
    let Message::I2(i2) = message(i2) else {
        panic!("{i2:?}");
    };
    let Message::R2(r2) = message(r2) else {
        panic!("{r2:?}");
    };
    assert_eq!(listed(&i2.locators), a.locators());
    assert_eq!(listed(&r2.locators), b.locators());
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-11
//= type=test
//= id=S-156
//# If this is the case, then packets can be sent unmodified by the shim.
//
//= https://www.rfc-editor.org/rfc/rfc5533#section-11.1
//= type=test
//= id=S-157
//# Note that this MUST NOT cause any recalculation of the ULP
//# checksums, since the ULP checksums are carried end-to-end and the ULP
//# pseudo-header contains the ULIDs that are preserved end-to-end.
#[test]
fn payload_is_untouched_before_a_failure_and_after_it_the_same_under_a_tag() {
    let Some(network) = Network::new() else {
        return;
    };
    network.without_offload();
    let (a, b) = Daemon::pair(&network, FAST);
    let ([a1, _], [b1, _]) = (a.locators(), b.locators());
    let recording = network.record("r.pcap");
    let mut echo = Echo::new(&network, a1, b1);
    eventually("both have a context", || {
        echo.round();
        a.has_context(a1, b1) && b.has_context(b1, a1)
    });
    for _ in 0..20 {
        assert!(echo.round());
    }
    let untouched = echo.rounds;
    network.hosts.cut(a1, b1, Direction::Both).unwrap();
    eventually("the answers come again", || echo.round());
    for _ in 0..20 {
        assert!(echo.round());
    }

    let packets = recording.stop().into_iter();
    let payload = packets.filter(|packet| packet.next_header() == UDP || packet.is_tagged());
    let (before, after): (Vec<_>, Vec<_>) = payload.partition(|packet| !packet.is_tagged());
    // The sender counts its rounds: what the packets must be is known to the last octet.
    let mut expected = (0..untouched).flat_map(|n| echo.packets(n));
    for packet in &before[..2 * untouched as usize] {
        assert_eq!(Some(packet), expected.next().as_ref());
    }
    assert!(after.len() >= 40, "{}", after.len());
    let restored = after.iter().map(|packet| {
        let ends = (packet.source(), packet.destination());
        assert!(ends != (a1, b1) && ends != (b1, a1), "{ends:?}");
        let from_a = a.locators().contains(&packet.source());
        let (source, destination) = if from_a { (a1, b1) } else { (b1, a1) };
        packet.untagged(source, destination)
    });
    let last: Vec<_> = (untouched..echo.rounds)
        .flat_map(|n| echo.packets(n))
        .collect();
    for packet in restored {
        assert!(last.contains(&packet), "{packet:x?}");
    }
}

#[test]
fn tcp_checksums_are_right_over_the_ulids_all_along() {
    let Some(network) = Network::new() else {
        return;
    };
    network.without_offload();
    let (a, b) = Daemon::pair(&network, FAST);
    let recording = network.record("r.pcap");
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    let mut events = b.events();
    network.hosts.cut(a1, b1, Direction::Both).unwrap();
    events.wait_for("pair-changed");
    stream.wait_for_more();
    stream.finish();

    let (mut plain, mut tagged) = (0, 0);
    for packet in recording.stop() {
        if packet.is_tagged() {
            let from_a = a.locators().contains(&packet.source());
            let (source, destination) = if from_a { (a1, b1) } else { (b1, a1) };
            let restored = packet.untagged(source, destination);
            assert!(restored.has_right_checksum(), "{packet:x?}");
            assert_ne!(packet.source(), restored.source(), "{packet:x?}");
            tagged += 1;
        } else if packet.next_header() == TCP {
            assert!(packet.has_right_checksum(), "{packet:x?}");
            plain += 1;
        }
    }
    assert!(plain > 20 && tagged > 20, "{plain} plain, {tagged} tagged");
}

fn message(packet: &Packet) -> Message {
    Message::parse(packet.control().unwrap()).unwrap()
}

fn listed(options: &LocatorOptions) -> Vec<Ipv6Addr> {
    let locators = &options.list.as_ref().unwrap().locators;
    locators.iter().map(|locator| locator.address).collect()
}

/// Numbered datagrams from host A, which host B sends back.
struct Echo {
    at_a: UdpSocket,
    at_b: UdpSocket,
    /// Begun so far.
    rounds: u32,
}

impl Echo {
    fn new(network: &Network, a: Ipv6Addr, b: Ipv6Addr) -> Self {
        let open = |host: &Namespace, address: Ipv6Addr| {
            let socket = host.enter(|| UdpSocket::bind((address, 0)));
            let socket = socket.unwrap().unwrap();
            let patience = Some(Duration::from_millis(250));
            socket.set_read_timeout(patience).unwrap();
            socket
        };
        let (at_a, at_b) = (open(&network.hosts.a, a), open(&network.hosts.b, b));
        at_a.connect(at_b.local_addr().unwrap()).unwrap();
        at_b.connect(at_a.local_addr().unwrap()).unwrap();
        Self {
            at_a,
            at_b,
            rounds: 0,
        }
    }

    /// One datagram there and back; whether both arrived.
    fn round(&mut self) -> bool {
        let number = self.rounds;
        self.rounds += 1;
        self.at_a.send(&content(number)).unwrap();
        pass(&self.at_b, number) && {
            self.at_b.send(&content(number)).unwrap();
            pass(&self.at_a, number)
        }
    }

    /// The two packets of a round, as the router sees them.
    fn packets(&self, number: u32) -> [Packet; 2] {
        [(&self.at_a, &self.at_b), (&self.at_b, &self.at_a)]
            .map(|(from, to)| datagram(from, to, &content(number)))
    }
}

/// Receives datagrams until that of round `number` comes; `false` if it does not.
fn pass(socket: &UdpSocket, number: u32) -> bool {
    let mut buffer = [0; 2048];
    loop {
        match uninterrupted(|| socket.recv(&mut buffer)) {
            Ok(length) if buffer[..length] == content(number) => return true,
            // Of a round that was given up.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) => panic!("{error}"),
        }
    }
}

/// What the datagrams of a round say: each length and each octet differs from the last one's.
fn content(number: u32) -> Vec<u8> {
    let octets = number.to_be_bytes().into_iter().cycle();
    octets.take(400 + (number % 16) as usize).collect()
}

/// The packet that a host's stack makes of a datagram (RFC 8200 section 3, RFC 768).
fn datagram(from: &UdpSocket, to: &UdpSocket, content: &[u8]) -> Packet {
    let ends = [from, to].map(|socket| match socket.local_addr().unwrap() {
        std::net::SocketAddr::V6(end) => end,
        std::net::SocketAddr::V4(end) => panic!("{end}"),
    });
    let length = (8 + content.len()) as u16;
    let mut octets = vec![0x60, 0, 0, 0];
    octets.extend(length.to_be_bytes());
    octets.extend([UDP, 64]);
    octets.extend(ends.iter().flat_map(|end| end.ip().octets()));
    octets.extend(ends.iter().flat_map(|end| end.port().to_be_bytes()));
    octets.extend(length.to_be_bytes());
    octets.extend([0, 0]);
    octets.extend(content);
    let checksum = Packet(octets.clone()).checksum();
    octets[46..48].copy_from_slice(&checksum.to_be_bytes());
    Packet(octets)
}

const TCP: u8 = 6;
const UDP: u8 = 17;
