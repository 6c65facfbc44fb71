//! Threads of queues that no packet comes to.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::time::{self, Duration};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use shim6_core::{Config, Endpoint, RespondOnly};
use shimq_netfilter::queue::Served;

use super::*;
use crate::daemon::intake::intake;

/// A queue that no packet comes to: what is sent to its own socket arrives at `inbox`.
struct Empty {
    socket: UnixDatagram,
    inbox: UnixDatagram,
    /// Does not come back from waiting, whatever arrives.
    hangs: bool,
}

impl Queue for Empty {
    fn serve(&mut self, _: Option<Duration>, _: &mut dyn queue::Judge) -> io::Result<Served> {
        if self.hangs {
            loop {
                std::thread::park();
            }
        }
        self.inbox.recv(&mut [0; 64])?;
        Ok(Served::default())
    }

    fn number(&self) -> u16 {
        1
    }

    fn receive_buffer(&self) -> usize {
        0
    }
}

impl AsFd for Empty {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn serve_empty_queue(hangs: bool) -> QueueThread {
    let (socket, inbox) = UnixDatagram::pair().unwrap();
    let queue = Empty {
        socket,
        inbox,
        hangs,
    };
    let oversize = Oversize::new(1, ChaCha20Rng::from_seed([0; 32]));
    let (to_endpoint, _) = intake();
    let mut endpoint = Endpoint::new(Config::default(), Box::new(RespondOnly), [0; 32]);
    let table = endpoint.flow_table();
    let share = Share::of(5533, &(5533..5534));
    QueueThread::start(Box::new(queue), share, false, table, to_endpoint, oversize).unwrap()
}

#[test]
fn a_thread_that_waits_for_packets_is_woken_and_not_taken_for_one_that_hangs() {
    let mut thread = serve_empty_queue(false);
    for _ in 0..3 {
        let rounds = thread.counters.rounds.load(Relaxed);
        // One that sees a round since the last look does nothing, one that sees none wakes the thread.
        let looks = [(); 2].map(|()| thread.hangs());
        assert_eq!(looks, [false; 2]);
        let deadline = time::Instant::now() + Duration::from_secs(10);
        while thread.counters.rounds.load(Relaxed) == rounds {
            assert!(time::Instant::now() < deadline, "it was not woken");
            std::thread::yield_now();
        }
    }
    // Ends although no packet comes, which the test runner would notice.
    drop(thread);
}

#[test]
fn a_thread_that_hangs_is_noticed_at_the_third_look_and_not_waited_for() {
    let mut thread = serve_empty_queue(true);
    let looks = [(); 3].map(|()| thread.hangs());
    assert_eq!(looks, [false, false, true]);
    drop(thread);
}
