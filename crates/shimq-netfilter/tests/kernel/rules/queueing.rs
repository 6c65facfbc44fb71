//! Which packets reach which queue, and which never do.

use std::net::UdpSocket;
use std::time::Duration;

use super::{address, both, host_and_peer, queued, send_to};
use crate::support::{HOST, PEER, Peer, close, enter_namespace, run, try_run, wait_for};
use shimq_netfilter::queue::{BatchQueue, Queue, QueueConfig, QueuedPacket, Verdict};
use shimq_netfilter::rules::{
    Change, Direction, Exclusions, InputHook, Mode, Prefix, Ruleset, RulesetConfig, Trigger,
};

#[test]
fn what_goes_into_silence_is_shown_whole_and_passes_unjudged() {
    if !enter_namespace() {
        return;
    }
    let peer = Peer::connect();
    let config = RulesetConfig::default();
    let mut queue = BatchQueue::open(&QueueConfig {
        max_len: 1,
        ..QueueConfig::keep(config.keep.start)
    })
    .unwrap();
    let mut rules = Ruleset::load(&config).unwrap();
    let mut changes = both(Change::Count, host_and_peer()).to_vec();
    changes.push(Change::AddIdentity(address(HOST)));
    rules.apply(&changes).unwrap();
    peer.run("nft insert rule ip6 quiet input udp length 1008 counter");
    for _ in 0..3 {
        send_to(9, &[0; 1000]);
        // Longer than a pair is left alone after one of its packets was shown.
        std::thread::sleep(Duration::from_millis(50));
    }
    wait_for("those that found the queue full", || {
        peer.run("nft list chain ip6 quiet input")
            .contains("packets 2")
    });
    let mut lengths = vec![];
    let mut judge = |packet: &mut QueuedPacket<'_>| {
        lengths.push(packet.octets().len());
        Verdict::Accept
    };
    queue.serve(Some(Duration::ZERO), &mut judge).unwrap();
    assert_eq!(lengths, [1048]);
}

#[test]
fn what_is_only_counted_is_never_shown_and_says_nothing_of_the_peer() {
    if !enter_namespace() {
        return;
    }
    let peer = Peer::connect();
    let config = RulesetConfig::default();
    let mut queue = BatchQueue::open(&QueueConfig::keep(config.keep.start)).unwrap();
    let mut rules = Ruleset::load(&config).unwrap();
    let mut changes = both(Change::CountOnly, host_and_peer()).to_vec();
    changes.push(Change::AddIdentity(address(HOST)));
    rules.apply(&changes).unwrap();
    let count = |direction, rules: &mut Ruleset| {
        let mut counts = vec![];
        rules.read_contexts(direction, &mut counts).unwrap();
        assert_eq!(counts.len(), 1);
        counts[0].packets
    };
    send_to(9, b"into silence");
    peer.run(&format!("ping -6 -q -c 1 -W 5 {HOST}"));
    send_to(9, b"to one who was heard");
    assert_eq!(queued(&mut queue), 0);
    // The answer to the ping is one more.
    assert_eq!(count(Direction::Out, &mut rules), 3);
    assert_eq!(count(Direction::In, &mut rules), 1);

    let watched = [
        Change::StopCounting(host_and_peer(), Direction::Out),
        Change::Count(host_and_peer(), Direction::Out),
    ];
    rules.apply(&watched).unwrap();
    assert_eq!(count(Direction::Out, &mut rules), 0);
    send_to(9, b"to one of whom nothing was noted");
    assert_eq!(queued(&mut queue), 1);
}

#[test]
fn a_mapped_pair_is_queued_however_well_its_peer_is_heard() {
    if !enter_namespace() {
        return;
    }
    let peer = Peer::connect();
    let config = RulesetConfig {
        suspicious_silence: Duration::from_mins(1),
        ..RulesetConfig::default()
    };
    let mut queue = BatchQueue::open(&QueueConfig::rewrite(config.rewrite.start)).unwrap();
    let mut rules = Ruleset::load(&config).unwrap();
    let mut changes = both(Change::Count, host_and_peer()).to_vec();
    changes.push(Change::AddIdentity(address(HOST)));
    rules.apply(&changes).unwrap();
    peer.run(&format!("ping -6 -q -c 1 -W 5 {HOST}"));
    assert_eq!(queued(&mut queue), 0);
    rules
        .apply(&[
            Change::Map(host_and_peer()),
            Change::StopCounting(host_and_peer(), Direction::Out),
        ])
        .unwrap();
    send_to(9, b"x");
    assert_eq!(queued(&mut queue), 1);
}

