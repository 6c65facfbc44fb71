//! Both hosts begin a context with each other at the same time.

use std::net::{Ipv6Addr, UdpSocket};
use std::thread;

use shim6_wire::{Message, MessageType};
use shimq_testbed::{A, B, Direction, Namespace};

use crate::support::{Daemon, FAST, Network, Packet, Stream, eventually};

//= https://www.rfc-editor.org/rfc/rfc5533#section-7.4
//= type=test
//# Since a host remembers that it has sent an I1, it can respond to an
//# I1 from the peer (for the same ULID pair) with an R2, resulting in
//# the message exchange shown in Figure 4.
#[test]
fn crossing_i1_messages_make_one_context_that_survives_a_cut() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, FAST);
    let recording = network.record("r.pcap");
    // Whether two messages cross is up to the scheduler as well; there are four pairs to try it on.
    let pairs = a
        .locators()
        .map(|at_a| b.locators().map(|at_b| (at_a, at_b)));
    let pairs = pairs.as_flattened();
    slow_down(&network);
    for &(at_a, at_b) in pairs {
        both_send(&network, at_a, at_b);
    }
    eventually("both have all contexts", || {
        pairs
            .iter()
            .all(|&(at_a, at_b)| a.has_context(at_a, at_b) && b.has_context(at_b, at_a))
    });
    speed_up(&network);
    let packets = recording.stop();
    let crossed = pairs.iter().find(|pair| has_crossed(&packets, **pair));
    let &(at_a, at_b) = crossed.expect("an I1 crossed another one");

    // Both ends mean the same context.
    let (of_a, of_b) = (
        a.context(at_a, at_b).unwrap(),
        b.context(at_b, at_a).unwrap(),
    );
    assert_eq!(of_a["peer_tag"], of_b["local_tag"]);
    assert_eq!(of_b["peer_tag"], of_a["local_tag"]);
    assert_eq!((a.count("/contexts"), b.count("/contexts")), (4, 4));

    let stream = Stream::start(&network, at_a, at_b);
    let mut events = b.events();
    network.hosts.cut(at_a, at_b, Direction::Both).unwrap();
    events.wait_for("pair-changed");
    stream.wait_for_more();
    stream.finish();
}

/// Makes what a host sends at once pass one after the other: 1000 octets take an eighth of a second.
fn slow_down(network: &Network) {
    for (host, providers) in [(&network.hosts.a, A), (&network.hosts.b, B)] {
        for provider in providers {
            let shape = "rate 64kbit burst 1600 latency 10s";
            let command = format!("qdisc add dev {} root tbf {shape}", provider.link);
            host.run("tc", command.split(' ')).unwrap();
        }
    }
}

fn speed_up(network: &Network) {
    for (host, providers) in [(&network.hosts.a, A), (&network.hosts.b, B)] {
        for provider in providers {
            let command = format!("qdisc delete dev {} root", provider.link);
            host.run("tc", command.split(' ')).unwrap();
        }
    }
}

/// Sends both ways at once what is worth a context; an I1 that follows has to wait behind it.
fn both_send(network: &Network, at_a: Ipv6Addr, at_b: Ipv6Addr) {
    let open = |host: &Namespace, address: Ipv6Addr| {
        let socket = host.enter(|| UdpSocket::bind((address, 0)));
        socket.unwrap().unwrap()
    };
    let ends = (open(&network.hosts.a, at_a), open(&network.hosts.b, at_b));
    ends.0.connect(ends.1.local_addr().unwrap()).unwrap();
    ends.1.connect(ends.0.local_addr().unwrap()).unwrap();
    let (ends, datagram) = (<[UdpSocket; 2]>::from(ends), [0x5a; 1000]);
    thread::scope(|scope| {
        for end in &ends {
            scope.spawn(|| {
                for _ in 0..4 {
                    end.send(&datagram).unwrap();
                }
            });
        }
    });
}

/// Whether I1 went both ways before any answer was on its way.
fn has_crossed(packets: &[Packet], (at_a, at_b): (Ipv6Addr, Ipv6Addr)) -> bool {
    let ends = [(at_a, at_b), (at_b, at_a)];
    let of_pair = packets
        .iter()
        .filter(|packet| ends.contains(&(packet.source(), packet.destination())));
    let mut control = of_pair.filter_map(|packet| {
        let message = Message::parse(packet.control()?).unwrap();
        Some((packet.source(), message.message_type()))
    });
    let first_two = [control.next(), control.next()];
    first_two.contains(&Some((at_a, MessageType::I1)))
        && first_two.contains(&Some((at_b, MessageType::I1)))
}
