//! Paths that take no more than the IPv6 minimum, so that the Shim6 header no longer fits.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use shimq_testbed::{A, B, Direction, Prefix, Provider};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::support::{Daemon, FAST, Network, PATIENCE, Packet, Side, Stream, eventually};

/// Octets that every link takes (RFC 8200 section 5).
const MINIMUM_MTU: u32 = 1280;

/// Octets of a Shim6 payload extension header.
const HEADER: u32 = 8;

/// Octets of an IPv6 and a UDP header.
const UDP_HEADERS: usize = 48;

impl Network {
    /// Has a provider's link take no more than the minimum, at both ends.
    fn narrow(&self, side: Side, provider: Provider) {
        self.set_mtu(side, provider, MINIMUM_MTU);
    }

    fn set_mtu(&self, side: Side, Provider { link, .. }: Provider, mtu: u32) {
        let mtu = mtu.to_string();
        for end in [self.host(side), &self.hosts.router] {
            end.run("ip", ["link", "set", link, "mtu", &mtu]).unwrap();
        }
    }

    /// Leaves both hosts their second providers only.
    fn cut_first_providers(&self) {
        for provider in [A[0], B[0]] {
            let cut = self
                .hosts
                .cut(provider.prefix, Prefix::ANY, Direction::Both);
            cut.unwrap();
        }
    }

    /// What the route of a host's packets says of their size.
    fn route_mtu(&self, side: Side, from: Ipv6Addr, to: Ipv6Addr) -> Option<u32> {
        let route = self.run(side, "ip", &format!("-6 route get {to} from {from}"));
        let (_, after) = route.split_once(" mtu ")?;
        after.split_whitespace().next()?.parse().ok()
    }
}

fn carries_tcp(side: Side, narrow: Provider, config: &str) {
    let Some(network) = Network::new() else {
        return;
    };
    network.narrow(side, narrow);
    let (a, b) = Daemon::pair(&network, config);
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    network.cut_first_providers();
    let second = (b.locators()[1], a.locators()[1]);
    eventually("it moves to the narrow path", || {
        b.current_pair(b1, a1) == second
    });
    stream.wait_for_more();
    let mtu = network.route_mtu(Side::B, b1, a1);
    assert_eq!(mtu, Some(MINIMUM_MTU - HEADER));

    // What is left of it when the daemons are killed leads packets where they go without it.
    network.hosts.heal().unwrap();
    a.kill();
    b.kill();
    stream.wait_for_more();
    stream.finish();
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-8
//= id=S-136
//= type=test
//# If the ICMP error is a "packet too big", the reported MTU must be
//# adjusted to be 8 octets less, since the shim will add 8 octets when
//# sending packets.
#[test]
fn tcp_goes_on_where_a_distant_link_takes_the_minimum() {
    carries_tcp(Side::A, A[1], FAST);
}

#[test]
fn tcp_goes_on_where_the_sender_s_own_link_takes_the_minimum() {
    carries_tcp(Side::B, B[1], FAST);
}

#[test]
fn tcp_goes_on_where_the_kernel_maps_and_a_distant_link_takes_the_minimum() {
    carries_tcp(Side::A, A[1], &bpf());
}

#[test]
fn tcp_goes_on_where_the_kernel_maps_and_the_sender_s_own_link_takes_the_minimum() {
    carries_tcp(Side::B, B[1], &bpf());
}

fn forgets(config: &str) {
    let Some(network) = Network::new() else {
        return;
    };
    // Instead of ten minutes.
    network
        .hosts
        .b
        .set_sysctl("ipv6/route/mtu_expires", "2")
        .unwrap();
    network.narrow(Side::A, A[1]);
    let (a, b) = Daemon::pair(&network, config);
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    network.cut_first_providers();
    let mtu = || network.route_mtu(Side::B, b1, a1);
    let narrow = Some(MINIMUM_MTU - HEADER);
    eventually("the path is known to be narrow", || mtu() == narrow);
    network.set_mtu(Side::A, A[1], 1500);
    eventually("that is forgotten", || mtu() != narrow);
    stream.wait_for_more();
    stream.finish();
}

#[test]
fn what_a_path_took_is_forgotten_when_the_kernel_would_forget_it() {
    forgets(FAST);
}

#[test]
fn what_a_path_took_is_forgotten_and_the_kernel_maps_again() {
    forgets(&bpf());
}

/// Where BPF programs may not be loaded, queues map, and nothing else is different.
fn bpf() -> String {
    format!("{FAST}[datapath]\nmode = 'bpf'\n")
}

#[test]
fn datagrams_that_fit_with_their_header_pass_where_a_link_takes_the_minimum() {
    let Some(network) = Network::new() else {
        return;
    };
    network.narrow(Side::B, B[1]);
    let (a, b) = Daemon::pair(&network, FAST);
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    let server = socket(&network, Side::B, b1);
    let client = socket(&network, Side::A, a1);
    client.connect(server.local_addr().unwrap()).unwrap();
    server.connect(client.local_addr().unwrap()).unwrap();
    network.cut_first_providers();
    let second = (a.locators()[1], b.locators()[1]);
    eventually("it moves to the narrow path", || {
        a.current_pair(a1, b1) == second
    });
    for total in 1232..=(MINIMUM_MTU - HEADER) as usize {
        exchange(&client, &server, total - UDP_HEADERS);
    }
    stream.finish();
}

/// RFC 5533 section 16.3: who was not on the path cannot know the tag.
#[test]
fn a_packet_too_big_that_does_not_know_the_tag_changes_nothing() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, FAST);
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    network.cut_first_providers();
    let second = (a.locators()[1], b.locators()[1]);
    eventually("it moves to the second providers", || {
        a.current_pair(a1, b1) == second
    });
    let tag = a.context(a1, b1).unwrap()["peer_tag"].clone();
    let tag = u64::from_str_radix(tag.as_str().unwrap(), 16).unwrap();
    let (mtu, foreign) = (
        network.route_mtu(Side::A, a1, b1),
        "/queues/1/dropped/icmp-foreign",
    );
    for forged in [tag ^ 1, 0] {
        let before = a.count(foreign);
        send_packet_too_big(&network, second, forged);
        eventually("it arrived", || a.count(foreign) > before);
    }
    stream.wait_for_more();
    assert_eq!(a.current_pair(a1, b1), second);
    assert_eq!(network.route_mtu(Side::A, a1, b1), mtu);
    stream.finish();
}

