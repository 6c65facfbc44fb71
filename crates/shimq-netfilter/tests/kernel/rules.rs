//! The ruleset against the kernel: what it counts, what it queues, what it leaves alone.

use std::net::{Ipv6Addr, UdpSocket};
use std::time::{Duration, Instant};

use crate::support::{HOST, PEER, Peer, close, enter_namespace, run, try_run, wait_for};
use shimq_netfilter::queue::{BatchQueue, Queue, QueueConfig, QueuedPacket, Verdict};
use shimq_netfilter::rules::{
    AddressPair, Change, ContextCount, Direction, InputHook, Mode, Prefix, RulesError, Ruleset,
    RulesetConfig, Statement, Trigger, print,
};

fn address(text: &str) -> Ipv6Addr {
    text.parse().expect("an address")
}

fn host_and_peer() -> AddressPair {
    AddressPair {
        local: address(HOST),
        peer: address(PEER),
    }
}

/// Sends a datagram from [`HOST`] to `port` of [`PEER`], where nobody listens.
fn send_to(port: u16, payload: &[u8]) {
    let socket = UdpSocket::bind((HOST, 0)).unwrap();
    socket.send_to(payload, (PEER, port)).unwrap();
}

/// Packets that wait in the queue; they are judged.
fn queued(queue: &mut BatchQueue) -> u32 {
    let mut packets = 0;
    loop {
        let served = queue
            .serve(Duration::ZERO, &mut |_| Verdict::Accept)
            .unwrap();
        if served.packets == 0 {
            return packets;
        }
        packets += served.packets;
    }
}

fn configurations() -> impl Iterator<Item = RulesetConfig> {
    let counted = RulesetConfig::default().trigger;
    let triggers = [counted, Trigger::Everything, Trigger::Never];
    let queue_all = (Mode::QueueAll, counted);
    let modes = triggers.map(|trigger| (Mode::Queue, trigger));
    modes
        .into_iter()
        .chain([queue_all])
        .flat_map(|(mode, trigger)| {
            [InputHook::Input, InputHook::Prerouting].map(|input_hook| RulesetConfig {
                mode,
                trigger,
                input_hook,
                ..RulesetConfig::default()
            })
        })
}

/// Counts a context in both directions, or ceases to.
fn both(change: fn(AddressPair, Direction) -> Change, pair: AddressPair) -> [Change; 2] {
    [Direction::Out, Direction::In].map(|direction| change(pair, direction))
}

#[test]
fn the_table_loads_is_found_right_and_vanishes_with_its_owner() {
    if !enter_namespace() {
        return;
    }
    for config in configurations() {
        let mut rules = Ruleset::load(&config).unwrap();
        eprintln!("{}", rules.statement());
        rules.verify().unwrap();
        assert!(run("nft list tables").contains("table ip6 shimq"));
        // Nobody else can touch it.
        assert!(!try_run("nft delete table ip6 shimq").0);
        run("nft flush ruleset");
        rules.verify().unwrap();
        close(rules);
    }
}

#[test]
fn excluded_prefixes_and_ports_are_loaded_and_replaced() {
    if !enter_namespace() {
        return;
    }
    let prefix = |text: &str, len| Prefix::new(address(text), len).unwrap();
    let config = RulesetConfig {
        excluded_peers: vec![
            prefix("2001:db8:1::", 48),
            prefix("2001:db8:2::", 48),
            prefix("2001:db8:2:3::", 64),
            prefix("ff00::", 8),
        ],
        excluded_ports: vec![123, 53, 123],
        ..RulesetConfig::default()
    };
    let mut rules = Ruleset::load(&config).unwrap();
    let peers = run("nft list set ip6 shimq excluded_peers");
    assert!(peers.contains("2001:db8:1::-2001:db8:2:ffff:") || peers.contains("2001:db8:1::/48"));
    assert!(peers.contains("ff00::/8"), "{peers}");
    let ports = run("nft list set ip6 shimq excluded_ports");
    assert!(ports.contains("53") && ports.contains("123"), "{ports}");

    rules
        .set_exclusions(&[prefix("2001:db8:9::", 48)], &[])
        .unwrap();
    let peers = run("nft list set ip6 shimq excluded_peers");
    assert!(
        peers.contains("2001:db8:9::/48") && !peers.contains("ff00"),
        "{peers}"
    );
    let table = run("nft list table ip6 shimq");
    assert!(!table.contains("excluded_ports"), "{table}");
    rules.verify().unwrap();
    rules.set_exclusions(&[], &[53]).unwrap();
    let table = run("nft list table ip6 shimq");
    assert!(!table.contains("excluded_peers"), "{table}");
    assert!(table.contains("udp dport @excluded_ports"), "{table}");
    rules.verify().unwrap();
}

