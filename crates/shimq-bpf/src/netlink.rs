//! Requests to the kernel, answered before the call returns.
//!
//! Blocking, because taking everything down must work in `drop`; the kernel answers these at once.

use std::fmt;
use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::io::Errno;

use crate::BpfError;

/// A netlink socket; belongs to the network namespace that it was opened in.
pub(crate) struct Netlink {
    socket: Socket,
    sequence_number: u32,
}

impl Netlink {
    /// A socket for links, addresses, routes and rules.
    pub(crate) fn route() -> Result<Self, BpfError> {
        Self::open(NETLINK_ROUTE)
            .map_err(|source| BpfError::netlink("open a netlink socket", source))
    }

    pub(crate) fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            socket,
            sequence_number: 0,
        })
    }

    /// Asks for one change, or for one object; `flags` beside those of every request.
    pub(crate) fn request(
        &mut self,
        doing: &'static str,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Vec<RouteNetlinkMessage>, BpfError> {
        self.exchange(message, NLM_F_ACK | flags)
            .map_err(|source| BpfError::netlink(doing, source))
    }

    /// Asks for a removal; what is gone already is no error.
    pub(crate) fn remove(
        &mut self,
        doing: &'static str,
        message: RouteNetlinkMessage,
    ) -> Result<(), BpfError> {
        match self.exchange(message, NLM_F_ACK) {
            Err(error) if !is_gone(&error) => Err(BpfError::netlink(doing, error)),
            _ => Ok(()),
        }
    }

    /// Asks for all objects of a kind.
    pub(crate) fn dump(
        &mut self,
        doing: &'static str,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, BpfError> {
        self.exchange(message, NLM_F_DUMP)
            .map_err(|source| BpfError::netlink(doing, source))
    }

    /// Sends `message` and collects the answers, up to the acknowledgement or the end of the dump.
    pub(crate) fn exchange<T>(&mut self, message: T, flags: u16) -> io::Result<Vec<T>>
    where
        T: NetlinkSerializable + NetlinkDeserializable + fmt::Debug,
    {
        self.sequence_number += 1;
        let payload = NetlinkPayload::InnerMessage(message);
        let mut request = NetlinkMessage::new(NetlinkHeader::default(), payload);
        request.header.flags = NLM_F_REQUEST | flags;
        request.header.sequence_number = self.sequence_number;
        request.finalize();
        let mut octets = vec![0; request.buffer_len()];
        request.serialize(&mut octets);
        self.socket.send(&octets, 0)?;
        let mut answers = Vec::new();
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            if self.take(&datagram, &mut answers)? {
                return Ok(answers);
            }
        }
    }

    /// Takes the answers of one datagram; true if they are complete.
    fn take<T>(&self, datagram: &[u8], answers: &mut Vec<T>) -> io::Result<bool>
    where
        T: NetlinkSerializable + NetlinkDeserializable + fmt::Debug,
    {
        let mut rest = datagram;
        while !rest.is_empty() {
            let answer = NetlinkMessage::<T>::deserialize(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            // Lengths are padded to four octets; the last one need not be.
            let length = (answer.header.length as usize).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
            if answer.header.sequence_number != self.sequence_number {
                continue;
            }
            if let NetlinkPayload::InnerMessage(object) = answer.payload {
                answers.push(object);
            } else if let NetlinkPayload::Error(outcome) = answer.payload {
                let done = outcome.code.is_none();
                return if done { Ok(true) } else { Err(outcome.to_io()) };
            } else if let NetlinkPayload::Done(_) = answer.payload {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl fmt::Debug for Netlink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Netlink").finish()
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOENT | Errno::SRCH | Errno::ADDRNOTAVAIL | Errno::NODEV)
    )
}
