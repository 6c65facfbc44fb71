//! When a flow gets a context, and what never enters the program.

use shimq_testbed::{A, B};

use std::net::Ipv6Addr;

use crate::support::{Daemon, Network, Side, Stream, connection, eventually, exchange_over};

#[test]
fn a_flow_below_two_kilobytes_has_no_context_and_never_enters_the_program() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, "");
    let ([a1, _], [b1, _]) = (a.locators(), b.locators());
    // Headers, handshake and farewell included, each host sends less than 2048 octets.
    exchange(&network, a1, b1, 700);
    for daemon in [&a, &b] {
        assert_eq!(daemon.queued(), 0);
        assert_eq!(daemon.ask("contexts").as_array().unwrap().len(), 0);
    }
    // The same flow again is more than that.
    exchange(&network, a1, b1, 3000);
    eventually("both have a context", || {
        a.has_context(a1, b1) && b.has_context(b1, a1)
    });
    // The four messages, and what was sent before the questions were answered.
    let queued = a.queued() + b.queued();
    assert!((5..20).contains(&queued), "{queued}");
}

#[test]
fn payload_of_a_context_on_its_ulids_never_enters_the_program() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, "");
    let (stream, _, _) = Stream::with_context(&network, &a, &b);
    // Answers that a busy machine delays are a silence, of which the program is shown a packet.
    eventually("the stream is left to the kernel", || {
        let before = (a.queued(), b.queued());
        stream.wait_for_more();
        (a.queued(), b.queued()) == before
    });
    stream.finish();
}

#[test]
fn ordinary_addresses_never_enter_the_program() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, "");
    let stream = Stream::start(&network, A[0].host(), B[0].host());
    stream.wait_for_more();
    stream.finish();
    assert_eq!((a.queued(), b.queued()), (0, 0));
}

#[test]
fn the_heuristic_of_fifty_packets_starts_a_context_at_the_fiftieth() {
    let Some(network) = Network::new() else {
        return;
    };
    let a = Daemon::start(
        &network,
        Side::A,
        "[trigger]\nheuristic = 'packet-count'\npackets = 50\n",
    );
    let b = Daemon::start(&network, Side::B, RESPOND_ONLY);
    let ([a1, _], [b1, _]) = (a.locators(), b.locators());
    exchange(&network, a1, b1, 5_000);
    assert_eq!(a.count("/counters/contexts_created"), 0);
    let stream = Stream::start(&network, a1, b1);
    eventually("there is a context", || a.has_context(a1, b1));
    assert_eq!(a.context(a1, b1).unwrap()["initiated"], true);
    stream.finish();
}

#[test]
fn a_host_that_only_responds_begins_nothing_and_sees_no_packet() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, RESPOND_ONLY);
    let recording = network.record("r.pcap");
    let ([a1, _], [b1, _]) = (a.locators(), b.locators());
    let stream = Stream::start(&network, a1, b1);
    stream.wait_for_more();
    stream.finish();
    assert_eq!((a.queued(), b.queued()), (0, 0));
    let packets = recording.stop();
    assert!(packets.iter().all(|packet| packet.control().is_none()));
}

/// `size` octets from host A to host B in one connection, and one octet back.
fn exchange(network: &Network, a: Ipv6Addr, b: Ipv6Addr, size: usize) {
    exchange_over(connection(network, Some(a), b), size);
}

const RESPOND_ONLY: &str = "[trigger]\nheuristic = 'respond-only'\n";
