//! `datapath.mode = "bpf"`: the kernel maps, and the queues do where it does not.
//!
//! BPF programs are for root alone: in a user namespace these tests say so and pass.

mod choice;

use std::net::Ipv6Addr;
use std::time::Instant;

use shimq_bpf::LEASE;
use shimq_testbed::{A, Direction};

use crate::support::{
    Daemon, FAST, Mode, Moved, Network, Side, Stream, eventually, refusal, release,
};

/// Packets that the kernel mapped and unmapped, of all contexts.
fn mapped(daemon: &Daemon<'_>) -> (u64, u64) {
    let count = |direction| daemon.count(&format!("/datapath/kernel/{direction}/packets"));
    (count("sent"), count("received"))
}

#[test]
fn a_connection_survives_and_its_packets_enter_no_program() {
    let Some(network) = Network::new() else {
        return;
    };
    let Some(moved) = Moved::new(&network, Mode::Bpf) else {
        return;
    };
    let Moved { a, b, stream, .. } = &moved;
    let account = |daemon: &Daemon<'_>, local, peer| {
        let context = daemon.context(local, peer).unwrap();
        context["packets_received"].as_u64().unwrap()
    };
    let accounted = account(a, moved.a1, moved.b1);
    // Each time the stream needs more packets than ten. Where the machine is so busy that an end is silent
    // for a while, some are looked at; but not each time.
    eventually("the stream passes and its packets enter no program", || {
        let before = [mapped(a), mapped(b)];
        let queued = a.queued() + b.queued();
        stream.wait_for_more();
        for (daemon, before) in [a, b].into_iter().zip(before) {
            let now = mapped(daemon);
            assert!(now.0 > before.0 && now.1 > before.1, "{before:?} {now:?}");
        }
        a.queued() + b.queued() - queued < 10
    });
    eventually("REAP's account goes on", || {
        account(a, moved.a1, moved.b1) > accounted
    });
    moved.stream.finish();
}

