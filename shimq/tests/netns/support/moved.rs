//! A connection whose path was cut, so that its packets are mapped on both hosts.

use std::io::{self, Write};
use std::net::Ipv6Addr;

use shimq_testbed::Direction;

use super::{Daemon, FAST, Network, Side, Stream, eventually};

/// Who maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Queue,
    /// Arrivals are met before connection tracking, which puts fragments together.
    QueueBeforeTracking,
    Bpf,
}

impl Mode {
    /// Has a daemon map so, and notice failures soon.
    pub(crate) fn config(self) -> String {
        match self {
            Self::Queue => FAST.to_owned(),
            Self::QueueBeforeTracking => {
                format!("{FAST}[datapath]\ninput-hook = 'prerouting'\n")
            }
            Self::Bpf => format!("{FAST}[datapath]\nmode = 'bpf'\n"),
        }
    }

    fn mapper(self) -> &'static str {
        match self {
            Self::Queue | Self::QueueBeforeTracking => "queue",
            Self::Bpf => "kernel",
        }
    }
}

/// Two hosts whose context has moved to other locators, both ways.
pub(crate) struct Moved<'n> {
    pub(crate) network: &'n Network,
    pub(crate) mode: Mode,
    pub(crate) a: Daemon<'n>,
    pub(crate) b: Daemon<'n>,
    pub(crate) stream: Stream,
    /// The ULIDs.
    pub(crate) a1: Ipv6Addr,
    pub(crate) b1: Ipv6Addr,
}

impl<'n> Moved<'n> {
    /// `None`, said aloud, where the system lets nobody load BPF programs and the kernel was to map.
    pub(crate) fn new(network: &'n Network, mode: Mode) -> Option<Self> {
        let (a, b) = Daemon::pair(network, &mode.config());
        if mode == Mode::Bpf
            && let Some(reason) = refusal(&a)
        {
            say_skipped(&reason);
            return None;
        }
        let (stream, a1, b1) = Stream::with_context(network, &a, &b);
        network.hosts.cut(a1, b1, Direction::Both).unwrap();
        let moved = Self {
            network,
            mode,
            a,
            b,
            stream,
            a1,
            b1,
        };
        moved.await_mapped();
        Some(moved)
    }

    /// Waits until the connection is mapped on both hosts as it should be.
    pub(crate) fn await_mapped(&self) {
        let mapper = self.mode.mapper();
        eventually("both hosts map", || {
            self.mapped_by(&self.a) == mapper && self.mapped_by(&self.b) == mapper
        });
        self.stream.wait_for_more();
    }

    /// Who maps the connection on this host: `kernel`, `queue`, or `null` if nobody.
    pub(crate) fn mapped_by(&self, daemon: &Daemon<'_>) -> String {
        let context = daemon
            .context(self.a1, self.b1)
            .or_else(|| daemon.context(self.b1, self.a1));
        let mapped_by = context.map(|context| context["mapped_by"].clone());
        let mapped_by = mapped_by.unwrap_or_default();
        mapped_by
            .as_str()
            .map_or_else(|| mapped_by.to_string(), str::to_owned)
    }

    /// The ULIDs, first that of the host that sends.
    pub(crate) fn ends(&self, from: Side) -> (Ipv6Addr, Ipv6Addr) {
        match from {
            Side::A => (self.a1, self.b1),
            Side::B => (self.b1, self.a1),
        }
    }
}

/// Why the daemon does not map in the kernel, if it does not though it should.
pub(crate) fn refusal(daemon: &Daemon<'_>) -> Option<String> {
    let status = daemon.ask("status");
    let datapath = &status["datapath"];
    assert_eq!(datapath["wanted"], "bpf");
    if datapath["in_force"] == "bpf" {
        return None;
    }
    assert_eq!(datapath["in_force"], "queue");
    Some(datapath["reason"].as_str().unwrap().to_owned())
}

/// Says that the system lets nobody load BPF programs; no other reason will do.
pub(crate) fn say_skipped(reason: &str) {
    let is_user_namespace = reason.starts_with("not permitted") && in_user_namespace();
    assert!(is_user_namespace, "{reason}");
    say(&format!("SKIPPED, nothing was tested: {reason}"));
}

/// Tells whoever runs the test; not by a macro, whose output the test harness would keep to itself.
pub(crate) fn say(text: &str) {
    io::stderr()
        .write_all(format!("{text}\n").as_bytes())
        .unwrap();
}

fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    map.split_whitespace().ne(["0", "0", "4294967295"])
}
