//! What leaves as if there were no program, because of who sends it.

use std::collections::BTreeSet;
use std::fs;

use rustix::process::Signal;

use crate::support::{
    Daemon, Network, Side, Stream, connection, eventually, exchange_over, marked_connection, ways,
};

/// Octets of a flow that is worth a context.
const WORTH: usize = 5_000;

fn assert_no_context(daemons: [&Daemon<'_>; 2]) {
    for daemon in daemons {
        assert_eq!(daemon.queued(), 0);
        assert_eq!(daemon.count("/counters/contexts_created"), 0);
    }
}

#[test]
fn a_flow_with_an_excluded_mark_starts_no_context_and_others_do() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, "[exclude]\nmarks = [0x10, 0x11]\n");
    let ([a1, _], [b1, _]) = (a.locators(), b.locators());
    for mark in [0x10, 0x11] {
        exchange_over(marked_connection(&network, a1, b1, mark), WORTH);
    }
    assert_no_context([&a, &b]);
    // All of a mark counts, not some of its bits.
    exchange_over(marked_connection(&network, a1, b1, 0x110), WORTH);
    eventually("there is a context", || a.has_context(a1, b1));
    assert_eq!(a.context(a1, b1).unwrap()["initiated"], true);
}

#[test]
fn a_flow_with_an_excluded_mark_keeps_its_addresses_on_a_pair_that_moved() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, "[exclude]\nmarks = [0x10]\n");
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    let (a2, b2) = (a.locators()[1], b.locators()[1]);
    a.try_to(&format!("switch {b1} --pair {a2},{b2}")).unwrap();
    let recording = network.record("marked.pcap");
    let (client, server) = marked_connection(&network, a1, b1, 0x10);
    let port = client.local_addr().unwrap().port();
    // The answers come by the other pair, with the context's tag, and are restored.
    exchange_over((client, server), WORTH);
    stream.wait_for_more();
    let packets = recording.stop();
    assert_eq!(ways(&packets, port), BTreeSet::from([(a1, b1, false)]));
    assert_eq!(
        ways(&packets, stream.local.port()),
        BTreeSet::from([(a2, b2, true)])
    );
    stream.finish();
}

#[test]
fn a_flow_of_an_excluded_user_starts_no_context_until_a_reload_lets_it() {
    let Some(network) = Network::new() else {
        return;
    };
    // Whoever runs the tests is root, at least of a user namespace; nobody else need be in it.
    let a = Daemon::start(&network, Side::A, "[exclude]\nusers = ['root']\n");
    let b = Daemon::start(&network, Side::B, "");
    let ([a1, a2], [b1, b2]) = (a.locators(), b.locators());
    exchange_over(connection(&network, Some(a1), b1), WORTH);
    assert_no_context([&a, &b]);
    // Host B excludes nobody: what it sends starts one, to which host A answers.
    let (client, server) = connection(&network, Some(a2), b2);
    exchange_over((server, client), WORTH);
    eventually("both have a context", || {
        a.has_context(a2, b2) && b.has_context(b2, a2)
    });
    assert_eq!(a.context(a2, b2).unwrap()["initiated"], false);

    let file = network.path("A.toml");
    let config = fs::read_to_string(&file).unwrap();
    fs::write(&file, config.replace("root", "nobody-of-this-name")).unwrap();
    a.signal(Signal::HUP);
    eventually("it says why the file is not taken", || {
        a.log().contains("no user \"nobody-of-this-name\"")
    });
    exchange_over(connection(&network, Some(a1), b1), WORTH);
    assert!(a.context(a1, b1).is_none());

    fs::write(&file, config.replace("'root'", "1")).unwrap();
    a.signal(Signal::HUP);
    eventually("the file is taken", || a.log().contains("read again"));
    exchange_over(connection(&network, Some(a1), b1), WORTH);
    eventually("there is a context", || a.has_context(a1, b1));
    assert_eq!(a.context(a1, b1).unwrap()["initiated"], true);
}
