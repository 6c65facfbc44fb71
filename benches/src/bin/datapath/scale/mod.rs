//! How the cost of a packet depends on the number of contexts, and the rate on that of queues.
//!
//! So many contexts take hours to establish between two hosts, and packets do not know how their
//! context came about. So this is the daemon without its endpoint ([`hosts`]). A datagram of 64 octets
//! goes to another peer each time, in an order that no cache likes.

pub(crate) mod backlog;
mod hosts;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde::Serialize;

use self::hosts::{Hosts, LOCAL, peer};
use crate::meter::Meter;
use crate::network::{Network, Side};
use crate::traffic::{LOOK_UP, Sample, WARM_UP};
use shimq_benches::error::BenchError;

/// How many contexts, all of them mapped and in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Load {
    pub(crate) contexts: u32,
}

impl Load {
    /// What the others are compared with.
    pub(crate) const ONE: Self = Self { contexts: 1 };
    pub(crate) const MANY: Self = Self { contexts: 100_000 };
    pub(crate) const ALL: [Self; 3] = [Self::ONE, Self { contexts: 1_000 }, Self::MANY];

    pub(crate) fn title(self) -> String {
        match self.contexts {
            1 => "1 context".to_owned(),
            contexts => format!("{contexts} contexts"),
        }
    }

    /// Makes a host with so many contexts.
    pub(crate) fn set_up(self) -> Result<Loaded, BenchError> {
        let hosts = Hosts::new(self.contexts, 1)?;
        let open = || {
            let socket = UdpSocket::bind((LOCAL, 0))?;
            // Packets that wait in a queue that nobody serves any more hold the sender's buffer.
            socket.set_write_timeout(Some(LOOK_UP))?;
            Ok(socket)
        };
        let socket: io::Result<_> = hosts.network.host(Side::A).enter(open)?;
        let socket = socket.map_err(BenchError::io("open a socket"))?;
        Ok(Loaded {
            load: self,
            hosts,
            socket,
        })
    }
}

/// A host with its contexts; gone when dropped.
pub(crate) struct Loaded {
    pub(crate) load: Load,
    hosts: Hosts,
    socket: UdpSocket,
}

impl Loaded {
    /// Sends and measures for `time`: packets that entered queues.
    pub(crate) fn measure(&mut self, time: Duration) -> Result<Sample, BenchError> {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for mapper in &mut self.hosts.queues {
                let done = &done;
                scope.spawn(move || {
                    while !done.load(Ordering::Relaxed) && mapper.serve(LOOK_UP).is_ok() {}
                });
            }
            scope.spawn(|| send(&self.socket, self.load.contexts, &done));
            let outcome = watch(&self.hosts.network, time);
            done.store(true, Ordering::Relaxed);
            outcome
        })
    }
}

fn send(socket: &UdpSocket, contexts: u32, done: &AtomicBool) {
    // A stride that has no divisor in common with the number of contexts meets all of them.
    const STRIDE: u32 = 61_813;
    let mut index = 0;
    while !done.load(Ordering::Relaxed) {
        index = (index + STRIDE) % contexts;
        // A full queue is no reason to end.
        let _ = socket.send_to(&[0; 64], SocketAddr::from((peer(index), 9)));
    }
}

fn watch(network: &Network, time: Duration) -> Result<Sample, BenchError> {
    thread::sleep(WARM_UP);
    let meter = Meter::start(Side::BOTH.map(|side| network.host(side)), &[])?;
    thread::sleep(time);
    let spent = meter.stop()?;
    Ok(Sample::new(spent.queued, spent))
}
