//! Queues against the kernel: packets really cross them.

use std::io;
use std::net::{Ipv6Addr, UdpSocket};
use std::time::Duration;

use crate::support::{HOST, PEER, Peer, close, enter_namespace, run, wait_for};
use shimq_netfilter::queue::{
    BatchQueue, HEADROOM, Hook, PlainQueue, Queue, QueueConfig, QueueError, QueuedPacket, Verdict,
    statistics,
};
use shimq_netfilter::rules::{AddressPair, Change, InputHook, Mode, Ruleset, RulesetConfig};

const OBSERVE: u16 = 7000;
const REWRITE: u16 = 7100;
const TICK: Duration = Duration::from_millis(200);

type Open = fn(&QueueConfig) -> Result<Box<dyn Queue>, QueueError>;

/// Both implementations: what is true of one is true of the other.
const BACKENDS: [(&str, Open); 2] = [
    ("batch", |config| Ok(Box::new(BatchQueue::open(config)?))),
    ("plain", |config| Ok(Box::new(PlainQueue::open(config)?))),
];

fn rules(mode: Mode, input_hook: InputHook) -> Ruleset {
    let config = RulesetConfig {
        mode,
        input_hook,
        observe: OBSERVE..OBSERVE + 1,
        rewrite: REWRITE..REWRITE + 1,
        ..RulesetConfig::default()
    };
    Ruleset::load(&config).expect("the ruleset loads")
}

fn address(text: &str) -> Ipv6Addr {
    text.parse().expect("an address")
}

fn pair(local: &str, peer: &str) -> AddressPair {
    AddressPair {
        local: address(local),
        peer: address(peer),
    }
}

/// Sends `count` datagrams from [`HOST`] to [`PEER`], where nobody listens.
fn send(payload: &[u8], count: usize) {
    let socket = UdpSocket::bind((HOST, 0)).unwrap();
    for _ in 0..count {
        socket.send_to(payload, (PEER, 9)).unwrap();
    }
}

