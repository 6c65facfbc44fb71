//! How long a queue waits for packets.

use std::time::Duration;

use super::{BACKENDS, OBSERVE, TICK, queue_all, send};
use crate::support::{Peer, close, enter_namespace, wait_for};
use shimq_netfilter::queue::{QueueConfig, Verdict};

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
        let rules = queue_all();
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
