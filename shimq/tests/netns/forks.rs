//! Forked contexts: sockets with marks take paths of their own.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::{Daemon, Network, Stream, marked_connection, ways};

/// Octets that each connection sends.
const LENGTH: usize = 64 * 1024;

/// Sends what is checked at the other end.
fn transfer((client, server): &mut (TcpStream, TcpStream), fill: u8) {
    let octets: Vec<u8> = (0..LENGTH).map(|at| (at / 7) as u8 ^ fill).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| client.write_all(&octets).unwrap());
        let mut received = vec![0; LENGTH];
        server.read_exact(&mut received).unwrap();
        assert!(received == octets, "other octets arrived");
    });
}

#[test]
fn two_connections_between_the_same_ulids_take_two_pairs_at_once() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, "");
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    let (a2, b2) = (a.locators()[1], b.locators()[1]);
    let forks = [(17, a1, b2), (18, a2, b1)];
    for (mark, local, peer) in forks {
        let fork = format!("fork {a1} {b1} --mark {mark} --pair {local},{peer}");
        a.try_to(&fork).unwrap();
    }
    let recording = network.record("forks.pcap");
    let mut connections = forks.map(|(mark, ..)| marked_connection(&network, a1, b1, mark));
    std::thread::scope(|scope| {
        for (connection, fill) in connections.iter_mut().zip(1..) {
            scope.spawn(move || transfer(connection, fill));
        }
    });
    stream.wait_for_more();
    let packets = recording.stop();
    for ((client, _), (_, local, peer)) in connections.iter().zip(forks) {
        let port = client.local_addr().unwrap().port();
        assert_eq!(ways(&packets, port), BTreeSet::from([(local, peer, true)]));
    }
    // The default context is where it was.
    assert_eq!(a.current_pair(a1, b1), (a1, b1));
    assert_eq!(
        ways(&packets, stream.local.port()),
        BTreeSet::from([(a1, b1, false)])
    );

    // Taken back, its connection goes on with all others; the other fork stays.
    a.try_to(&format!("fork {a1} {b1} --mark 17 --remove"))
        .unwrap();
    let recording = network.record("removed.pcap");
    for connection in &mut connections {
        transfer(connection, 9);
    }
    let packets = recording.stop();
    let port = |(client, _): &(TcpStream, TcpStream)| client.local_addr().unwrap().port();
    let first = ways(&packets, port(&connections[0]));
    assert_eq!(first, BTreeSet::from([(a1, b1, false)]));
    let second = ways(&packets, port(&connections[1]));
    assert_eq!(second, BTreeSet::from([(a2, b1, true)]));
    stream.finish();
}

#[test]
fn a_fork_that_cannot_be_is_refused_with_what_to_do() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, "[exclude]\nmarks = [18]\n");
    let ([a1, _], [b1, _]) = (a.locators(), b.locators());
    let refused = |command: &str| a.try_to(command).unwrap_err().to_string();
    let said = refused(&format!("fork {a1} {b1} --mark 17"));
    assert!(said.contains("no established context"), "{said}");
    let said = refused(&format!("fork {a1} {b1} --mark 0x5533"));
    assert!(said.contains("datapath.mark"), "{said}");
    let said = refused(&format!("fork {a1} {b1} --mark 18"));
    assert!(said.contains("exclude.marks"), "{said}");
    let said = refused(&format!("fork {a1} {b1} --mark 17 --remove"));
    assert!(said.contains("no such fork"), "{said}");
}
