//! Netlink messages: writing them, walking them, and the socket that carries them.
//!
//! Decides nothing about packets or rules. Everything read from the kernel goes through [`messages`] and [`attrs`],
//! which stop at the first length that does not fit and never panic.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::sockopt;

/// Octets of `struct nlmsghdr`.
pub(crate) const HEADER_LEN: usize = 16;
/// Octets of `struct nfgenmsg`, which follows in every netfilter message.
pub(crate) const NFGEN_LEN: usize = 4;
/// Octets of `struct nlattr`.
pub(crate) const ATTR_LEN: usize = 4;

pub(crate) const NLM_F_REQUEST: u16 = 0x1;
pub(crate) const NLM_F_ACK: u16 = 0x4;
pub(crate) const NLM_F_DUMP: u16 = 0x300;
pub(crate) const NLM_F_CREATE: u16 = 0x400;
pub(crate) const NLM_F_EXCL: u16 = 0x200;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_ACK_TLVS: u16 = 0x200;
pub(crate) const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLA_F_NESTED: u16 = 0x8000;
const NLA_TYPE_MASK: u16 = 0x3fff;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// Rounds up to the 4 octets on which messages and attributes are aligned.
pub(crate) const fn align(len: usize) -> usize {
    (len + 3) & !3
}

/// One netfilter message being appended to a buffer.
pub(crate) struct Builder<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Builder<'a> {
    /// Starts a message of `kind` (subsystem << 8 | type) for `family`; `resource` is `nfgenmsg.res_id`.
    pub(crate) fn new(
        out: &'a mut Vec<u8>,
        kind: u16,
        flags: u16,
        seq: u32,
        family: u8,
        resource: u16,
    ) -> Self {
        let start = out.len();
        out.extend_from_slice(&0_u32.to_ne_bytes());
        out.extend_from_slice(&kind.to_ne_bytes());
        out.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        out.extend_from_slice(&seq.to_ne_bytes());
        out.extend_from_slice(&0_u32.to_ne_bytes());
        out.extend_from_slice(&[family, 0]);
        out.extend_from_slice(&resource.to_be_bytes());
        Self { out, start }
    }

    /// Appends one attribute with its padding.
    pub(crate) fn attr(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        let len = (ATTR_LEN + value.len()) as u16;
        self.out.extend_from_slice(&len.to_ne_bytes());
        self.out.extend_from_slice(&kind.to_ne_bytes());
        self.out.extend_from_slice(value);
        self.out.resize(align(self.out.len()), 0);
        self
    }

    /// Appends a NUL-terminated string, the form in which nf_tables takes names.
    pub(crate) fn name(&mut self, kind: u16, name: &CStr) -> &mut Self {
        self.attr(kind, name.to_bytes_with_nul())
    }

    /// Appends an attribute whose value is the attributes that `fill` appends.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.out.len();
        self.attr(kind | NLA_F_NESTED, &[]);
        fill(self);
        let len = (self.out.len() - start) as u16;
        self.out[start..start + 2].copy_from_slice(&len.to_ne_bytes());
        self
    }

    /// Octets of the message so far.
    pub(crate) fn len(&self) -> usize {
        self.out.len() - self.start
    }
}

impl Drop for Builder<'_> {
    /// A message is complete when its builder goes: only then is its length known.
    fn drop(&mut self) {
        let len = self.len() as u32;
        self.out[self.start..self.start + 4].copy_from_slice(&len.to_ne_bytes());
    }
}

/// One message of a received datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) seq: u32,
    /// What follows `struct nlmsghdr`.
    pub(crate) body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The attributes behind `struct nfgenmsg`.
    pub(crate) fn attrs(&self) -> Attrs<'a> {
        attrs(self.body.get(NFGEN_LEN..).unwrap_or_default())
    }

    /// The answer that this message is, if it is one: an acknowledgement is an [`Answer`] with `errno` 0.
    pub(crate) fn answer(&self) -> Option<Answer> {
        if self.kind != NLMSG_ERROR {
            return None;
        }
        let errno = i32::from_ne_bytes(*self.body.first_chunk()?).wrapping_neg();
        let text = (self.flags & NLM_F_ACK_TLVS != 0)
            .then(|| attrs(self.body.get(4 + HEADER_LEN..).unwrap_or_default()))
            .and_then(|mut tlvs| tlvs.find(|attr| attr.kind == NLMSGERR_ATTR_MSG))
            .map(|attr| attr.text().to_owned());
        Some(Answer {
            seq: self.seq,
            errno,
            text,
        })
    }
}

/// What the kernel answered to the request with this sequence number.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) seq: u32,
    /// 0 for an acknowledgement.
    pub(crate) errno: i32,
    /// The kernel's own words, where it has any.
    pub(crate) text: Option<String>,
}