#[test]
fn what_the_kernel_mapped_has_right_checksums_and_fits_the_link() {
    let Some(network) = Network::new() else {
        return;
    };
    let Some(moved) = Moved::new(&network, Mode::Bpf) else {
        return;
    };
    network.without_offload();
    moved.stream.wait_for_more();
    let recording = network.record("mapped.pcap");
    let before = [mapped(&moved.a), mapped(&moved.b)];
    moved.stream.wait_for_more();
    let after = [mapped(&moved.a), mapped(&moved.b)];
    let packets = recording.stop();
    let (a1, b1) = (moved.a1, moved.b1);
    let from_b = moved.b.locators();
    let (mut of_a, mut of_b) = (0, 0);
    for packet in packets.iter().filter(|packet| packet.is_tagged()) {
        assert!(packet.0.len() <= 1500, "{} octets", packet.0.len());
        let (source, destination, count) = if from_b.contains(&packet.source()) {
            (b1, a1, &mut of_b)
        } else {
            (a1, b1, &mut of_a)
        };
        let original = packet.untagged(source, destination);
        assert!(original.has_right_checksum(), "{packet:?}");
        *count += 1;
    }
    // All of these were in between, so they were recorded.
    assert!(of_a >= after[0].0 - before[0].0 && of_a > 0, "{of_a}");
    assert!(of_b >= after[1].0 - before[1].0 && of_b > 20, "{of_b}");
    moved.stream.finish();
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-8
//= id=S-135
//= type=test
//# the implementation will have to apply reverse mapping to the "packet in error" before
//# passing the ICMP error up to the ULP
#[test]
fn a_router_s_packet_too_big_reaches_the_connection_and_is_remembered() {
    let Some(network) = Network::new() else {
        return;
    };
    let Some(moved) = Moved::new(&network, Mode::Bpf) else {
        return;
    };
    let (b, a1, b1) = (&moved.b, moved.a1, moved.b1);
    // The link that the file then comes in by, as the router sees it.
    let (_, to) = b.current_pair(b1, a1);
    let link = A.iter().find(|provider| provider.prefix.contains(to));
    let shrink = format!("link set {} mtu 1400", link.unwrap().link);
    let router = &network.hosts.router;
    router.run("ip", shrink.split_whitespace()).unwrap();
    moved.stream.wait_for_more();
    let mtu = || network.run(Side::B, "ip", &format!("-6 route get {a1} from {b1}"));
    eventually("the connection knows the size of its path", || {
        moved.stream.wait_for_more();
        mtu().contains("mtu 1392")
    });
    // It is still known when the route has been renewed: no route lasts longer than its lease by itself.
    let known = Instant::now();
    eventually("the route outlives its lease", || {
        let routes = network.run(Side::B, "ip", "-6 route show table all dev shim0");
        assert!(routes.contains(" expires "), "{routes}");
        known.elapsed() > LEASE
    });
    moved.stream.wait_for_more();
    assert!(mtu().contains("mtu 1392"), "{}", mtu());
    assert_eq!(moved.mapped_by(b), "kernel");
    moved.stream.finish();
}

#[test]
fn other_connections_keep_their_routes_beside_one_that_the_kernel_maps() {
    let Some(network) = Network::new() else {
        return;
    };
    let Some(moved) = Moved::new(&network, Mode::Bpf) else {
        return;
    };
    let ([_, a2], [_, b2]) = (moved.a.locators(), moved.b.locators());
    let (local, peer) = (moved.a1, b2);
    for (local, peer) in [(local, peer), (a2, moved.b1), (a2, b2)] {
        let route = network.run(Side::A, "ip", &format!("-6 route get {peer} from {local}"));
        assert!(!route.contains("shim"), "{route}");
        let other = Stream::start(&network, local, peer);
        other.wait_for_more();
        other.finish();
    }
    moved.stream.finish();
}

#[test]
fn a_connection_goes_back_to_its_ulids_when_only_these_reach_each_other() {
    let Some(network) = Network::new() else {
        return;
    };
    let Some(moved) = Moved::new(&network, Mode::Bpf) else {
        return;
    };
    let (a, b, a1, b1) = (&moved.a, &moved.b, moved.a1, moved.b1);
    network.hosts.heal().unwrap();
    let ([a1_, a2], [b1_, b2]) = (a.locators(), b.locators());
    assert_eq!((a1, b1), (a1_, b1_));
    for (from, to) in [(a1, b2), (a2, b1), (a2, b2)] {
        network.hosts.cut(from, to, Direction::Both).unwrap();
    }
    eventually("both are back on the ULIDs", || {
        a.current_pair(a1, b1) == (a1, b1) && b.current_pair(b1, a1) == (b1, a1)
    });
    moved.stream.wait_for_more();
    for side in [Side::A, Side::B] {
        let rules = network.run(side, "ip", "-6 rule show");
        assert!(!rules.contains("13800"), "{rules}");
    }
    moved.stream.finish();
}

#[test]
fn a_failure_of_the_pair_that_the_kernel_maps_is_noticed_by_its_silence() {
    let Some(network) = Network::new() else {
        return;
    };
    let Some(moved) = Moved::new(&network, Mode::Bpf) else {
        return;
    };
    let (a, b, a1, b1) = (&moved.a, &moved.b, moved.a1, moved.b1);
    let mut events = b.events();
    for (from, to) in [a.current_pair(a1, b1), swapped(b.current_pair(b1, a1))] {
        network.hosts.cut(from, to, Direction::Both).unwrap();
    }
    let suspected = events.wait_for("pair-suspected");
    assert_eq!(suspected["cause"], "silence", "{suspected}");
    events.wait_for("pair-changed");
    moved.await_mapped();
    moved.stream.finish();
}

fn swapped((local, peer): (Ipv6Addr, Ipv6Addr)) -> (Ipv6Addr, Ipv6Addr) {
    (peer, local)
}

#[test]
fn queues_map_where_the_kernel_cannot_and_status_says_why() {
    let Some(network) = Network::new() else {
        return;
    };
    network.run(Side::A, "ip", "link add shim0 type veth peer name other");
    let (a, b) = Daemon::pair(&network, &Mode::Bpf.config());
    let reason = refusal(&a).unwrap();
    assert!(reason.contains("shim0 is taken"), "{reason}");
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    let mut events = a.events();
    network.hosts.cut(a1, b1, Direction::Both).unwrap();
    events.wait_for("pair-changed");
    stream.wait_for_more();
    assert_eq!(a.context(a1, b1).unwrap()["mapped_by"], "queue");
    stream.finish();
    assert!(a.stop().success());
    let links = network.run(Side::A, "ip", "link show");
    assert!(links.contains("shim0@other"), "{links}");
}

#[test]
fn queues_take_over_when_somebody_removes_the_device_pair_until_it_is_built_again() {
    let Some(network) = Network::new() else {
        return;
    };
    let Some(moved) = Moved::new(&network, Mode::Bpf) else {
        return;
    };
    let mut events = moved.a.events();
    for _ in 0..2 {
        network.run(Side::A, "ip", "link del shim0");
        let lost = events.wait_for("datapath-changed");
        assert_eq!(lost["in_force"], "queue", "{lost}");
        moved.stream.wait_for_more();
        let back = events.wait_for("datapath-changed");
        assert_eq!(back["in_force"], "bpf", "{back}");
        moved.await_mapped();
        assert_eq!(refusal(&moved.a), None);
    }
    moved.stream.finish();
}

#[test]
fn the_device_pair_is_built_again_though_nothing_is_mapped() {
    let Some(network) = Network::new() else {
        return;
    };
    let a = Daemon::start(&network, Side::A, &Mode::Bpf.config());
    if refusal(&a).is_some() {
        // Said aloud by the other tests.
        return;
    }
    let mut events = a.events();
    network.run(Side::A, "ip", "link del shim0");
    for in_force in ["queue", "bpf"] {
        let changed = events.wait_for("datapath-changed");
        assert_eq!(changed["in_force"], in_force, "{changed}");
    }
    assert!(network.run(Side::A, "ip", "link show").contains("shim0@"));
}

/// What the kernel's mapping adds to a host, and a little more.
fn traces(network: &Network) -> [String; 5] {
    [
        ("ip", "-o link show"),
        ("ip", "-6 rule show"),
        ("ip", "-6 route show table all"),
        ("ip", "-6 -o address show"),
        ("tc", "qdisc show"),
    ]
    .map(|(program, arguments)| {
        let shown = network.run(Side::A, program, arguments);
        // Of each line what does not change by itself.
        let lines = shown.lines().filter(|line| {
            ["shim", "13799", "13800", "13801", "13999", "clsact"]
                .iter()
                .any(|trace| line.contains(trace))
        });
        lines.collect::<Vec<_>>().join("\n")
    })
}

const NOTHING: [&str; 5] = [""; 5];

#[test]
fn nothing_is_left_of_the_kernel_s_mapping_when_the_daemon_stops() {
    let Some(network) = Network::new() else {
        return;
    };
    let Some(moved) = Moved::new(&network, Mode::Bpf) else {
        return;
    };
    assert_ne!(traces(&network), NOTHING);
    assert!(moved.a.stop().success());
    assert_eq!(traces(&network), NOTHING);
    // Without the shim at A the connection has the path of the ULIDs or none.
    network.hosts.heal().unwrap();
    drop(moved.stream);
}

#[test]
fn a_connection_goes_on_after_the_daemon_was_killed_and_started_again() {
    let Some(network) = Network::new() else {
        return;
    };
    let Some(mut moved) = Moved::new(&network, Mode::Bpf) else {
        return;
    };
    moved.a.kill();
    moved.a = Daemon::start(&network, Side::A, &Mode::Bpf.config());
    moved.stream.wait_for_more();
    moved.await_mapped();
    moved.stream.finish();
}

#[test]
fn what_a_killed_daemon_left_leads_nowhere_for_a_short_time_only() {
    let Some(network) = Network::new() else {
        return;
    };
    let Some(moved) = Moved::new(&network, Mode::Bpf) else {
        return;
    };
    let (a1, b1) = (moved.a1, moved.b1);
    network.hosts.heal().unwrap();
    moved.a.kill();
    moved.b.kill();
    eventually("packets have the route of everything else again", || {
        let route = network.run(Side::A, "ip", &format!("-6 route get {b1} from {a1}"));
        !route.contains("shim0")
    });
    let fresh = Stream::start(&network, a1, b1);
    fresh.finish();
    moved.stream.wait_for_more();
    moved.stream.finish();
}

#[test]
fn what_a_killed_daemon_left_can_be_released() {
    let Some(network) = Network::new() else {
        return;
    };
    let Some(moved) = Moved::new(&network, Mode::Bpf) else {
        return;
    };
    moved.a.kill();
    let released = release(&network, Side::A);
    assert!(released.contains("device pair"), "{released}");
    assert_eq!(traces(&network), NOTHING);
    drop(moved.stream);
}

#[test]
fn a_daemon_of_another_mode_removes_what_a_killed_one_left() {
    let Some(network) = Network::new() else {
        return;
    };
    let Some(moved) = Moved::new(&network, Mode::Bpf) else {
        return;
    };
    moved.a.kill();
    let a = Daemon::start(&network, Side::A, FAST);
    assert!(!traces(&network)[0].contains("shim"));
    moved.stream.wait_for_more();
    assert_eq!(a.ask("status")["datapath"]["in_force"], "queue");
    moved.stream.finish();
}

#[test]
fn the_links_of_the_providers_are_all_that_locators_are_formed_on() {
    let Some(network) = Network::new() else {
        return;
    };
    let Some(moved) = Moved::new(&network, Mode::Bpf) else {
        return;
    };
    let ulid = moved.a1;
    let addresses = network.run(Side::A, "ip", "-6 -o address show dev shim0");
    assert!(addresses.contains(&ulid.to_string()), "{addresses}");
    let locators = moved.a.ask("locators");
    let interfaces: Vec<_> = locators
        .as_array()
        .unwrap()
        .iter()
        .map(|locator| locator["interface"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(interfaces, A.map(|provider| provider.link));
    moved.stream.finish();
}
