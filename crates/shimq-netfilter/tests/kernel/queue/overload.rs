//! Queues that get more than they take, and queues that hang.

use super::{BACKENDS, OBSERVE, TICK, queue_all, send, serve};
use crate::support::{HOST, Peer, accept, close, enter_namespace, run, wait_for};
use shimq_netfilter::queue::{QueueConfig, QueuedPacket, Verdict, statistics};

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
            let rules = queue_all();
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
        let rules = queue_all();
        send(b"x", 100);
        let dropped = statistics().unwrap()[0].user_dropped;
        assert!(dropped > 0, "{name}");
        let (mut judged, mut overruns) = (0, 0);
        wait_for("the rest", || {
            let served = queue.serve(Some(TICK), &mut accept).unwrap();
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
        let rules = queue_all();
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
            let served = queue.serve(Some(TICK), &mut judge).unwrap();
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
        let rules = queue_all();
        let remote = queue.remote().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| remote.unbind().unwrap());
        });
        assert_eq!(statistics().unwrap(), [], "{name}");
        // Nobody judges, and yet both directions pass.
        peer.run(&format!("ping -6 -q -c 1 -W 5 {HOST}"));
        close((queue, rules));
    }
}
