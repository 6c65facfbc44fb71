//! What is sent, and what of it is measured: one file a kind.

mod bulk;
mod round_trip;
mod small;

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Pid;
use serde::Serialize;
use shimq_testbed::Namespace;
use socket2::{Domain, Protocol, Socket, Type};

use crate::meter::{Meter, Spent};
use crate::network::{Network, Side};
use shimq_benches::error::BenchError;

/// One kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Traffic {
    /// One TCP connection, A to B, as much as goes; octets.
    BulkAToB,
    /// The other way.
    BulkBToA,
    /// UDP datagrams of 64 octets, A to B, as many as go; packets.
    SmallPackets,
    /// 64 octets there and back over TCP; exchanges, and how long one takes.
    RoundTrip,
    /// [`Self::BulkAToB`] with every offload off.
    BulkAToBNoOffload,
    /// [`Self::BulkBToA`] with every offload off.
    BulkBToANoOffload,
}

impl Traffic {
    /// In the order in which they are measured: nothing turns offloads on again.
    pub(crate) const ALL: [Self; 6] = [
        Self::BulkAToB,
        Self::BulkBToA,
        Self::SmallPackets,
        Self::RoundTrip,
        Self::BulkAToBNoOffload,
        Self::BulkBToANoOffload,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::BulkAToB => "TCP bulk A to B",
            Self::BulkBToA => "TCP bulk B to A",
            Self::SmallPackets => "UDP 64 B",
            Self::RoundTrip => "round trip 64 B",
            Self::BulkAToBNoOffload => "TCP bulk A to B, offloads off",
            Self::BulkBToANoOffload => "TCP bulk B to A, offloads off",
        }
    }

    /// Factor and unit in which people read the rate.
    pub(crate) fn rate_unit(self) -> (f64, &'static str) {
        match self {
            Self::BulkAToB | Self::BulkBToA | Self::BulkAToBNoOffload | Self::BulkBToANoOffload => {
                (8e-9, "Gbit/s")
            }
            Self::SmallPackets => (1e-3, "kpps"),
            Self::RoundTrip => (1e-3, "k/s"),
        }
    }

    /// Factor and unit in which people read processor time by what it was spent on.
    pub(crate) fn cpu_unit(self) -> (f64, &'static str) {
        match self {
            Self::BulkAToB | Self::BulkBToA | Self::BulkAToBNoOffload | Self::BulkBToANoOffload => {
                (1e9, "s/GB")
            }
            Self::SmallPackets => (1e6, "us/packet"),
            Self::RoundTrip => (1e6, "us/exchange"),
        }
    }

    pub(crate) fn needs_offloads_off(self) -> bool {
        matches!(self, Self::BulkAToBNoOffload | Self::BulkBToANoOffload)
    }

    /// Sends and measures for `time`.
    pub(crate) fn measure(self, course: &Course<'_>, time: Duration) -> Result<Sample, BenchError> {
        match self {
            Self::BulkAToB | Self::BulkAToBNoOffload => bulk::measure(course, Side::A, time),
            Self::BulkBToA | Self::BulkBToANoOffload => bulk::measure(course, Side::B, time),
            Self::SmallPackets => small::measure(course, time),
            Self::RoundTrip => round_trip::measure(course, time),
        }
    }
}

/// Where traffic runs.
pub(crate) struct Course<'a> {
    pub(crate) network: &'a Network,
    /// Addresses of A and B that programs use.
    pub(crate) ends: [Ipv6Addr; 2],
    /// Of TCP connections, or of what takes their place.
    pub(crate) stream: Protocol,
    /// Programs that packets go through.
    pub(crate) servers: Vec<Pid>,
}

impl Course<'_> {
    fn hosts(&self) -> [&Namespace; 2] {
        Side::BOTH.map(|side| self.network.host(side))
    }

    fn end(&self, side: Side) -> Ipv6Addr {
        match side {
            Side::A => self.ends[0],
            Side::B => self.ends[1],
        }
    }

    /// A connection from A to B: the sockets of both.
    fn connect(&self) -> Result<(Socket, Socket), BenchError> {
        let failed = || BenchError::io("connect the ends");
        let listen = || {
            let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(self.stream))?;
            // Any address: MPTCP comes by the others as well.
            socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into())?;
            socket.listen(1)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok::<_, io::Error>(socket)
        };
        let listener = self.network.host(Side::B).enter(listen)?;
        let listener = listener.map_err(failed())?;
        let bound = listener.local_addr().map_err(failed())?;
        let port = bound.as_socket().map_or(0, |address| address.port());
        let connect = || {
            let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(self.stream))?;
            socket.bind(&SocketAddr::from((self.end(Side::A), 0)).into())?;
            let address = SocketAddr::from((self.end(Side::B), port));
            socket.connect_timeout(&address.into(), PATIENCE)?;
            Ok::<_, io::Error>(socket)
        };
        let connected = self.network.host(Side::A).enter(connect)?;
        let connected = connected.map_err(failed())?;
        let (accepted, _) = listener.accept().map_err(failed())?;
        Ok((connected, accepted))
    }

    /// Measures for `time`, after the warm-up, by how much `received` grows.
    fn count(&self, received: &AtomicU64, time: Duration) -> Result<Sample, BenchError> {
        thread::sleep(WARM_UP);
        let meter = Meter::start(self.hosts(), &self.servers)?;
        let before = received.load(Ordering::Relaxed);
        thread::sleep(time);
        let spent = meter.stop()?;
        let amount = received.load(Ordering::Relaxed) - before;
        Ok(Sample::new(amount, spent))
    }
}

/// What one measurement showed.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Sample {
    /// Octets, packets or exchanges a second.
    pub(crate) rate: f64,
    /// Seconds of processor time for each of them, of both hosts together.
    pub(crate) cpu: f64,
    pub(crate) latency: Option<Latency>,
    /// Packets that entered queues.
    pub(crate) queued: u64,
    /// Packets that queues lost.
    pub(crate) dropped: u64,
}

/// Times of round trips, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

impl Sample {
    /// `amount` octets, packets or exchanges were had for what was spent.
    pub(crate) fn new(amount: u64, spent: Spent) -> Self {
        let amount = amount as f64;
        Self {
            rate: amount / spent.time.as_secs_f64(),
            // Nothing got through: then nothing can be said of its cost.
            cpu: if amount > 0.0 {
                spent.cpu.as_secs_f64() / amount
            } else {
                f64::NAN
            },
            latency: None,
            queued: spent.queued,
            dropped: spent.dropped,
        }
    }
}

/// How long traffic flows before it is measured: windows open, neighbours are known.
pub(crate) const WARM_UP: Duration = Duration::from_millis(80);

/// How long a connection may take to be set up.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a call blocks before it looks whether it shall end.
pub(crate) const LOOK_UP: Duration = Duration::from_millis(100);
