//! The line: the sockets that packets come and go by, and the loop that waits for both.

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, eth, ipproto, recv, sendto,
    socket_with,
};
use rustix::process::setpriority_process;
use rustix::thread::{gettid, set_current_timer_slack};

use super::{Shared, State};

/// Name of the veth pair between router and line, at both ends.
pub(crate) const LINK: &str = "line";

/// The line's end and the router's.
const LINE: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 2);
const ROUTER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 1);

/// Routes of the router for what comes from a host.
const TABLE: u32 = 77;

/// What the router needs so that all that comes by `links` passes the line, for `ip -6 -batch`.
pub(crate) fn hosts_side<'a>(
    links: impl IntoIterator<Item = &'a str>,
    line: &std::path::Path,
) -> Vec<String> {
    let mut commands = vec![
        format!(
            "link add {LINK} type veth peer name {LINK} netns {}",
            line.display()
        ),
        format!("link set {LINK} up"),
        format!("address add {ROUTER}/64 dev {LINK} nodad"),
    ];
    let rules = links
        .into_iter()
        .map(|link| format!("rule add iif {link} lookup {TABLE}"));
    commands.extend(rules);
    commands
}

/// What the line needs, and then the router, once both ends exist.
pub(crate) fn line_side() -> (Vec<String>, Vec<String>) {
    let line = vec![
        format!("link set {LINK} up"),
        format!("address add {LINE}/64 dev {LINK} nodad"),
        format!("route add default via {ROUTER} dev {LINK}"),
    ];
    let router = vec![format!(
        "route add default via {LINE} dev {LINK} table {TABLE}"
    )];
    (line, router)
}

/// The ways in and out of the line.
pub(super) struct Sockets {
    /// Sees each IPv6 packet that arrives, from its IPv6 header on.
    arrivals: OwnedFd,
    /// Takes packets with their IPv6 header.
    departures: OwnedFd,
}

impl Sockets {
    /// Opens them in the namespace that the thread is in.
    pub(super) fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let arrivals = socket_with(
            AddressFamily::PACKET,
            SocketType::DGRAM,
            flags,
            Some(eth::IPV6),
        )?;
        // Only root of the whole machine may go beyond the system's limit.
        let _ = set_socket_recv_buffer_size_force(&arrivals, RECEIVE_BUFFER);
        let departures = socket_with(
            AddressFamily::INET6,
            SocketType::RAW,
            flags,
            Some(ipproto::RAW),
        )?;
        Ok(Self {
            arrivals,
            departures,
        })
    }
}

/// Carries packets until told to stop; the model's time begins at `start`.
pub(super) fn carry(sockets: &Sockets, shared: &Shared, start: Instant) -> io::Result<()> {
    // Waits end up to the timer slack late, 50 us unless set. And where it is allowed, packets are not
    // to wait for whatever else is busy; where it is not, the emulator is as exact as the machine.
    let _ = set_current_timer_slack(NonZeroU64::new(1_000));
    let _ = setpriority_process(Some(gettid()), -10);
    let mut packet = vec![0; LARGEST];
    loop {
        let next = {
            let mut state = shared.lock();
            if state.stopping {
                return Ok(());
            }
            take(sockets, &mut state, start, &mut packet)?;
            give(sockets, &mut state, start)?;
            state.model.next_departure()
        };
        let wait = next.map(|at| timespec(at.saturating_sub(start.elapsed())));
        let mut ready = [
            PollFd::new(&sockets.arrivals, PollFlags::IN),
            PollFd::new(&shared.wake, PollFlags::IN),
        ];
        match poll(&mut ready, wait.as_ref()) {
            Ok(_) | Err(Errno::INTR) => (),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Takes over what has arrived, but not so much that packets that are due would wait for it.
fn take(sockets: &Sockets, state: &mut State, start: Instant, buffer: &mut [u8]) -> io::Result<()> {
    for _ in 0..BATCH {
        let length = match recv(&sockets.arrivals, &mut *buffer, RecvFlags::empty()) {
            Ok((length, _)) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let packet = &buffer[..length];
        if let Some(ends) = transit(packet) {
            state.model.accept(start.elapsed(), ends, packet);
        }
    }
    Ok(())
}

/// Puts back what is due.
fn give(sockets: &Sockets, state: &mut State, start: Instant) -> io::Result<()> {
    while let Some(packet) = state.model.next_due(start.elapsed()) {
        let Some((_, destination)) = transit(&packet) else {
            continue;
        };
        let to = SocketAddrV6::new(destination, 0, 0, 0);
        match sendto(&sockets.departures, &packet, SendFlags::empty(), &to) {
            // As on a real line: what the far end has no room or no route for is lost.
            Ok(_)
            | Err(
                Errno::AGAIN
                | Errno::INTR
                | Errno::NOBUFS
                | Errno::MSGSIZE
                | Errno::NETUNREACH
                | Errno::HOSTUNREACH
                | Errno::ACCESS
                | Errno::PERM,
            ) => (),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Source and destination of a packet that passes; `None` for what belongs to the line's own link.
fn transit(packet: &[u8]) -> Option<(Ipv6Addr, Ipv6Addr)> {
    let address = |from: usize| packet.get(from..)?.first_chunk::<16>().copied();
    let (source, destination) = (Ipv6Addr::from(address(8)?), Ipv6Addr::from(address(24)?));
    let stays = destination.is_multicast()
        || destination.is_unicast_link_local()
        || source.is_unicast_link_local()
        || destination == LINE;
    (!stays).then_some((source, destination))
}

fn timespec(wait: Duration) -> Timespec {
    // No path is so long that it would not fit.
    Timespec::try_from(wait).unwrap_or(Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    })
}

/// Packets that are taken over in one go.
const BATCH: usize = 64;

/// Octets of the longest packet.
const LARGEST: usize = 1 << 16;

/// Octets that may wait while the emulator is busy.
const RECEIVE_BUFFER: usize = 8 << 20;
