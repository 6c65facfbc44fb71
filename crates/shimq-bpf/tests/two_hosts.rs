//! What the rewriter promises, tried with real packets between two hosts.
//!
//! Needs root: in a user namespace the kernel loads no programs, and each test says that it was
//! skipped.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs;
use std::net::{Ipv6Addr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, mem, thread};

use aya::programs::{SchedClassifier, TcAttachType};
use shim6_wire::{ContextTag, Packet};
use shimq_bpf::{BpfError, Config, Drops, FlowCounters, LEASE, Rewriter, Tally, release};
use shimq_testbed::{A, B, Namespace};

use support::{
    Mapped, PORT, TAG_A, TAG_B, attach, connect, connect_between, flow_of_a, flow_of_b, ip,
    packets, ping, run, transfer, two_hosts,
};

#[test]
fn a_transfer_over_the_locators_arrives_as_it_was_sent_either_way() {
    let Some(mapped) = Mapped::new() else { return };
    let (at_a, at_b) = connect(&mapped.hosts);
    transfer(at_a, at_b, 16 << 20);
    let (at_a, at_b) = connect(&mapped.hosts);
    transfer(at_b, at_a, 16 << 20);
    assert_eq!(mapped.a.drops().unwrap(), Drops::default());
    assert_eq!(mapped.b.drops().unwrap(), Drops::default());
}

#[test]
fn packets_on_the_wire_carry_the_header_and_a_checksum_over_the_ulids() {
    let Some(mapped) = Mapped::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("router.pcap");
    // The virtual links would leave checksums to a device that does not exist.
    run(&mapped.hosts.a, "ethtool", "-K a2 tx off");
    run(&mapped.hosts.b, "ethtool", "-K b2 tx off");
    let capture = mapped.hosts.capture(&file).unwrap();
    let (at_a, at_b) = connect(&mapped.hosts);
    transfer(at_a, at_b, 4 << 20);
    capture.stop().unwrap();

    let (mut from_a, mut from_b) = (0, 0);
    for packet in packets(&fs::read(&file).unwrap()) {
        assert!(packet.len() <= 1500, "{} octets", packet.len());
        let ends = (address(packet, 8), address(packet, 24));
        let (source, destination, tag, count) = if ends == (A[1].host(), B[1].host()) {
            (A[0].host(), B[0].host(), TAG_B, &mut from_a)
        } else if ends == (B[1].host(), A[1].host()) {
            (B[0].host(), A[0].host(), TAG_A, &mut from_b)
        } else {
            // Of the links themselves at most.
            assert!(
                ends.0.is_unicast_link_local() || ends.1.is_multicast() || packet[6] == ICMPV6,
                "{ends:?}"
            );
            continue;
        };
        assert_eq!(packet[6], SHIM6);
        let mut octets = packet.to_vec();
        let end = octets.len();
        let mut packet = Packet::new(&mut octets, 0, end).unwrap();
        assert_eq!(packet.remove_payload_ext(source, destination), Ok(tag));
        assert_eq!(packet.octets()[6], TCP);
        assert_eq!(transport_checksum(packet.octets()), 0xffff);
        *count += 1;
    }
    assert!(from_a > (4 << 20) / 1432, "{from_a} packets from A");
    assert!(from_b > 2, "{from_b} packets from B");
}

#[test]
fn the_stack_receives_segments_merged() {
    let Some(mapped) = Mapped::new() else { return };
    let (at_a, at_b) = connect(&mapped.hosts);
    transfer(at_a, at_b, 16 << 20);
    let snmp = run(&mapped.hosts.b, "cat", "/proc/net/snmp6");
    let mut lines = snmp.lines();
    let delivered = lines.find_map(|line| line.strip_prefix("Ip6InDelivers"));
    let delivered: u64 = delivered.unwrap().trim().parse().unwrap();
    let on_wire = mapped.b.counters().unwrap()[0].received.packets;
    assert!(on_wire > (16 << 20) / 1432, "{on_wire}");
    assert!(delivered * 4 < on_wire, "{delivered} of {on_wire}");
}

