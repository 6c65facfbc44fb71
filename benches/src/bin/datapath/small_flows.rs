//! Flows that are too small for a context: does the program see any packet of them?

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};

use serde::Serialize;

use crate::meter::Meter;
use crate::network::{LINKS, Network, Side};
use crate::variant::{self, Tools};
use shimq_benches::error::BenchError;

/// What came of it.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct SmallFlows {
    /// Each to another peer.
    pub(crate) flows: u16,
    pub(crate) packets_sent: u64,
    /// Packets that entered queues.
    pub(crate) queued: u64,
}

/// Sends some packets each to many peers, from a host whose daemon waits for flows that are worth a
/// context.
pub(crate) fn measure(tools: &Tools) -> Result<SmallFlows, BenchError> {
    let network = Network::new()?;
    network.nft(Side::B, DROP_ALL)?;
    let mut stage = variant::set_up_waiting(&network, tools)?;
    let course = stage.course()?;
    let gateway = Side::B.address(0);
    let route = format!("route add {}/64 via {gateway} dev {}", peer(0), LINKS[0]);
    network.ip(Side::A, &[route])?;
    let open = || UdpSocket::bind((course.ends[0], 0));
    let socket = network.host(Side::A).enter(open)?;
    let socket = socket.map_err(BenchError::io("open a socket"))?;

    let meter = Meter::start(Side::BOTH.map(|side| network.host(side)), &course.servers)?;
    let mut packets_sent = 0;
    for _ in 0..PACKETS {
        for flow in 0..FLOWS {
            let sent = socket.send_to(&[0; DATAGRAM], SocketAddr::from((peer(flow), 9)));
            packets_sent += u64::from(sent.is_ok());
        }
    }
    Ok(SmallFlows {
        flows: FLOWS,
        packets_sent,
        queued: meter.stop()?.queued,
    })
}

fn peer(index: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, index)
}

/// Fewer than the kernel remembers at a time.
const FLOWS: u16 = 10_000;

/// With their headers 5 x 148 octets: less than the 2 KB that are worth a context.
const PACKETS: usize = 5;
const DATAGRAM: usize = 100;

/// For host B: these peers are nobody.
const DROP_ALL: &str = "table ip6 sink {
    chain prerouting {
        type filter hook prerouting priority -500;
        ip6 daddr 2001:db8:b::/64 drop
    }
}\n";