/// Walks the messages of one datagram.
pub(crate) fn messages(mut buf: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let head: &[u8; HEADER_LEN] = buf.first_chunk()?;
        let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *head;
        let len = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        let body = buf.get(HEADER_LEN..len)?;
        let message = Message {
            kind: u16::from_ne_bytes([k0, k1]),
            flags: u16::from_ne_bytes([f0, f1]),
            seq: u32::from_ne_bytes([s0, s1, s2, s3]),
            body,
        };
        buf = buf.get(align(len)..).unwrap_or_default();
        Some(message)
    })
}

/// One attribute.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attr<'a> {
    pub(crate) kind: u16,
    /// Whether the writer said that the value is attributes again. The kernel's nf_tables code does not say it.
    pub(crate) nested: bool,
    pub(crate) value: &'a [u8],
}

impl<'a> Attr<'a> {
    pub(crate) fn be32(&self) -> Option<u32> {
        self.value.try_into().ok().map(u32::from_be_bytes)
    }

    pub(crate) fn be64(&self) -> Option<u64> {
        self.value.try_into().ok().map(u64::from_be_bytes)
    }

    /// The value up to its NUL; empty if it is not UTF-8.
    pub(crate) fn text(&self) -> &'a str {
        let end = self.value.iter().position(|octet| *octet == 0);
        std::str::from_utf8(&self.value[..end.unwrap_or(self.value.len())]).unwrap_or_default()
    }

    pub(crate) fn attrs(&self) -> Attrs<'a> {
        attrs(self.value)
    }
}

/// Iterator over attributes; also tells where in the buffer each value starts.
#[derive(Clone, Debug)]
pub(crate) struct Attrs<'a> {
    buf: &'a [u8],
}

/// Walks the attributes in `buf`.
pub(crate) fn attrs(buf: &[u8]) -> Attrs<'_> {
    Attrs { buf }
}

impl<'a> Iterator for Attrs<'a> {
    type Item = Attr<'a>;

    fn next(&mut self) -> Option<Attr<'a>> {
        let [l0, l1, k0, k1] = *self.buf.first_chunk()?;
        let len = u16::from_ne_bytes([l0, l1]) as usize;
        let kind = u16::from_ne_bytes([k0, k1]);
        let value = self.buf.get(ATTR_LEN..len)?;
        self.buf = self.buf.get(align(len)..).unwrap_or_default();
        Some(Attr {
            kind: kind & NLA_TYPE_MASK,
            nested: kind & NLA_F_NESTED != 0,
            value,
        })
    }
}

/// A netfilter netlink socket: libmnl's, closed on exec, with short acknowledgements that carry the kernel's reasons.
pub(crate) struct Socket(mnl::Socket);

// SAFETY: `mnl::Socket` is not `Send` only because it holds a pointer. What that points to is a heap block of libmnl's
// with a descriptor and an address, which nothing else refers to and which is not tied to a thread.
unsafe impl Send for Socket {}

impl Socket {
    /// Opens and binds a socket to the netfilter bus, under a port id that the kernel picks.
    pub(crate) fn open() -> io::Result<Self> {
        let socket = mnl::Socket::open(mnl::Bus::Netfilter)?;
        socket.bind(0, 0)?;
        let socket = Self(socket);
        fcntl_setfd(socket.as_fd(), FdFlags::CLOEXEC)?;
        socket.enable(libc::NETLINK_CAP_ACK)?;
        socket.enable(libc::NETLINK_EXT_ACK)?;
        Ok(socket)
    }

