//! Packets other than TCP's, on a context that has moved: however odd, they arrive as they were sent.

mod headers;
mod sizes;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::support::{Moved, PATIENCE, Side};

impl Moved<'_> {
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

/// How long one datagram may be on its way before it is sent again.
const PAUSE: Duration = Duration::from_millis(300);
