//! Requests to the kernel: dump, add, replace, remove.
//!
//! Decides what an answer means: that something to be added is there already, or something to be
//! removed is gone, is no error, because other programs configure the same host. What the requests
//! say is up to the modules that make them.

use std::io;

use futures_util::StreamExt;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::RouteMessage;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_REPLACE,
    NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rustix::io::Errno;

use super::HostError;

/// How often a dump is asked for again after a change interrupted it.
const DUMP_TRIES: usize = 5;

/// What the kernel says when the object to be added exists.
const PRESENT: &[Errno] = &[Errno::EXIST];

/// What the kernel says when the object to be removed, or the interface under it, is gone.
const GONE: &[Errno] = &[Errno::NOENT, Errno::SRCH, Errno::ADDRNOTAVAIL, Errno::NODEV];

/// What the kernel says when no packet could be sent.
const NO_ROUTE: &[Errno] = &[
    Errno::NETUNREACH,
    Errno::HOSTUNREACH,
    Errno::ACCESS,
    Errno::INVAL,
];

/// A netlink connection for requests; notifications have one of their own.
#[derive(Clone, Debug)]
pub(super) struct Kernel {
    handle: rtnetlink::Handle,
}

impl Kernel {
    /// Connects, and serves the connection on the current runtime until the last clone is dropped.
    pub(super) fn connect() -> Result<Self, HostError> {
        // Strict checking makes the kernel apply the filters of dumps.
        let (connection, handle, _) = rtnetlink::new_connection_with_strict_check()
            .map_err(|source| HostError::netlink("opening a netlink socket", source))?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// All objects that match `request`; none if the table that it names does not exist.
    pub(super) async fn dump(
        &self,
        doing: &'static str,
        request: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, HostError> {
        for _ in 0..DUMP_TRIES {
            if let Some(objects) = self.dump_once(doing, request.clone()).await? {
                return Ok(objects);
            }
        }
        Err(HostError::netlink(doing, Errno::INTR.into()))
    }

    /// Adds an object; false if it was there already.
    pub(super) async fn add(
        &self,
        doing: &'static str,
        request: RouteNetlinkMessage,
    ) -> Result<bool, HostError> {
        self.change(doing, request, NLM_F_CREATE | NLM_F_EXCL, PRESENT)
            .await
    }

    /// Adds a route beside routes to the same destination with the same metric.
    pub(super) async fn append(
        &self,
        doing: &'static str,
        request: RouteNetlinkMessage,
    ) -> Result<bool, HostError> {
        self.change(doing, request, NLM_F_CREATE | NLM_F_APPEND, PRESENT)
            .await
    }

    /// Adds an object, or changes the one that is there.
    pub(super) async fn replace(
        &self,
        doing: &'static str,
        request: RouteNetlinkMessage,
    ) -> Result<(), HostError> {
        self.change(doing, request, NLM_F_CREATE | NLM_F_REPLACE, &[])
            .await
            .map(|_| ())
    }

    /// Removes an object; false if it was gone already.
    pub(super) async fn remove(
        &self,
        doing: &'static str,
        request: RouteNetlinkMessage,
    ) -> Result<bool, HostError> {
        self.change(doing, request, 0, GONE).await
    }

    /// One dump; `None` if it was interrupted and may be inconsistent.
    async fn dump_once(
        &self,
        doing: &'static str,
        request: RouteNetlinkMessage,
    ) -> Result<Option<Vec<RouteNetlinkMessage>>, HostError> {
        let mut message = NetlinkMessage::from(request);
        message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let mut answers = self.send(doing, message)?;
        let mut objects = Vec::new();
        let mut whole = true;
        while let Some(answer) = answers.next().await {
            whole &= answer.header.flags & NLM_F_DUMP_INTR == 0;
            if let NetlinkPayload::InnerMessage(object) = answer.payload {
                objects.push(object);
            } else if let NetlinkPayload::Error(error) = answer.payload {
                let source = error.to_io();
                if Errno::from_io_error(&source) != Some(Errno::NOENT) {
                    return Err(HostError::netlink(doing, source));
                }
            }
        }
        Ok(whole.then_some(objects))
    }

    /// The route that a packet would take; `None` if there is none.
    pub(super) async fn route_of(
        &self,
        doing: &'static str,
        request: RouteMessage,
    ) -> Result<Option<RouteMessage>, HostError> {
        let mut message = NetlinkMessage::from(RouteNetlinkMessage::GetRoute(request));
        message.header.flags = NLM_F_REQUEST;
        let mut answers = self.send(doing, message)?;
        while let Some(answer) = answers.next().await {
            if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) =
                answer.payload
            {
                return Ok(Some(route));
            } else if let NetlinkPayload::Error(error) = answer.payload {
                let source = error.to_io();
                return match Errno::from_io_error(&source) {
                    Some(errno) if NO_ROUTE.contains(&errno) => Ok(None),
                    _ => Err(HostError::netlink(doing, source)),
                };
            }
        }
        Ok(None)
    }

    /// Sends a change and waits for its acknowledgement; false for an error among `tolerated`.
    async fn change(
        &self,
        doing: &'static str,
        request: RouteNetlinkMessage,
        flags: u16,
        tolerated: &[Errno],
    ) -> Result<bool, HostError> {
        let mut message = NetlinkMessage::from(request);
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        let mut answers = self.send(doing, message)?;
        while let Some(answer) = answers.next().await {
            if let NetlinkPayload::Error(error) = answer.payload {
                let source = error.to_io();
                return match Errno::from_io_error(&source) {
                    Some(errno) if tolerated.contains(&errno) => Ok(false),
                    _ => Err(HostError::netlink(doing, source)),
                };
            }
        }
        Ok(true)
    }

    fn send(
        &self,
        doing: &'static str,
        message: NetlinkMessage<RouteNetlinkMessage>,
    ) -> Result<
        impl futures_util::Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + use<>,
        HostError,
    > {
        self.handle
            .clone()
            .request(message)
            .map_err(|_| HostError::netlink(doing, io::ErrorKind::NotConnected.into()))
    }
}