#[test]
fn a_second_owner_is_told_who_the_first_is() {
    if !enter_namespace() {
        return;
    }
    let config = RulesetConfig::default();
    let _first = Ruleset::load(&config).unwrap();
    let second = Ruleset::load(&config).err();
    assert!(
        matches!(second, Some(RulesError::Owned { .. })),
        "{second:?}"
    );
}

#[test]
fn a_table_without_an_owner_is_left_alone() {
    if !enter_namespace() {
        return;
    }
    run("nft add table ip6 shimq");
    let refused = Ruleset::load(&RulesetConfig::default()).err();
    assert!(matches!(refused, Some(RulesError::Exists)), "{refused:?}");
    assert!(run("nft list tables").contains("table ip6 shimq"));
}

#[test]
fn other_tables_are_untouched() {
    if !enter_namespace() {
        return;
    }
    run("nft add table ip6 other");
    run("nft add chain ip6 other output { type filter hook output priority 0 ; }");
    run("nft add rule ip6 other output udp dport 9 counter");
    let before = run("nft -a list ruleset");
    let mut rules = Ruleset::load(&RulesetConfig::default()).unwrap();
    rules.apply(&[Change::AddIdentity(address(HOST))]).unwrap();
    assert!(run("nft -a list ruleset").contains(&before));
    drop(rules);
    wait_for("our table to go", || run("nft -a list ruleset") == before);
}

#[test]
fn contexts_are_counted_both_ways_from_when_they_were_added() {
    if !enter_namespace() {
        return;
    }
    let peer = Peer::connect();
    for input_hook in [InputHook::Input, InputHook::Prerouting] {
        let config = RulesetConfig {
            input_hook,
            ..RulesetConfig::default()
        };
        let mut rules = Ruleset::load(&config).unwrap();
        let ping = || peer.run(&format!("ping -6 -q -c 3 -i 0.01 -s 100 -W 5 {HOST}"));
        ping();
        rules
            .apply(&[
                Change::AddIdentity(address(HOST)),
                Change::Count(host_and_peer(), Direction::Out),
                Change::Count(host_and_peer(), Direction::In),
            ])
            .unwrap();
        ping();
        let mut counts = vec![];
        for direction in [Direction::Out, Direction::In] {
            rules.read_contexts(direction, &mut counts).unwrap();
            let expected = ContextCount {
                pair: host_and_peer(),
                packets: 3,
                octets: 3 * (40 + 8 + 100),
            };
            assert_eq!(counts, [expected], "{direction:?}");
        }
        rules
            .apply(&both(Change::StopCounting, host_and_peer()))
            .unwrap();
        rules.read_contexts(Direction::Out, &mut counts).unwrap();
        assert_eq!(counts, []);
        close(rules);
    }
}

#[test]
fn thousands_of_contexts_come_are_listed_and_go() {
    if !enter_namespace() {
        return;
    }
    let mut rules = Ruleset::load(&RulesetConfig::default()).unwrap();
    let pairs: Vec<_> = (0..5000)
        .map(|number: u16| AddressPair {
            local: address(HOST),
            peer: Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, number),
        })
        .collect();
    let changes = |change: fn(AddressPair, Direction) -> Change| -> Vec<_> {
        pairs.iter().flat_map(|&pair| both(change, pair)).collect()
    };
    rules.apply(&changes(Change::Count)).unwrap();
    let mut counts = vec![];
    for direction in [Direction::Out, Direction::In] {
        // Complete once the kernel has grown the table for so many; until then it misses some.
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            rules.read_contexts(direction, &mut counts).unwrap();
            assert!(counts.iter().all(|count| {
                count.packets == 0 && count.octets == 0 && pairs.binary_search(&count.pair).is_ok()
            }));
            let mut listed: Vec<_> = counts.iter().map(|count| count.pair).collect();
            listed.sort_unstable();
            if listed == pairs {
                break;
            }
            assert!(Instant::now() < deadline, "{direction:?}: {}", listed.len());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    rules.apply(&changes(Change::StopCounting)).unwrap();
    rules.read_contexts(Direction::In, &mut counts).unwrap();
    assert_eq!(counts, []);
}