/// Has host A's second router claim that a packet of that tag, and between those locators, was too big.
fn send_packet_too_big(network: &Network, (local, peer): (Ipv6Addr, Ipv6Addr), tag: u64) {
    let ipv6 = |next_header, source: Ipv6Addr, destination: Ipv6Addr, content: &[u8]| {
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend((content.len() as u16).to_be_bytes());
        packet.extend([next_header, 64]);
        packet.extend(source.octets());
        packet.extend(destination.octets());
        packet.extend(content);
        packet
    };
    let mut payload = ((1 << 47) | tag).to_be_bytes();
    payload[0] = TCP;
    let quoted = ipv6(SHIM6, local, peer, &[&payload[..], &[0; 20]].concat());
    let mut error = vec![PACKET_TOO_BIG, 0, 0, 0];
    error.extend(MINIMUM_MTU.to_be_bytes());
    error.extend(quoted);
    let mut packet = Packet(ipv6(ICMPV6, A[1].router(), local, &error));
    let checksum = packet.checksum().to_be_bytes();
    packet.0[42..44].copy_from_slice(&checksum);

    let socket = network.hosts.router.enter(|| {
        let whole_packets = Protocol::from(255);
        Socket::new(Domain::IPV6, Type::RAW, Some(whole_packets)).unwrap()
    });
    let to = SockAddr::from(SocketAddr::from((local, 0)));
    socket.unwrap().send_to(&packet.0, &to).unwrap();
}

const TCP: u8 = 6;
const ICMPV6: u8 = 58;
const SHIM6: u8 = 140;
const PACKET_TOO_BIG: u8 = 2;

fn socket(network: &Network, side: Side, address: Ipv6Addr) -> UdpSocket {
    let socket = network.host(side).enter(|| UdpSocket::bind((address, 0)));
    let socket = socket.unwrap().unwrap();
    let pause = Duration::from_millis(200);
    socket.set_read_timeout(Some(pause)).unwrap();
    socket
}

/// Sends a datagram of `length` octets there and back, again and again until it has arrived.
fn exchange(client: &UdpSocket, server: &UdpSocket, length: usize) {
    let sent: Vec<u8> = (0..length).map(|at| at as u8).collect();
    let mut received = [0; 2048];
    for (from, to) in [(client, server), (server, client)] {
        let deadline = Instant::now() + PATIENCE;
        loop {
            from.send(&sent).unwrap();
            match to.recv(&mut received) {
                Ok(octets) if octets == length => break assert_eq!(received[..length], sent),
                Ok(_) | Err(_) => assert!(Instant::now() < deadline, "{length} octets"),
            }
        }
    }
}
