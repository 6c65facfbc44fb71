//! Routes that keep connections alive while a peer's ULID has no route, or has too large an MTU.
//!
//! Decides where such routes go so that they mislead no packet. While a context maps packets, what
//! the applications send to the peer's ULID need only reach the rewriting at the output hook, which
//! routes it again by its locators; but without any route `connect()` and `send()` fail before
//! that, and an MTU below 1280 can be told to them by a route only. An anchor is a route to the
//! peer's ULID on the loopback interface, in a table of its own:
//!
//! ```text
//! 13999: from LOCAL_ULID to PEER_ULID lookup 13999   with an MTU: it must come first
//! 40000: lookup 13999                                otherwise: when nothing else knows a way
//! ```
//!
//! The first rule names both ULIDs, so it does not catch packets that were mapped to another pair
//! that shares one address with the ULID pair. Anchors go when the daemon stops.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteProtocol, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::netlink::Kernel;
use super::routes::{dump_table, is_ours};
use super::watch::Snapshot;
use super::{HostError, PROTOCOL, Removed};

/// The table of anchors.
const TABLE: u32 = 13_999;
/// Priority of rules that put an anchor before all other routes.
const FIRST: u32 = 13_999;
/// Priority of the rule that puts anchors behind all other routes.
const LAST: u32 = 40_000;

/// Local and peer ULID.
type UlidPair = (Ipv6Addr, Ipv6Addr);

/// The anchors of this host.
pub(super) struct Anchors {
    kernel: Kernel,
    /// Index of the loopback interface.
    loopback: u32,
    /// With the MTU in octets where one is set.
    mtus: BTreeMap<UlidPair, Option<u32>>,
}

impl Anchors {
    /// Starts without anchors; removes those that a killed daemon left.
    pub(super) async fn start(kernel: Kernel) -> Result<Self, HostError> {
        release(&kernel).await?;
        let snapshot = Snapshot::dump(&kernel).await?;
        let loopback = snapshot
            .interfaces
            .iter()
            .find(|(_, interface)| interface.loopback);
        Ok(Self {
            kernel,
            loopback: loopback.map_or(1, |(&index, _)| index),
            mtus: BTreeMap::new(),
        })
    }

    /// Anchors the peer's ULID for a context; `mtu`, in octets, limits packets between the two.
    pub(super) async fn set(
        &mut self,
        local: Ipv6Addr,
        peer: Ipv6Addr,
        mtu: Option<u32>,
    ) -> Result<(), HostError> {
        if self.mtus.is_empty() {
            self.add_rule(last()).await?;
        }
        let before = self.mtus.insert((local, peer), mtu).flatten();
        self.write_route(peer).await?;
        match (before, mtu) {
            (None, Some(_)) => self.add_rule(first(local, peer)).await,
            (Some(_), None) => self.remove_rule(first(local, peer)).await,
            (None, None) | (Some(_), Some(_)) => Ok(()),
        }
    }

    /// Removes the anchor of a context, if there is one.
    pub(super) async fn remove(
        &mut self,
        local: Ipv6Addr,
        peer: Ipv6Addr,
    ) -> Result<(), HostError> {
        let Some(mtu) = self.mtus.remove(&(local, peer)) else {
            return Ok(());
        };
        if mtu.is_some() {
            self.remove_rule(first(local, peer)).await?;
        }
        if self.mtus.keys().any(|&(_, other)| other == peer) {
            self.write_route(peer).await?;
        } else {
            let request = RouteNetlinkMessage::DelRoute(self.route(peer));
            self.kernel
                .remove("removing an anchor route", request)
                .await?;
        }
        if self.mtus.is_empty() {
            self.remove_rule(last()).await?;
        }
        Ok(())
    }

    /// Contexts with the same peer share its route, and its least MTU.
    async fn write_route(&self, peer: Ipv6Addr) -> Result<(), HostError> {
        let request = RouteNetlinkMessage::NewRoute(self.route(peer));
        self.kernel.replace("adding an anchor route", request).await
    }

    fn route(&self, peer: Ipv6Addr) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet6;
        message.header.destination_prefix_length = 128;
        message.header.protocol = RouteProtocol::Other(PROTOCOL);
        message.header.kind = RouteType::Unicast;
        message.attributes = vec![
            RouteAttribute::Table(TABLE),
            RouteAttribute::Destination(RouteAddress::Inet6(peer)),
            RouteAttribute::Oif(self.loopback),
        ];
        let contexts = self.mtus.iter().filter(|((_, other), _)| *other == peer);
        if let Some(mtu) = contexts.filter_map(|(_, &mtu)| mtu).min() {
            message
                .attributes
                .push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)]));
        }
        message
    }

    async fn add_rule(&self, rule: RuleMessage) -> Result<(), HostError> {
        let request = RouteNetlinkMessage::NewRule(rule);
        self.kernel
            .add("adding an anchor rule", request)
            .await
            .map(|_| ())
    }

    async fn remove_rule(&self, rule: RuleMessage) -> Result<(), HostError> {
        let request = RouteNetlinkMessage::DelRule(rule);
        self.kernel
            .remove("removing an anchor rule", request)
            .await
            .map(|_| ())
    }
}

/// Removes all anchors, and lists them.
pub(super) async fn release(kernel: &Kernel) -> Result<Vec<Removed>, HostError> {
    let mut request = RuleMessage::default();
    request.header.family = AddressFamily::Inet6;
    let request = RouteNetlinkMessage::GetRule(request);
    for answer in kernel.dump("listing routing rules", request).await? {
        if let RouteNetlinkMessage::NewRule(rule) = answer {
            let ours = RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL));
            if rule.attributes.contains(&ours)
                && rule.attributes.contains(&RuleAttribute::Table(TABLE))
            {
                let request = RouteNetlinkMessage::DelRule(rule);
                kernel.remove("removing an anchor rule", request).await?;
            }
        }
    }
    let mut removed = Vec::new();
    for route in dump_table(kernel, TABLE).await?.into_iter().filter(is_ours) {
        let request = RouteNetlinkMessage::DelRoute(route);
        kernel.remove("removing an anchor route", request).await?;
        removed.push(Removed::Route { table: TABLE });
    }
    Ok(removed)
}

/// Anchors behind all other routes.
fn last() -> RuleMessage {
    rule(LAST)
}

/// An anchor before all other routes.
fn first(local: Ipv6Addr, peer: Ipv6Addr) -> RuleMessage {
    let mut message = rule(FIRST);
    message.header.src_len = 128;
    message.header.dst_len = 128;
    message.attributes.extend([
        RuleAttribute::Source(local.into()),
        RuleAttribute::Destination(peer.into()),
    ]);
    message
}

fn rule(priority: u32) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = AddressFamily::Inet6;
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![
        RuleAttribute::Priority(priority),
        RuleAttribute::Table(TABLE),
        RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)),
    ];
    message
}
