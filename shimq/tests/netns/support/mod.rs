//! What every scenario needs: a network, daemons, traffic that is checked, captures.

mod capture;
mod crowd;
mod daemon;
mod moved;
mod network;
mod stream;

use std::thread;
use std::time::{Duration, Instant};

pub(crate) use capture::{Packet, Recording, ways};
pub(crate) use crowd::Crowd;
pub(crate) use daemon::{Daemon, release, run_until_refused};
pub(crate) use moved::{Mode, Moved, refusal, say, say_skipped};
pub(crate) use network::{Network, Side};
pub(crate) use stream::{Stream, connect, connection, exchange_over, marked_connection};

/// Failures are noticed after two seconds instead of fifteen.
pub(crate) const FAST: &str = "[reap]\nsend-timeout = 2\n";

/// How long anything may take to come true, on a machine that is busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
