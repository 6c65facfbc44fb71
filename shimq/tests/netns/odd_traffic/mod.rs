//! Packets other than TCP's, on a context that has moved: however odd, they arrive as they were sent.

mod headers;
mod sizes;

use std::io::{self, Write};
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use shimq_testbed::Direction;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::support::{Daemon, FAST, Network, PATIENCE, Side, Stream, eventually};

/// Who maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Queue,
    /// Arrivals are met before connection tracking, which puts fragments together.
    QueueBeforeTracking,
    Bpf,
}

impl Mode {
    fn config(self) -> String {
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
struct Moved<'n> {
    network: &'n Network,
    a: Daemon<'n>,
    b: Daemon<'n>,
    stream: Stream,
    /// The ULIDs.
    a1: Ipv6Addr,
    b1: Ipv6Addr,
}

impl<'n> Moved<'n> {
    /// `None`, said aloud, where the system lets nobody load BPF programs.
    fn new(network: &'n Network, mode: Mode) -> Option<Self> {
        let (a, b) = Daemon::pair(network, &mode.config());
        if mode == Mode::Bpf
            && let Some(reason) = a.ask("status")["datapath"]["reason"].as_str()
        {
            say(&format!("SKIPPED, nothing was tested: {reason}"));
            return None;
        }
        let (stream, a1, b1) = Stream::with_context(network, &a, &b);
        network.hosts.cut(a1, b1, Direction::Both).unwrap();
        let mapped_by = |daemon: &Daemon<'_>, local, peer| {
            let context = daemon.context(local, peer);
            context.is_some_and(|context| context["mapped_by"] == mode.mapper())
        };
        eventually("both hosts map", || {
            mapped_by(&a, a1, b1) && mapped_by(&b, b1, a1)
        });
        stream.wait_for_more();
        Some(Self {
            network,
            a,
            b,
            stream,
            a1,
            b1,
        })
    }

    /// The ULIDs, first that of the host that sends.
    fn ends(&self, from: Side) -> (Ipv6Addr, Ipv6Addr) {
        match from {
            Side::A => (self.a1, self.b1),
            Side::B => (self.b1, self.a1),
        }
    }

    /// A UDP socket of a host, at its ULID.
    fn udp(&self, side: Side) -> UdpSocket {
        let (local, _) = self.ends(side);
        let socket = self
            .network
            .host(side)
            .enter(|| UdpSocket::bind((local, 0)));
        let socket = socket.unwrap().unwrap();
        socket.set_read_timeout(Some(PAUSE)).unwrap();
        socket
    }

    /// A raw socket of a host, at its ULID.
    fn raw(&self, side: Side, protocol: u8) -> Socket {
        let (local, _) = self.ends(side);
        let open = || {
            let protocol = Some(Protocol::from(i32::from(protocol)));
            let socket = Socket::new(Domain::IPV6, Type::RAW, protocol)?;
            socket.bind(&SockAddr::from(SocketAddr::from((local, 0))))?;
            socket.set_read_timeout(Some(PAUSE))?;
            io::Result::Ok(socket)
        };
        self.network.host(side).enter(open).unwrap().unwrap()
    }

    fn finish(self) {
        self.stream.wait_for_more();
        self.stream.finish();
        // The context stayed where it was.
        assert_ne!(self.a.current_pair(self.a1, self.b1), (self.a1, self.b1));
        assert_ne!(self.b.current_pair(self.b1, self.a1), (self.b1, self.a1));
    }
}

/// Sends again and again, until `received` is so.
fn until_received(what: &str, send: impl Fn(), mut received: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        send();
        if received() {
            return;
        }
        assert!(Instant::now() < deadline, "never arrived: {what}");
    }
}

/// Tells whoever runs the test; not by a macro, whose output the test harness would keep to itself.
fn say(text: &str) {
    io::stderr()
        .write_all(format!("{text}\n").as_bytes())
        .unwrap();
}

/// How long one datagram may be on its way before it is sent again.
const PAUSE: Duration = Duration::from_millis(300);
