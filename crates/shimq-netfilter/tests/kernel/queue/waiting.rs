//! How long a queue waits for packets.

use std::time::Duration;

use super::{BACKENDS, OBSERVE, TICK, queue_all, send};
use crate::support::{Peer, close, enter_namespace, wait_for};
use shimq_netfilter::queue::{Queue, QueueConfig, Served, Verdict};

#[test]
fn serving_an_empty_queue_returns_after_each_timeout() {
    if !enter_namespace() {
        return;
    }
    for (name, open) in BACKENDS {
        let mut queue = open(&QueueConfig::observe(OBSERVE)).unwrap();
        for timeout in [TICK, TICK / 2, Duration::ZERO, TICK] {
            let before = std::time::Instant::now();
            let served = queue
                .serve(Some(timeout), &mut |_| Verdict::Accept)
                .unwrap();
            assert_eq!(served, Served::default(), "{name}");
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
        let served = queue.serve(None, &mut |_| Verdict::Accept).unwrap();
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
                let served = queue.serve(None, &mut |_| Verdict::Accept).unwrap();
                assert_eq!(served.gone, 0, "{name}");
                judged += served.packets as usize;
            }
            assert_eq!(judged, together, "{name}");
        }
        close((queue, rules));
    }
}

/// Serves without a timeout on another thread, calls `wake` once that sleeps, and returns what was served.
fn serve_asleep(queue: &mut dyn Queue, wake: impl FnOnce()) -> Served {
    let (told, waiting) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let server = scope.spawn(move || {
            told.send(rustix::thread::gettid()).unwrap();
            queue.serve(None, &mut |_| Verdict::Accept).unwrap()
        });
        let stat = format!("/proc/self/task/{}/stat", waiting.recv().unwrap());
        wait_for("the server to sleep", || {
            std::fs::read_to_string(&stat).unwrap().contains(") S ")
        });
        wake();
        server.join().unwrap()
    })
}
