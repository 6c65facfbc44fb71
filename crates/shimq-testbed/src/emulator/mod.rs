//! Paths between the providers that delay, jitter, lose, reorder, double, limit and cut packets.
//!
//! ```text
//!             ┌─ line namespace ─────────────────────────┐
//!             │  packet socket ─> Model ─> raw socket    │
//!             └───────────────────┬──────────────────────┘
//!                            "line", a veth pair
//!   host A ── a1, a2, a3 ── router R ── b1, b2, b3 ── host B
//! ```
//!
//! Kernels without netem cannot do this themselves. So the router sends what comes from a host
//! through the line, once, before its cuts and counters see it: a thread there receives each packet
//! whole, keeps it as long as its path says, and puts it back. There is one [`Path`] for each pair
//! of prefixes and each direction, and all of them may be changed while packets are on them.
//!
//! The hosts' veths segment and fill in checksums by themselves while an emulator is there: the line
//! carries packets as a real link would.

mod line;
mod model;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use rustix::event::{EventfdFlags, eventfd};

use crate::{Namespace, Prefix, TestbedError};
pub(crate) use line::{LINK, hosts_side, line_side};
use model::Model;
pub use model::{Path, PathCounts};

/// The paths of a testbed. When it is dropped, nothing passes the router any more.
pub struct Emulator {
    shared: Arc<Shared>,
    carrier: Option<JoinHandle<io::Result<()>>>,
    _line: Namespace,
}

/// What the thread that carries packets shares with those who change the paths.
struct Shared {
    state: Mutex<State>,
    /// Readable when `stopping` has been set.
    wake: OwnedFd,
}

struct State {
    model: Model,
    stopping: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is one assignment, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Emulator {
    /// Starts to carry what arrives in `line`; `seed` decides what is left to chance.
    pub(crate) fn start(line: Namespace, seed: u64) -> Result<Self, TestbedError> {
        let sockets = line
            .enter(line::Sockets::open)?
            .map_err(TestbedError::io("open sockets for the path emulator"))?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(TestbedError::io("make an eventfd"))?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                model: Model::new(seed),
                stopping: false,
            }),
            wake,
        });
        let carried = Arc::clone(&shared);
        let carrier = thread::Builder::new()
            .name("path emulator".to_owned())
            .spawn(move || line::carry(&sockets, &carried, Instant::now()))
            .map_err(TestbedError::io("start a thread"))?;
        Ok(Self {
            shared,
            carrier: Some(carrier),
            _line: line,
        })
    }

    /// Gives packets from `source` to `destination` this path, and returns when that took effect.
    ///
    /// Where several paths match a packet, the one added last wins; [`Prefix::ANY`] to
    /// [`Prefix::ANY`] is there from the beginning. Packets that are on their way keep their times,
    /// but whether they come out is up to [`Path::up`] by then.
    pub fn set(
        &self,
        source: impl Into<Prefix>,
        destination: impl Into<Prefix>,
        path: Path,
    ) -> Instant {
        let (source, destination) = (source.into(), destination.into());
        let mut state = self.shared.lock();
        state.model.set(source, destination, path);
        Instant::now()
    }

    /// Changes the path that was set for exactly these prefixes, or a default one, and returns when
    /// that took effect.
    pub fn change(
        &self,
        source: impl Into<Prefix>,
        destination: impl Into<Prefix>,
        change: impl FnOnce(&mut Path),
    ) -> Instant {
        let (source, destination) = (source.into(), destination.into());
        let mut state = self.shared.lock();
        let mut path = state.model.path(source, destination).unwrap_or_default();
        change(&mut path);
        state.model.set(source, destination, path);
        Instant::now()
    }

    /// What came of packets on the path that was set for exactly these prefixes.
    pub fn counts(&self, source: impl Into<Prefix>, destination: impl Into<Prefix>) -> PathCounts {
        let (source, destination) = (source.into(), destination.into());
        self.shared.lock().model.counts(source, destination)
    }
}

impl fmt::Debug for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emulator").finish_non_exhaustive()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        // It cannot fail: the counter starts at 0 and counts to 2^64 - 1.
        let _ = rustix::io::write(&self.shared.wake, &1_u64.to_ne_bytes());
        if let Some(carrier) = self.carrier.take() {
            // An error of the line has shown itself: nothing passed any more.
            let _ = carrier.join();
        }
    }
}