#[test]
fn an_echo_passes_and_is_counted_at_both_ends() {
    let Some(mapped) = Mapped::new() else { return };
    let before = boot_time();
    ping(&mapped.hosts.a, &format!("-c 3 {}", B[0].host())).unwrap();
    let after = boot_time();
    // IPv6 and ICMPv6 headers, 56 octets; not the header that is on the wire only.
    let three = |tally: Tally| {
        assert_eq!((tally.packets, tally.bytes), (3, 3 * 104));
        let last = tally.last.unwrap();
        assert!(
            before <= last && last <= after,
            "{before:?} {last:?} {after:?}"
        );
    };
    for (rewriter, ulids) in [
        (&mapped.a, flow_of_a().ulids),
        (&mapped.b, flow_of_b().ulids),
    ] {
        let counters = rewriter.counters().unwrap();
        let [
            FlowCounters {
                ulids: of,
                sent,
                received,
            },
        ] = counters[..]
        else {
            panic!("{counters:?}");
        };
        assert_eq!(of, ulids);
        three(sent);
        three(received);
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-4.6
//= id=S-002
//= type=test
//# the Shim header will be placed before any
//# Endpoint Extension headers (Fragmentation headers, Destination
//# Options header, AH, ESP)
#[test]
fn a_datagram_larger_than_the_path_is_fragmented_behind_the_header() {
    let Some(mapped) = Mapped::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("router.pcap");
    let capture = mapped.hosts.capture(&file).unwrap();
    let socket = |host: &Namespace, address: Ipv6Addr| {
        let socket = host.enter(|| UdpSocket::bind((address, support::PORT)));
        socket.unwrap().unwrap()
    };
    let at_a = socket(&mapped.hosts.a, A[0].host());
    let at_b = socket(&mapped.hosts.b, B[0].host());
    at_b.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let datagram: Vec<u8> = (0..4000_u32).map(|octet| (octet % 251) as u8).collect();
    at_a.send_to(&datagram, at_b.local_addr().unwrap()).unwrap();
    let mut received = [0; 5000];
    let (length, from) = at_b.recv_from(&mut received).unwrap();
    assert_eq!(&received[..length], datagram);
    assert_eq!(from, at_a.local_addr().unwrap());
    capture.stop().unwrap();

    let pcap = fs::read(&file).unwrap();
    let tagged: Vec<_> = packets(&pcap).filter(|packet| packet[6] == SHIM6).collect();
    assert_eq!(tagged.len(), 3);
    for packet in tagged {
        assert!(packet.len() <= 1500);
        assert_eq!(packet[40], FRAGMENT);
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-4.6
//= id=S-002
//= type=test
//# but after any routing-related headers (Hop-by-Hop Extensions
//# header, Routing header, and a Destinations Options header, which
//# precedes a Routing header).
#[test]
fn options_for_routers_stay_before_the_header() {
    let Some(mapped) = Mapped::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("router.pcap");
    let capture = mapped.hosts.capture(&file).unwrap();
    // Option 54 is IPV6_HOPOPTS: 12 octets of padding, of which the kernel fills in the first two.
    let script = format!(
        "import socket as s
end = s.socket(s.AF_INET6, s.SOCK_DGRAM)
end.bind(('{}', 0))
end.setsockopt(s.IPPROTO_IPV6, 54, bytes([0, 1, 1, 12] + [0] * 12))
end.sendto(b'x' * 100, ('{}', {PORT}))",
        A[0].host(),
        B[0].host(),
    );
    mapped.hosts.a.run("python3", ["-c", &script]).unwrap();
    capture.stop().unwrap();
    let pcap = fs::read(&file).unwrap();
    let tagged = packets(&pcap).find(|packet| packet[6] == HOP_BY_HOP && packet[40] == SHIM6);
    let mut octets = tagged.unwrap().to_vec();
    assert_eq!(octets[40..44], [SHIM6, 1, 1, 12]);
    assert_eq!(octets[56], UDP);
    let end = octets.len();
    let mut packet = Packet::new(&mut octets, 0, end).unwrap();
    let restored = packet.remove_payload_ext(A[0].host(), B[0].host());
    assert_eq!(restored, Ok(TAG_B));
    assert_eq!(packet.octets()[40], UDP);
    assert_eq!(packet.octets().len(), 40 + 16 + 8 + 100);
    assert_eq!(mapped.a.drops().unwrap(), Drops::default());
}

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
fn nothing_is_left_after_drop() {
    let hosts = two_hosts();
    let look = |host: &Namespace| {
        [
            ip(host, "route show table all"),
            ip(host, "rule show"),
            ip(host, "addr show"),
            run(host, "ip", "-o link show"),
            run(host, "tc", "qdisc show"),
        ]
    };
    let before = look(&hosts.a);
    let Some(mut a) = attach(&hosts.a) else {
        return;
    };
    hosts.a.enter(|| a.insert(&flow_of_a()).unwrap()).unwrap();
    assert_ne!(look(&hosts.a), before);
    let programs = || {
        let count = |link| {
            let links = SchedClassifier::query_tcx(link, TcAttachType::Ingress);
            // A kernel before 6.6 knows no links: the programs are filters.
            links.map_or_else(
                |_| {
                    let filters = run(&hosts.a, "tc", &format!("filter show dev {link} ingress"));
                    filters.matches("name shim_receive").count()
                },
                |(_, programs)| programs.len(),
            )
        };
        hosts.a.enter(|| ["a1", "a2"].map(count)).unwrap()
    };
    assert_eq!(programs(), [1, 1]);
    hosts.a.enter(|| drop(a)).unwrap();
    assert_eq!(look(&hosts.a), before);
    assert_eq!(programs(), [0, 0]);
    ping(&hosts.a, &format!("-c 1 {}", B[0].host())).unwrap();
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
fn a_route_expires_unless_it_is_renewed() {
    let hosts = two_hosts();
    let Some(mut a) = attach(&hosts.a) else {
        return;
    };
    hosts.a.enter(|| a.insert(&flow_of_a()).unwrap()).unwrap();
    let seconds_left = || {
        let routes = ip(&hosts.a, "route show table all dev shim0");
        let route = routes
            .lines()
            .find(|line| line.contains("mtu 1492"))
            .unwrap();
        let after = route.split("expires ").nth(1).unwrap();
        after.split("sec").next().unwrap().parse::<u64>().unwrap()
    };
    let deadline = Instant::now() + Duration::from_secs(5);
    while seconds_left() > LEASE.as_secs() - 2 {
        assert!(Instant::now() < deadline, "{} s left", seconds_left());
        thread::sleep(Duration::from_millis(50));
    }
    hosts.a.enter(|| a.renew(1).unwrap()).unwrap();
    assert!(seconds_left() > LEASE.as_secs() - 2);
}

#[test]
fn what_a_killed_process_left_is_taken_over() {
    let hosts = two_hosts();
    let before = ip(&hosts.a, "rule show");
    let Some(mut killed) = attach(&hosts.a) else {
        return;
    };
    hosts
        .a
        .enter(|| killed.insert(&flow_of_a()).unwrap())
        .unwrap();
    // Unlike a kill, this leaves the programs attached to a2, too.
    mem::forget(killed);
    assert_ne!(ip(&hosts.a, "rule show"), before);

    let successor = attach(&hosts.a).unwrap();
    let filters = run(&hosts.a, "tc", "filter show dev a2 ingress");
    assert!(!filters.contains("shim_receive"), "{filters}");
    assert_eq!(ip(&hosts.a, "rule show"), before);
    drop(successor);
    assert!(!ip(&hosts.a, "link show").contains("shim"));
}

#[test]
fn what_a_killed_process_left_can_be_released() {
    let hosts = two_hosts();
    let look = |host: &Namespace| [ip(host, "rule show"), ip(host, "link show")];
    let before = look(&hosts.a);
    let Some(mut killed) = attach(&hosts.a) else {
        return;
    };
    hosts
        .a
        .enter(|| killed.insert(&flow_of_a()).unwrap())
        .unwrap();
    mem::forget(killed);
    let released = || hosts.a.enter(|| release().unwrap()).unwrap();
    assert!(released());
    assert_eq!(look(&hosts.a), before);
    assert!(!released(), "there was nothing more");
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

#[test]
fn a_renewal_notices_that_somebody_removed_the_device_pair() {
    let hosts = two_hosts();
    let Some(mut a) = attach(&hosts.a) else {
        return;
    };
    hosts.a.enter(|| a.insert(&flow_of_a()).unwrap()).unwrap();
    hosts.a.enter(|| a.renew(1).unwrap()).unwrap();
    run(&hosts.a, "ip", "link del shim0");
    let outcome = hosts.a.enter(|| a.renew(1)).unwrap();
    assert!(
        matches!(outcome, Err(BpfError::Netlink { .. })),
        "{outcome:?}"
    );
}

#[test]
fn somebody_elses_device_is_left_alone() {
    let hosts = two_hosts();
    ip(&hosts.a, "link add shim1 type veth peer name other");
    let outcome = hosts.a.enter(|| Rewriter::attach(&Config::default()));
    let error = outcome.unwrap().unwrap_err();
    assert!(
        matches!(&error, BpfError::NameTaken { name } if name == "shim1"),
        "{error}"
    );
    let links = ip(&hosts.a, "link show");
    assert!(
        links.contains("shim1@other") && !links.contains("shim0"),
        "{links}"
    );
}

#[test]
fn a_flow_without_a_path_is_refused_and_leaves_nothing() {
    let hosts = two_hosts();
    let Some(mut a) = attach(&hosts.a) else {
        return;
    };
    let before = ip(&hosts.a, "rule show");
    for table in ["main", "2"] {
        ip(&hosts.a, &format!("route del default dev a2 table {table}"));
    }
    ip(&hosts.a, "route del default dev a1 table main");
    let outcome = hosts.a.enter(|| a.insert(&flow_of_a())).unwrap();
    assert!(
        matches!(outcome, Err(BpfError::NoRoute { .. })),
        "{outcome:?}"
    );
    assert_eq!(ip(&hosts.a, "rule show"), before);
    assert!(a.counters().unwrap().is_empty());
}

#[test]
fn in_a_user_namespace_attach_says_that_it_is_not_permitted() {
    let Some(kind) = env::var_os(INSIDE) else {
        let mut again = Command::new("unshare");
        again.args(["--user", "--map-root-user", "--net", "--"]);
        again.arg(env::current_exe().unwrap());
        again.args([
            "--exact",
            "in_a_user_namespace_attach_says_that_it_is_not_permitted",
        ]);
        let output = again.env(INSIDE, "yes").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}"
        );
        return;
    };
    assert_eq!(kind, "yes");
    let error = Rewriter::attach(&Config::default()).unwrap_err();
    assert!(
        matches!(error, BpfError::NotPermitted),
        "{error}: {error:?}"
    );
    let links = Command::new("ip").args(["link", "show"]).output().unwrap();
    let links = String::from_utf8_lossy(&links.stdout).into_owned();
    assert!(links.contains("lo") && !links.contains("shim"), "{links}");
}

/// Set for the test that starts itself again inside a user namespace.
const INSIDE: &str = "SHIMQ_BPF_TEST_INSIDE";

/// The time that the programs note, CLOCK_BOOTTIME.
fn boot_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(
        time.tv_sec.try_into().unwrap(),
        time.tv_nsec.try_into().unwrap(),
    )
}

fn address(packet: &[u8], at: usize) -> Ipv6Addr {
    <[u8; 16]>::try_from(&packet[at..at + 16]).unwrap().into()
}

/// The Internet checksum over pseudo-header and payload, 0xffff if the packet's own is right.
fn transport_checksum(packet: &[u8]) -> u16 {
    let payload = &packet[40..];
    let mut sum = payload.len() as u32 + u32::from(packet[6]);
    for pair in packet[8..40].chunks(2).chain(payload.chunks(2)) {
        let [high, low] = [pair[0], pair.get(1).copied().unwrap_or(0)];
        sum += u32::from(u16::from_be_bytes([high, low]));
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

/// Next Header values.
const HOP_BY_HOP: u8 = 0;
const TCP: u8 = 6;
const UDP: u8 = 17;
const FRAGMENT: u8 = 44;
const ICMPV6: u8 = 58;
const SHIM6: u8 = 140;
