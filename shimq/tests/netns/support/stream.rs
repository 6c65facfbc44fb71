//! A TCP connection whose every octet is checked.

use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use ring::digest::{Context, Digest, SHA256};
use shimq_testbed::uninterrupted;
use socket2::{Domain, Protocol, Socket, Type};

use super::{Daemon, Network, PATIENCE, Side, eventually};

/// One host sends random octets to the other, steadily, until told to end.
pub(crate) struct Stream {
    arrivals: Arc<Mutex<Vec<(Instant, usize)>>>,
    ending: Ending,
    sender: JoinHandle<io::Result<Digest>>,
    receiver: JoinHandle<io::Result<Digest>>,
    /// Host A's end.
    pub(crate) local: SocketAddr,
}

impl Stream {
    /// Connects host A at `from`, or at what it chooses, to host B at `to`, which sends.
    pub(crate) fn start(
        network: &Network,
        from: impl Into<Option<Ipv6Addr>>,
        to: Ipv6Addr,
    ) -> Self {
        Self::start_from(Side::B, network, from, to)
    }

    /// The same with a choice of who sends.
    pub(crate) fn start_from(
        sender: Side,
        network: &Network,
        from: impl Into<Option<Ipv6Addr>>,
        to: Ipv6Addr,
    ) -> Self {
        let (client, server) = connection(network, from.into(), to);
        let local = client.local_addr().unwrap();
        let (source, sink) = match sender {
            Side::A => (client, server),
            Side::B => (server, client),
        };

        let arrivals = Arc::new(Mutex::new(Vec::new()));
        let ending = Ending::default();
        let sender = {
            let ending = Arc::clone(&ending.0);
            thread::spawn(move || send(source, &ending))
        };
        let receiver = {
            let arrivals = Arc::clone(&arrivals);
            thread::spawn(move || receive(sink, &arrivals))
        };
        let stream = Self {
            arrivals,
            ending,
            sender,
            receiver,
            local,
        };
        stream.wait_for_more();
        stream
    }

    /// Between the first locators of both hosts, which are returned with it, once both hosts have a
    /// context for it.
    pub(crate) fn with_context(
        network: &Network,
        a: &Daemon<'_>,
        b: &Daemon<'_>,
    ) -> (Self, Ipv6Addr, Ipv6Addr) {
        let ([a1, _], [b1, _]) = (a.locators(), b.locators());
        let stream = Self::start(network, a1, b1);
        eventually("both have a context", || {
            a.has_context(a1, b1) && b.has_context(b1, a1)
        });
        (stream, a1, b1)
    }

    fn received(&self) -> usize {
        let arrivals = self.arrivals.lock().unwrap();
        arrivals.iter().map(|(_, octets)| octets).sum()
    }

    /// Waits until the receiver has got more than what may have been on its way.
    pub(crate) fn wait_for_more(&self) {
        let wanted = self.received() + 20 * CHUNK;
        eventually("the stream flows", || {
            assert!(!self.receiver.is_finished(), "the connection broke");
            self.received() >= wanted
        });
    }

    /// The longest time since `start` in which nothing arrived.
    pub(crate) fn longest_silence(&self, start: Instant) -> Duration {
        let arrivals = self.arrivals.lock().unwrap();
        let times = arrivals.iter().map(|(at, _)| *at);
        let mut last = start;
        let mut longest = Duration::ZERO;
        for at in times.filter(|at| *at > start).chain([Instant::now()]) {
            longest = longest.max(at - last);
            last = at;
        }
        longest
    }

    /// Ends the connection in order; what arrived must be what was sent.
    pub(crate) fn finish(self) {
        drop(self.ending);
        let sent = self.sender.join().unwrap().unwrap();
        let received = self.receiver.join().unwrap().unwrap();
        assert_eq!(sent.as_ref(), received.as_ref(), "SHA-256 differs");
    }
}

/// Tells the sender to end when dropped, as it is when a test fails.
#[derive(Default)]
struct Ending(Arc<AtomicBool>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A connection of host A at `from`, or at what it chooses, to host B at `to`: the sockets of both.
pub(crate) fn connection(
    network: &Network,
    from: Option<Ipv6Addr>,
    to: Ipv6Addr,
) -> (TcpStream, TcpStream) {
    accepted(network, to, |to| connect(from, to))
}

/// The same where host A's socket has a mark.
pub(crate) fn marked_connection(
    network: &Network,
    from: Ipv6Addr,
    to: Ipv6Addr,
    mark: u32,
) -> (TcpStream, TcpStream) {
    accepted(network, to, |to| {
        let socket = bound_socket(Some(from))?;
        socket.set_mark(mark)?;
        connected(socket, to)
    })
}

/// The socket that `connect` makes on host A, and the one that host B has of it at `to`.
fn accepted(
    network: &Network,
    to: Ipv6Addr,
    connect: impl FnOnce(SocketAddrV6) -> io::Result<TcpStream> + Send,
) -> (TcpStream, TcpStream) {
    let listener = network.hosts.b.enter(|| TcpListener::bind((to, 0)));
    let listener = listener.unwrap().unwrap();
    let SocketAddr::V6(to) = listener.local_addr().unwrap() else {
        unreachable!("bound to an IPv6 address");
    };
    let client = network.hosts.a.enter(|| connect(to));
    (client.unwrap().unwrap(), listener.accept().unwrap().0)
}

/// `size` octets from host A to host B over one connection, and one octet back.
pub(crate) fn exchange_over((mut client, mut server): (TcpStream, TcpStream), size: usize) {
    client.write_all(&vec![1; size]).unwrap();
    server.read_exact(&mut vec![0; size]).unwrap();
    server.write_all(&[1]).unwrap();
    client.read_exact(&mut [0]).unwrap();
}

/// Connects like any program; sockets that a test leaves behind end with it.
pub(crate) fn connect(from: Option<Ipv6Addr>, to: SocketAddrV6) -> io::Result<TcpStream> {
    connected(bound_socket(from)?, to)
}

fn bound_socket(from: Option<Ipv6Addr>) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
    if let Some(from) = from {
        socket.bind(&SocketAddr::from((from, 0)).into())?;
    }
    Ok(socket)
}

fn connected(socket: Socket, to: SocketAddrV6) -> io::Result<TcpStream> {
    socket.connect_timeout(&SocketAddr::V6(to).into(), PATIENCE)?;
    Ok(socket.into())
}

fn send(mut stream: TcpStream, ending: &AtomicBool) -> io::Result<Digest> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut random = ChaCha20Rng::seed_from_u64(1);
    let mut digest = Context::new(&SHA256);
    let mut chunk = [0; CHUNK];
    while !ending.load(Ordering::Relaxed) {
        random.fill_bytes(&mut chunk);
        stream.write_all(&chunk)?;
        digest.update(&chunk);
        thread::sleep(INTERVAL);
    }
    // Dropping the stream sends what is left, and the end.
    Ok(digest.finish())
}

fn receive(mut stream: TcpStream, arrivals: &Mutex<Vec<(Instant, usize)>>) -> io::Result<Digest> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut digest = Context::new(&SHA256);
    let mut chunk = vec![0; 1 << 16];
    loop {
        match uninterrupted(|| stream.read(&mut chunk))? {
            0 => return Ok(digest.finish()),
            octets => {
                arrivals.lock().unwrap().push((Instant::now(), octets));
                digest.update(&chunk[..octets]);
            }
        }
    }
}

/// Octets sent at once, and how often: steady, so that a silence shows.
const CHUNK: usize = 4000;
const INTERVAL: Duration = Duration::from_millis(10);
