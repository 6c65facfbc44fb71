//! `shimq set datapath`: the kernel maps one context and the queues another.

use std::net::Ipv6Addr;

use serde_json::{Value, json};
use shimq_testbed::Direction;

use super::{NOTHING, mapped, traces};
use crate::support::{Daemon, FAST, Mode, Moved, Network, Side, Stream, eventually, say_skipped};

/// What `shimq contexts` calls a context.
fn tag(daemon: &Daemon<'_>, local: Ipv6Addr, peer: Ipv6Addr) -> String {
    let context = daemon.context(local, peer).unwrap();
    context["local_tag"].as_str().unwrap().to_owned()
}

/// Has the kernel of host A map, or nobody where the system lets nobody load BPF programs, said aloud.
fn choose_bpf(a: &Daemon<'_>, [local, peer]: [Ipv6Addr; 2]) -> Option<Value> {
    let command = format!("set datapath bpf {}", tag(a, local, peer));
    if a.try_to(&command).is_err() {
        let context = a.context(local, peer).unwrap();
        say_skipped(context["kernel_refusal"].as_str().unwrap());
        return None;
    }
    // Once more changes nothing.
    let mut said = a.ask(&command);
    Some(said[0].take())
}

/// Whether the kernel of host A maps what passes on the stream; nothing else does.
fn kernel_maps(a: &Daemon<'_>, stream: &Stream) -> bool {
    let before = mapped(a);
    stream.wait_for_more();
    let after = mapped(a);
    after.0 > before.0 && after.1 > before.1
}

#[test]
fn the_kernel_maps_the_context_that_is_chosen_and_no_other_until_it_is_given_back() {
    let Some(network) = Network::new() else {
        return;
    };
    let Some(moved) = Moved::new(&network, Mode::Queue) else {
        return;
    };
    let Moved { a, a1, b1, .. } = &moved;
    let (a1, b1) = (*a1, *b1);
    assert_eq!(traces(&network)[0], "", "devices before they are wanted");
    let (a2, b2) = (a.locators()[1], moved.b.locators()[1]);
    let other = Stream::start(&network, a1, b2);
    eventually("the other has a context", || a.has_context(a1, b2));
    a.ask(&format!("switch {b2} --pair {a2},{b2}"));
    let other_is_queued = || a.context(a1, b2).unwrap()["mapped_by"] == "queue";
    assert!(other_is_queued());

    let mut events = a.events();
    let Some(said) = choose_bpf(a, [a1, b1]) else {
        return;
    };
    assert_eq!(
        (&said["datapath"], &said["mapped_by"]),
        (&json!("bpf"), &json!("kernel"))
    );
    assert_eq!(events.wait_for("datapath-changed")["in_force"], "bpf");
    assert!(kernel_maps(a, &moved.stream));
    let context = a.context(a1, b1).unwrap();
    assert_eq!(context["chosen_datapath"], "bpf");
    assert!(other_is_queued());
    let status = a.ask("status");
    let datapath = &status["datapath"];
    assert_eq!(datapath["in_force"], "queue");
    assert_eq!(datapath["chosen"], json!({ "datapath": "bpf", "pairs": 1 }));
    assert_eq!(datapath["kernel"]["contexts"], 1);
    other.wait_for_more();

    // By the peer's address.
    let said = a.ask(&format!("set datapath queue {b1}"));
    assert_eq!(said[0]["mapped_by"], "queue", "{said}");
    assert!(!kernel_maps(a, &moved.stream));
    assert_eq!(moved.mapped_by(a), "queue");
    assert!(a.ask("status")["datapath"]["chosen"].is_null());
    let rules = network.run(Side::A, "ip", "-6 rule show");
    assert!(!rules.contains("13800"), "{rules}");
    other.finish();
    moved.stream.finish();
    assert!(moved.a.stop().success());
    assert_eq!(traces(&network), NOTHING);
}