/// Serves until `packets` were judged.
fn serve(
    queue: &mut dyn Queue,
    packets: u32,
    mut judge: impl FnMut(&mut QueuedPacket<'_>) -> Verdict,
) {
    let mut judged = 0;
    wait_for("packets in the queue", || {
        judged += queue.serve(TICK, &mut judge).unwrap().packets;
        judged >= packets
    });
    assert_eq!(judged, packets);
}

/// Inserts 8 octets behind the IPv6 header, as protocol 140, using the headroom.
fn tag(packet: &mut QueuedPacket<'_>) -> Verdict {
    let start = packet.start - HEADROOM;
    packet
        .buf
        .copy_within(packet.start..packet.start + 40, start);
    let header = &mut packet.buf[start..start + 48];
    let next = header[6];
    header[6] = 140;
    header[40..].copy_from_slice(&[next, 0, 0x80, 0, 0, 0, 0, 1]);
    let len = u16::from_be_bytes([header[4], header[5]]) + 8;
    header[4..6].copy_from_slice(&len.to_be_bytes());
    Verdict::Rewrite(start..packet.end)
}

/// Undoes [`tag`].
fn untag(packet: &mut QueuedPacket<'_>) -> Verdict {
    let start = packet.start + 8;
    let next = packet.buf[packet.start + 40];
    packet
        .buf
        .copy_within(packet.start..packet.start + 40, start);
    let header = &mut packet.buf[start..start + 40];
    header[6] = next;
    let len = u16::from_be_bytes([header[4], header[5]]) - 8;
    header[4..6].copy_from_slice(&len.to_be_bytes());
    Verdict::Rewrite(start..packet.end)
}

#[test]
fn a_packet_grows_by_a_header_on_the_way_out_and_loses_it_on_the_way_in() {
    if !enter_namespace() {
        return;
    }
    run("ip -6 addr add 2001:db8::1/128 dev lo nodad");
    run("ip -6 addr add 2001:db8::2/128 dev lo nodad");
    for (name, open) in BACKENDS {
        for (hook, arrived_at) in [
            (InputHook::Input, Hook::LocalIn),
            (InputHook::Prerouting, Hook::PreRouting),
        ] {
            let mut queue = open(&QueueConfig::rewrite(REWRITE)).unwrap();
            let mut rules = rules(Mode::Queue, hook);
            rules
                .apply(&[
                    Change::AddIdentity(address(HOST)),
                    Change::AddIdentity(address(PEER)),
                    Change::Map(pair(HOST, PEER)),
                ])
                .unwrap();
            let receiver = UdpSocket::bind((PEER, 0)).unwrap();
            receiver
                .set_read_timeout(Some(Duration::from_secs(5)))
                .unwrap();
            let outgoing = UdpSocket::bind((HOST, 0)).unwrap();
            let to = receiver.local_addr().unwrap();
            // Odd lengths leave padding behind the attribute. 80 packets take two wake-ups; with more of them in the
            // queue a socket blocks.
            let sent: Vec<Vec<u8>> = (0..80).map(|n: usize| vec![n as u8; n * 7]).collect();
            for payload in &sent {
                outgoing.send_to(payload, to).unwrap();
            }
            let mut seen = vec![];
            serve(queue.as_mut(), 160, |packet| {
                assert!(!packet.truncated && !packet.segmented && !packet.checksum_missing);
                seen.push((packet.hook, packet.octets().len()));
                match packet.octets()[6] {
                    140 => untag(packet),
                    _ => tag(packet),
                }
            });
            let lengths = |hook| -> Vec<_> {
                let at_hook = seen.iter().filter(|(seen, _)| *seen == hook);
                at_hook.map(|(_, len)| *len).collect()
            };
            let out = lengths(Hook::LocalOut);
            assert_eq!(
                out,
                sent.iter().map(|p| 48 + p.len()).collect::<Vec<_>>(),
                "{name}"
            );
            assert_eq!(
                lengths(arrived_at),
                out.iter().map(|len| len + 8).collect::<Vec<_>>()
            );
            let mut buf = [0; 2048];
            for payload in &sent {
                let len = receiver.recv(&mut buf).expect(name);
                assert_eq!(&buf[..len], payload, "{name}");
            }
            close((queue, rules));
        }
    }
}

#[test]
fn accepted_rewritten_and_dropped_packets_may_alternate() {
    if !enter_namespace() {
        return;
    }
    run("ip -6 addr add 2001:db8::1/128 dev lo nodad");
    run("ip -6 addr add 2001:db8::2/128 dev lo nodad");
    for (name, open) in BACKENDS {
        let mut queue = open(&QueueConfig::rewrite(REWRITE)).unwrap();
        let mut rules = rules(Mode::Queue, InputHook::Input);
        let changes = [
            Change::AddIdentity(address(HOST)),
            Change::Map(pair(HOST, PEER)),
        ];
        rules.apply(&changes).unwrap();
        let receiver = UdpSocket::bind((PEER, 0)).unwrap();
        receiver
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let outgoing = UdpSocket::bind((HOST, 0)).unwrap();
        for number in 0..60_u8 {
            outgoing
                .send_to(&[number], receiver.local_addr().unwrap())
                .unwrap();
        }
        serve(queue.as_mut(), 60, |packet| {
            let last = packet.end - 1;
            match packet.buf[last] % 5 {
                0 | 1 => Verdict::Accept,
                2 => {
                    // One up in the payload, one down in the checksum.
                    packet.buf[last] += 100;
                    let checksum = &mut packet.buf[packet.start + 46..packet.start + 48];
                    let sum = u16::from_be_bytes([checksum[0], checksum[1]]);
                    let (sum, carried) = sum.overflowing_sub(100 << 8);
                    checksum.copy_from_slice(&(sum - u16::from(carried)).to_be_bytes());
                    Verdict::Rewrite(packet.start..packet.end)
                }
                _ => Verdict::Drop,
            }
        });
        let mut expected: Vec<u8> = (0..60).filter(|number| number % 5 < 3).collect();
        for number in &mut expected {
            *number += if *number % 5 == 2 { 100 } else { 0 };
        }
        let mut buf = [0; 8];
        let arrived: Vec<u8> = expected
            .iter()
            .map(|_| receiver.recv(&mut buf).map(|_| buf[0]).expect(name))
            .collect();
        assert_eq!(arrived, expected, "{name}");
        assert_eq!(statistics().unwrap()[0].waiting, 0, "{name}");
        close((queue, rules));
    }
}

#[test]
fn an_observer_sees_the_head_of_a_packet_and_its_whole_length() {
    if !enter_namespace() {
        return;
    }
    let _peer = Peer::connect();
    for (name, open) in BACKENDS {
        let mut queue = open(&QueueConfig::observe(OBSERVE)).unwrap();
        let mut rules = rules(Mode::QueueAll, InputHook::Input);
        rules.apply(&[Change::AddIdentity(address(HOST))]).unwrap();
        send(&[7; 1000], 1);
        serve(queue.as_mut(), 1, |packet| {
            assert_eq!(packet.octets().len(), 128, "{name}");
            assert_eq!(packet.original_len, 1048);
            assert!(packet.truncated && packet.checksum_missing);
            assert_eq!((packet.hook, packet.mark), (Hook::LocalOut, 0));
            Verdict::Accept
        });
        close((queue, rules));
    }
}

#[test]
fn a_taken_number_names_its_holder() {
    if !enter_namespace() {
        return;
    }
    for (_, open) in BACKENDS {
        let first = open(&QueueConfig::rewrite(REWRITE)).unwrap();
        let holder = statistics().unwrap()[0].port_id;
        for (name, open) in BACKENDS {
            match open(&QueueConfig::rewrite(REWRITE)) {
                Err(QueueError::Taken { number, port_id }) => {
                    assert_eq!((number, port_id), (REWRITE, holder), "{name}");
                }
                Err(other) => panic!("{name}: {other:?}"),
                Ok(_) => panic!("{name}: two holders"),
            }
        }
        close(first);
    }
}

#[test]
fn a_queue_without_the_capability_says_so() {
    if !enter_namespace() {
        return;
    }
    // An ordinary user's children in this namespace; the test itself keeps its privilege.
    let program = std::env::current_exe().unwrap();
    let attempt = std::process::Command::new("setpriv")
        .args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"])
        .arg(program)
        .args([
            "--ignored",
            "--exact",
            "queue::opens_a_queue_without_privilege",
            "--nocapture",
        ])
        .output();
    match attempt {
        Err(failure) if failure.kind() == io::ErrorKind::NotFound => {
            eprintln!("SKIPPED: needs setpriv");
        }
        finished => {
            let finished = finished.unwrap();
            let text = String::from_utf8_lossy(&finished.stdout);
            assert!(finished.status.success(), "{text}");
            assert!(text.contains("1 passed"), "{text}");
        }
    }
}

#[test]
#[ignore = "run by a_queue_without_the_capability_says_so"]
fn opens_a_queue_without_privilege() {
    for (name, open) in BACKENDS {
        let refused = open(&QueueConfig::rewrite(REWRITE)).err();
        assert!(
            matches!(refused, Some(QueueError::Capability { number: REWRITE })),
            "{name}: {refused:?}"
        );
    }
}

#[test]
fn a_full_queue_drops_and_counts_or_fails_open() {
    if !enter_namespace() {
        return;
    }
    let _peer = Peer::connect();
    for (name, open) in BACKENDS {
        for fail_open in [false, true] {
            let config = QueueConfig {
                max_len: 10,
                fail_open,
                ..QueueConfig::observe(OBSERVE)
            };
            let mut queue = open(&config).unwrap();
            let mut rules = rules(Mode::QueueAll, InputHook::Input);
            rules.apply(&[Change::AddIdentity(address(HOST))]).unwrap();
            send(b"x", 50);
            let counted = statistics().unwrap()[0];
            assert_eq!(counted.waiting, 10, "{name}");
            let dropped = if fail_open { 0 } else { 40 };
            assert_eq!(counted.queue_dropped, dropped, "{name}");
            serve(queue.as_mut(), 10, |_| Verdict::Accept);
            assert_eq!(statistics().unwrap()[0].waiting, 0, "{name}");
            close((queue, rules));
        }
    }
}

#[test]
fn an_overrun_receive_buffer_is_counted_and_the_queue_goes_on() {
    if !enter_namespace() {
        return;
    }
    let _peer = Peer::connect();
    for (name, open) in BACKENDS {
        let config = QueueConfig {
            receive_buffer: 8 << 10,
            fail_open: false,
            ..QueueConfig::observe(OBSERVE)
        };
        let mut queue = open(&config).unwrap();
        assert_eq!(
            queue.receive_buffer(),
            16 << 10,
            "{name}: the kernel doubles"
        );
        let mut rules = rules(Mode::QueueAll, InputHook::Input);
        rules.apply(&[Change::AddIdentity(address(HOST))]).unwrap();
        send(b"x", 100);
        let dropped = statistics().unwrap()[0].user_dropped;
        assert!(dropped > 0, "{name}");
        let (mut judged, mut overruns) = (0, 0);
        wait_for("the rest", || {
            let served = queue.serve(TICK, &mut |_| Verdict::Accept).unwrap();
            judged += u64::from(served.packets);
            overruns += served.overruns;
            judged + dropped == 100
        });
        assert!(overruns > 0, "{name}");
        send(b"x", 1);
        serve(queue.as_mut(), 1, |_| Verdict::Accept);
        close((queue, rules));
    }
}

#[test]
fn a_verdict_on_a_packet_that_is_gone_is_counted() {
    if !enter_namespace() {
        return;
    }
    let _peer = Peer::connect();
    for (name, open) in BACKENDS {
        let mut queue = open(&QueueConfig::rewrite(OBSERVE)).unwrap();
        let mut rules = rules(Mode::QueueAll, InputHook::Input);
        rules.apply(&[Change::AddIdentity(address(HOST))]).unwrap();
        run("nft add table ip6 other");
        run("nft add chain ip6 other c { type filter hook input priority 0 ; }");
        send(b"x", 1);
        let mut judge = |packet: &mut QueuedPacket<'_>| {
            // Deleting anybody's base chain empties every queue.
            run("nft delete table ip6 other");
            Verdict::Rewrite(packet.start..packet.end)
        };
        let (mut packets, mut gone) = (0, 0);
        wait_for("the refusal", || {
            let served = queue.serve(TICK, &mut judge).unwrap();
            packets += served.packets;
            gone += served.gone;
            gone > 0
        });
        assert_eq!((packets, gone), (1, 1), "{name}");
        send(b"x", 1);
        serve(queue.as_mut(), 1, |_| Verdict::Accept);
        close((queue, rules));
    }
}

