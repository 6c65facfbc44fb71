//! Datagrams between namespaces.

use std::io;
use std::net::{Ipv6Addr, UdpSocket};
use std::time::Duration;

use shimq_testbed::{Namespace, uninterrupted};

/// Where the sockets are bound.
pub(crate) const PORT: u16 = 7;

/// A socket inside `host` that waits a quarter of a second for a datagram.
pub(crate) fn datagram_socket(host: &Namespace, address: Ipv6Addr) -> UdpSocket {
    let socket = host
        .enter(|| UdpSocket::bind((address, PORT)))
        .unwrap()
        .unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(250)))
        .unwrap();
    socket
}

/// Whether a datagram from one socket reaches the other, and with its address.
pub(crate) fn arrives(from: &UdpSocket, to: &UdpSocket) -> bool {
    from.send_to(b"!", to.local_addr().unwrap()).unwrap();
    match uninterrupted(|| to.recv_from(&mut [0])) {
        Ok((_, source)) => source == from.local_addr().unwrap(),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
        Err(error) => panic!("{error}"),
    }
}
