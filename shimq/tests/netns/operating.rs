//! What operators tell a running daemon, seen in its answers, in its events and on the wire.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv6Addr;

use serde_json::{Value, json};
use shimq_testbed::Direction;

use crate::support::{Daemon, FAST, Network, Stream, eventually, ways};

/// Whether what host A sends on the stream goes from `local` to `peer`, and only there.
fn is_sent_on(
    network: &Network,
    stream: &Stream,
    (local, peer): (Ipv6Addr, Ipv6Addr),
    tagged: bool,
) -> bool {
    let recording = network.record("way.pcap");
    stream.wait_for_more();
    let packets = recording.stop();
    ways(&packets, stream.local.port()) == BTreeSet::from([(local, peer, tagged)])
}

/// Waits until it is so.
fn until_sent_on(
    network: &Network,
    stream: &Stream,
    local: Ipv6Addr,
    peer: Ipv6Addr,
    tagged: bool,
) {
    eventually("its packets take that pair", || {
        is_sent_on(network, stream, (local, peer), tagged)
    });
}

fn pair_of(report: &Value) -> [Ipv6Addr; 2] {
    ["local", "peer"].map(|end| report["locators"][end].as_str().unwrap().parse().unwrap())
}

#[test]
fn a_switch_moves_a_context_to_the_pair_that_is_named_and_back() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, FAST);
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    let (a2, b2) = (a.locators()[1], b.locators()[1]);
    let mut events = a.events();
    let said = a.ask(&format!("switch {b1} --pair {a2},{b2}"));
    assert_eq!(said[0]["switched"], true, "{said}");
    assert_eq!(pair_of(&said[0]), [a2, b2]);
    let changed = events.wait_for("pair-changed");
    assert_eq!(changed["cause"], "operator", "{changed}");
    assert_eq!(a.current_pair(a1, b1), (a2, b2));
    until_sent_on(&network, &stream, a2, b2, true);

    // By its tag, to the pair that needs no mapping.
    let tag = a.context(a1, b1).unwrap()["local_tag"].clone();
    let said = a.ask(&format!(
        "switch {} --pair {a1},{b1}",
        tag.as_str().unwrap()
    ));
    assert_eq!(said[0]["switched"], true, "{said}");
    assert_eq!(a.current_pair(a1, b1), (a1, b1));
    until_sent_on(&network, &stream, a1, b1, false);
    stream.finish();
}

#[test]
fn a_switch_to_a_pair_that_does_not_answer_moves_nothing_and_fails() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, FAST);
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    let a2 = a.locators()[1];
    network.hosts.cut(a2, b1, Direction::Both).unwrap();
    let mut events = a.events();
    assert!(a.try_to(&format!("switch {b1} --pair {a2},{b1}")).is_err());
    let declined = events.wait_for("pair-declined");
    assert_eq!(declined["cause"], "operator", "{declined}");
    assert_eq!(a.current_pair(a1, b1), (a1, b1));
    until_sent_on(&network, &stream, a1, b1, false);
    let nobody = a.try_to("switch 2001:db8:dead::1").unwrap_err();
    assert!(nobody.to_string().contains("shimq contexts"), "{nobody}");
    stream.finish();
}

#[test]
fn another_order_of_exploration_holds_at_once_and_until_the_daemon_ends() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, FAST);
    assert_eq!(a.ask("status")["exploration"], "disjoint-first");
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    for order in ["random", "preference", "rtt"] {
        let said = a.ask(&format!("set exploration {order}"));
        assert_eq!(said, json!({ "exploration": order }));
        assert_eq!(a.ask("status")["exploration"], order);
        let (local, peer) = a.current_pair(a1, b1);
        network.hosts.cut(local, peer, Direction::Both).unwrap();
        eventually("it leaves the pair", || {
            a.current_pair(a1, b1) != (local, peer)
        });
        stream.wait_for_more();
        network.hosts.heal().unwrap();
    }
    let refused = a.try_to("set exploration best").unwrap_err().to_string();
    assert!(refused.contains("disjoint-first"), "{refused}");
    stream.finish();
    assert!(a.stop().success());
    let a = Daemon::start(&network, crate::support::Side::A, FAST);
    assert_eq!(a.ask("status")["exploration"], "disjoint-first");
}

#[test]
fn a_reload_tells_what_it_changed_and_what_waits_and_peers_heed_it() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, FAST);
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    let b2 = b.locators()[1];
    let file = network.path("B.toml");
    let good = fs::read_to_string(&file).unwrap();
    let nothing = json!({ "applied": [], "next-start": [] });
    assert_eq!(b.ask("reload"), nothing);

    let mut events = a.events();
    let changed = good
        .replace("sec = 0", "sec = 1")
        .replace("[reap]", "[reap]\nexploration = 'rtt'");
    let locators = format!("{changed}[[locators]]\nprefix = '{b1}'\nrole = 'backup'\n");
    fs::write(&file, locators).unwrap();
    assert_eq!(
        b.ask("reload"),
        json!({ "applied": ["locators", "reap.exploration"], "next-start": ["sec"] })
    );
    assert_eq!(b.ask("status")["exploration"], "rtt");
    let moved = events.wait_for("pair-changed");
    assert_eq!(moved["cause"], "preference", "{moved}");
    // From which of its own locators is all the same.
    eventually("its packets go to the other locator", || {
        let pair = a.current_pair(a1, b1);
        pair.1 == b2 && is_sent_on(&network, &stream, pair, true)
    });

    fs::write(&file, "sec = 9\n").unwrap();
    let refused = b.try_to("reload").unwrap_err().to_string();
    assert!(refused.contains("0, 1 or 2"), "{refused}");
    assert_eq!(a.current_pair(a1, b1).1, b2);
    stream.finish();
}
