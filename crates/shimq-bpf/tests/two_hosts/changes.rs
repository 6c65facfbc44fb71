//! Flows come, move and go under traffic.

use shim6_wire::ContextTag;
use shimq_bpf::Drops;
use shimq_testbed::{A, B};

use crate::support::{
    Mapped, attach, connect, connect_between, flow_of_a, flow_of_b, ip, ping, transfer, two_hosts,
};

#[test]
fn a_connection_outlives_being_mapped_and_unmapped() {
    let hosts = two_hosts();
    let Some(a) = attach(&hosts.a) else { return };
    let Some(b) = attach(&hosts.b) else { return };
    let (at_a, at_b) = connect(&hosts);
    transfer(
        at_a.try_clone().unwrap(),
        at_b.try_clone().unwrap(),
        1 << 20,
    );

    let mut mapped = Mapped { a, b, hosts };
    mapped.insert();
    transfer(
        at_a.try_clone().unwrap(),
        at_b.try_clone().unwrap(),
        1 << 20,
    );
    let sent = mapped.a.counters().unwrap()[0].sent;
    assert!(sent.packets > (1 << 20) / 1500, "{sent:?}");

    let Mapped { a, b, hosts } = &mut mapped;
    hosts
        .a
        .enter(|| a.remove(flow_of_a().ulids).unwrap())
        .unwrap();
    hosts
        .b
        .enter(|| b.remove(flow_of_b().ulids).unwrap())
        .unwrap();
    transfer(at_a, at_b, 1 << 20);
    assert!(mapped.a.counters().unwrap().is_empty());
    assert_eq!(mapped.a.drops().unwrap(), Drops::default());
}

#[test]
fn a_connection_is_mapped_though_another_peer_was_before_it() {
    let hosts = two_hosts();
    let Some(a) = attach(&hosts.a) else { return };
    let Some(b) = attach(&hosts.b) else { return };
    let mut mapped = Mapped { a, b, hosts };
    mapped.insert();
    let (source, destination) = (A[0].host(), B[1].host());
    let ends = ((&mapped.hosts.a, source), (&mapped.hosts.b, destination));
    let (at_a, at_b) = connect_between(ends.0, ends.1);
    transfer(
        at_a.try_clone().unwrap(),
        at_b.try_clone().unwrap(),
        1 << 20,
    );

    let (mut flow_a, mut flow_b) = (flow_of_a(), flow_of_b());
    (flow_a.ulids.peer, flow_b.ulids.local) = (destination, destination);
    flow_a.peer_tag = ContextTag::from_bits(2);
    flow_b.local_tag = flow_a.peer_tag;
    flow_a.local_tag = ContextTag::from_bits(3);
    flow_b.peer_tag = flow_a.local_tag;
    let Mapped { a, b, hosts } = &mut mapped;
    hosts.a.enter(|| a.insert(&flow_a).unwrap()).unwrap();
    hosts.b.enter(|| b.insert(&flow_b).unwrap()).unwrap();
    transfer(at_a, at_b, 1 << 20);
    let counters = mapped.a.counters().unwrap();
    let second = counters.iter().find(|flow| flow.ulids == flow_a.ulids);
    let sent = second.unwrap().sent;
    assert!(sent.packets > (1 << 20) / 1500, "{sent:?}");
}

#[test]
fn a_flow_follows_its_locators() {
    let Some(mut mapped) = Mapped::new() else {
        return;
    };
    ping(&mapped.hosts.a, &format!("-c 1 {}", B[0].host())).unwrap();
    let mut flow = flow_of_a();
    flow.locators.local = A[0].host();
    let Mapped { a, hosts, .. } = &mut mapped;
    hosts.a.enter(|| a.insert(&flow).unwrap()).unwrap();
    ping(&hosts.a, &format!("-c 1 {}", B[0].host())).unwrap();
    let counters = hosts.counters().unwrap();
    assert_eq!(counters.path(A[1].host(), B[1].host()).packets, 1);
    assert_eq!(counters.path(A[0].host(), B[1].host()).packets, 1);
    // It is the same flow, and its account goes on.
    assert_eq!(mapped.a.counters().unwrap()[0].sent.packets, 2);
}

#[test]
fn the_local_ulid_may_lose_its_link() {
    let Some(mapped) = Mapped::new() else { return };
    let (at_a, at_b) = connect(&mapped.hosts);
    ip(&mapped.hosts.a, "link set a1 down");
    transfer(at_a, at_b, 1 << 20);
    // Nothing says which source to take, and that of a1 is still the right one.
    let ends = (
        (&mapped.hosts.a, A[0].host()),
        (&mapped.hosts.b, B[0].host()),
    );
    let (at_a, at_b) = connect_between(ends.0, ends.1);
    transfer(at_b, at_a, 1 << 20);
}

#[test]
fn totals_count_flows_that_are_gone_and_flows_that_are_there() {
    let Some(mut mapped) = Mapped::new() else {
        return;
    };
    let peer = B[0].host();
    ping(&mapped.hosts.a, &format!("-c 2 {peer}")).unwrap();
    let Mapped { a, hosts, .. } = &mut mapped;
    hosts
        .a
        .enter(|| a.remove(flow_of_a().ulids).unwrap())
        .unwrap();
    assert_eq!(a.totals().unwrap().sent.packets, 2);
    hosts.a.enter(|| a.insert(&flow_of_a()).unwrap()).unwrap();
    ping(&hosts.a, &format!("-c 1 {peer}")).unwrap();
    let totals = a.totals().unwrap();
    assert_eq!((totals.sent.packets, totals.received.packets), (3, 3));
}
