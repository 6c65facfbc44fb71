//! Routes that keep connections alive while a peer's ULID has no route, or has too large an MTU.
//!
//! Decides where such routes go so that they mislead no packet. While a context maps packets, what
//! the applications send to the peer's ULID need only reach the rewriting at the output hook, which
//! routes it again by its locators; but without any route `connect()` and `send()` fail before
//! that, and an MTU below 1280 can be told to them by a route only. An anchor is a route to the
//! peer's ULID on the loopback interface, behind all others; one with an MTU comes first, and goes
//! where packets would go without it, so that they still arrive should this program be killed:
//!
//! ```text
//! 13999: from LOCAL_ULID to PEER_ULID lookup 13998   with an MTU
//! 40000: lookup 13999                                when nothing else knows a way
//! ```
//!
//! The first rule names both ULIDs, so it does not catch packets that were mapped to another pair
//! that shares one address with the ULID pair. The second is added only when a ULID has lost its way:
//! without rules of anybody's the kernel finds routes sooner. Anchors go when the daemon stops.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteProtocol, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::netlink::Kernel;
use super::routes::{dump_table, is_ours, route_to};
use super::watch::Snapshot;
use super::{HostError, PROTOCOL, Removed};

/// The table of anchors.
const TABLE: u32 = 13_999;
/// The table of anchors with an MTU.
const NARROW_TABLE: u32 = 13_998;
/// Priority of rules that put an anchor before all other routes.
const FIRST: u32 = 13_999;
/// Priority of the rule that puts anchors behind all other routes.
const LAST: u32 = 40_000;

/// If there are more anchors, it is not asked whether each is needed: one surely will be.
const ASKED_MAX: usize = 64;

/// Local and peer ULID.
type UlidPair = (Ipv6Addr, Ipv6Addr);

