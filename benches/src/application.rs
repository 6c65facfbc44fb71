//! Applications that send from host A to host B, and note when the other end receives.

use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::Serialize;
use shimq_testbed::{Moment, Namespace};
use socket2::{Domain, Protocol, Socket, Type};

use crate::error::BenchError;

/// What an application sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// 1 KB each 20 ms over a stream.
    Paced,
    /// As much as a stream takes.
    Bulk,
    /// 200 octets each 20 ms both ways, in datagrams: a call.
    Call,
}

/// What streams are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// TCP; datagrams are UDP.
    Plain,
    /// MPTCP.
    Multipath,
}

/// A running application; ended when dropped.
#[derive(Debug)]
pub struct Application {
    stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// Of each end that receives.
    arrivals: Vec<Arc<Arrivals>>,
    /// To end reads and writes that wait.
    streams: Vec<TcpStream>,
    /// A subflow that joins later comes in by it.
    listener: Option<Socket>,
}

/// Something that an end received.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// When.
    pub at: Moment,
    /// How much.
    pub octets: usize,
}

/// What an end received, in order.
#[derive(Debug, Default)]
struct Arrivals(Mutex<Vec<Arrival>>);

impl Arrivals {
    fn note(&self, octets: usize) {
        let at = Moment::now();
        self.lock().push(Arrival { at, octets });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arrival>> {
        // A list of arrivals cannot be half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Application {
    /// Starts to send from address `from` of host `a` to address `to` of host `b`.
    pub fn start(
        pattern: Pattern,
        transport: Transport,
        (a, from): (&Namespace, Ipv6Addr),
        (b, to): (&Namespace, Ipv6Addr),
    ) -> Result<Self, BenchError> {
        let mut application = Self {
            stopping: Arc::default(),
            threads: Vec::new(),
            arrivals: Vec::new(),
            streams: Vec::new(),
            listener: None,
        };
        match pattern {
            Pattern::Paced | Pattern::Bulk => {
                let ends = connect(transport, (a, from), (b, to));
                let (sender, receiver, listener) = ends?.map_err(BenchError::io("connect"))?;
                application.listener = Some(listener);
                application.send_stream(pattern, sender)?;
                application.receive_stream(receiver)?;
            }
            Pattern::Call => {
                let socket = |host: &Namespace, local, peer| {
                    let socket = host.enter(|| call_socket(local, peer))?;
                    socket.map_err(BenchError::io("open a UDP socket"))
                };
                for socket in [socket(a, from, to)?, socket(b, to, from)?] {
                    application.call(socket)?;
                }
            }
        }
        Ok(application)
    }

    /// What each end that receives has received since the start.
    pub fn arrivals(&self) -> Vec<Vec<Arrival>> {
        self.arrivals
            .iter()
            .map(|list| list.lock().clone())
            .collect()
    }

    /// When each end that receives has received since the start.
    pub fn moments(&self) -> Vec<Vec<Moment>> {
        self.arrivals
            .iter()
            .map(|list| list.lock().iter().map(|arrival| arrival.at).collect())
            .collect()
    }

    fn spawn(&mut self, work: impl FnOnce(&AtomicBool) + Send + 'static) -> Result<(), BenchError> {
        let stopping = Arc::clone(&self.stopping);
        let thread = thread::Builder::new()
            .name("application".to_owned())
            .spawn(move || work(&stopping))
            .map_err(BenchError::io("start a thread"))?;
        self.threads.push(thread);
        Ok(())
    }

    fn record(&mut self) -> Arc<Arrivals> {
        let arrivals = Arc::default();
        self.arrivals.push(Arc::clone(&arrivals));
        arrivals
    }

    fn send_stream(&mut self, pattern: Pattern, mut sender: TcpStream) -> Result<(), BenchError> {
        self.keep(&sender)?;
        self.spawn(move |stopping| {
            let block = match pattern {
                Pattern::Bulk => vec![0; 1 << 15],
                Pattern::Paced | Pattern::Call => vec![0; 1_024],
            };
            let mut due = Instant::now();
            // An error is the end of the connection, and its receiver's silence says so.
            while !stopping.load(Ordering::Relaxed) && sender.write_all(&block).is_ok() {
                if pattern == Pattern::Paced {
                    due += INTERVAL;
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                }
            }
        })
    }

    fn receive_stream(&mut self, mut receiver: TcpStream) -> Result<(), BenchError> {
        self.keep(&receiver)?;
        let arrivals = self.record();
        self.spawn(move |_| {
            let mut buffer = vec![0; 1 << 16];
            while let Ok(octets @ 1..) = receiver.read(&mut buffer) {
                arrivals.note(octets);
            }
        })
    }

    fn keep(&mut self, stream: &TcpStream) -> Result<(), BenchError> {
        let stream = stream
            .try_clone()
            .map_err(BenchError::io("copy a socket"))?;
        self.streams.push(stream);
        Ok(())
    }

    fn call(&mut self, socket: UdpSocket) -> Result<(), BenchError> {
        let speaking = socket
            .try_clone()
            .map_err(BenchError::io("copy a socket"))?;
        self.spawn(move |stopping| {
            let mut due = Instant::now();
            while !stopping.load(Ordering::Relaxed) {
                // What cannot be sent at the moment is lost, as in any call.
                let _ = speaking.send(&[0; 200]);
                due += INTERVAL;
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
        })?;
        let arrivals = self.record();
        self.spawn(move |stopping| {
            while !stopping.load(Ordering::Relaxed) {
                if let Ok(octets) = socket.recv(&mut [0; 200]) {
                    arrivals.note(octets);
                }
            }
        })
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        for stream in &self.streams {
            // It may be gone already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// A connected stream, A's end first, and what B listened on.
fn connect(
    transport: Transport,
    (a, from): (&Namespace, Ipv6Addr),
    (b, to): (&Namespace, Ipv6Addr),
) -> Result<io::Result<(TcpStream, TcpStream, Socket)>, BenchError> {
    let protocol = match transport {
        Transport::Plain => Protocol::TCP,
        Transport::Multipath => Protocol::MPTCP,
    };
    let stream = || Socket::new(Domain::IPV6, Type::STREAM, Some(protocol));
    let listener = b.enter(|| {
        let socket = stream()?;
        socket.bind(&SocketAddr::from((to, 0)).into())?;
        socket.listen(1)?;
        io::Result::Ok(socket)
    })?;
    let connected = |listener: Socket| {
        let sender = stream()?;
        sender.bind(&SocketAddr::from((from, 0)).into())?;
        sender.connect(&listener.local_addr()?)?;
        sender.set_tcp_nodelay(true)?;
        let (receiver, _) = listener.accept()?;
        Ok((sender.into(), receiver.into(), listener))
    };
    match listener {
        Ok(listener) => Ok(a.enter(|| connected(listener))?),
        Err(error) => Ok(Err(error)),
    }
}

fn call_socket(local: Ipv6Addr, peer: Ipv6Addr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((local, CALL_PORT))?;
    socket.connect((peer, CALL_PORT))?;
    // So that the receiving thread looks whether it shall end.
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    Ok(socket)
}

/// Between two sends.
const INTERVAL: Duration = Duration::from_millis(20);

/// Both ends of a call.
const CALL_PORT: u16 = 5_004;