#[test]
fn a_hung_queue_can_be_taken_away_so_that_packets_pass() {
    if !enter_namespace() {
        return;
    }
    let peer = Peer::connect();
    for (name, open) in BACKENDS {
        let queue = open(&QueueConfig::observe(OBSERVE)).unwrap();
        let mut rules = rules(Mode::QueueAll, InputHook::Input);
        rules.apply(&[Change::AddIdentity(address(HOST))]).unwrap();
        let unbinder = queue.unbinder().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| unbinder.unbind().unwrap());
        });
        assert_eq!(statistics().unwrap(), [], "{name}");
        // Nobody judges, and yet both directions pass.
        peer.run(&format!("ping -6 -q -c 1 -W 5 {HOST}"));
        close((queue, rules));
    }
}

#[test]
fn serving_an_empty_queue_returns_after_each_timeout() {
    if !enter_namespace() {
        return;
    }
    for (name, open) in BACKENDS {
        let mut queue = open(&QueueConfig::observe(OBSERVE)).unwrap();
        for timeout in [TICK, TICK / 2, Duration::ZERO, TICK] {
            let before = std::time::Instant::now();
            let served = queue.serve(timeout, &mut |_| Verdict::Accept).unwrap();
            assert_eq!(served, shimq_netfilter::queue::Served::default(), "{name}");
            assert!(before.elapsed() >= timeout, "{name}");
        }
        close(queue);
    }
}

#[test]
fn a_packet_ends_the_wait_for_it() {
    if !enter_namespace() {
        return;
    }
    let _peer = Peer::connect();
    for (name, open) in BACKENDS {
        let mut queue = open(&QueueConfig::observe(OBSERVE)).unwrap();
        let mut rules = rules(Mode::QueueAll, InputHook::Input);
        rules.apply(&[Change::AddIdentity(address(HOST))]).unwrap();
        let (told, waiting) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let queue = &mut queue;
            let server = scope.spawn(move || {
                told.send(rustix::thread::gettid()).unwrap();
                // Longer than the test runner's patience.
                let patience = Duration::from_secs(3600);
                queue.serve(patience, &mut |_| Verdict::Accept).unwrap()
            });
            let stat = format!("/proc/self/task/{}/stat", waiting.recv().unwrap());
            wait_for("the server to sleep", || {
                std::fs::read_to_string(&stat).unwrap().contains(") S ")
            });
            send(b"x", 1);
            assert_eq!(server.join().unwrap().packets, 1, "{name}");
        });
        close((queue, rules));
    }
}