#[test]
fn excluded_foreign_and_own_packets_never_reach_a_queue() {
    if !enter_namespace() {
        return;
    }
    let _peer = Peer::connect();
    run("ip -6 addr add 2001:db8::3/64 dev host nodad");
    for mode in [Mode::Queue, Mode::QueueAll] {
        let config = RulesetConfig {
            mode,
            trigger: Trigger::Everything,
            excluded: Exclusions {
                ports: vec![53],
                marks: vec![0x10],
                ..Exclusions::default()
            },
            ..RulesetConfig::default()
        };
        let mut queue = BatchQueue::open(&QueueConfig::observe(config.observe.start)).unwrap();
        let mut rules = Ruleset::load(&config).unwrap();
        rules.apply(&[Change::AddIdentity(address(HOST))]).unwrap();

        send_to(53, b"excluded port");
        let foreign = UdpSocket::bind("[2001:db8::3]:0").unwrap();
        foreign.send_to(b"not an identity", (PEER, 9)).unwrap();
        send_marked(config.own_mark, b"own");
        send_marked(0x10, b"excluded mark");
        let myself = UdpSocket::bind((HOST, 0)).unwrap();
        myself.send_to(b"to myself", (HOST, 9)).unwrap();
        assert_eq!(queued(&mut queue), 0, "{mode:?}");

        let peer = Exclusions {
            peers: vec![Prefix::new(address(PEER), 128).unwrap()],
            ..Exclusions::default()
        };
        rules.set_exclusions(&peer).unwrap();
        send_to(9, b"excluded peer");
        assert_eq!(queued(&mut queue), 0, "{mode:?}");
        rules.set_exclusions(&Exclusions::default()).unwrap();
        send_to(53, b"no longer excluded");
        send_marked(0x10, b"no longer excluded");
        assert_eq!(queued(&mut queue), 2, "{mode:?}");
        close((queue, rules));
    }
}

#[test]
fn a_packet_is_of_the_user_who_made_its_socket_and_without_one_of_nobody() {
    if !enter_namespace() {
        return;
    }
    let peer = Peer::connect();
    let config = RulesetConfig::default();
    let mut queue = BatchQueue::open(&QueueConfig::rewrite(config.rewrite.start)).unwrap();
    let mut rules = Ruleset::load(&config).unwrap();
    rules
        .apply(&[
            Change::AddIdentity(address(HOST)),
            Change::Map(host_and_peer()),
        ])
        .unwrap();
    // 0 in a user namespace of its own, whoever that is outside.
    let uid = rustix::process::getuid().as_raw();
    for (excluded, expected) in [(uid + 1, 1), (uid, 0)] {
        let users = Exclusions {
            users: vec![excluded],
            ..Exclusions::default()
        };
        rules.set_exclusions(&users).unwrap();
        send_to(9, b"of a mapped pair");
        assert_eq!(queued(&mut queue), expected, "without user {excluded}");
    }

    let request = [128, 0, 0, 0, 0, 1, 0, 1];
    let to = std::net::SocketAddrV6::new(address(HOST), 0, 0, 0);
    let flags = rustix::net::SendFlags::empty();
    rustix::net::sendto(peer.raw_socket(58), &request, flags, &to).unwrap();
    wait_for("the kernel's own reply", || queued(&mut queue) == 1);
}

#[test]
fn everything_is_queued_in_both_directions_if_so_configured() {
    if !enter_namespace() {
        return;
    }
    let peer = Peer::connect();
    for input_hook in [InputHook::Input, InputHook::Prerouting] {
        let config = RulesetConfig {
            mode: Mode::QueueAll,
            input_hook,
            ..RulesetConfig::default()
        };
        let mut queue = BatchQueue::open(&QueueConfig::observe(config.observe.start)).unwrap();
        let mut rules = Ruleset::load(&config).unwrap();
        rules.apply(&[Change::AddIdentity(address(HOST))]).unwrap();
        let ping = std::thread::scope(|scope| {
            let ping = scope.spawn(|| peer.run(&format!("ping -6 -c 2 -i 0.01 -W 5 {HOST}")));
            let mut hooks = vec![];
            wait_for("two echoes", || {
                let tick = Duration::from_millis(100);
                let mut judge = |packet: &mut QueuedPacket<'_>| {
                    hooks.push(packet.hook);
                    Verdict::Accept
                };
                queue.serve(Some(tick), &mut judge).unwrap();
                hooks.len() >= 4
            });
            assert_eq!(hooks.len(), 4, "{hooks:?}");
            ping.join().unwrap()
        });
        assert!(ping.contains("2 received"), "{ping}");
        close((queue, rules));
    }
}

