//! What is not mapped, and others' rules for what is: all of it is as it was before.

use shimq_bpf::{Config, Tally};
use shimq_testbed::{A, B, Namespace};

use crate::support::{Mapped, attach, connect, flow_of_a, ip, ping, run, transfer, two_hosts};

#[test]
fn everything_else_keeps_its_routes_and_offloads() {
    let hosts = two_hosts();
    let look = |host: &Namespace| {
        let to_locator = format!("route get {} from {}", B[1].host(), A[1].host());
        let from_other = format!("route get {} from {}", B[0].host(), A[1].host());
        let to_other = format!("route get {} from {}", B[1].host(), A[0].host());
        [
            ip(host, "route show table main"),
            ip(host, "addr show dev a1"),
            // A cached exception aside, which differs in its age.
            ip(host, &to_locator),
            ip(host, &from_other),
            ip(host, &to_other),
            run(host, "ethtool", "-k a1"),
            run(host, "ethtool", "-k a2"),
        ]
    };
    let before = look(&hosts.a);
    let Some(mut a) = attach(&hosts.a) else {
        return;
    };
    hosts.a.enter(|| a.insert(&flow_of_a()).unwrap()).unwrap();
    assert_eq!(look(&hosts.a), before);

    let mapped = format!("route get {} from {}", B[0].host(), A[0].host());
    let route = ip(&hosts.a, &mapped);
    assert!(
        route.contains("dev shim0") && route.contains("mtu 1492"),
        "{route}"
    );
}

#[test]
fn other_connections_pass_beside_a_mapped_flow() {
    let Some(mapped) = Mapped::new() else { return };
    let hosts = &mapped.hosts;
    let others = [
        (A[1].host(), B[0].host()),
        (A[0].host(), B[1].host()),
        (A[1].host(), B[1].host()),
    ];
    for (local, peer) in others {
        ping(&hosts.a, &format!("-c 1 -I {local} {peer}")).unwrap();
    }
    let [counters] = mapped.a.counters().unwrap()[..] else {
        panic!("one flow");
    };
    assert_eq!(counters.sent.packets, 0);
    assert_eq!(counters.received.packets, 0);
}

/// Input that a stateful firewall with a reverse path check lets in: answers only.
const FIREWALL: &str = "
    table ip6 firewall {
        chain input {
            type filter hook input priority filter; policy drop;
            meta l4proto 58 accept
            fib saddr . iif oif missing drop
            fib daddr . iif type != local drop
            ct state established,related accept
        }
    }";

#[test]
fn a_strict_firewall_takes_a_mapped_flow_for_what_it_was_before() {
    let Some(mapped) = Mapped::new() else { return };
    mapped.hosts.a.feed("nft", ["-f", "-"], FIREWALL).unwrap();
    let (at_a, at_b) = connect(&mapped.hosts);
    transfer(at_b, at_a, 1 << 20);
}

#[test]
fn what_carries_the_mark_goes_between_the_ulids_themselves() {
    let hosts = two_hosts();
    let Some(mut a) = attach(&hosts.a) else {
        return;
    };
    hosts.a.enter(|| a.insert(&flow_of_a()).unwrap()).unwrap();
    let mark = Config::default().exempt_mark;
    let (local, peer) = (A[0].host(), B[0].host());
    ping(&hosts.a, &format!("-c 1 -m {mark} -I {local} {peer}")).unwrap();
    assert_eq!(a.counters().unwrap()[0].sent, Tally::default());
    assert_eq!(
        hosts.counters().unwrap().path(local, peer).packets,
        1,
        "seen by the router on the path of the ULIDs"
    );
}
