//! The fast queue: up to 64 packets with one `recvmmsg`, all their verdicts with one `sendmsg`.
//!
//! The pattern of system calls decides what a queue costs, not the code between them. An idle queue waits inside of the
//! receiving call, so that a lone packet takes two calls, and a flood two for every 64 packets. Waiting for ever is
//! cheaper than with a timeout, which sets a timer and stops it for each packet. Packets stay where they were received,
//! rewritten ones included, and the datagram of verdicts is gathered from there ([`super::slots`], [`super::replies`]).
//! No verdict asks for an acknowledgement, which would cost a message each. The judge hears of all packets that came
//! together before it judges the first, and can have what it needs fetched from memory meanwhile.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::config;
use super::packet::{self, METADATA_LEN, Metadata, Received};
use super::replies::{PlainVerdict, Replies};
use super::slots::{SLOTS, Slots, Wait};
use super::{Judge, MAX_COPY_RANGE, Queue, QueueConfig, QueueError, QueuedPacket, Served, Verdict};
use crate::netlink::{self, Socket};

/// A queue that works in batches. See the module's description.
pub struct BatchQueue {
    socket: Socket,
    number: u16,
    receive_buffer: usize,
    /// Octets that one datagram of verdicts may have.
    send_limit: usize,
    /// The socket's receive timeout.
    timeout: Option<Duration>,
    /// How many of the next packets are waited for alone.
    lone: u8,
    slots: Slots,
    /// What was received at this wake-up, with the slots that it is in.
    packets: Vec<(usize, Metadata)>,
    replies: Replies,
}

impl BatchQueue {
    /// Binds and configures a queue.
    ///
    /// # Errors
    ///
    /// [`QueueError`] says what is missing and what to do.
    pub fn open(config: &QueueConfig) -> Result<Self, QueueError> {
        let number = config.number;
        let socket = Socket::open().map_err(|source| QueueError::refused(number, source))?;
        let receive_buffer = socket
            .set_receive_buffer(config.receive_buffer)
            .map_err(QueueError::io("set the receive buffer", number))?;
        let send_limit = socket
            .set_send_buffer(SEND_BUFFER)
            .map_err(QueueError::io("set the send buffer", number))?;

        socket
            .send(&[IoSlice::new(&config::bind(config))])
            .map_err(QueueError::io("bind", number))?;
        // The kernel has answered before `send` returned. The request asked for no acknowledgement, so that a refusal
        // is the one thing that can be the first message; a packet that was quicker than us stays where it is.
        let mut answer = [0; 256];
        let answer = socket
            .peek(&mut answer)
            .map_err(QueueError::io("bind", number))?
            .and_then(|datagram| netlink::messages(datagram).next()?.answer());
        if let Some(refusal) = answer {
            return Err(QueueError::refused(
                number,
                io::Error::from_raw_os_error(refusal.errno),
            ));
        }

        let copy_range = config.copy_range.min(MAX_COPY_RANGE) as usize;
        Ok(Self {
            socket,
            number,
            receive_buffer,
            send_limit,
            timeout: None,
            lone: 0,
            slots: Slots::new(METADATA_LEN + copy_range),
            packets: Vec::with_capacity(SLOTS),
            replies: Replies::new(number),
        })
    }

