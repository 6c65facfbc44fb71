//! Packets that no longer fit their path once they have a Shim6 header.
//!
//! At the output hook a datagram is still whole: the kernel would cut it afterwards, before the Shim6
//! header, and the peer's shim would never see that. So it is cut here, behind the header, and its
//! fragments are sent by a raw socket. TCP's segments are not cut: the kernel answers one that is too
//! big with an error, and TCP sends smaller ones.
//!
//! Whoever sent a datagram that fitted until the header came is told that, too. A socket that wants its
//! datagrams cut needs no telling, one that wants to know what its path takes learns it.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv6Addr, SocketAddrV6, UdpSocket};
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;
use rustix::net::sockopt;
use shim6_core::{Instant, LocatorPair, UlidPair};
use shim6_wire::{Fragments, Packet, SHIM6, icmp};
use shimq_netfilter::ipsec;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::inject::Injector;

/// Octets that every path takes (RFC 8200 §5).
const MINIMUM_MTU: usize = 1280;

/// How long it is believed what a path takes: asking costs a few system calls.
const FRESH: Duration = Duration::from_secs(1);

/// Paths of which it is remembered what they take.
const PATHS_MAX: usize = 1024;

/// Next Header value of TCP.
const TCP: u8 = 6;

/// What a queue thread needs to send what is too big.
pub(super) struct Oversize {
    mark: u32,
    injector: Injector,
    paths: HashMap<(UlidPair, LocatorPair), Path>,
    random: ChaCha20Rng,
    fragment: Vec<u8>,
}

/// What a path takes.
#[derive(Clone, Copy, Debug)]
struct Path {
    asked_at: Instant,
    /// Octets that it takes of mapped packets.
    mtu: usize,
    /// Octets that the local stack believes it to take of packets between the ULIDs.
    believed: usize,
    /// The stack was told.
    told: bool,
}

/// What became of a packet that is too big.
#[derive(Debug)]
pub(super) enum Cut {
    /// Its fragments are sent.
    Sent,
    /// The same, and its path takes less than the IPv6 minimum of what upper layers send: the error that
    /// says so to the shim, about the mapped packet.
    SentNarrow {
        /// Octets that the path takes of the upper layers' packets.
        mtu: u32,
        /// The error.
        error: Vec<u8>,
    },
}

impl Oversize {
    /// `mark` is the SO_MARK that rules know as ours; `random` numbers what is cut.
    pub(super) fn new(mark: u32, random: ChaCha20Rng) -> Self {
        Self {
            mark,
            injector: Injector::new(mark),
            paths: HashMap::new(),
            random,
            fragment: Vec::new(),
        }
    }

    /// Sends `packet`, mapped for its context, in fragments if it is larger than its path takes; `None`
    /// if it is to go on whole.
    ///
    /// # Errors
    ///
    /// What the kernel says: the packet is lost then.
    pub(super) fn send(
        &mut self,
        packet: &[u8],
        ulids: UlidPair,
        now: Instant,
    ) -> io::Result<Option<Cut>> {
        if packet.len() <= MINIMUM_MTU || is_tcp(packet) {
            return Ok(None);
        }
        let [local, peer] = [8, 24].map(|at| address(packet, at));
        let locators = LocatorPair { local, peer };
        // Of a path that nobody knows, the kernel decides what becomes of it.
        let Some(path) = self.path(ulids, locators, now) else {
            return Ok(None);
        };
        if packet.len() <= path.mtu {
            return Ok(None);
        }
        let identification = self.random.next_u32();
        let Ok(mut fragments) = Fragments::of(packet, path.mtu, identification) else {
            return Ok(None);
        };
        while fragments.write_next(&mut self.fragment) {
            self.injector.send_packet(&self.fragment)?;
        }
        let fitted = packet.len() - Packet::HEADROOM <= path.believed;
        if fitted && !path.told {
            if let Some(path) = self.paths.get_mut(&(ulids, locators)) {
                path.told = true;
            }
            return self.tell(packet, ulids, path.mtu).map(Some);
        }
        Ok(Some(Cut::Sent))
    }

    /// Tells the local stack that a packet which it took for small enough is not.
    fn tell(&mut self, packet: &[u8], ulids: UlidPair, mtu: usize) -> io::Result<Cut> {
        let error = icmp::packet_too_big(packet, mtu as u32).map_err(io::Error::other)?;
        let left = mtu - Packet::HEADROOM;
        if left < MINIMUM_MTU {
            let mtu = left as u32;
            return Ok(Cut::SentNarrow { mtu, error });
        }
        let translated = icmp::translate(&error, ulids.local, ulids.peer);
        // It is sent all the same; the next such packet tells again.
        let _ = self
            .injector
            .deliver(&translated.map_err(io::Error::other)?);
        Ok(Cut::Sent)
    }

    /// What the path takes, asked anew once in a while.
    fn path(&mut self, ulids: UlidPair, locators: LocatorPair, now: Instant) -> Option<Path> {
        let key = (ulids, locators);
        if let Some(path) = self.paths.get(&key)
            && now.since(path.asked_at) < FRESH
        {
            return Some(*path);
        }
        let of_locators = path_mtu(locators.local, locators.peer, Some(self.mark)).ok()?;
        // Errors about mapped packets are told to the stack in terms of the ULIDs.
        let believed = path_mtu(ulids.local, ulids.peer, None).unwrap_or(usize::MAX);
        let path = Path {
            asked_at: now,
            mtu: of_locators.min(believed.saturating_add(Packet::HEADROOM)),
            believed,
            told: false,
        };
        if self.paths.len() >= PATHS_MAX {
            self.paths.clear();
        }
        self.paths.insert(key, path);
        Some(path)
    }
}

/// Octets that the kernel sends from `local` to `peer` at a time, as it leaves this host: what IPsec adds is
/// in the packets that come by here.
fn path_mtu(local: Ipv6Addr, peer: Ipv6Addr, mark: Option<u32>) -> io::Result<usize> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
    if let Some(mark) = mark {
        socket.set_mark(mark)?;
    }
    // Most kernels have no policy for this, and some no IPsec: then the route says the same.
    let _ = ipsec::exempt(&socket);
    // The address may be off its interface for a moment, and come back.
    socket.set_freebind_v6(true)?;
    socket.bind(&SockAddr::from(SocketAddrV6::new(local, 0, 0, 0)))?;
    let socket = UdpSocket::from(socket);
    // Sends nothing, but looks for the route.
    socket.connect(SocketAddrV6::new(peer, DISCARD, 0, 0))?;
    Ok(sockopt::ipv6_mtu(&socket)? as usize)
}

/// A port that has to be named and is never sent to.
const DISCARD: u16 = 9;

/// Whether a mapped packet is TCP's, as far as can be seen without looking behind options: with these it
/// is cut like any other.
fn is_tcp(packet: &[u8]) -> bool {
    packet[6] == SHIM6 && packet[40] == TCP
}

fn address(packet: &[u8], at: usize) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&packet[at..at + 16]);
    octets.into()
}
