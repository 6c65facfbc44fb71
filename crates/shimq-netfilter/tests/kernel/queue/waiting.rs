//! How long a queue waits for packets.

use std::time::Duration;

use super::{BACKENDS, OBSERVE, TICK, queue_all, send};
use crate::support::{Peer, accept, close, enter_namespace, wait_for};
use shimq_netfilter::queue::{
    BatchQueue, Hook, Judge, Queue, QueueConfig, QueuedPacket, Served, Verdict,
};

#[test]
fn serving_an_empty_queue_returns_after_each_timeout() {
    if !enter_namespace() {
        return;
    }
    for (name, open) in BACKENDS {
        let mut queue = open(&QueueConfig::observe(OBSERVE)).unwrap();
        for timeout in [TICK, TICK / 2, Duration::ZERO, TICK] {
            let mut lasts = || {
                let before = std::time::Instant::now();
                let served = queue.serve(Some(timeout), &mut accept).unwrap();
                assert_eq!(served, Served::default(), "{name}");
                before.elapsed() >= timeout
            };
            // A machine that stands still for a moment ends one wait, as signals do, but hardly three.
            assert!((0..3).any(|_| lasts()), "{name}");
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
        let rules = queue_all();
        let served = serve_asleep(queue.as_mut(), || send(b"x", 1));
        assert_eq!(served.packets, 1, "{name}");
        close((queue, rules));
    }
}

#[test]
fn another_thread_ends_a_wait_without_end() {
    if !enter_namespace() {
        return;
    }
    for (name, open) in BACKENDS {
        let mut queue = open(&QueueConfig::observe(OBSERVE)).unwrap();
        let remote = queue.remote().unwrap();
        // Neither a packet nor a verdict that was refused.
        let nothing = Served::default();
        let served = serve_asleep(queue.as_mut(), || remote.wake().unwrap());
        assert_eq!(served, nothing, "{name}");
        // Nor is the one lost that comes before the wait.
        remote.wake().unwrap();
        let served = queue.serve(None, &mut accept).unwrap();
        assert_eq!(served, nothing, "{name}");
        close((queue, remote));
    }
}

#[test]
fn packets_that_come_alone_and_packets_that_come_together_are_all_judged() {
    if !enter_namespace() {
        return;
    }
    let _peer = Peer::connect();
    for (name, open) in BACKENDS {
        let mut queue = open(&QueueConfig::observe(OBSERVE)).unwrap();
        let rules = queue_all();
        for together in [1, 1, 1, 1, 1, 5, 1, 70, 70, 1, 1, 2, 1] {
            send(b"x", together);
            let mut judged = 0;
            while judged < together {
                let served = queue.serve(None, &mut accept).unwrap();
                assert_eq!(served.gone, 0, "{name}");
                judged += served.packets as usize;
            }
            assert_eq!(judged, together, "{name}");
        }
        close((queue, rules));
    }
}

/// What a judge hears of: packets by their last octet, first announced and then judged.
#[derive(Default)]
struct Record {
    announced: Vec<u8>,
    judged: Vec<u8>,
}

impl Judge for Record {
    fn expect(&mut self, hook: Hook, packet: &[u8]) {
        assert_eq!(hook, Hook::LocalOut);
        assert!(self.judged.is_empty(), "all are announced first");
        self.announced.extend(packet.last());
    }

    fn judge(&mut self, packet: &mut QueuedPacket<'_>) -> Verdict {
        self.judged.extend(packet.octets().last());
        Verdict::Accept
    }
}

#[test]
fn packets_that_come_together_are_announced_before_the_first_is_judged() {
    if !enter_namespace() {
        return;
    }
    let _peer = Peer::connect();
    let mut queue = BatchQueue::open(&QueueConfig::observe(OBSERVE)).unwrap();
    let rules = queue_all();
    for together in [1, 5] {
        (0..together).for_each(|last| send(&[last], 1));
        let mut record = Record::default();
        queue.serve(None, &mut record).unwrap();
        let all: Vec<_> = (0..together).collect();
        assert_eq!(record.judged, all);
        // One that comes alone is judged at once.
        assert_eq!(
            record.announced,
            if together > 1 { all } else { Vec::new() }
        );
        // Behind a lone packet others are waited for alone.
        for _ in 0..3 {
            send(b"x", 1);
            queue.serve(None, &mut accept).unwrap();
        }
    }
    close((queue, rules));
}

/// Serves without a timeout on another thread, calls `wake` once that sleeps, and returns what was served.
fn serve_asleep(queue: &mut dyn Queue, wake: impl FnOnce()) -> Served {
    let (told, waiting) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let server = scope.spawn(move || {
            told.send(rustix::thread::gettid()).unwrap();
            queue.serve(None, &mut accept).unwrap()
        });
        let stat = format!("/proc/self/task/{}/stat", waiting.recv().unwrap());
        wait_for("the server to sleep", || {
            std::fs::read_to_string(&stat).unwrap().contains(") S ")
        });
        wake();
        server.join().unwrap()
    })
}