#[test]
fn tagged_packets_and_errors_about_them_are_queued_if_they_are_for_this_host() {
    if !enter_namespace() {
        return;
    }
    let peer = Peer::connect();
    run("sysctl -q net.ipv6.conf.all.forwarding=1");
    peer.run("ip -6 route add 2001:db8:f::/48 via 2001:db8::1");
    let tagged = peer.raw_socket(140);
    let icmpv6 = peer.raw_socket(58);
    let send = |socket: &std::os::fd::OwnedFd, octets: &[u8], to: &str| {
        let to = std::net::SocketAddrV6::new(address(to), 0, 0, 0);
        rustix::net::sendto(socket, octets, rustix::net::SendFlags::empty(), &to).unwrap();
    };
    let error_about = |next_header: u8| {
        let mut error = vec![0; 8 + 40 + 8];
        error[0] = 1;
        error[8] = 0x60;
        error[8 + 6] = next_header;
        error
    };
    for input_hook in [InputHook::Input, InputHook::Prerouting] {
        let config = RulesetConfig {
            input_hook,
            ..RulesetConfig::default()
        };
        let mut queue = BatchQueue::open(&QueueConfig::rewrite(config.rewrite.start)).unwrap();
        let mut rules = Ruleset::load(&config).unwrap();
        rules.apply(&[Change::AddIdentity(address(HOST))]).unwrap();
        let mut next_headers = vec![];
        send(&tagged, &[59, 0, 0x80, 0, 0, 0, 0, 1], HOST);
        send(&icmpv6, &error_about(140), HOST);
        send(&icmpv6, &error_about(17), HOST);
        send(&tagged, &[59, 0, 0x80, 0, 0, 0, 0, 1], "2001:db8:f::1");
        send(&icmpv6, &error_about(140), "2001:db8:f::1");
        send(&tagged, &[59, 0, 0x80, 0, 0, 0, 0, 1], HOST);
        wait_for("the packets", || {
            let mut judge = |packet: &mut QueuedPacket<'_>| {
                next_headers.push(packet.octets()[6]);
                Verdict::Drop
            };
            queue
                .serve(Some(Duration::from_millis(100)), &mut judge)
                .unwrap();
            next_headers.len() >= 3
        });
        assert_eq!(next_headers, [140, 58, 140], "{input_hook:?}");
        close((queue, rules));
    }
}

#[test]
fn without_a_daemon_mapped_pairs_pass_unmapped_and_tagged_packets_end() {
    if !enter_namespace() {
        return;
    }
    let peer = Peer::connect();
    let mut rules = Ruleset::load(&RulesetConfig::default()).unwrap();
    rules
        .apply(&[
            Change::AddIdentity(address(HOST)),
            Change::Map(host_and_peer()),
        ])
        .unwrap();
    peer.run(&format!("ping -6 -q -c 1 -W 5 {HOST}"));

    let tagged = peer.raw_socket(140);
    let to = std::net::SocketAddrV6::new(address(HOST), 0, 0, 0);
    let flags = rustix::net::SendFlags::empty();
    rustix::net::sendto(&tagged, &[59, 0, 0x80, 0, 0, 0, 0, 1], flags, &to).unwrap();
    // The echo comes after the tagged packet. Had that reached the stack, it would have been answered with an error.
    peer.run(&format!("ping -6 -q -c 1 -W 5 {HOST}"));
    let errors = peer.run("cat /proc/net/snmp6");
    let count = errors
        .lines()
        .find(|line| line.starts_with("Icmp6InParmProblems"))
        .unwrap();
    assert!(count.ends_with("\t0") || count.ends_with(" 0"), "{count}");
}

#[test]
fn without_bypass_mapped_pairs_end_where_nobody_serves_their_queue_and_no_others() {
    if !enter_namespace() {
        return;
    }
    let _peer = Peer::connect();
    run("ip -6 addr add 2001:db8::3/64 dev host nodad");
    for bypass in [true, false] {
        let config = RulesetConfig {
            bypass,
            ..RulesetConfig::default()
        };
        let mut rules = Ruleset::load(&config).unwrap();
        let identities = [HOST, "2001:db8::3"].map(|own| Change::AddIdentity(address(own)));
        rules.apply(&identities).unwrap();
        rules.apply(&[Change::Map(host_and_peer())]).unwrap();
        let answered = |from| try_run(&format!("ping -6 -q -c 1 -W 1 -s 4000 -I {from} {PEER}")).0;
        assert_eq!(answered(HOST), bypass);
        // Worth a question that nobody hears.
        assert!(answered("2001:db8::3"));
        close(rules);
    }
}

/// Sends a datagram with a mark.
fn send_marked(mark: u32, payload: &[u8]) {
    let socket = UdpSocket::bind((HOST, 0)).unwrap();
    socket2::SockRef::from(&socket).set_mark(mark).unwrap();
    socket.send_to(payload, (PEER, 9)).unwrap();
}
