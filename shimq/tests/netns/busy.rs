//! A context that is heard thousands of times a second: its packets are counted and nothing else.

use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use shimq_testbed::Direction;

use crate::support::{Daemon, FAST, Network, Side, Stream, connection, eventually};

#[test]
fn a_busy_context_is_only_counted_until_its_pair_fails_and_survives_that() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, FAST);
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    let has = |side, map, wanted| {
        let (local, peer) = if side == Side::A { (a1, b1) } else { (b1, a1) };
        verdict(&network, side, map, local, peer).as_deref() == Some(wanted)
    };
    let is_busy = |side| has(side, "contexts_out", "accept") && has(side, "contexts_in", "accept");
    let flood = Flood::start(&network, a1, b1);
    eventually("the context is busy on both hosts", || {
        is_busy(Side::A) && is_busy(Side::B)
    });
    // Where the machine stands still for long enough, it is as if the peer fell silent.
    eventually("none of ten megabytes is queued", || {
        let queued = [&a, &b].map(Daemon::queued);
        flood.wait_for_more();
        [&a, &b].map(Daemon::queued) == queued
    });

    let (mut at_a, mut at_b) = (a.events(), b.events());
    network.hosts.cut(a1, b1, Direction::Both).unwrap();
    at_a.wait_for("pair-changed");
    at_b.wait_for("pair-changed");
    stream.wait_for_more();
    flood.wait_for_more();
    // What is sent is mapped by now, and what arrives by the old pair, which is nothing, is noted again.
    eventually("the context is busy on neither host", || {
        [Side::A, Side::B]
            .into_iter()
            .all(|side| has(side, "contexts_in", "continue"))
    });
    let received = flood.finish();
    let counted = || {
        b.context(b1, a1).unwrap()["bytes_received"]
            .as_u64()
            .unwrap()
    };
    // Headers are counted as well; at each change of what is counted a few packets are not.
    eventually("all of that was counted", || counted() > received);
    stream.finish();
}

/// What the kernel does with packets of a pair, besides counting them.
fn verdict(
    network: &Network,
    side: Side,
    map: &str,
    local: Ipv6Addr,
    peer: Ipv6Addr,
) -> Option<String> {
    let listed = network.run(side, "nft", &format!("list map ip6 shimq {map}"));
    let pair = format!("{local} . {peer} ");
    let element = listed.split(&pair).nth(1)?;
    let (_, verdict) = element.split_once(" : ")?;
    let end = verdict.find([',', ' ', '\n']).unwrap_or(verdict.len());
    Some(verdict[..end].to_owned())
}

/// One host sends the other as much as TCP carries.
struct Flood {
    socket: TcpStream,
    /// Octets so far.
    received: Arc<AtomicU64>,
    sender: JoinHandle<()>,
    receiver: JoinHandle<io::Result<()>>,
}

impl Flood {
    /// From host A at `from` to host B at `to`.
    fn start(network: &Network, from: Ipv6Addr, to: Ipv6Addr) -> Self {
        let (socket, mut sink) = connection(network, Some(from), to);
        let mut source = socket.try_clone().unwrap();
        let received = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&received);
        Self {
            socket,
            received,
            sender: thread::spawn(move || {
                let chunk = vec![0; 1 << 16];
                // Until the test shuts the socket down.
                while source.write_all(&chunk).is_ok() {}
            }),
            receiver: thread::spawn(move || {
                let mut chunk = vec![0; 1 << 16];
                loop {
                    match sink.read(&mut chunk)? {
                        0 => return Ok(()),
                        octets => counter.fetch_add(octets as u64, Ordering::Relaxed),
                    };
                }
            }),
        }
    }

    fn wait_for_more(&self) {
        let received = || self.received.load(Ordering::Relaxed);
        let wanted = received() + (10 << 20);
        eventually("the flood flows", || received() > wanted);
    }

    /// Ends the connection: octets that arrived.
    fn finish(self) -> u64 {
        self.socket.shutdown(Shutdown::Write).unwrap();
        self.sender.join().unwrap();
        self.receiver.join().unwrap().unwrap();
        self.received.load(Ordering::Relaxed)
    }
}
