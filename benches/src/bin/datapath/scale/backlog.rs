//! How much sooner two queues get rid of what waits in them than one.
//!
//! On a machine with two processors whoever sends has none of his own, so sending and mapping are taken
//! apart: while nobody serves the queues, packets are sent from one processor and then from another one,
//! which is what fills two queues evenly; then the queue threads start, and the time counts until none
//! waits any more. One queue and two take turns.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;
use shimq_benches::error::BenchError;
use shimq_netfilter::queue::{Queue, statistics};

use super::hosts::{Hosts, LOCAL, Mapper, peer};
use crate::network::Side;
use crate::results::Spread;

/// How fast backlogs went away.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Backlog {
    /// Packets of each backlog.
    packets: usize,
    /// Packets a second, one queue.
    one: Vec<f64>,
    /// Packets a second, two queues with half of them each; in turn with those of one.
    two: Vec<f64>,
}

impl Backlog {
    /// Two queues to one, by the median of the pairs.
    pub(crate) fn gain(&self) -> f64 {
        let pairs = self.two.iter().zip(&self.one);
        Spread::of(pairs.map(|(two, one)| two / one)).map_or(f64::NAN, |spread| spread.median)
    }

    /// Packets a second, one queue and two.
    pub(crate) fn rates(&self) -> [f64; 2] {
        [&self.one, &self.two].map(|rates| {
            let spread = Spread::of(rates.iter().copied());
            spread.map_or(f64::NAN, |spread| spread.median)
        })
    }
}

/// Measures; `None` where there is one processor only.
pub(crate) fn measure() -> Result<Option<Backlog>, BenchError> {
    let allowed = sched_getaffinity(None);
    let allowed = allowed.map_err(BenchError::io("ask for the processors"))?;
    // Rules choose the queue by the processor's number modulo that of queues.
    let [Some(even), Some(odd)] = [0, 1].map(|first| {
        let mut numbers = (first..CpuSet::MAX_CPU).step_by(2);
        numbers.find(|&number| allowed.is_set(number))
    }) else {
        return Ok(None);
    };
    let mut stages = [Stage::new(1)?, Stage::new(2)?];
    let mut backlog = Backlog {
        packets: stages[0].packets(),
        one: Vec::new(),
        two: Vec::new(),
    };
    for _ in 0..REPETITIONS {
        let [one, two] = &mut stages;
        backlog.one.push(one.drain([even, odd])?);
        backlog.two.push(two.drain([even, odd])?);
    }
    Ok(Some(backlog))
}

/// Two hosts, and sockets on host A.
struct Stage {
    hosts: Hosts,
    sockets: Vec<UdpSocket>,
    packets_of_socket: usize,
}

impl Stage {
    fn new(queues: u16) -> Result<Self, BenchError> {
        let hosts = Hosts::new(CONTEXTS, queues)?;
        let open = || {
            let socket = UdpSocket::bind((LOCAL, 0))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let sockets = hosts
            .network
            .host(Side::A)
            .enter(|| (0..SOCKETS).map(|_| open()).collect::<io::Result<_>>())?;
        let room = hosts.queues[0].queue.receive_buffer() / OCTETS_WAITING;
        Ok(Self {
            hosts,
            sockets: sockets.map_err(BenchError::io("open sockets"))?,
            packets_of_socket: (room / SOCKETS).clamp(1, PACKETS_OF_SOCKET_MAX),
        })
    }

    /// Packets of a backlog.
    fn packets(&self) -> usize {
        SOCKETS * self.packets_of_socket
    }

    /// Makes a backlog and lets the queues drain it: packets a second.
    fn drain(&mut self, processors: [usize; 2]) -> Result<f64, BenchError> {
        let halves = self.sockets.chunks(SOCKETS / 2);
        for (sockets, processor) in halves.zip(processors) {
            let send = || send(sockets, self.packets_of_socket, processor);
            let sent = thread::scope(|scope| scope.spawn(send).join());
            let sent = sent.unwrap_or_else(|_| Err(io::Error::other("a sender panicked")));
            sent.map_err(BenchError::io("send a backlog"))?;
        }
        let statistics = self.hosts.network.host(Side::A).enter(statistics)?;
        let statistics = statistics.map_err(BenchError::io("ask for the queues"))?;
        let shares: Vec<_> = statistics.iter().map(|queue| queue.waiting).collect();
        let queues = self.hosts.queues.len();
        if shares != vec![(self.packets() / queues) as u32; queues] {
            return Err(BenchError::program(
                "the kernel",
                format!("queues hold {shares:?} of {} packets", self.packets()),
            ));
        }
        let start = Instant::now();
        let served: io::Result<()> = thread::scope(|scope| {
            let threads: Vec<_> = self
                .hosts
                .queues
                .iter_mut()
                .zip(shares)
                .zip(processors)
                .map(|((mapper, share), processor)| {
                    scope.spawn(move || serve(mapper, share, processor))
                })
                .collect();
            let panicked = |_| Err(io::Error::other("a queue thread panicked"));
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().unwrap_or_else(panicked))
        });
        let time = start.elapsed();
        served.map_err(BenchError::io("drain a queue"))?;
        Ok(self.packets() as f64 / time.as_secs_f64())
    }
}

/// Sends from one processor: which queue packets enter is by the processor.
fn send(sockets: &[UdpSocket], packets_of_socket: usize, processor: usize) -> io::Result<()> {
    run_on(processor)?;
    let mut peers = (0..CONTEXTS).cycle();
    for socket in sockets {
        for peer in peers.by_ref().take(packets_of_socket).map(peer) {
            socket.send_to(&[0; 64], SocketAddr::from((peer, 9)))?;
        }
    }
    Ok(())
}

/// Serves until the backlog is gone, each queue on a processor of its own: a backlog is gone before the
/// kernel would have parted threads that it first put on the same one.
fn serve(mapper: &mut Mapper, mut waiting: u32, processor: usize) -> io::Result<()> {
    run_on(processor)?;
    while waiting > 0 {
        let served = mapper.serve(PATIENCE)?;
        if served.packets == 0 {
            return Err(ErrorKind::TimedOut.into());
        }
        waiting = waiting.saturating_sub(served.packets);
    }
    Ok(())
}

/// Keeps this thread on one processor.
fn run_on(processor: usize) -> io::Result<()> {
    let mut only = CpuSet::new();
    only.set(processor);
    Ok(sched_setaffinity(None, &only)?)
}

/// Backlogs of each kind.
const REPETITIONS: usize = 30;

/// Mapped contexts.
const CONTEXTS: u32 = 1_000;

/// Packets that wait are charged to their sockets, each of which then holds no more than this.
const PACKETS_OF_SOCKET_MAX: usize = 60;

/// So many that all their packets fit into a queue.
const SOCKETS: usize = 128;

/// Octets of receive buffer that a packet takes at most, the kernel's overhead included.
const OCTETS_WAITING: usize = 2_048;

/// How long the next packet of a backlog may take.
const PATIENCE: Duration = Duration::from_secs(5);