    /// Takes what is there into the slots: how many datagrams. Waits up to `timeout` for the first one.
    fn receive(&mut self, timeout: Option<Duration>, served: &mut Served) -> io::Result<usize> {
        let wait = self.prepare_wait(timeout)?;
        let error = match self.slots.receive(self.socket.as_fd(), wait) {
            Ok(count) => {
                self.lone = match wait {
                    Wait::ForOne => self.lone - 1,
                    Wait::ForTheFirst if count == 1 => LONE,
                    Wait::ForTheFirst | Wait::NotAtAll => 0,
                };
                return Ok(count);
            }
            Err(error) => error,
        };
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR) => {}
            Some(libc::ENOBUFS) => served.overruns += 1,
            _ => return Err(error),
        }
        Ok(0)
    }

    /// How to wait for `timeout`, which the socket knows afterwards.
    fn prepare_wait(&mut self, timeout: Option<Duration>) -> io::Result<Wait> {
        if timeout == Some(Duration::ZERO) {
            return Ok(Wait::NotAtAll);
        }
        if self.timeout != timeout {
            self.socket.set_receive_timeout(timeout)?;
            self.timeout = timeout;
        }
        Ok(if self.lone > 0 {
            Wait::ForOne
        } else {
            Wait::ForTheFirst
        })
    }

    /// Finds the packets in the first `count` slots.
    fn look_through(&mut self, count: usize, served: &mut Served) {
        self.packets.clear();
        for index in 0..count {
            match packet::parse(&self.slots.slot(index)[self.slots.datagram(index)]) {
                Received::Packet(packet) => self.packets.push((index, packet)),
                Received::Refusal => served.gone += 1,
                Received::Other => {}
            }
        }
    }

    /// Tells the judge of packets that came together.
    fn announce(&self, judge: &mut dyn Judge) {
        if self.packets.len() > 1 {
            for (index, packet) in &self.packets {
                let datagram = &self.slots.slot(*index)[self.slots.datagram(*index)];
                judge.expect(packet.hook, &datagram[packet.start..packet.end]);
            }
        }
    }

    /// Has the packets judged and notes the verdicts as replies.
    fn judge(&mut self, served: &mut Served, judge: &mut dyn Judge) {
        self.replies.clear();
        for &(index, ref packet) in &self.packets {
            let datagram = self.slots.datagram(index);
            let slot = self.slots.slot_mut(index);
            let verdict = judge.judge(&mut QueuedPacket {
                start: datagram.start + packet.start,
                end: datagram.start + packet.end,
                hook: packet.hook,
                mark: packet.mark,
                checksum_missing: packet.checksum_missing,
                segmented: packet.segmented,
                truncated: packet.original_len > packet.end - packet.start,
                original_len: packet.original_len,
                buf: slot,
            });
            served.packets += 1;
            let (slots, replies) = (&mut self.slots, &mut self.replies);
            match verdict {
                Verdict::Accept => {
                    replies.add_plain(slots, index, PlainVerdict::Accept, packet.id);
                }
                Verdict::Drop => replies.add_plain(slots, index, PlainVerdict::Drop, packet.id),
                Verdict::Rewrite(range) => replies.add_rewrite(slots, index, packet.id, range),
            }
        }
    }

    /// Sends the replies, in as few datagrams as the send buffer allows.
    fn send_replies(&self) -> io::Result<()> {
        let mut rest = self.replies.as_slice();
        if let [reply] = rest {
            let verdict = &self.slots.slot(reply.slot)[reply.range.clone()];
            return netlink::send(&self.socket, verdict);
        }
        while !rest.is_empty() {
            let mut parts = [IoSlice::new(&[]); SLOTS];
            let (mut count, mut octets) = (0, 0);
            for (part, reply) in parts.iter_mut().zip(rest) {
                octets += reply.range.len();
                if count > 0 && octets > self.send_limit {
                    break;
                }
                *part = IoSlice::new(&self.slots.slot(reply.slot)[reply.range.clone()]);
                count += 1;
            }
            self.socket.send(&parts[..count])?;
            rest = &rest[count..];
        }
        Ok(())
    }
}

impl Queue for BatchQueue {
    fn serve(&mut self, timeout: Option<Duration>, judge: &mut dyn Judge) -> io::Result<Served> {
        let mut served = Served::default();
        let count = self.receive(timeout, &mut served)?;
        self.look_through(count, &mut served);
        self.announce(judge);
        self.judge(&mut served, judge);
        self.send_replies()?;
        Ok(served)
    }

    fn number(&self) -> u16 {
        self.number
    }

    fn receive_buffer(&self) -> usize {
        self.receive_buffer
    }
}

impl AsFd for BatchQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// After a packet that came alone so many more are waited for alone, before it is looked again whether more are there.
/// Where packets come one by one that saves most of what a look costs, and where they begin to flood it delays the
/// batches by no more than this.
const LONE: u8 = 3;

/// Room for the verdicts of 64 packets of Ethernet size; longer packets take several datagrams.
const SEND_BUFFER: usize = 128 << 10;
