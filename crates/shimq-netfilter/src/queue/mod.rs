//! Packets that nf_tables rules queued to userspace: received, judged, given back.
//!
//! [`Queue::serve`] is one wake-up of a queue thread: it takes what is there, asks the caller about each packet, and
//! answers the kernel. Two implementations give the same service: [`PlainQueue`] over the crate `nfq`, one system call
//! per packet and per verdict, and [`BatchQueue`], which takes up to 64 packets and gives all their verdicts with one
//! call each. What to do with a packet is the caller's business.
//!
//! # What is not an error
//!
//! An overrun receive buffer (ENOBUFS) and a verdict on a packet that the kernel has dropped meanwhile (ENOENT) are
//! facts of life: somebody's deletion of an unrelated base chain empties every queue of the network namespace. They
//! are counted in [`Served`] and a thread goes on.
//!
//! # What is not done: segmenting and merging here
//!
//! The kernel neither segments nor merges what carries a header of Shim6, so each segment of a bulk transfer crosses the
//! queues of both hosts alone. Two ways to have fewer cross were tried with the C programs of the benchmarks, on two hosts
//! that shared two busy cores, against the rewriter that packs its verdicts:
//!
//! - The segments of a flow that one wake-up finds are handed up as one packet of up to 64 KB: the first verdict takes the
//!   payload of all, the others are drops. Some 15 became one, the rate was 1.14 times as high (0.87 to 1.9), the processor
//!   time for each octet 0.92 times (0.73 to 1.6). The kernel takes no gso_size from a verdict, so that its TCP sees one
//!   overlong segment and logs that the link's "Driver has suspect GRO implementation", which would be untrue and alarming.
//! - A tun device in place of the outgoing queue, since a queue does not tell the size of the segments: packets of some 25
//!   segments are read from it, segmented, and sent by a raw socket; segments that arrive are merged, some 6 to one, and
//!   written to it with their gso_size. Bulk had 1.2 times the rate at the same processor time for each octet; small
//!   datagrams had 0.64 times the rate at 2.2 times the processor time.
//!
//! Neither pays beside the mapping in BPF, which is more than three times as fast as either and takes no more than the second: a
//! device and routes.

mod batch;
mod config;
mod error;
mod packet;
mod plain;
mod replies;
mod slots;
mod statistics;

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

pub use self::batch::BatchQueue;
pub use self::error::QueueError;
pub use self::plain::PlainQueue;
pub use self::statistics::{QueueStatistics, statistics};
use crate::netlink;

/// Octets before [`QueuedPacket::start`] that a judge may overwrite: room for one Shim6 Payload Extension header.
pub const HEADROOM: usize = 8;

/// Where in the kernel a packet was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Arrived, not yet routed, defragmented or seen by connection tracking (at our priority).
    PreRouting,
    /// Arrived and destined to this host.
    LocalIn,
    /// Sent by this host.
    LocalOut,
}

/// One packet, from its IPv6 header on, in a buffer that the judge may change.
#[derive(Debug)]
pub struct QueuedPacket<'a> {
    /// The packet is `buf[start..end]`. All of `buf` may be overwritten; at least [`HEADROOM`] octets precede `start`.
    pub buf: &'a mut [u8],
    /// First octet of the IPv6 header.
    pub start: usize,
    /// One past the last octet that was copied.
    pub end: usize,
    /// Where the packet was queued.
    pub hook: Hook,
    /// The packet's mark; of a packet sent by this host, its socket's SO_MARK.
    pub mark: u32,
    /// The transport checksum holds only the pseudo-header's part: whoever changes the packet must complete it.
    pub checksum_missing: bool,
    /// Several segments in one packet (GSO or GRO); it may be accepted, but not rewritten.
    pub segmented: bool,
    /// Fewer octets were copied than the packet has: it may be looked at, but not rewritten.
    pub truncated: bool,
    /// Octets of the whole packet.
    pub original_len: usize,
}

impl QueuedPacket<'_> {
    /// The octets that were copied.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.buf[self.start..self.end]
    }
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Goes on as it came, whatever was done to the buffer.
    Accept,
    /// Ends here.
    Drop,
    /// Goes on as `buf[range]`, which starts at most [`HEADROOM`] octets before the packet did. A packet of this host is
    /// routed again if its addresses changed.
    Rewrite(Range<usize>),
}

/// How a queue is set up. All of it is in force before the constructor returns and none of it changes later:
/// a configuration call on a live queue can lose packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// The number that the rules name. Numbers are shared by all programs of a network namespace.
    pub number: u16,
    /// Octets of each packet to copy, at most 65531. 128 suffice for observation; rewriting needs whole packets.
    pub copy_range: u32,
    /// Packets that find the queue or the receive buffer full go on instead of being dropped. Right for observation,
    /// wrong for packets that only this program can interpret.
    pub fail_open: bool,
    /// Takes segmented packets whole, up to 64 KiB, with incomplete checksums. Only for queues that never rewrite: the
    /// kernel loses a segmented packet that grew by a header it cannot segment.
    pub gso: bool,
    /// Packets that may wait in the kernel.
    pub max_len: u32,
    /// Octets of receive buffer to ask for. Beyond `net.core.rmem_max` only with CAP_NET_ADMIN in the first user
    /// namespace; without it the limit applies.
    pub receive_buffer: usize,
}