#[test]
fn repeated_and_needless_changes_are_no_errors_and_keep_the_others() {
    if !enter_namespace() {
        return;
    }
    let mut rules = Ruleset::load(&RulesetConfig::default()).unwrap();
    let pair = |last| AddressPair {
        local: address(HOST),
        peer: Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, last),
    };
    rules.apply(&both(Change::Count, pair(1))).unwrap();
    rules.apply(&both(Change::Count, pair(2))).unwrap();
    rules.apply(&both(Change::Count, pair(1))).unwrap();
    let mut changes = both(Change::StopCounting, pair(7)).to_vec();
    changes.extend(both(Change::StopCounting, pair(1)));
    changes.extend(both(Change::Count, pair(3)));
    changes.push(Change::Unmap(pair(3)));
    rules.apply(&changes).unwrap();
    let mut counts = vec![];
    for direction in [Direction::Out, Direction::In] {
        rules.read_contexts(direction, &mut counts).unwrap();
        let mut listed: Vec<_> = counts.iter().map(|count| count.pair).collect();
        listed.sort_unstable();
        assert_eq!(listed, [pair(2), pair(3)]);
    }
}

#[test]
fn two_kilobytes_pass_before_a_pair_is_asked_about() {
    if !enter_namespace() {
        return;
    }
    let _peer = Peer::connect();
    let config = RulesetConfig::default();
    let mut queue = BatchQueue::open(&QueueConfig::observe(config.observe.start)).unwrap();
    let mut rules = Ruleset::load(&config).unwrap();
    rules.apply(&[Change::AddIdentity(address(HOST))]).unwrap();
    // 8 packets of 250 octets make 2000; 9 make 2250.
    for _ in 0..8 {
        send_to(9, &[0; 250 - 48]);
    }
    assert_eq!(queued(&mut queue), 0);
    for _ in 0..3 {
        send_to(9, &[0; 250 - 48]);
    }
    assert_eq!(queued(&mut queue), 1, "the ninth stands for those after it");

    rules
        .apply(&[Change::Decline(host_and_peer(), Duration::from_secs(60))])
        .unwrap();
    send_to(9, b"x");
    assert_eq!(queued(&mut queue), 0, "declined");
}

#[test]
fn a_pair_that_nobody_answers_for_is_shown_once_in_a_while() {
    if !enter_namespace() {
        return;
    }
    let _peer = Peer::connect();
    let config = RulesetConfig::default();
    // Bound and not served, as by a process that is stopped.
    let mut queue = BatchQueue::open(&QueueConfig::observe(config.observe.start)).unwrap();
    let mut rules = Ruleset::load(&config).unwrap();
    rules.apply(&[Change::AddIdentity(address(HOST))]).unwrap();
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < Duration::from_millis(1500) {
        send_to(9, &[0; 1000]);
        sent += 1;
        std::thread::sleep(Duration::from_millis(5));
    }
    let periods = start.elapsed().as_secs() as u32 + 1;
    let held = queued(&mut queue);
    assert!((2..=periods).contains(&held), "{held} of {sent}");
}

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
    queue.serve(Duration::ZERO, &mut judge).unwrap();
    assert_eq!(lengths, [1048]);
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
fn who_only_responds_is_asked_nothing() {
    if !enter_namespace() {
        return;
    }
    let _peer = Peer::connect();
    let config = RulesetConfig {
        trigger: Trigger::Never,
        ..RulesetConfig::default()
    };
    let mut queue = BatchQueue::open(&QueueConfig::observe(config.observe.start)).unwrap();
    let mut rules = Ruleset::load(&config).unwrap();
    let decline = Change::Decline(host_and_peer(), Duration::from_secs(60));
    rules
        .apply(&[Change::AddIdentity(address(HOST)), decline])
        .unwrap();
    for _ in 0..10 {
        send_to(9, &[0; 1000]);
    }
    assert_eq!(queued(&mut queue), 0);
    let table = run("nft list table ip6 shimq");
    for set in ["young", "active", "asked", "declined"] {
        assert!(!table.contains(&format!("set {set}")), "{table}");
    }
}

#[test]
fn without_a_rule_in_the_kernel_the_first_packet_asks() {
    if !enter_namespace() {
        return;
    }
    let _peer = Peer::connect();
    let config = RulesetConfig {
        trigger: Trigger::Everything,
        ..RulesetConfig::default()
    };
    let mut queue = BatchQueue::open(&QueueConfig::observe(config.observe.start)).unwrap();
    let mut rules = Ruleset::load(&config).unwrap();
    rules.apply(&[Change::AddIdentity(address(HOST))]).unwrap();
    send_to(9, b"x");
    assert_eq!(queued(&mut queue), 1);
}

