//! What a host can see of its own way out: carriers, routes and routers that go.

use shimq_testbed::A;

use crate::support::{Daemon, FAST, Network, Side, Stream, eventually};

/// A connection between the first providers, with its daemons, and what is to happen to it.
fn outlives(harm: impl FnOnce(&Network)) {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, FAST);
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    stream.wait_for_more();
    harm(&network);
    eventually("it moves to the second provider", || {
        a.current_pair(a1, b1).0 == a.locator(A[1])
    });
    stream.wait_for_more();
    stream.finish();
}

fn ip(network: &Network, arguments: &str) {
    network.run(Side::A, "ip", arguments);
}

#[test]
fn a_connection_outlives_the_loss_of_its_link_s_carrier() {
    outlives(|network| {
        let other_end = ["link", "set", "a1", "down"];
        network.hosts.router.run("ip", other_end).unwrap();
    });
}

#[test]
fn a_connection_outlives_its_link_s_default_route() {
    outlives(|network| ip(network, "-6 route del default dev a1"));
}

//= https://www.rfc-editor.org/rfc/rfc5534#section-3.2
//= id=R-003
//= type=test
//# Shim6 implementations MUST be able to employ information provided from Neighbor Unreachability
//# Detection [RFC4861].
#[test]
fn a_router_that_answers_no_solicitation_is_a_question_and_no_verdict() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, FAST);
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    let mut events = a.events();
    // No pair is asked twice in a second, and the first second counts.
    let age = || a.context(a1, b1).unwrap()["age_s"].as_u64();
    eventually("the context is a second old", || age() > Some(1));
    // It is given up, although it still forwards.
    let router = A[0].router();
    ip(
        &network,
        &format!("neigh replace {router} dev a1 nud failed"),
    );
    let doubt = events.wait_for("pair-suspected");
    assert_eq!(doubt["locators"]["local"], a1.to_string());
    events.wait_for("pair-confirmed");
    stream.wait_for_more();
    assert_eq!(a.current_pair(a1, b1), (a1, b1));
    stream.finish();
}

#[test]
fn an_address_whose_link_is_gone_stays_the_host_s_and_comes_back_with_the_link() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, FAST);
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    let local = || network.run(Side::A, "ip", "-6 route show table local proto 140");
    ip(&network, "link set a1 down");
    eventually("a local route", || local().contains(&a1.to_string()));
    stream.wait_for_more();

    ip(&network, "link set a1 up");
    let (host, router) = (A[0].host(), A[0].router());
    ip(&network, &format!("address add {host}/64 dev a1"));
    ip(
        &network,
        &format!("-6 route add default via {router} dev a1 metric 1"),
    );
    eventually("the address is back", || {
        let addresses = network.run(Side::A, "ip", "-6 address show dev a1");
        addresses.contains(&a1.to_string()) && local().is_empty()
    });
    eventually("it is usable again", || a.locator(A[0]) == a1);
    stream.wait_for_more();
    assert!(a.has_context(a1, b1));
    stream.finish();
    assert!(a.stop().success());
    assert_eq!(local(), "");
}