#[test]
fn a_choice_is_made_in_advance_and_outlives_the_context_and_the_device_pair() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, FAST);
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    let Some(said) = choose_bpf(&a, [a1, b1]) else {
        return;
    };
    assert!(said["mapped_by"].is_null(), "{said}");
    network.hosts.cut(a1, b1, Direction::Both).unwrap();
    let kernel_maps_it = || {
        let context = a.context(a1, b1);
        context.is_some_and(|context| context["mapped_by"] == "kernel")
    };
    eventually("the kernel maps", kernel_maps_it);
    stream.wait_for_more();

    let mut events = a.events();
    network.run(Side::A, "ip", "link del shim0");
    for in_force in ["queue", "bpf"] {
        assert_eq!(events.wait_for("datapath-changed")["in_force"], in_force);
    }
    eventually("the kernel maps again", kernel_maps_it);
    stream.wait_for_more();

    // The peer has lost the context, and it is agreed upon anew.
    let peer_tag = || a.context(a1, b1).unwrap()["peer_tag"].clone();
    let former = peer_tag();
    b.kill();
    let _b = Daemon::start(&network, Side::B, FAST);
    eventually("the kernel maps by the new tag", || {
        kernel_maps_it() && peer_tag() != former
    });
    stream.wait_for_more();
    stream.finish();
}

#[test]
fn a_context_is_left_to_the_queues_where_the_kernel_maps_all_others() {
    let Some(network) = Network::new() else {
        return;
    };
    let Some(moved) = Moved::new(&network, Mode::Bpf) else {
        return;
    };
    let (a, b1) = (&moved.a, moved.b1);
    let said = a.ask(&format!("set datapath queue {b1}"));
    assert_eq!(said[0]["mapped_by"], "queue", "{said}");
    assert!(!kernel_maps(a, &moved.stream));
    let context = a.context(moved.a1, b1).unwrap();
    assert_eq!(context["chosen_datapath"], "queue");
    assert!(context["kernel_refusal"].is_null(), "{context}");
    assert_eq!(a.ask("status")["datapath"]["in_force"], "bpf");
    assert_eq!(moved.mapped_by(&moved.b), "kernel");

    let said = a.ask(&format!("set datapath default {b1}"));
    assert_eq!(said[0]["mapped_by"], "kernel", "{said}");
    assert!(kernel_maps(a, &moved.stream));
    moved.stream.finish();
}

#[test]
fn queues_go_on_where_the_kernel_cannot_map_what_is_chosen_and_the_command_fails() {
    let Some(network) = Network::new() else {
        return;
    };
    network.run(Side::A, "ip", "link add shim0 type veth peer name other");
    let Some(moved) = Moved::new(&network, Mode::Queue) else {
        return;
    };
    let (a, a1, b1) = (&moved.a, moved.a1, moved.b1);
    let command = format!("set datapath bpf {b1}");
    assert!(a.try_to(&command).is_err());
    let context = a.context(a1, b1).unwrap();
    let refusal = context["kernel_refusal"].as_str().unwrap();
    assert!(refusal.contains("shim0 is taken"), "{refusal}");
    assert_eq!(a.ask("status")["datapath"]["reason"], refusal);
    assert_eq!(moved.mapped_by(a), "queue");
    moved.stream.wait_for_more();

    // What was in the way is gone, and the operator asks again.
    network.run(Side::A, "ip", "link del shim0");
    if let Some(said) = choose_bpf(a, [a1, b1]) {
        assert_eq!(said["mapped_by"], "kernel", "{said}");
        assert!(kernel_maps(a, &moved.stream));
    }
    moved.stream.finish();
}

#[test]
fn there_is_no_choice_without_a_context_of_one_s_own_or_where_all_is_queued() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, FAST);
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    let refused = |command: &str| a.try_to(command).unwrap_err().to_string();
    for nobody in ["2001:db8:dead::1", "123456789abc"] {
        let refused = refused(&format!("set datapath bpf {nobody}"));
        assert!(refused.contains("shimq contexts"), "{refused}");
    }
    a.try_to(&format!("fork {a1} {b1} --mark 17")).unwrap();
    let contexts = a.ask("contexts");
    let mut contexts = contexts.as_array().unwrap().iter();
    let fork = contexts.find(|context| context["mark"] == 17).unwrap();
    let fork = fork["local_tag"].as_str().unwrap();
    let forks = refused(&format!("set datapath bpf {fork}"));
    assert!(forks.contains("queues map forks"), "{forks}");
    stream.finish();
    assert!(a.stop().success());
    let config = format!("{FAST}[datapath]\nmode = 'queue-all'\n");
    let a = Daemon::start(&network, Side::A, &config);
    let refused = a.try_to(&format!("set datapath bpf {b1}")).unwrap_err();
    assert!(refused.to_string().contains("queue-all"), "{refused}");
}
