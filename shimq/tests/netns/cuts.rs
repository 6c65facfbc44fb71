//! Paths fail, one way or both, once or again; connections do not.

use std::fs;
use std::io;
use std::net::{Ipv6Addr, UdpSocket};
use std::path::{Path, PathBuf};

use shimq_testbed::{A, B, Direction, Prefix};

use crate::support::{Daemon, FAST, Mode, Moved, Network, Side, Stream, eventually};

/// A port that nobody needs to answer at.
const DISCARD: u16 = 9;

/// Two queues of each kind but one.
const TWO_QUEUES: &str = "[datapath]\nqueues = 2\n[reap]\nsend-timeout = 2\n";

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

#[test]
fn several_queues_share_what_is_mapped_each_on_processors_of_its_own() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, TWO_QUEUES);
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    let mut events = a.events();
    network.hosts.cut(a1, b1, Direction::Both).unwrap();
    events.wait_for("pair-changed");
    stream.wait_for_more();
    stream.finish();
    let allowed = processors(Path::new("/proc/self"));
    for (queue, remainder) in [(5535, 0), (5536, 1)] {
        let mut own = allowed.clone();
        own.retain(|number| number % 2 == remainder);
        // A thread without processors of its own runs on any.
        let expected = if own.is_empty() { &allowed } else { &own };
        assert_eq!(processors(&thread_of_queue(a.id(), queue)), *expected);
    }
}

fn thread_of_queue(daemon: i32, queue: u16) -> PathBuf {
    let threads = fs::read_dir(format!("/proc/{daemon}/task")).unwrap();
    let mut threads = threads.map(|thread| thread.unwrap().path());
    let name = format!("queue-{queue}\n");
    let is_named = |thread: &PathBuf| fs::read(thread.join("comm")).unwrap() == name.as_bytes();
    threads.find(is_named).unwrap()
}

/// The processors on which a process or thread, by its folder in `/proc`, may run.
fn processors(folder: &Path) -> Vec<usize> {
    let status = fs::read_to_string(folder.join("status")).unwrap();
    let mut lines = status.lines();
    let list = lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let ranges = list.unwrap().trim().split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        first.parse().unwrap()..=last.parse().unwrap()
    });
    ranges.flatten().collect()
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

fn learns_that_no_pair_is_left(mode: Mode) {
    let Some(network) = Network::new() else {
        return;
    };
    let Some(moved) = Moved::new(&network, mode) else {
        return;
    };
    let socket = || {
        let socket = UdpSocket::bind((moved.a1, 0))?;
        socket.connect((moved.b1, DISCARD))?;
        io::Result::Ok(socket)
    };
    let socket = network.host(Side::A).enter(socket).unwrap().unwrap();
    let mut events = moved.a.events();
    // The router answers what is for any address of B by "administratively prohibited".
    for provider in B {
        let prefix = provider.prefix.to_string();
        let refuse = ["-6", "route", "add", "prohibit", &prefix, "metric", "1"];
        network.hosts.router.run("ip", refuse).unwrap();
    }
    let mut refusal = None;
    eventually("the application is told", || {
        refusal = socket.send(b"x").err();
        refusal.is_some()
    });
    assert_eq!(refusal.unwrap().kind(), io::ErrorKind::PermissionDenied);
    // Not before all pairs had been tried: what came earlier was acted upon.
    events.wait_for("peer-unreachable");
    let status = moved.a.ask("status");
    let queues = status["queues"].as_array().unwrap().iter();
    let mut acted_upon = queues.map(|queue| queue["dropped"]["icmp-acted-upon"].as_u64());
    assert!(acted_upon.any(|count| count > Some(0)), "{status}");
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-8
//= type=test
//= id=S-131
//# All ICMP messages MUST be delivered to the ULP in all cases, except when Shim6 successfully acts
//# on the message (e.g., selects a new path).
#[test]
fn an_application_learns_by_an_icmpv6_error_that_no_pair_is_left() {
    learns_that_no_pair_is_left(Mode::Queue);
}

#[test]
fn an_application_learns_by_an_icmpv6_error_that_no_pair_is_left_where_the_kernel_maps() {
    learns_that_no_pair_is_left(Mode::Bpf);
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