#[test]
fn a_pair_that_sends_little_but_long_is_asked_about_at_its_age() {
    if !enter_namespace() {
        return;
    }
    let _peer = Peer::connect();
    let age = Duration::from_secs(1);
    let config = RulesetConfig {
        trigger: Trigger::Counted {
            octets: 1 << 30,
            age,
        },
        ..RulesetConfig::default()
    };
    let mut queue = BatchQueue::open(&QueueConfig::observe(config.observe.start)).unwrap();
    let mut rules = Ruleset::load(&config).unwrap();
    rules.apply(&[Change::AddIdentity(address(HOST))]).unwrap();
    let start = Instant::now();
    let asked_after = loop {
        send_to(9, b"x");
        if queued(&mut queue) > 0 {
            break start.elapsed();
        }
        assert!(start.elapsed() < 5 * age, "never asked");
        std::thread::sleep(age / 20);
    };
    // The kernel tells ages in ticks.
    assert!(
        asked_after + Duration::from_millis(20) >= age,
        "{asked_after:?}"
    );
    assert!(asked_after < 2 * age, "{asked_after:?}");
}

#[test]
fn a_pair_that_pauses_for_the_age_starts_anew() {
    if !enter_namespace() {
        return;
    }
    let _peer = Peer::connect();
    let age = Duration::from_millis(300);
    let config = RulesetConfig {
        trigger: Trigger::Counted { octets: 2048, age },
        ..RulesetConfig::default()
    };
    let mut queue = BatchQueue::open(&QueueConfig::observe(config.observe.start)).unwrap();
    let mut rules = Ruleset::load(&config).unwrap();
    rules.apply(&[Change::AddIdentity(address(HOST))]).unwrap();
    for _ in 0..3 {
        send_to(9, b"x");
        std::thread::sleep(2 * age);
    }
    assert_eq!(queued(&mut queue), 0);
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
            excluded_ports: vec![53],
            ..RulesetConfig::default()
        };
        let mut queue = BatchQueue::open(&QueueConfig::observe(config.observe.start)).unwrap();
        let mut rules = Ruleset::load(&config).unwrap();
        rules.apply(&[Change::AddIdentity(address(HOST))]).unwrap();

        send_to(53, b"excluded port");
        let foreign = UdpSocket::bind("[2001:db8::3]:0").unwrap();
        foreign.send_to(b"not an identity", (PEER, 9)).unwrap();
        let own = UdpSocket::bind((HOST, 0)).unwrap();
        socket2::SockRef::from(&own)
            .set_mark(config.own_mark)
            .unwrap();
        own.send_to(b"marked", (PEER, 9)).unwrap();
        let myself = UdpSocket::bind((HOST, 0)).unwrap();
        myself.send_to(b"to myself", (HOST, 9)).unwrap();
        assert_eq!(queued(&mut queue), 0, "{mode:?}");

        let peer = Prefix::new(address(PEER), 128).unwrap();
        rules.set_exclusions(&[peer], &[]).unwrap();
        send_to(9, b"excluded peer");
        assert_eq!(queued(&mut queue), 0, "{mode:?}");
        rules.set_exclusions(&[], &[]).unwrap();
        send_to(53, b"no longer excluded");
        assert_eq!(queued(&mut queue), 1, "{mode:?}");
        close((queue, rules));
    }
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
                queue.serve(tick, &mut judge).unwrap();
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
            queue.serve(Duration::from_millis(100), &mut judge).unwrap();
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
fn operators_text_loads_where_the_kernel_has_the_queue_expression() {
    if !enter_namespace() {
        return;
    }
    for config in configurations() {
        let path = std::env::temp_dir().join(format!("shimq-{}.nft", std::process::id()));
        std::fs::write(&path, print(&config)).unwrap();
        let load = format!("nft -f {}", path.display());
        let (loaded, said) = try_run(&load);
        if Statement::probe().unwrap() == Statement::XtCompat {
            assert!(!loaded);
            eprintln!("SKIPPED: no queue expression in this kernel");
            return;
        }
        assert!(loaded, "{said}");
        // A second time, to replace the first.
        run(&load);
        std::fs::remove_file(&path).unwrap();
        let mut rules = Ruleset::attach(&config).unwrap();
        rules.verify().unwrap();
        run("nft delete table ip6 shimq");
    }
}
