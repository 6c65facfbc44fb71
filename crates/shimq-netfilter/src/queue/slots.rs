//! Where packets are received, judged and answered, without moving.
//!
//! A slot has room for the header of a verdict, and behind it one received datagram. Its packet is rewritten in place and
//! its verdict written right before it, so that a verdict is one part of the datagram that carries all of them. What
//! `recvmmsg` has to be told stays in memory from one call to the next; the kernel changes only lengths in it.

use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::net::RecvFlags;

/// Datagrams of one call.
pub(super) const SLOTS: usize = 64;

/// Octets before the datagram, enough for the header of any verdict, so that datagrams start on cache lines.
pub(super) const ROOM: usize = 64;

/// Whether receiving waits for the first datagram, as long as the socket's receive timeout says. It never waits for
/// another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    NotAtAll,
    ForTheFirst,
    /// And takes no more than that one: the shortest way for a datagram that comes alone.
    ForOne,
}

/// The slots. All memory is taken once.
pub(super) struct Slots {
    /// Octets of one slot.
    slot_len: usize,
    /// The slots, one behind the other. Only ever used by its pointer, because `parts` points into it, too.
    octets: Vec<u8>,
    /// The place of each slot's datagram.
    _parts: Vec<libc::iovec>,
    /// One for each slot, with its element of `_parts`.
    headers: Vec<libc::mmsghdr>,
}

// SAFETY: not `Send` by itself only because of the pointers in `_parts` and `headers`. They point to heap blocks of
// `octets` and `_parts`, which move and end with them, and nobody else has them.
unsafe impl Send for Slots {}

impl Slots {
    /// Slots for datagrams of up to `datagram_len` octets.
    pub(super) fn new(datagram_len: usize) -> Self {
        // Slots start on cache lines of their own.
        let slot_len = (ROOM + datagram_len).next_multiple_of(64);
        let mut octets = vec![0; SLOTS * slot_len];
        let start: *mut u8 = octets.as_mut_ptr();
        let mut parts: Vec<_> = (0..SLOTS)
            .map(|index| libc::iovec {
                iov_base: start.wrapping_add(index * slot_len + ROOM).cast(),
                iov_len: slot_len - ROOM,
            })
            .collect();
        let first: *mut libc::iovec = parts.as_mut_ptr();
        let headers = (0..SLOTS)
            .map(|index| {
                // SAFETY: all-zero octets are a valid `mmsghdr`: null pointers with lengths of 0, which mean "absent".
                let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
                header.msg_hdr.msg_iov = first.wrapping_add(index);
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        Self {
            slot_len,
            octets,
            _parts: parts,
            headers,
        }
    }

    /// Receives datagrams into the first slots: how many, at least one.
    ///
    /// # Errors
    ///
    /// What `recvmmsg` says: EAGAIN if there is none, or none came in time; EINTR; ENOBUFS if some were lost.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>, wait: Wait) -> io::Result<usize> {
        let flags = match wait {
            Wait::NotAtAll => libc::MSG_DONTWAIT,
            Wait::ForTheFirst => libc::MSG_WAITFORONE,
            Wait::ForOne => return self.receive_one(socket),
        };
        // SAFETY: the descriptor is open. `headers` has SLOTS entries, each with one part, which is inside of a slot of
        // its own; all of it belongs to `self` and is borrowed mutably until the call returns.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                SLOTS as libc::c_uint,
                flags,
                std::ptr::null_mut(),
            )
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// [`Wait::ForOne`]: spares the kernel the list of messages, and a look for a second one.
    fn receive_one(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let (len, _) =
            rustix::net::recv(socket, &mut self.slot_mut(0)[ROOM..], RecvFlags::empty())?;
        self.headers[0].msg_len = len as libc::c_uint;
        Ok(1)
    }

    /// Where in its slot the datagram is that was received there last.
    pub(super) fn datagram(&self, index: usize) -> Range<usize> {
        ROOM..ROOM + self.headers[index].msg_len as usize
    }

    /// All of a slot.
    pub(super) fn slot(&self, index: usize) -> &[u8] {
        let start = self.start_of(index);
        // SAFETY: `start_of` checked the index, so these octets are in `octets`, which were initialized and are only
        // changed by methods that borrow `self` mutably.
        unsafe { std::slice::from_raw_parts(self.octets.as_ptr().add(start), self.slot_len) }
    }

    /// All of a slot, to change it.
    pub(super) fn slot_mut(&mut self, index: usize) -> &mut [u8] {
        let start = self.start_of(index);
        // SAFETY: as in `slot`; `self` is borrowed mutably, so that nobody else sees them meanwhile.
        unsafe {
            std::slice::from_raw_parts_mut(self.octets.as_mut_ptr().add(start), self.slot_len)
        }
    }

    fn start_of(&self, index: usize) -> usize {
        assert!(index < SLOTS, "no such slot");
        index * self.slot_len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn datagrams_land_in_slots_of_their_own_call_after_call_also_after_a_move() {
        let (sender, receiver) = UnixDatagram::pair().unwrap();
        let mut slots = Slots::new(100);
        for call in 0..3_u8 {
            for number in 0..3 {
                sender.send(&[10 * call + number; 5]).unwrap();
            }
            assert_eq!(
                slots.receive(receiver.as_fd(), Wait::ForTheFirst).unwrap(),
                3
            );
            for (index, number) in (0..3).enumerate() {
                let datagram = slots.datagram(index);
                assert_eq!(slots.slot(index)[datagram], [10 * call + number; 5]);
            }
            // A judge may leave anything behind.
            slots.slot_mut(1).fill(0xff);
            slots = *Box::new(slots);
        }
    }

    #[test]
    fn waiting_for_one_takes_one() {
        let (sender, receiver) = UnixDatagram::pair().unwrap();
        let mut slots = Slots::new(100);
        sender.send(b"first").unwrap();
        sender.send(b"and second").unwrap();
        for expected in [b"first".as_slice(), b"and second"] {
            assert_eq!(slots.receive(receiver.as_fd(), Wait::ForOne).unwrap(), 1);
            assert_eq!(slots.slot(0)[slots.datagram(0)], *expected);
        }
    }

    #[test]
    fn no_more_than_the_slots_is_taken_and_nothing_is_waited_for_behind_the_first() {
        let (sender, receiver) = UnixDatagram::pair().unwrap();
        sender.set_nonblocking(true).unwrap();
        let mut sent: usize = 0;
        // As many as the system lets wait, at most two calls' worth.
        while sent < 2 * SLOTS && sender.send(&sent.to_ne_bytes()).is_ok() {
            sent += 1;
        }
        let mut slots = Slots::new(100);
        let mut taken = 0;
        while taken < sent {
            let count = slots.receive(receiver.as_fd(), Wait::ForTheFirst).unwrap();
            assert_eq!(count, SLOTS.min(sent - taken));
            for index in 0..count {
                let datagram = slots.datagram(index);
                assert_eq!(slots.slot(index)[datagram], (taken + index).to_ne_bytes());
            }
            taken += count;
        }
        let none = slots.receive(receiver.as_fd(), Wait::NotAtAll).unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
    }
}
