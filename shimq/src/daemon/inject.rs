//! Sends what the endpoint wants sent.
//!
//! One raw socket for each source address, bound to it, so that the kernel's routing sees the
//! source when it looks for a way; marked, so that no rule of ours queues these packets again. The
//! sockets are of protocol RAW: they send whole IPv6 packets and receive none, so a kernel without
//! Shim6 on some other address still answers strangers as it always did.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};

use pnet_packet::ip::IpNextHeaderProtocol;
use pnet_packet::ipv6::{Ipv6Packet, MutableIpv6Packet};
use rustix::io::Errno;
use shim6_core::{Resend, Transmit};
use shim6_wire::{SHIM6, icmp};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// IPPROTO_RAW: the IPv6 header is the sender's.
const PROTOCOL_RAW: i32 = 255;

/// Octets of an IPv6 header.
const IPV6_HEADER: usize = 40;

/// The raw sockets, by source address.
#[derive(Debug)]
pub(crate) struct Injector {
    mark: u32,
    sockets: HashMap<Ipv6Addr, Socket>,
}

impl Injector {
    /// Sends nothing yet; `mark` is the SO_MARK that rules know as ours.
    pub(crate) fn new(mark: u32) -> Self {
        Self {
            mark,
            sockets: HashMap::new(),
        }
    }

    /// Sends a Shim6 message.
    ///
    /// # Errors
    ///
    /// What the kernel says: no route, link down, or CAP_NET_RAW is missing.
    pub(crate) fn send(&mut self, transmit: &Transmit) -> io::Result<()> {
        let Transmit {
            source,
            destination,
            message,
        } = transmit;
        let mut packet = vec![0; IPV6_HEADER];
        packet.extend_from_slice(message);
        if let Some(mut header) = MutableIpv6Packet::new(&mut packet) {
            header.set_version(6);
            header.set_payload_length(u16::try_from(message.len()).unwrap_or(u16::MAX));
            header.set_next_header(IpNextHeaderProtocol(SHIM6));
            header.set_hop_limit(64);
            header.set_source(*source);
            header.set_destination(*destination);
        }
        self.transmit(*source, *destination, &packet)
    }

    /// Sends a payload packet again on its new pair. One that has become too big for the link by its
    /// Shim6 header is answered instead, as the kernel would answer it: the local stack then cuts
    /// smaller segments at once, without waiting for its own next try.
    ///
    /// # Errors
    ///
    /// See [`Self::send`].
    pub(crate) fn resend(&mut self, resend: &Resend) -> io::Result<()> {
        match self.send_packet(&resend.packet) {
            Err(error) if error.raw_os_error() == Some(Errno::MSGSIZE.raw_os_error()) => {
                let grown = resend.packet.len() - resend.original.len();
                let mtu = resend.original.len().saturating_sub(grown);
                let too_big =
                    icmp::packet_too_big(&resend.original, mtu as u32).map_err(io::Error::other)?;
                self.send_packet(&too_big)
            }
            sent => sent,
        }
    }

    /// Gives a packet to the local stack, whoever its sender is.
    ///
    /// # Errors
    ///
    /// See [`Self::send`].
    pub(crate) fn deliver(&self, packet: &[u8]) -> io::Result<()> {
        let Some(header) = Ipv6Packet::new(packet) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let socket = open(header.get_destination(), self.mark)?;
        let destination = SocketAddrV6::new(header.get_destination(), 0, 0, 0);
        socket
            .send_to(packet, &SockAddr::from(destination))
            .map(|_| ())
    }

    /// Sends a whole packet.
    ///
    /// # Errors
    ///
    /// See [`Self::send`].
    pub(crate) fn send_packet(&mut self, packet: &[u8]) -> io::Result<()> {
        let Some(header) = Ipv6Packet::new(packet) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        self.transmit(header.get_source(), header.get_destination(), packet)
    }

    fn transmit(
        &mut self,
        source: Ipv6Addr,
        destination: Ipv6Addr,
        packet: &[u8],
    ) -> io::Result<()> {
        let socket = match self.sockets.entry(source) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(open(source, self.mark)?),
        };
        let destination = SockAddr::from(SocketAddrV6::new(destination, 0, 0, 0));
        socket.send_to(packet, &destination).map(|_| ())
    }

    /// Closes the sockets of addresses that are no locators any more.
    pub(crate) fn retain(&mut self, locators: &[Ipv6Addr]) {
        self.sockets.retain(|source, _| locators.contains(source));
    }
}

fn open(source: Ipv6Addr, mark: u32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(PROTOCOL_RAW)))?;
    socket.set_nonblocking(true)?;
    socket.set_mark(mark)?;
    // The address may be off its interface for a moment, and come back.
    socket.set_freebind_v6(true)?;
    socket.bind(&SockAddr::from(SocketAddrV6::new(source, 0, 0, 0)))?;
    Ok(socket)
}

/// Whether this process may open raw sockets, with what to do if not.
///
/// # Errors
///
/// The kernel's refusal.
pub(crate) fn check_capability() -> io::Result<()> {
    Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(PROTOCOL_RAW))).map(|_| ())
}
