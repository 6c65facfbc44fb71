//! Daemons are killed, hang, or are told to stop, under traffic.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use shimq_testbed::Direction;

use crate::support::{Daemon, FAST, Network, Side, Stream, eventually};

/// Nobody notices a pause as short as this; TCP's first retransmission comes after 200 ms.
const UNNOTICED: Duration = Duration::from_secs(1);

#[test]
fn connections_go_on_at_once_when_the_daemon_is_killed_and_after_it_is_back() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, FAST);
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    let locators = a.locators();

    let killed = Instant::now();
    a.kill();
    let fresh = Stream::start(&network, a1, b1);
    fresh.wait_for_more();
    stream.wait_for_more();
    assert!(
        stream.longest_silence(killed) < UNNOTICED,
        "{:?}",
        stream.longest_silence(killed)
    );
    let tables = network.run(Side::A, "nft", "list tables");
    assert!(!tables.contains("shimq"), "{tables}");

    let restarted = Instant::now();
    let a = Daemon::start(&network, Side::A, FAST);
    assert_eq!(a.locators(), locators);
    eventually("the context is back", || {
        a.has_context(a1, b1) && b.has_context(b1, a1)
    });
    stream.wait_for_more();
    assert!(stream.longest_silence(restarted) < UNNOTICED);

    // And it is worth something.
    let mut events = b.events();
    network.hosts.cut(a1, b1, Direction::Both).unwrap();
    events.wait_for("pair-changed");
    stream.wait_for_more();
    fresh.wait_for_more();
    stream.finish();
    fresh.finish();
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-7.5
//= type=test
//# Due to garbage collection, we can end up with one end having and
//# using the context state, and the other end not having any state.  We
//# need to be able to recover this state at the end that has lost it
//# before we can use it.
#[test]
fn a_connection_that_moved_outlives_the_daemon_that_is_killed_and_started_again() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, FAST);
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    let mut events = b.events();
    network.hosts.cut(a1, b1, Direction::Both).unwrap();
    events.wait_for("pair-changed");
    stream.wait_for_more();

    a.kill();
    let a = Daemon::start(&network, Side::A, FAST);
    stream.wait_for_more();
    let (local, peer) = a.current_pair(a1, b1);
    assert_ne!((local, peer), (a1, b1));
    stream.finish();
}

#[test]
fn a_daemon_that_was_stopped_for_a_while_disturbed_no_context_and_goes_on() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, FAST);
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    let hung = Instant::now();
    a.signal(Signal::STOP);
    // Longer than its watch over its threads has patience: they have been stopped alike.
    thread::sleep(Duration::from_secs(5));
    assert!(stream.longest_silence(hung) < UNNOTICED);
    a.signal(Signal::CONT);
    stream.wait_for_more();

    // It is none the worse for it.
    let mut events = a.events();
    network.hosts.cut(a1, b1, Direction::Both).unwrap();
    events.wait_for("pair-changed");
    stream.wait_for_more();
    stream.finish();
}

#[test]
fn a_daemon_that_is_told_to_stop_leaves_only_what_connections_live_on() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, FAST);
    let (stream, a1, _) = Stream::with_context(&network, &a, &b);
    let labels = network.run(Side::A, "ip", "addrlabel");
    assert!(labels.contains("label 140"), "{labels}");

    let stopped = Instant::now();
    let log = a.log();
    assert!(a.stop().success(), "{log}");
    stream.wait_for_more();
    assert!(stream.longest_silence(stopped) < UNNOTICED);
    stream.finish();
    let tables = network.run(Side::A, "nft", "list tables");
    assert!(!tables.contains("shimq"), "{tables}");
    let labels = network.run(Side::A, "ip", "addrlabel");
    assert!(!labels.contains("label 140"), "{labels}");
    let addresses = network.run(Side::A, "ip", "-6 address");
    assert!(addresses.contains(&a1.to_string()), "{addresses}");
    assert!(!fs::exists(network.path("A.sock")).unwrap());
    let queues = network
        .hosts
        .a
        .enter(|| fs::read_to_string("/proc/thread-self/net/netfilter/nfnetlink_queue").unwrap());
    assert_eq!(queues.unwrap(), "");
}