impl QueueConfig {
    /// A queue whose packets are looked at and go on unchanged.
    #[must_use]
    pub fn observe(number: u16) -> Self {
        Self {
            number,
            copy_range: 128,
            fail_open: true,
            gso: true,
            max_len: 8192,
            receive_buffer: 8 << 20,
        }
    }

    /// A queue whose packets are kept whole, as they will be on the wire, and go on unchanged.
    #[must_use]
    pub fn keep(number: u16) -> Self {
        Self {
            copy_range: MAX_COPY_RANGE,
            gso: false,
            ..Self::observe(number)
        }
    }

    /// A queue whose packets are rewritten: whole, segmented by the kernel, never passed on unjudged.
    #[must_use]
    pub fn rewrite(number: u16) -> Self {
        Self {
            number,
            copy_range: MAX_COPY_RANGE,
            fail_open: false,
            gso: false,
            max_len: 8192,
            receive_buffer: 8 << 20,
        }
    }
}

/// What one wake-up did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Packets judged.
    pub packets: u32,
    /// Times that the kernel reported an overrun receive buffer (ENOBUFS). The packets lost by it are in
    /// [`QueueStatistics::user_dropped`].
    pub overruns: u32,
    /// Verdicts refused, because the kernel had dropped the packet (ENOENT) or would not take the rewritten one.
    pub gone: u32,
}

/// Judges packets.
pub trait Judge {
    /// Hears of a packet, from its IPv6 header on, that it will judge once it has heard of all that came with it: what
    /// that takes can be fetched from memory meanwhile. Not every queue tells, and none of a packet that comes alone.
    fn expect(&mut self, _hook: Hook, _packet: &[u8]) {}

    /// Judges one packet.
    fn judge(&mut self, packet: &mut QueuedPacket<'_>) -> Verdict;
}

/// A judge that needs nothing fetched.
impl<F: FnMut(&mut QueuedPacket<'_>) -> Verdict> Judge for F {
    fn judge(&mut self, packet: &mut QueuedPacket<'_>) -> Verdict {
        self(packet)
    }
}

/// A bound queue. Dropping it unbinds: the kernel drops what waits, and rules with `bypass` let later packets pass.
pub trait Queue: Send + AsFd {
    /// Waits up to `timeout` for packets, for ever without one, judges those that are there, and gives their verdicts
    /// before it returns.
    ///
    /// Returns early, possibly with no packet, when there is something to count, and when [`Remote::wake`] asks for it.
    ///
    /// # Errors
    ///
    /// What ends a queue: a descriptor or memory that is gone. ENOBUFS, ENOENT, EAGAIN and EINTR never are.
    ///
    /// # Panics
    ///
    /// If the judge returns a [`Verdict::Rewrite`] range outside the buffer, or one that starts too early.
    fn serve(&mut self, timeout: Option<Duration>, judge: &mut dyn Judge) -> io::Result<Served>;

    /// The number that this queue is bound to.
    fn number(&self) -> u16;

    /// Octets of receive buffer in force.
    fn receive_buffer(&self) -> usize;

    /// A handle by which another thread can wake the one that serves, and take the queue away if that hangs.
    ///
    /// # Errors
    ///
    /// No descriptor left.
    fn remote(&self) -> io::Result<Remote> {
        Ok(Remote {
            socket: self.as_fd().try_clone_to_owned()?,
            number: self.number(),
        })
    }
}

/// Reaches a queue from outside its thread, see [`Queue::remote`].
#[derive(Debug)]
pub struct Remote {
    socket: OwnedFd,
    number: u16,
}

impl Remote {
    /// Ends the wait that [`Queue::serve`] is in, or the next one if it is in none.
    ///
    /// # Errors
    ///
    /// What sending reports.
    pub fn wake(&self) -> io::Result<()> {
        netlink::send(&self.socket, &config::wake(self.number))
    }

    /// Unbinds: waiting packets are dropped, and rules with `bypass` let later ones pass.
    ///
    /// # Errors
    ///
    /// What sending reports; the kernel does not refuse an unbinding that comes from the queue's own socket.
    pub fn unbind(&self) -> io::Result<()> {
        netlink::send(&self.socket, &config::unbind(self.number))
    }
}

/// The kernel copies no more than this of a packet (NFQNL_MAX_COPY_RANGE).
const MAX_COPY_RANGE: u32 = 0xffff - 4;
