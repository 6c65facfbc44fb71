//! A configuration file that changes under a running daemon.

use std::fs;

use rustix::process::Signal;
use shimq_testbed::Direction;

use crate::support::{Daemon, FAST, Network, Stream, eventually};

#[test]
fn a_reload_excludes_a_peer_and_a_bad_file_changes_nothing() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, FAST);
    let ([a1, _], [b1, b2]) = (a.locators(), b.locators());
    let file = network.path("A.toml");
    let good = fs::read_to_string(&file).unwrap();

    fs::write(&file, "sec = 9\n").unwrap();
    a.signal(Signal::HUP);
    eventually("it says why the file is not taken", || {
        a.log().contains("sec = 9: 0, 1 or 2")
    });
    let (stream, ..) = Stream::with_context(&network, &a, &b);

    fs::write(&file, format!("{good}[exclude]\npeers = ['{b2}']\n")).unwrap();
    a.signal(Signal::HUP);
    eventually("the file is taken", || a.log().contains("read again"));
    let mut events = b.events();
    let plain = Stream::start(&network, a1, b2);
    // Host B asks for a context, and hears what a host without Shim6 would say.
    let declined = events.wait_for("context-declined");
    assert_eq!(declined["cause"], "not-supported", "{declined}");
    plain.finish();

    // The context from before is none the worse for it.
    network.hosts.cut(a1, b1, Direction::Both).unwrap();
    events.wait_for("pair-changed");
    stream.wait_for_more();
    stream.finish();
}
