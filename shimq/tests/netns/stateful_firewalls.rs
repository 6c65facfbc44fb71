//! Hosts whose firewalls let in what connection tracking knows, and nothing else.

use std::fs;
use std::io;
use std::net::{Ipv6Addr, UdpSocket};
use std::time::Duration;

use shimq_testbed::{A, Direction};

use crate::support::{Daemon, FAST, Network, Side, Stream, eventually};

/// `$RAW` is a chain before connection tracking, `$NEW` what may begin a flow.
const FIREWALL: &str = "
table inet firewall {
    $RAW
    chain input {
        type filter hook input priority filter; policy drop;
        iifname lo accept
        ct state invalid counter drop
        ct state established,related accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept
        $NEW
        counter
    }
}
";

/// Has both hosts drop what connection tracking does not know; host B has services.
fn set_up_firewalls(network: &Network, raw: &str, also: &str) {
    let services = "meta l4proto { tcp, udp } th dport 1024-65535 ct state new accept";
    for (side, new) in [(Side::A, ""), (Side::B, services)] {
        let new = format!("{new}\n{also}");
        let rules = FIREWALL.replace("$RAW", raw).replace("$NEW", &new);
        let host = network.host(side);
        host.feed("nft", ["-f", "-"], &rules).unwrap();
    }
}

/// What a host's connection tracking knows of.
fn tracked(network: &Network, side: Side) -> Vec<String> {
    let read = || fs::read_to_string("/proc/thread-self/net/nf_conntrack");
    let table = network.host(side).enter(read).unwrap().unwrap();
    table.lines().map(str::to_owned).collect()
}

/// As /proc writes addresses.
fn in_full(address: Ipv6Addr) -> String {
    address
        .segments()
        .map(|segment| format!("{segment:04x}"))
        .join(":")
}

/// A datagram from A to B and back.
fn exchange(client: &UdpSocket, server: &UdpSocket) {
    let mut received = [0; 10];
    eventually("a datagram and its answer", || {
        client.send(b"question").unwrap();
        let Ok((octets, from)) = server.recv_from(&mut received) else {
            return false;
        };
        assert_eq!(&received[..octets], b"question");
        server.send_to(b"answer", from).unwrap();
        matches!(client.recv(&mut received), Ok(octets) if &received[..octets] == b"answer")
    });
}

fn udp(network: &Network, side: Side, address: Ipv6Addr) -> UdpSocket {
    let socket = network.host(side).enter(|| UdpSocket::bind((address, 0)));
    let socket = socket.unwrap().unwrap();
    let pause = Some(Duration::from_millis(300));
    socket.set_read_timeout(pause).unwrap();
    socket
}

#[test]
fn connection_tracking_sees_the_flow_of_the_ulids_once_for_its_life() {
    let Some(network) = Network::new() else {
        return;
    };
    set_up_firewalls(&network, "", "");
    let config = format!("{FAST}[datapath]\ninput-hook = 'prerouting'\n");

    // The addresses stay when the daemons have made them.
    let (a, b) = Daemon::pair(&network, &config);
    let ([a1, a2], [b1, b2]) = (a.locators(), b.locators());
    assert!(a.stop().success() && b.stop().success());
    let older = Stream::start(&network, a1, b1);
    let (a, b) = Daemon::pair(&network, &config);
    let younger = Stream::start(&network, a1, b1);
    let (client, server) = (udp(&network, Side::A, a1), udp(&network, Side::B, b1));
    client.connect(server.local_addr().unwrap()).unwrap();
    exchange(&client, &server);
    eventually("both have a context", || {
        a.has_context(a1, b1) && b.has_context(b1, a1)
    });

    network.hosts.cut(a1, b1, Direction::Both).unwrap();
    eventually("both are on other locators", || {
        a.current_pair(a1, b1) != (a1, b1) && b.current_pair(b1, a1) != (b1, a1)
    });
    older.wait_for_more();
    younger.wait_for_more();
    exchange(&client, &server);

    // A router on the way tells of packets that have a Shim6 header: the error is related to the ULIDs' flow.
    let (_, to) = b.current_pair(b1, a1);
    let link = A.iter().find(|provider| provider.prefix.contains(to));
    let shrink = format!("link set {} mtu 1400", link.unwrap().link);
    let router = &network.hosts.router;
    router.run("ip", shrink.split_whitespace()).unwrap();
    eventually("the connections know the size of their path", || {
        older.wait_for_more();
        let route = network.run(Side::B, "ip", &format!("-6 route get {a1} from {b1}"));
        route.contains("mtu 1392")
    });
    // One of the peer's stack: nobody listens.
    let nobody = udp(&network, Side::B, b1).local_addr().unwrap();
    let refused = udp(&network, Side::A, a1);
    refused.connect(nobody).unwrap();
    eventually("the refusal arrives", || {
        let _ = refused.send(b"anybody?");
        let told = refused.recv(&mut [0; 10]);
        told.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    });

    for side in [Side::A, Side::B] {
        let entries = tracked(&network, side);
        for stream in [&older, &younger] {
            let port = format!(" sport={} ", stream.local.port());
            let ours = entries.iter().filter(|entry| entry.contains(&port));
            let ours: Vec<_> = ours.collect();
            assert_eq!(ours.len(), 1, "host {side}: {entries:#?}");
            assert!(ours[0].contains("ASSURED"), "host {side}: {ours:#?}");
        }
        // Of the locators it knows what the hosts themselves send, the control messages: no payload.
        let locators = [a2, b2].map(in_full);
        let payload = entries.iter().find(|entry| {
            !entry.contains(" unknown  140 ") && locators.iter().any(|at| entry.contains(at))
        });
        assert_eq!(payload, None, "host {side}");
        let rules = network.run(side, "nft", "list chain inet firewall input");
        assert!(
            rules.contains("ct state invalid counter packets 0 "),
            "{rules}"
        );
    }
    older.finish();
    younger.finish();
}

/// At the input hook, tracking has seen tagged packets before they are restored: untracked ones have to
/// be let in.
#[test]
fn at_the_input_hook_a_firewall_has_to_leave_shim6_untracked() {
    let Some(network) = Network::new() else {
        return;
    };
    let raw = "chain raw {
        type filter hook prerouting priority raw; policy accept;
        meta l4proto 140 notrack
    }";
    set_up_firewalls(&network, raw, "ct state untracked accept");
    let (a, b) = Daemon::pair(&network, FAST);
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    let (client, server) = (udp(&network, Side::A, a1), udp(&network, Side::B, b1));
    client.connect(server.local_addr().unwrap()).unwrap();
    network.hosts.cut(a1, b1, Direction::Both).unwrap();
    eventually("both are on other locators", || {
        a.current_pair(a1, b1) != (a1, b1) && b.current_pair(b1, a1) != (b1, a1)
    });
    stream.wait_for_more();
    exchange(&client, &server);
    for side in [Side::A, Side::B] {
        let entries = tracked(&network, side);
        let port = format!(" sport={} ", stream.local.port());
        let ours = entries.iter().filter(|entry| entry.contains(&port)).count();
        assert_eq!(ours, 1, "host {side}: {entries:#?}");
    }
    stream.finish();
}
