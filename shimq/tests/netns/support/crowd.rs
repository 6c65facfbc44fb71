//! Many TCP connections at once, whose every octet is checked, both ways.

use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use shimq_testbed::uninterrupted;

use super::{Network, PATIENCE, connect, eventually};

/// Connections on which host A says something again and again, and host B says the same back.
pub(crate) struct Crowd {
    members: Vec<Member>,
    ending: Arc<AtomicBool>,
}

/// One connection.
struct Member {
    /// Answers that came, each as it was sent.
    rounds: Arc<AtomicU64>,
    client: JoinHandle<io::Result<()>>,
    server: JoinHandle<io::Result<()>>,
}

impl Crowd {
    /// Nobody yet.
    pub(crate) fn new() -> Self {
        Self {
            members: Vec::new(),
            ending: Arc::default(),
        }
    }

    /// Adds `connections` from host A at `from` to host B at `to`.
    pub(crate) fn join(
        &mut self,
        network: &Network,
        from: Ipv6Addr,
        to: Ipv6Addr,
        connections: usize,
    ) {
        let listener = network.hosts.b.enter(|| TcpListener::bind((to, 0)));
        let listener = listener.unwrap().unwrap();
        let SocketAddr::V6(to) = listener.local_addr().unwrap() else {
            unreachable!("bound to an IPv6 address");
        };
        for _ in 0..connections {
            let client = network.hosts.a.enter(|| connect(Some(from), to));
            let client = client.unwrap().unwrap();
            let (server, _) = listener.accept().unwrap();
            for end in [&client, &server] {
                end.set_read_timeout(Some(PATIENCE)).unwrap();
                end.set_write_timeout(Some(PATIENCE)).unwrap();
            }
            let rounds = Arc::new(AtomicU64::new(0));
            let (ending, seed) = (Arc::clone(&self.ending), self.members.len() as u64);
            self.members.push(Member {
                client: {
                    let rounds = Arc::clone(&rounds);
                    thread::spawn(move || ask(client, seed, &rounds, &ending))
                },
                server: thread::spawn(move || answer(server)),
                rounds,
            });
        }
    }

    /// Waits until every connection has carried more, there and back.
    pub(crate) fn wait_for_more(&self) {
        let rounds = || {
            self.members
                .iter()
                .map(|m| m.rounds.load(Ordering::Relaxed))
        };
        // The one that may have been on its way, and another.
        let wanted: Vec<u64> = rounds().map(|rounds| rounds + 2).collect();
        eventually("every connection goes on", || {
            assert!(
                self.members.iter().all(|m| !m.client.is_finished()),
                "a connection broke"
            );
            rounds()
                .zip(&wanted)
                .all(|(rounds, &wanted)| rounds >= wanted)
        });
    }

    /// Ends all connections in order, and returns how many there were.
    pub(crate) fn finish(mut self) -> usize {
        self.ending.store(true, Ordering::Relaxed);
        let members = std::mem::take(&mut self.members);
        let connections = members.len();
        for member in members {
            member.client.join().unwrap().unwrap();
            member.server.join().unwrap().unwrap();
        }
        connections
    }
}

impl Drop for Crowd {
    /// The threads of a test that fails end as well.
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
    }
}

/// Random octets there; the same octets must come back.
fn ask(
    mut stream: TcpStream,
    seed: u64,
    rounds: &AtomicU64,
    ending: &AtomicBool,
) -> io::Result<()> {
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    let (mut said, mut heard) = ([0; CHUNK], [0; CHUNK]);
    while !ending.load(Ordering::Relaxed) {
        random.fill_bytes(&mut said);
        stream.write_all(&said)?;
        stream.read_exact(&mut heard)?;
        if said != heard {
            return Err(io::Error::other("other octets came back"));
        }
        rounds.fetch_add(1, Ordering::Relaxed);
        thread::sleep(INTERVAL);
    }
    Ok(())
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut chunk = [0; CHUNK];
    loop {
        match uninterrupted(|| stream.read(&mut chunk))? {
            0 => return Ok(()),
            octets => stream.write_all(&chunk[..octets])?,
        }
    }
}

/// Octets said at once, and how long a connection is quiet between an answer and what it says next.
const CHUNK: usize = 2000;
const INTERVAL: Duration = Duration::from_millis(100);