    fn enable(&self, option: libc::c_int) -> io::Result<()> {
        let on: libc::c_int = 1;
        // SAFETY: the descriptor is open for as long as `self`, and the option value is a `c_int` that outlives the call.
        let result = unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                libc::SOL_NETLINK,
                option,
                (&raw const on).cast(),
                size_of_val(&on) as libc::socklen_t,
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Sends `parts` as one datagram to the kernel, which has acted on it when this returns.
    pub(crate) fn send(&self, parts: &[io::IoSlice<'_>]) -> io::Result<()> {
        loop {
            let sent = rustix::net::sendmsg(
                self,
                parts,
                &mut rustix::net::SendAncillaryBuffer::default(),
                rustix::net::SendFlags::empty(),
            );
            match sent {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Receives one datagram that is already there: `None` if there is none.
    pub(crate) fn receive<'b>(&self, buf: &'b mut [u8]) -> io::Result<Option<&'b [u8]>> {
        self.receive_with(buf, rustix::net::RecvFlags::DONTWAIT)
    }

    /// Like [`Self::receive`], and leaves the datagram in place.
    pub(crate) fn peek<'b>(&self, buf: &'b mut [u8]) -> io::Result<Option<&'b [u8]>> {
        use rustix::net::RecvFlags;
        self.receive_with(buf, RecvFlags::DONTWAIT | RecvFlags::PEEK)
    }

    fn receive_with<'b>(
        &self,
        buf: &'b mut [u8],
        flags: rustix::net::RecvFlags,
    ) -> io::Result<Option<&'b [u8]>> {
        use rustix::io::Errno;
        loop {
            match rustix::net::recv(self, &mut *buf, flags) {
                Ok((len, _)) => return Ok(Some(&buf[..len])),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Sends `request`, which is for a dump or asks for an acknowledgement, and hands every message of the answer to
    /// `each`.
    ///
    /// # Errors
    ///
    /// The kernel's refusal; `Interrupted` if the tables changed during a dump, which must then be repeated.
    pub(crate) fn ask(
        &self,
        request: &[u8],
        buf: &mut [u8],
        mut each: impl FnMut(Message<'_>),
    ) -> io::Result<()> {
        send(self, request)?;
        let mut interrupted = false;
        // The kernel prepares the next part of a dump while the last one is received: nothing to wait for.
        while let Some(datagram) = self.receive(buf)? {
            for message in messages(datagram) {
                interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
                let errno = match message.answer() {
                    Some(answer) => answer.errno,
                    None if message.kind == NLMSG_DONE => 0,
                    None => {
                        each(message);
                        continue;
                    }
                };
                return match errno {
                    0 if interrupted => Err(io::ErrorKind::Interrupted.into()),
                    0 => Ok(()),
                    errno => Err(io::Error::from_raw_os_error(errno)),
                };
            }
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    /// Asks for `octets` of receive buffer, beyond the system's limit where the capability allows that.
    ///
    /// Returns the octets in force. The kernel doubles what is asked and charges its own overhead to it.
    pub(crate) fn set_receive_buffer(&self, octets: usize) -> io::Result<usize> {
        set_receive_buffer(self.as_fd(), octets)
    }

    /// Lets a receiver wait for `timeout` at most, which is not zero; for ever without one.
    pub(crate) fn set_receive_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        sockopt::set_socket_timeout(self, sockopt::Timeout::Recv, timeout)?;
        Ok(())
    }

    /// Asks for `octets` of send buffer, which bounds one datagram; returns the octets that one may have.
    pub(crate) fn set_send_buffer(&self, octets: usize) -> io::Result<usize> {
        if sockopt::set_socket_send_buffer_size_force(self, octets).is_err() {
            sockopt::set_socket_send_buffer_size(self, octets)?;
        }
        // af_netlink refuses a datagram longer than the buffer less 32 octets.
        Ok(sockopt::socket_send_buffer_size(self)? - 32)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor belongs to `self.0` and stays open for as long as that lives.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}

/// Like [`Socket::send`], of one part, which spares the kernel a list of them.
pub(crate) fn send(socket: impl AsFd, datagram: &[u8]) -> io::Result<()> {
    loop {
        match rustix::net::send(&socket, datagram, rustix::net::SendFlags::empty()) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// See [`Socket::set_receive_buffer`].
pub(crate) fn set_receive_buffer(socket: BorrowedFd<'_>, octets: usize) -> io::Result<usize> {
    if sockopt::set_socket_recv_buffer_size_force(socket, octets).is_err() {
        sockopt::set_socket_recv_buffer_size(socket, octets)?;
    }
    Ok(sockopt::socket_recv_buffer_size(socket)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_the_builder_writes_the_walkers_read() {
        let mut out = Vec::new();
        Builder::new(&mut out, 0x0a06, NLM_F_ACK, 7, 10, 0)
            .name(1, c"shimq")
            .nest(4, |nest| {
                nest.attr(1, &[1, 2, 3]).attr(2, &9_u64.to_be_bytes());
            });
        Builder::new(&mut out, 0x0302, 0, 8, 0, 5543);

        let read: Vec<_> = messages(&out).collect();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].kind, read[0].seq), (0x0a06, 7));
        assert_eq!(read[0].flags, NLM_F_ACK | NLM_F_REQUEST);
        let top: Vec<_> = read[0].attrs().collect();
        assert_eq!(top[0].text(), "shimq");
        assert!(top[1].nested);
        let inner: Vec<_> = top[1].attrs().collect();
        assert_eq!(inner[0].value, [1, 2, 3]);
        assert_eq!(inner[1].be64(), Some(9));
        assert_eq!(read[1].body[2..4], 5543_u16.to_be_bytes());
    }

    proptest! {
        /// Whatever arrives, walking it ends without a panic and stays inside the buffer.
        #[test]
        fn hostile_octets_end_the_walk(octets: Vec<u8>) {
            for message in messages(&octets) {
                prop_assert!(message.body.len() <= octets.len());
                for attr in message.attrs() {
                    prop_assert!(attr.attrs().count() <= octets.len());
                }
                let _ = message.answer();
            }
        }
    }
}
