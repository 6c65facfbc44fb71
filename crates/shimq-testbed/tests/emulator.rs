//! What the path emulator promises, tried with real packets.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use shimq_testbed::{
    A, A3, B, B3, Emulator, Namespace, Path, Prefix, Provider, TwoHosts, gain_privilege,
    uninterrupted,
};

mod support;

use support::{PORT, arrives, datagram_socket};

#[test]
fn a_pair_with_a_round_trip_of_20_ms_measures_20_ms() {
    let (hosts, emulator) = emulated();
    emulator.set(Prefix::ANY, Prefix::ANY, delayed(10));
    let fastest = fastest_ping(&hosts.a, A[0].host(), B[0].host());
    // The fastest of some: on a busy machine any of them may be late. Delayed twice it were 40.
    assert!((20.0..40.0).contains(&fastest), "{fastest} ms");
}

#[test]
fn each_of_nine_pairs_has_a_delay_of_its_own() {
    gain_privilege().unwrap();
    let hosts = TwoHosts::with_three_providers().unwrap();
    let emulator = hosts.emulate(1).unwrap();
    for (host, providers) in [(&hosts.a, A3), (&hosts.b, B3)] {
        route_by_source(host, &providers);
    }
    let pairs = A3.into_iter().flat_map(|a| B3.map(|b| (a, b)));
    for (index, (a, b)) in (0_u32..).zip(pairs.clone()) {
        let there = u64::from(10 * index);
        emulator.set(a.prefix, b.prefix, delayed(there));
        emulator.set(b.prefix, a.prefix, delayed(5));
    }
    for (index, (a, b)) in (0_u32..).zip(pairs) {
        let expected = f64::from(10 * index + 5);
        let fastest = fastest_ping(&hosts.a, a.host(), b.host());
        assert!(
            (expected..expected + 2.0).contains(&fastest),
            "{} to {}: {fastest} ms, not {expected}",
            a.link,
            b.link
        );
        assert!(emulator.counts(a.prefix, b.prefix).passed.packets > 0);
    }
    assert_eq!(hosts.counters().unwrap().spoofed.packets, 0);
}

#[test]
fn a_one_way_cut_is_one_way_and_can_be_mended() {
    let (hosts, emulator) = emulated();
    let at_a = datagram_socket(&hosts.a, A[0].host());
    let at_b = datagram_socket(&hosts.b, B[0].host());
    assert!(arrives(&at_a, &at_b) && arrives(&at_b, &at_a), "before");

    emulator.change(A[0].prefix, B[0].prefix, |path| path.up = false);
    assert!(!arrives(&at_a, &at_b) && arrives(&at_b, &at_a), "cut");
    assert_eq!(emulator.counts(A[0].prefix, B[0].prefix).cut, 1);

    emulator.change(A[0].prefix, B[0].prefix, |path| path.up = true);
    assert!(arrives(&at_a, &at_b) && arrives(&at_b, &at_a), "mended");
}

#[test]
fn loss_takes_its_share() {
    const SENT: u64 = 200;
    let (hosts, emulator) = emulated();
    let lossy = Path {
        loss: 0.5,
        ..Path::default()
    };
    emulator.set(A[0].prefix, B[0].prefix, lossy);
    let from = datagram_socket(&hosts.a, A[0].host());
    let to = datagram_socket(&hosts.b, B[0].host());
    for _ in 0..SENT {
        from.send_to(b"!", to.local_addr().unwrap()).unwrap();
    }
    let mut arrived = 0;
    while uninterrupted(|| to.recv(&mut [0])).is_ok() {
        arrived += 1;
    }
    let counts = emulator.counts(A[0].prefix, B[0].prefix);
    assert_eq!(
        (counts.passed.packets, counts.lost),
        (arrived, SENT - arrived)
    );
    assert!((60..140).contains(&arrived), "{arrived} of {SENT}");
}

#[test]
fn a_stream_crosses_whole_with_jitter_loss_and_doubles() {
    let (hosts, emulator) = emulated();
    let rough = Path {
        delay: Duration::from_millis(2),
        jitter: Duration::from_millis(1),
        loss: 0.005,
        duplication: 0.01,
        rate: Some(100_000_000),
        ..Path::default()
    };
    emulator.set(Prefix::ANY, Prefix::ANY, rough);
    let listening = hosts.b.enter(|| TcpListener::bind((B[0].host(), PORT)));
    let listener = listening.unwrap().unwrap();
    let connected = hosts
        .a
        .enter(|| TcpStream::connect(listener.local_addr().unwrap()));
    let mut from_a = connected.unwrap().unwrap();
    let (mut at_b, _) = listener.accept().unwrap();

    let sent: Vec<u8> = (0..500_000_u32).map(|index| (index % 251) as u8).collect();
    let expected = sent.clone();
    let sender = thread::spawn(move || from_a.write_all(&sent));
    let mut received = Vec::new();
    at_b.read_to_end(&mut received).unwrap();
    sender.join().unwrap().unwrap();
    assert!(received == expected, "{} octets", received.len());
}

#[test]
fn a_source_of_the_other_provider_is_still_dropped() {
    let (hosts, _emulator) = emulated();
    let from_second = datagram_socket(&hosts.a, A[1].host());
    let to = datagram_socket(&hosts.b, B[0].host());
    // Without policy routing this leaves by a1, which is not the provider of its source.
    assert!(!arrives(&from_second, &to));
    assert_eq!(hosts.counters().unwrap().spoofed.packets, 1);
}

fn emulated() -> (TwoHosts, Emulator) {
    gain_privilege().unwrap();
    let hosts = TwoHosts::new().unwrap();
    let emulator = hosts.emulate(1).unwrap();
    (hosts, emulator)
}

fn delayed(milliseconds: u64) -> Path {
    Path {
        delay: Duration::from_millis(milliseconds),
        ..Path::default()
    }
}

fn route_by_source(host: &Namespace, providers: &[Provider]) {
    for (table, provider) in (1..).zip(providers) {
        let (prefix, router, link) = (provider.prefix, provider.router(), provider.link);
        for command in [
            format!("-6 rule add from {prefix} lookup {table}"),
            format!("-6 route add default via {router} dev {link} table {table}"),
        ] {
            host.run("ip", command.split(' ')).unwrap();
        }
    }
}

/// Round trip of the fastest of ten echoes, ms.
fn fastest_ping(host: &Namespace, source: Ipv6Addr, destination: Ipv6Addr) -> f64 {
    let (source, destination) = (source.to_string(), destination.to_string());
    let arguments = ["-n", "-c10", "-i0.02", "-W1", "-I", &source, &destination];
    let output = host.run("ping", arguments).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let times = text.lines().filter_map(|line| {
        let (_, time) = line.split_once("time=")?;
        time.strip_suffix(" ms")?.parse().ok()
    });
    times.fold(f64::INFINITY, f64::min)
}
