//! Paths fail, one way or both, once or again; connections do not.

use std::net::Ipv6Addr;

use shimq_testbed::{A, Direction, Prefix};

use crate::support::{Daemon, FAST, Network, Side, Stream};

/// Cuts the pair that a connection is on, in `direction`, and sees it go on elsewhere.
fn survives(direction: Direction, config: &str) {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, config);
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    let (mut at_a, mut at_b) = (a.events(), b.events());
    network.hosts.cut(a1, b1, direction).unwrap();
    // A way that works stays in use: a cut one way need not move the other.
    if direction != Direction::BToA {
        at_a.wait_for("pair-changed");
    }
    if direction != Direction::AToB {
        at_b.wait_for("pair-changed");
    }
    stream.wait_for_more();
    stream.finish();
}

#[test]
fn a_connection_survives_a_cut_both_ways() {
    survives(Direction::Both, FAST);
}

//= https://www.rfc-editor.org/rfc/rfc5534#section-9
//= type=test
//= id=R-061
//# where logging mechanisms are available on the node, these events should be recorded in event
//# logs.
#[test]
fn a_failure_and_the_move_off_it_stand_in_the_log_with_their_pairs() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, FAST);
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    let mut events = a.events();
    network.hosts.cut(a1, b1, Direction::Both).unwrap();
    let changed = events.wait_for("pair-changed");
    stream.wait_for_more();
    stream.finish();
    let log = a.log();
    let moved = log
        .lines()
        .find(|line| line.contains("pair changed"))
        .unwrap();
    let from = [&changed["former_locators"], &changed["locators"]];
    for pair in from {
        for end in ["local", "peer"] {
            assert!(moved.contains(pair[end].as_str().unwrap()), "{moved}");
        }
    }
    let before = log.split("pair changed").next().unwrap();
    let noticed = ["pair suspected", "failure detected", "peer explores"];
    assert!(noticed.iter().any(|what| before.contains(what)), "{log}");
}

#[test]
fn a_connection_survives_a_cut_of_its_way_there() {
    survives(Direction::AToB, FAST);
}

#[test]
fn a_connection_survives_a_cut_of_its_way_back() {
    survives(Direction::BToA, FAST);
}

#[test]
fn a_connection_survives_with_the_timers_of_the_rfc() {
    survives(Direction::Both, "");
}

#[test]
fn a_connection_survives_where_every_packet_is_queued() {
    let config = format!("{FAST}[datapath]\nmode = 'queue-all'\n");
    survives(Direction::Both, &config);
}

#[test]
fn a_connection_survives_with_the_plain_backend() {
    let config = format!("{FAST}[datapath]\nbackend = 'plain'\n");
    survives(Direction::Both, &config);
}

#[test]
fn a_connection_survives_a_second_cut_of_the_pair_it_moved_to() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, FAST);
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    let mut first = b.events();
    network.hosts.cut(a1, b1, Direction::Both).unwrap();
    first.wait_for("pair-changed");
    stream.wait_for_more();

    // What carries the stream now, either way.
    let mut second = b.events();
    let (local, peer) = b.current_pair(b1, a1);
    network.hosts.cut(peer, local, Direction::Both).unwrap();
    let (local, peer) = a.current_pair(a1, b1);
    network.hosts.cut(local, peer, Direction::Both).unwrap();
    second.wait_for("pair-changed");
    stream.wait_for_more();
    stream.finish();
}

#[test]
fn a_connection_survives_the_loss_of_a_whole_provider() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, FAST);
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    let mut events = b.events();
    let cut = network.hosts.cut(A[0].prefix, Prefix::ANY, Direction::Both);
    cut.unwrap();
    let changed = events.wait_for("pair-changed");
    let peer: Ipv6Addr = changed["locators"]["peer"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(A[1].prefix.contains(peer), "{changed}");
    stream.wait_for_more();
    assert_eq!(b.current_pair(b1, a1).1, a.locator(A[1]));
    stream.finish();
}

#[test]
fn a_peer_that_no_pair_reaches_is_reported_and_the_connection_goes_on_when_one_does() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, FAST);
    let (stream, _, _) = Stream::with_context(&network, &a, &b);
    let mut events = b.events();
    let cut = network.hosts.cut(Prefix::ANY, Prefix::ANY, Direction::Both);
    cut.unwrap();
    let told = events.wait_for("peer-unreachable");
    assert!(told["explored_us"].as_u64() > Some(0), "{told}");
    network.hosts.heal().unwrap();
    stream.wait_for_more();
    stream.finish();
}

#[test]
fn a_connection_returns_to_no_path_that_is_still_cut_and_keeps_its_ulids() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, FAST);
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    let mut events = a.events();
    network.hosts.cut(a1, b1, Direction::Both).unwrap();
    events.wait_for("pair-changed");
    stream.wait_for_more();
    let cut = network.hosts.counters().unwrap().cut;
    stream.wait_for_more();
    assert_eq!(network.hosts.counters().unwrap().cut, cut);
    // The application still sees the addresses it connected with.
    assert_eq!(stream.local.ip(), a1);
    let sockets = network.run(Side::B, "ss", "-6 -t -n -H");
    assert!(sockets.contains(&format!("[{b1}]")), "{sockets}");
    stream.finish();
}