/// The anchors of this host.
pub(super) struct Anchors {
    kernel: Kernel,
    /// Index of the loopback interface.
    loopback: u32,
    /// With the MTU in octets where one is set.
    mtus: BTreeMap<UlidPair, Option<u32>>,
    /// The rule for when nothing else knows a way is there: until the last anchor goes.
    in_force: bool,
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
            in_force: false,
        })
    }

    /// Anchors the peer's ULID for a context; `mtu`, in octets, limits packets between the two.
    pub(super) async fn set(
        &mut self,
        local: Ipv6Addr,
        peer: Ipv6Addr,
        mtu: Option<u32>,
    ) -> Result<(), HostError> {
        let request = RouteNetlinkMessage::NewRoute(route(TABLE, peer, self.loopback));
        self.kernel
            .replace("adding an anchor route", request)
            .await?;
        match (self.mtus.insert((local, peer), mtu).flatten(), mtu) {
            (None, None) => {}
            (Some(_), None) => self.widen(local, peer).await?,
            // Also if it is the same: links that went down took their routes along.
            (before, Some(_)) => self.narrow(local, peer, before.is_none()).await?,
        }
        if !self.in_force && (self.mtus.len() > ASKED_MAX || self.is_lost(local, peer).await?) {
            self.enforce().await?;
        }
        Ok(())
    }

    /// Finds out whether a ULID has no way but its anchor, now that routes or rules have gone.
    pub(super) async fn look_again(&mut self) -> Result<(), HostError> {
        if self.in_force {
            // Another program may have removed it.
            return self.add_rule(last()).await;
        }
        for &(local, peer) in self.mtus.keys() {
            if self.is_lost(local, peer).await? {
                return self.enforce().await;
            }
        }
        Ok(())
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
            self.widen(local, peer).await?;
        }
        if !self.mtus.keys().any(|&(_, other)| other == peer) {
            self.remove_route(TABLE, peer).await?;
        }
        if self.mtus.is_empty() && self.in_force {
            self.remove_rule(last()).await?;
            self.in_force = false;
        }
        Ok(())
    }

    async fn enforce(&mut self) -> Result<(), HostError> {
        self.add_rule(last()).await?;
        self.in_force = true;
        Ok(())
    }

    /// Whether packets from `local` to `peer` have no route.
    async fn is_lost(&self, local: Ipv6Addr, peer: Ipv6Addr) -> Result<bool, HostError> {
        self.route_of(local, peer)
            .await
            .map(|found| found.is_none())
    }

    /// The route that packets from `local` to `peer` take.
    async fn route_of(
        &self,
        local: Ipv6Addr,
        peer: Ipv6Addr,
    ) -> Result<Option<RouteMessage>, HostError> {
        let mut question = RouteMessage::default();
        question.header.address_family = AddressFamily::Inet6;
        question.header.source_prefix_length = 128;
        question.header.destination_prefix_length = 128;
        question.attributes = vec![
            RouteAttribute::Source(RouteAddress::Inet6(local)),
            RouteAttribute::Destination(RouteAddress::Inet6(peer)),
        ];
        self.kernel.route_of("looking up a route", question).await
    }

    /// Writes the route that says the MTU, and if it is `new` for this pair, the rule.
    async fn narrow(&self, local: Ipv6Addr, peer: Ipv6Addr, new: bool) -> Result<(), HostError> {
        let mut message = self.way(local, peer).await?;
        if let Some(mtu) = self.least_mtu(peer) {
            message
                .attributes
                .push(RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)]));
        }
        let request = RouteNetlinkMessage::NewRoute(message);
        self.kernel
            .replace("adding an anchor route", request)
            .await?;
        if new {
            self.add_rule(first(local, peer)).await?;
        }
        Ok(())
    }

    /// Takes back what [`Self::narrow`] did.
    async fn widen(&self, local: Ipv6Addr, peer: Ipv6Addr) -> Result<(), HostError> {
        self.remove_rule(first(local, peer)).await?;
        if self.least_mtu(peer).is_none() {
            self.remove_route(NARROW_TABLE, peer).await?;
        }
        Ok(())
    }

    /// Contexts with the same peer share its route, and its least MTU.
    fn least_mtu(&self, peer: Ipv6Addr) -> Option<u32> {
        let contexts = self.mtus.iter().filter(|((_, other), _)| *other == peer);
        contexts.filter_map(|(_, &mtu)| mtu).min()
    }

    /// A route to `peer` that goes where packets from `local` go: to the same next hop, or nowhere.
    async fn way(&self, local: Ipv6Addr, peer: Ipv6Addr) -> Result<RouteMessage, HostError> {
        let found = self.route_of(local, peer).await?;
        let mut interface = self.loopback;
        let mut gateway = None;
        for attribute in found.map(|route| route.attributes).unwrap_or_default() {
            if let RouteAttribute::Oif(index) = attribute {
                interface = index;
            } else if let RouteAttribute::Gateway(_) = attribute {
                gateway = Some(attribute);
            }
        }
        let mut message = route(NARROW_TABLE, peer, interface);
        message.attributes.extend(gateway);
        Ok(message)
    }

    async fn remove_route(&self, table: u32, peer: Ipv6Addr) -> Result<(), HostError> {
        let mut message = route(table, peer, self.loopback);
        // Whichever way it goes.
        message
            .attributes
            .retain(|attribute| !matches!(attribute, RouteAttribute::Oif(_)));
        let request = RouteNetlinkMessage::DelRoute(message);
        self.kernel
            .remove("removing an anchor route", request)
            .await
            .map(|_| ())
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
            let is_anchor = |table| rule.attributes.contains(&RuleAttribute::Table(table));
            if rule.attributes.contains(&ours) && [TABLE, NARROW_TABLE].into_iter().any(is_anchor) {
                let request = RouteNetlinkMessage::DelRule(rule);
                kernel.remove("removing an anchor rule", request).await?;
            }
        }
    }
    let mut removed = Vec::new();
    for table in [TABLE, NARROW_TABLE] {
        for route in dump_table(kernel, table).await?.into_iter().filter(is_ours) {
            let request = RouteNetlinkMessage::DelRoute(route);
            kernel.remove("removing an anchor route", request).await?;
            removed.push(Removed::Route { table });
        }
    }
    Ok(removed)
}

/// A route to `peer` through an interface.
fn route(table: u32, peer: Ipv6Addr, interface: u32) -> RouteMessage {
    let mut message = route_to(peer, table, RouteType::Unicast);
    message.attributes.push(RouteAttribute::Oif(interface));
    message
}

/// Anchors behind all other routes.
fn last() -> RuleMessage {
    rule(LAST, TABLE)
}

/// An anchor before all other routes.
fn first(local: Ipv6Addr, peer: Ipv6Addr) -> RuleMessage {
    let mut message = rule(FIRST, NARROW_TABLE);
    message.header.src_len = 128;
    message.header.dst_len = 128;
    message.attributes.extend([
        RuleAttribute::Source(local.into()),
        RuleAttribute::Destination(peer.into()),
    ]);
    message
}

fn rule(priority: u32, table: u32) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = AddressFamily::Inet6;
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![
        RuleAttribute::Priority(priority),
        RuleAttribute::Table(table),
        RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)),
    ];
    message
}
