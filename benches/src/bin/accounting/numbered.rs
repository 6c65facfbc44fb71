//! Datagrams that carry their number, and a receiver that checks each.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::Serialize;
use shimq_benches::error::{BenchError, is_patience};
use shimq_testbed::Namespace;

/// One way from a host to the other.
pub(crate) struct Lane {
    sockets: Vec<UdpSocket>,
    to: SocketAddr,
    next_socket: usize,
    /// The number of the next datagram.
    pub(crate) sent: u64,
    /// Those that are no longer waited for.
    lost: u64,
    shared: Arc<Shared>,
    /// `None` once it has been waited for.
    receiver: Option<JoinHandle<io::Result<Arrivals>>>,
}

/// What the two ends tell each other.
#[derive(Default)]
struct Shared {
    delivered: AtomicU64,
    /// The receiver is to leave its socket alone.
    is_held: AtomicBool,
    is_over: AtomicBool,
}

/// What arrived.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Arrivals {
    /// Different ones.
    pub(crate) delivered: u64,
    /// Those that came again.
    pub(crate) duplicates: u64,
    /// Those with other octets than were sent.
    pub(crate) damaged: u64,
    /// Those that came after one with a higher number.
    pub(crate) reordered: u64,
}

impl Lane {
    /// Opens sockets at both ends, for at most `datagrams`.
    pub(crate) fn open(
        (from, source): (&Namespace, Ipv6Addr),
        (to, destination): (&Namespace, Ipv6Addr),
        datagrams: u64,
    ) -> Result<Self, BenchError> {
        let failed = || BenchError::io("open UDP sockets");
        let socket = to.enter(|| UdpSocket::bind((destination, 0)))?;
        let socket = socket.map_err(failed())?;
        let address = socket.local_addr().map_err(failed())?;
        socket.set_read_timeout(Some(TICK)).map_err(failed())?;
        // What waits in a queue of its own host is charged to the socket: one alone fills none.
        let sockets = from.enter(|| {
            let open = |_| {
                let socket = UdpSocket::bind((source, 0))?;
                socket.set_nonblocking(true)?;
                Ok(socket)
            };
            (0..SOCKETS).map(open).collect::<io::Result<Vec<_>>>()
        })?;
        let shared = Arc::new(Shared::default());
        let receiver = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || receive(&socket, &shared, datagrams))
        };
        Ok(Self {
            sockets: sockets.map_err(failed())?,
            to: address,
            next_socket: 0,
            sent: 0,
            lost: 0,
            shared,
            receiver: Some(receiver),
        })
    }

    /// Different datagrams that have arrived.
    fn delivered(&self) -> u64 {
        self.shared.delivered.load(Relaxed)
    }

    /// Sends one datagram, as soon as a socket takes it.
    pub(crate) fn send(&mut self) -> Result<(), BenchError> {
        let mut datagram = [0; LENGTH_MAX];
        let octets = fill(&mut datagram, self.sent);
        let deadline = Instant::now() + PATIENCE;
        loop {
            for _ in 0..self.sockets.len() {
                let socket = &self.sockets[self.next_socket];
                match socket.send_to(octets, self.to) {
                    Ok(_) => {
                        self.sent += 1;
                        return Ok(());
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.next_socket = (self.next_socket + 1) % self.sockets.len();
                    }
                    Err(error) => return Err(BenchError::io("send a datagram")(error)),
                }
            }
            if Instant::now() > deadline {
                return Err(BenchError::TooLate {
                    condition: "a socket takes a datagram".to_owned(),
                });
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Sends from one socket for each datagram.
    pub(crate) fn send_spread(&mut self) -> Result<(), BenchError> {
        self.next_socket = (self.next_socket + 1) % self.sockets.len();
        self.send()
    }

    /// Has the receiver read nothing, or again.
    pub(crate) fn hold(&self, is_held: bool) {
        self.shared.is_held.store(is_held, Relaxed);
    }

    /// Waits until nothing is on its way, or nothing has arrived for so long.
    pub(crate) fn drain(&mut self, quiet: Duration) {
        self.lost = 0;
        self.wait(quiet);
    }

    /// The same, but waits no more for what was not waited for before.
    pub(crate) fn wait(&mut self, quiet: Duration) {
        let mut seen = self.delivered();
        let mut since = Instant::now();
        while self.sent > seen + self.lost {
            thread::sleep(Duration::from_micros(50));
            let now = self.delivered();
            if now != seen {
                (seen, since) = (now, Instant::now());
            } else if since.elapsed() > quiet {
                self.lost = self.sent - seen;
            }
        }
    }

    /// Ends it: how many were sent, and what arrived of them.
    pub(crate) fn close(mut self) -> Result<(u64, Arrivals), BenchError> {
        self.shared.is_over.store(true, Relaxed);
        let panicked = || Err(io::Error::other("the receiver panicked"));
        let receiver = self.receiver.take().map(JoinHandle::join);
        let arrivals = receiver.and_then(Result::ok).unwrap_or_else(panicked);
        Ok((self.sent, arrivals.map_err(BenchError::io("receive"))?))
    }
}

impl Drop for Lane {
    /// Ends the receiver of a lane that was not closed.
    fn drop(&mut self) {
        self.shared.is_over.store(true, Relaxed);
    }
}

fn receive(socket: &UdpSocket, shared: &Shared, datagrams: u64) -> io::Result<Arrivals> {
    let mut seen = vec![0_u64; datagrams.div_ceil(64) as usize];
    let mut arrivals = Arrivals::default();
    let mut next = 0;
    let mut datagram = [0; LENGTH_MAX + 1];
    let mut expected = [0; LENGTH_MAX];
    while !shared.is_over.load(Relaxed) {
        if shared.is_held.load(Relaxed) {
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        let octets = match socket.recv(&mut datagram) {
            Ok(length) => &datagram[..length],
            Err(error) if is_patience(&error) => continue,
            Err(error) => return Err(error),
        };
        let number = octets
            .first_chunk()
            .map(|&number| u64::from_be_bytes(number));
        let Some(number) =
            number.filter(|&number| number < datagrams && fill(&mut expected, number) == octets)
        else {
            arrivals.damaged += 1;
            continue;
        };
        let (word, bit) = (&mut seen[(number / 64) as usize], 1 << (number % 64));
        if *word & bit != 0 {
            arrivals.duplicates += 1;
            continue;
        }
        *word |= bit;
        arrivals.delivered += 1;
        arrivals.reordered += u64::from(number < next);
        next = next.max(number + 1);
        shared.delivered.store(arrivals.delivered, Relaxed);
    }
    Ok(arrivals)
}

/// Writes the datagram of this number: the number, and octets that follow from it.
fn fill(datagram: &mut [u8; LENGTH_MAX], number: u64) -> &[u8] {
    let scrambled = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let length = LENGTH_MIN + (scrambled >> 32) as usize % (LENGTH_MAX - LENGTH_MIN + 1);
    let octets = &mut datagram[..length];
    octets.fill((scrambled >> 56) as u8);
    octets[..8].copy_from_slice(&number.to_be_bytes());
    octets
}

/// Octets of a datagram; the largest one fits every path with any header.
const LENGTH_MIN: usize = 8;
const LENGTH_MAX: usize = 1200;

/// Sending sockets; each blocks when about a hundred of its datagrams wait in a queue.
const SOCKETS: usize = 256;

/// How long the receiver waits before it looks whether all is over.
const TICK: Duration = Duration::from_millis(20);

/// How long all sockets may be full.
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_told_from_that_of_any_other_number() {
        let (mut one, mut other) = ([0; LENGTH_MAX], [0; LENGTH_MAX]);
        for number in 0..1000 {
            let octets = fill(&mut one, number);
            assert!((LENGTH_MIN..=LENGTH_MAX).contains(&octets.len()));
            assert_ne!(octets, fill(&mut other, number + 1));
        }
    }
}
