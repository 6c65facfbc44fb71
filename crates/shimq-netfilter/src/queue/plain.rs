//! The plain queue, over the crate `nfq`: one system call for each packet and each verdict.
//!
//! The crate keeps its descriptor to itself, and it is needed: to wait with a timeout, to enlarge the receive buffer,
//! to close it on exec. So it is found among the process's descriptors, as the netfilter socket that was not there
//! before and that has the port id under which the kernel lists the queue.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::sync::Mutex;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, getsockname, sockopt};

use super::packet::{self, hook};
use super::{
    HEADROOM, Judge, MAX_COPY_RANGE, Queue, QueueConfig, QueueError, QueuedPacket, Served, Verdict,
    statistics,
};
use crate::netlink::set_receive_buffer;

/// A queue that takes packets one by one. See the module's description.
pub struct PlainQueue {
    queue: nfq::Queue,
    /// The descriptor inside `queue`.
    fd: RawFd,
    number: u16,
    receive_buffer: usize,
    /// Where a packet is judged: the crate offers no room before it.
    scratch: Vec<u8>,
}

impl PlainQueue {
    /// Binds and configures a queue.
    ///
    /// Opens one queue at a time in a process. Each step of the crate's configuration discards packets that are
    /// already there, so open queues before a rule points at them.
    ///
    /// # Errors
    ///
    /// [`QueueError`] says what is missing and what to do.
    pub fn open(config: &QueueConfig) -> Result<Self, QueueError> {
        static OPENING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = OPENING
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);

        let number = config.number;
        let configure = || QueueError::io("configure", number);
        let find = || QueueError::io("find the descriptor", number);
        let before = netfilter_sockets().map_err(find())?;
        let mut queue = nfq::Queue::open().map_err(|source| QueueError::refused(number, source))?;
        queue
            .bind(number)
            .map_err(|source| QueueError::refused(number, source))?;
        let copy_range = config.copy_range.min(MAX_COPY_RANGE) as u16;
        queue
            .set_copy_range(number, copy_range)
            .map_err(configure())?;
        queue
            .set_fail_open(number, config.fail_open)
            .map_err(configure())?;
        queue
            .set_recv_gso(number, config.gso)
            .map_err(configure())?;
        queue
            .set_queue_max_len(number, config.max_len)
            .map_err(configure())?;
        queue.set_recv_enobufs(true).map_err(configure())?;
        queue.set_nonblocking(true);

        let fd = find_socket(&before, number).map_err(find())?;
        let mut queue = Self {
            queue,
            fd,
            number,
            receive_buffer: 0,
            scratch: Vec::new(),
        };
        fcntl_setfd(queue.as_fd(), FdFlags::CLOEXEC).map_err(|errno| configure()(errno.into()))?;
        queue.receive_buffer = set_receive_buffer(queue.as_fd(), config.receive_buffer)
            .map_err(QueueError::io("set the receive buffer", number))?;
        Ok(queue)
    }

    /// Judges one message and gives its verdict.
    fn answer(&mut self, mut message: nfq::Message, judge: &mut dyn Judge) -> io::Result<()> {
        let verdict = match hook(message.get_hook()) {
            Some(hook) => {
                let payload = message.get_payload();
                let original_len = message.get_original_len();
                self.scratch.clear();
                self.scratch.resize(HEADROOM, 0);
                self.scratch.extend_from_slice(payload);
                judge.judge(&mut QueuedPacket {
                    start: HEADROOM,
                    end: HEADROOM + payload.len(),
                    hook,
                    mark: message.get_nfmark(),
                    checksum_missing: !message.is_checksum_ready(),
                    segmented: message.is_seg_offloaded(),
                    truncated: original_len > payload.len(),
                    original_len,
                    buf: &mut self.scratch,
                })
            }
            None => Verdict::Accept,
        };
        match verdict {
            Verdict::Accept => message.set_verdict(nfq::Verdict::Accept),
            Verdict::Drop => message.set_verdict(nfq::Verdict::Drop),
            Verdict::Rewrite(range) => {
                message.set_payload(&self.scratch[range]);
                message.set_verdict(nfq::Verdict::Accept);
            }
        }
        self.queue.verdict(message)
    }
}

impl Queue for PlainQueue {
    fn serve(&mut self, timeout: Option<Duration>, judge: &mut dyn Judge) -> io::Result<Served> {
        let mut served = Served::default();
        let mut waited = false;
        loop {
            match self.queue.recv() {
                Ok(message) => {
                    self.answer(message, judge)?;
                    served.packets += 1;
                    // A stream that never pauses must not keep the caller from its other work.
                    if served.packets == MAX_PACKETS {
                        return Ok(served);
                    }
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => {
                        if waited || served != Served::default() || !wait(self.as_fd(), timeout)? {
                            return Ok(served);
                        }
                        waited = true;
                    }
                    Some(libc::EINTR) => {}
                    Some(packet::WOKEN) => return Ok(served),
                    Some(libc::ENOBUFS) => served.overruns += 1,
                    // Not a failure to receive, but what the kernel says of an earlier verdict.
                    Some(libc::ENOENT | libc::EINVAL | libc::ENOMEM) => served.gone += 1,
                    _ => return Err(error),
                },
            }
        }
    }

    fn number(&self) -> u16 {
        self.number
    }

    fn receive_buffer(&self) -> usize {
        self.receive_buffer
    }
}

impl AsFd for PlainQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: `fd` is the descriptor that `self.queue` owns and closes only when it is dropped.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

/// Waits until `fd` has something to read; false after `timeout` or a signal.
fn wait(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> io::Result<bool> {
    let timeout = timeout.map(|timeout| Timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    match poll(&mut [PollFd::new(&fd, PollFlags::IN)], timeout.as_ref()) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// The netfilter sockets among this process's descriptors, each with its port id.
fn netfilter_sockets() -> io::Result<BTreeMap<RawFd, u32>> {
    let mut sockets = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        let Some(fd) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // SAFETY: another thread may close this descriptor meanwhile, which makes the calls fail or ask another file;
        // they only ask, and the borrow ends with them.
        let port_id = netfilter_port_id(unsafe { BorrowedFd::borrow_raw(fd) });
        sockets.extend(port_id.map(|port_id| (fd, port_id)));
    }
    Ok(sockets)
}

/// The port id of `fd`, if it is a netfilter netlink socket.
fn netfilter_port_id(fd: BorrowedFd<'_>) -> Option<u32> {
    if sockopt::socket_domain(fd).ok()? != AddressFamily::NETLINK
        || sockopt::socket_protocol(fd).ok()? != Some(rustix::net::netlink::NETFILTER)
    {
        return None;
    }
    let address = SocketAddrNetlink::try_from(getsockname(fd).ok()?).ok()?;
    Some(address.pid())
}

/// The netfilter socket that is not in `before` and holds queue `number`.
fn find_socket(before: &BTreeMap<RawFd, u32>, number: u16) -> io::Result<RawFd> {
    let queues = statistics()?;
    let queue = queues.iter().find(|queue| queue.number == number);
    netfilter_sockets()?
        .into_iter()
        .find(|(fd, port_id)| {
            !before.contains_key(fd) && queue.is_some_and(|queue| queue.port_id == *port_id)
        })
        .map(|(fd, _)| fd)
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Packets per wake-up.
const MAX_PACKETS: u32 = 64;
