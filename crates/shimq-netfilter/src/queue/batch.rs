//! The fast queue: up to 64 packets with one `recvmmsg`, all their verdicts with one `sendmsg`.
//!
//! The pattern of system calls decides what a queue costs, not the code between them. So packets stay where they were
//! received, rewritten ones included: the datagram of verdicts is gathered from short headers and from ranges of the
//! receive slots. A run of packets with the same plain verdict takes one NFQNL_MSG_VERDICT_BATCH, which means "all
//! packets up to this id"; that is right because packets arrive and are answered in the order of their ids, so that
//! nothing older is still waiting. No verdict asks for an acknowledgement, which would cost a message each.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::config::{self, SUBSYSTEM};
use super::packet::{self, METADATA_LEN, Received};
use super::{Judge, MAX_COPY_RANGE, Queue, QueueConfig, QueueError, QueuedPacket, Served, Verdict};
use crate::netlink::{self, ATTR_LEN, HEADER_LEN, NFGEN_LEN, NLM_F_REQUEST, Socket};

/// Packets per wake-up.
const SLOTS: usize = 64;

/// A queue that works in batches. See the module's description.
pub struct BatchQueue {
    socket: Socket,
    number: u16,
    receive_buffer: usize,
    /// Octets that one datagram of verdicts may have.
    send_limit: usize,
    /// Octets of one receive slot.
    slot_len: usize,
    slots: Box<[u8]>,
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

        let slot_len = (config.copy_range.min(MAX_COPY_RANGE) as usize + METADATA_LEN)
            .next_multiple_of(SLOT_ALIGN);
        Ok(Self {
            socket,
            number,
            receive_buffer,
            send_limit,
            slot_len,
            slots: vec![0; slot_len * SLOTS].into_boxed_slice(),
            replies: Replies {
                number,
                list: Vec::with_capacity(SLOTS),
            },
        })
    }

    /// Takes what is there into the slots: the number of datagrams, whose lengths are in `lengths`.
    fn receive(&mut self, lengths: &mut [usize; SLOTS], served: &mut Served) -> io::Result<usize> {
        // SAFETY: all-zero octets are a valid `mmsghdr`: null pointers with lengths of 0, which mean "absent".
        let mut headers: [libc::mmsghdr; SLOTS] = unsafe { std::mem::zeroed() };
        let mut iovecs = [const {
            libc::iovec {
                iov_base: std::ptr::null_mut(),
                iov_len: 0,
            }
        }; SLOTS];
        let slots = self.slots.chunks_exact_mut(self.slot_len);
        for ((header, iovec), slot) in headers.iter_mut().zip(&mut iovecs).zip(slots) {
            iovec.iov_base = slot.as_mut_ptr().cast();
            iovec.iov_len = slot.len();
            header.msg_hdr.msg_iov = iovec;
            header.msg_hdr.msg_iovlen = 1;
        }
        loop {
            // SAFETY: the descriptor is open; `headers` has SLOTS entries, each with one iovec that covers one slot.
            // Slots do not overlap, and they, the iovecs and the headers outlive the call.
            let count = unsafe {
                libc::recvmmsg(
                    self.socket.as_fd().as_raw_fd(),
                    headers.as_mut_ptr(),
                    SLOTS as libc::c_uint,
                    libc::MSG_DONTWAIT,
                    std::ptr::null_mut(),
                )
            };
            if let Ok(count) = usize::try_from(count) {
                for (length, header) in lengths.iter_mut().zip(&headers[..count]) {
                    *length = header.msg_len as usize;
                }
                return Ok(count);
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EAGAIN) => return Ok(0),
                Some(libc::EINTR) => {}
                Some(libc::ENOBUFS) => served.overruns += 1,
                _ => return Err(error),
            }
        }
    }

    /// Judges the datagrams in the first slots and notes the verdicts as replies.
    fn judge(&mut self, lengths: &[usize], served: &mut Served, judge: &mut Judge<'_>) {
        let slots = self.slots.chunks_exact_mut(self.slot_len);
        for (index, (slot, length)) in slots.zip(lengths).enumerate() {
            let packet = match packet::parse(&slot[..*length]) {
                Received::Packet(packet) => packet,
                Received::Refusal => {
                    served.gone += 1;
                    continue;
                }
                Received::Other => continue,
            };
            let verdict = judge(&mut QueuedPacket {
                start: packet.start,
                end: packet.end,
                hook: packet.hook,
                mark: packet.mark,
                checksum_missing: packet.checksum_missing,
                segmented: packet.segmented,
                truncated: packet.original_len > packet.end - packet.start,
                original_len: packet.original_len,
                buf: slot,
            });
            served.packets += 1;
            match verdict {
                Verdict::Accept => self.replies.add_plain(NF_ACCEPT, packet.id),
                Verdict::Drop => self.replies.add_plain(NF_DROP, packet.id),
                Verdict::Rewrite(range) => {
                    assert!(range.end <= self.slot_len, "rewritten outside the buffer");
                    let base = index * self.slot_len;
                    self.replies
                        .add_rewrite(packet.id, base + range.start..base + range.end);
                }
            }
        }
    }

    /// Sends the replies, in as few datagrams as the send buffer allows.
    fn send_replies(&mut self) -> io::Result<()> {
        let mut parts: [IoSlice<'_>; SLOTS * 3] = std::array::from_fn(|_| IoSlice::new(&[]));
        let (mut count, mut octets) = (0, 0);
        for reply in &self.replies.list {
            if octets + reply.len() > self.send_limit {
                self.socket.send(&parts[..count])?;
                (count, octets) = (0, 0);
            }
            let padding = netlink::align(reply.payload.len()) - reply.payload.len();
            for part in [
                &reply.header[..reply.header_len],
                &self.slots[reply.payload.clone()],
                &[0; 3][..padding],
            ] {
                if !part.is_empty() {
                    parts[count] = IoSlice::new(part);
                    count += 1;
                }
            }
            octets += reply.len();
        }
        if count > 0 {
            self.socket.send(&parts[..count])?;
        }
        Ok(())
    }
}

impl Queue for BatchQueue {
    fn serve(&mut self, timeout: Duration, judge: &mut Judge<'_>) -> io::Result<Served> {
        let mut served = Served::default();
        let mut lengths = [0; SLOTS];
        let mut count = self.receive(&mut lengths, &mut served)?;
        if count == 0 && served == Served::default() && wait(self.socket.as_fd(), timeout)? {
            count = self.receive(&mut lengths, &mut served)?;
        }
        self.replies.list.clear();
        self.judge(&lengths[..count], &mut served, judge);
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

/// Waits until `fd` has something to read; false after `timeout` or a signal.
pub(super) fn wait(fd: BorrowedFd<'_>, timeout: Duration) -> io::Result<bool> {
    let timeout = Timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// The verdicts of one wake-up, in the order of the packets.
struct Replies {
    number: u16,
    /// Empty between wake-ups, kept for its capacity.
    list: Vec<Reply>,
}

impl Replies {
    /// Adds a verdict without a packet, by extending the last reply where that says the same.
    fn add_plain(&mut self, verdict: u32, id: u32) {
        match self.list.last_mut() {
            Some(last) if last.plain == Some(verdict) => last.set_id(id),
            _ => self.list.push(Reply::plain(self.number, verdict, id)),
        }
    }

    /// Adds a verdict with a new packet, which is `payload` of the slots.
    fn add_rewrite(&mut self, id: u32, payload: Range<usize>) {
        self.list.push(Reply::rewrite(self.number, id, payload));
    }
}

/// One verdict message: a header of ours and, for a rewritten packet, a range of the slots behind it.
#[derive(Debug)]
struct Reply {
    header: [u8; REWRITE_LEN],
    header_len: usize,
    /// Empty, or the new packet.
    payload: Range<usize>,
    /// The verdict, where it may cover older packets too.
    plain: Option<u32>,
}

impl Reply {
    fn plain(number: u16, verdict: u32, id: u32) -> Self {
        let mut header = [0; REWRITE_LEN];
        put_head(
            &mut header,
            MSG_VERDICT_BATCH,
            PLAIN_LEN,
            number,
            verdict,
            id,
        );
        Self {
            header,
            header_len: PLAIN_LEN,
            payload: 0..0,
            plain: Some(verdict),
        }
    }

    fn rewrite(number: u16, id: u32, payload: Range<usize>) -> Self {
        // A longer packet than IPv6 can have does not fit an attribute either; nothing can become of it.
        let Ok(attr_len) = u16::try_from(ATTR_LEN + payload.len()) else {
            let mut reply = Self::plain(number, NF_DROP, id);
            reply.header[4..6].copy_from_slice(&MSG_VERDICT.to_ne_bytes());
            reply.plain = None;
            return reply;
        };
        let mut header = [0; REWRITE_LEN];
        let len = REWRITE_LEN + netlink::align(payload.len());
        put_head(&mut header, MSG_VERDICT, len, number, NF_ACCEPT, id);
        header[PLAIN_LEN..][..2].copy_from_slice(&attr_len.to_ne_bytes());
        header[PLAIN_LEN + 2..][..2].copy_from_slice(&NFQA_PAYLOAD.to_ne_bytes());
        Self {
            header,
            header_len: REWRITE_LEN,
            payload,
            plain: None,
        }
    }

    /// Lets a plain verdict reach up to `id`.
    fn set_id(&mut self, id: u32) {
        self.header[PLAIN_LEN - 4..PLAIN_LEN].copy_from_slice(&id.to_be_bytes());
    }

    /// Octets on the socket.
    fn len(&self) -> usize {
        self.header_len + netlink::align(self.payload.len())
    }
}

/// Writes `struct nlmsghdr`, `struct nfgenmsg` and the NFQA_VERDICT_HDR attribute; `len` is that of the message.
fn put_head(
    header: &mut [u8; REWRITE_LEN],
    kind: u16,
    len: usize,
    number: u16,
    verdict: u32,
    id: u32,
) {
    header[0..4].copy_from_slice(&(len as u32).to_ne_bytes());
    header[4..6].copy_from_slice(&kind.to_ne_bytes());
    header[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    header[18..20].copy_from_slice(&number.to_be_bytes());
    header[20..22].copy_from_slice(&VERDICT_ATTR_LEN.to_ne_bytes());
    header[22..24].copy_from_slice(&NFQA_VERDICT_HDR.to_ne_bytes());
    header[24..28].copy_from_slice(&verdict.to_be_bytes());
    header[28..32].copy_from_slice(&id.to_be_bytes());
}

const MSG_VERDICT: u16 = SUBSYSTEM | 1;
const MSG_VERDICT_BATCH: u16 = SUBSYSTEM | 3;
const NFQA_VERDICT_HDR: u16 = 2;
const NFQA_PAYLOAD: u16 = 10;
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;
/// NFQA_VERDICT_HDR: verdict and packet id.
const VERDICT_ATTR_LEN: u16 = ATTR_LEN as u16 + 8;
const PLAIN_LEN: usize = HEADER_LEN + NFGEN_LEN + VERDICT_ATTR_LEN as usize;
const REWRITE_LEN: usize = PLAIN_LEN + ATTR_LEN;
/// Slots start on cache lines of their own.
const SLOT_ALIGN: usize = 64;
/// Room for the verdicts of 64 packets of Ethernet size; longer packets take several datagrams.
const SEND_BUFFER: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(reply: &Reply, slots: &[u8]) -> (u16, u32, u32, Vec<u8>) {
        let mut datagram = reply.header[..reply.header_len].to_vec();
        datagram.extend_from_slice(&slots[reply.payload.clone()]);
        datagram.resize(netlink::align(datagram.len()), 0);
        assert_eq!(datagram.len(), reply.len());
        let message = netlink::messages(&datagram).next().unwrap();
        let mut attrs = message.attrs();
        let verdict = attrs.next().unwrap().value;
        let payload = attrs.next().map(|attr| attr.value.to_vec());
        (
            message.kind,
            u32::from_be_bytes(*verdict.first_chunk().unwrap()),
            u32::from_be_bytes(*verdict.last_chunk().unwrap()),
            payload.unwrap_or_default(),
        )
    }

    #[test]
    fn a_rewrite_carries_its_range_of_the_slots_whatever_its_length() {
        let slots: Vec<u8> = (0..=255).collect();
        for len in 40..60 {
            let reply = Reply::rewrite(5543, 0x0102_0304, 7..7 + len);
            let (kind, verdict, id, payload) = read(&reply, &slots);
            assert_eq!((kind, verdict, id), (MSG_VERDICT, NF_ACCEPT, 0x0102_0304));
            assert_eq!(payload, slots[7..7 + len]);
        }
    }

    #[test]
    fn only_neighbours_with_the_same_plain_verdict_share_a_reply() {
        let mut replies = Replies {
            number: 5543,
            list: Vec::new(),
        };
        let slots = [0x60; 64];
        replies.add_plain(NF_ACCEPT, 1);
        replies.add_plain(NF_ACCEPT, 2);
        replies.add_rewrite(3, 0..40);
        replies.add_plain(NF_ACCEPT, 4);
        replies.add_plain(NF_DROP, 5);
        replies.add_plain(NF_DROP, 6);
        let sent: Vec<_> = replies
            .list
            .iter()
            .map(|reply| read(reply, &slots))
            .map(|(kind, verdict, id, _)| (kind, verdict, id))
            .collect();
        assert_eq!(
            sent,
            [
                (MSG_VERDICT_BATCH, NF_ACCEPT, 2),
                (MSG_VERDICT, NF_ACCEPT, 3),
                (MSG_VERDICT_BATCH, NF_ACCEPT, 4),
                (MSG_VERDICT_BATCH, NF_DROP, 6),
            ]
        );
    }

    #[test]
    fn a_plain_verdict_reaches_up_to_the_last_id_set() {
        let mut reply = Reply::plain(5543, NF_DROP, 4);
        reply.set_id(9);
        assert_eq!(read(&reply, &[]), (MSG_VERDICT_BATCH, NF_DROP, 9, vec![]));
    }

    #[test]
    fn a_packet_that_no_attribute_can_hold_is_dropped_alone() {
        let reply = Reply::rewrite(5543, 4, 0..65_532);
        assert_eq!(read(&reply, &[]), (MSG_VERDICT, NF_DROP, 4, vec![]));
    }
}
