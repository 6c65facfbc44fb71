//! Leads packets between two ULIDs to shim0, and nothing else.
//!
//! ```text
//! 13800: from LOCAL_ULID lookup 13800 ...     a rule and a table per local ULID
//!        PEER_ULID dev shim0 mtu 1492         a route per mapped peer
//! ```
//!
//! So packets of other sources, and to other destinations, are routed as before, and however many
//! peers are mapped, a route lookup costs one more step per local ULID. The rules carry a flag of the
//! kernel's for Mobile IPv6 (`FIB_RULE_FIND_SADDR`): for a socket that is not bound to an address
//! they hold if the local ULID is what source address selection picks on shim0.
//!
//! The local ULID is an address of shim0 as well: it stays local when its own link goes down, it is
//! what source address selection picks there, and firewalls that ask whether an address belongs to
//! the interface of arrival (`fib daddr . iif type`) are content.
//!
//! Routes expire, so that they mislead nobody when the process is killed; see [`LEASE`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::time::Duration;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteProtocol, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use shim6_core::UlidPair;

use crate::BpfError;
use crate::netlink::Netlink;

/// How long routes to the rewriter last unless renewed, see
/// [`Rewriter::renew`](crate::Rewriter::renew).
pub const LEASE: Duration = Duration::from_secs(60);

/// Tables for local ULIDs.
const TABLES: RangeInclusive<u32> = 13_800..=13_898;

/// Of the rules: behind the kernel's for its own addresses, before those about providers.
const PRIORITY: u32 = 13_800;

/// Of rules and routes: Shim6's Next Header value. Says who made them, to us and to the operator.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(140);

/// `FIB_RULE_FIND_SADDR` of `linux/fib_rules.h`.
const FIND_SOURCE: u32 = 0x0001_0000;

/// The rules, routes and addresses that lead to shim0.
#[derive(Debug)]
pub(crate) struct Routes {
    shim0: u32,
    by_local: BTreeMap<Ipv6Addr, Table>,
}

/// What one local ULID has.
#[derive(Debug)]
struct Table {
    id: u32,
    /// Peers' ULIDs, each with the MTU of its route.
    peers: BTreeMap<Ipv6Addr, u32>,
}

impl Routes {
    /// Starts with none; removes rules that a killed process left.
    pub(crate) fn start(netlink: &mut Netlink, shim0: u32) -> Result<Self, BpfError> {
        let mut request = RuleMessage::default();
        request.header.family = AddressFamily::Inet6;
        let request = RouteNetlinkMessage::GetRule(request);
        for answer in netlink.dump("list routing rules", request)? {
            if let RouteNetlinkMessage::NewRule(rule) = answer
                && rule.attributes.contains(&RuleAttribute::Priority(PRIORITY))
                && rule.attributes.contains(&RuleAttribute::Protocol(PROTOCOL))
            {
                remove_rule(netlink, rule)?;
            }
        }
        Ok(Self {
            shim0,
            by_local: BTreeMap::new(),
        })
    }

    /// Leads packets of `ulids` to shim0, none larger than `mtu` octets.
    pub(crate) fn add(
        &mut self,
        netlink: &mut Netlink,
        ulids: UlidPair,
        mtu: u32,
    ) -> Result<(), BpfError> {
        let is_new = !self.by_local.contains_key(&ulids.local);
        let id = self.reserve(ulids, mtu)?;
        if is_new {
            let request = RouteNetlinkMessage::NewAddress(self.address(ulids.local));
            netlink.request("add a ULID to shim0", request, NLM_F_CREATE | NLM_F_REPLACE)?;
        }
        self.write_route(netlink, id, ulids.peer, mtu)?;
        // A route in a table of ours is no reason for the kernel to have connections look again for
        // theirs; a new rule is. There are two of them for a moment, never none.
        let rule = rule(ulids.local, id);
        let request = RouteNetlinkMessage::NewRule(rule.clone());
        netlink.request("add a routing rule", request, NLM_F_CREATE)?;
        if is_new {
            Ok(())
        } else {
            remove_rule(netlink, rule)
        }
    }

    /// Leads packets of `ulids` to shim0 no more.
    pub(crate) fn remove(
        &mut self,
        netlink: &mut Netlink,
        ulids: UlidPair,
    ) -> Result<(), BpfError> {
        let Some(table) = self.by_local.get_mut(&ulids.local) else {
            return Ok(());
        };
        let id = table.id;
        if table.peers.remove(&ulids.peer).is_none() {
            return Ok(());
        }
        let is_last = table.peers.is_empty();
        let request = RouteNetlinkMessage::DelRoute(self.route(id, ulids.peer));
        let route = netlink.remove("remove a route to shim0", request);
        if !is_last {
            return route;
        }
        self.by_local.remove(&ulids.local);
        let rule = remove_rule(netlink, rule(ulids.local, id));
        let request = RouteNetlinkMessage::DelAddress(self.address(ulids.local));
        let address = netlink.remove("remove a ULID from shim0", request);
        route.and(rule).and(address)
    }

    /// Makes every route last for another [`LEASE`].
    pub(crate) fn renew(&self, netlink: &mut Netlink) -> Result<(), BpfError> {
        for table in self.by_local.values() {
            for (&peer, &mtu) in &table.peers {
                self.write_route(netlink, table.id, peer, mtu)?;
            }
        }
        Ok(())
    }

    /// Removes all of it.
    pub(crate) fn remove_all(&mut self, netlink: &mut Netlink) -> Result<(), BpfError> {
        let pairs = self.by_local.iter().flat_map(|(&local, table)| {
            let peers = table.peers.keys();
            peers.map(move |&peer| UlidPair { local, peer })
        });
        let pairs: Vec<_> = pairs.collect();
        // The first failure is told, the rest is removed nevertheless.
        let outcomes: Vec<_> = pairs
            .into_iter()
            .map(|ulids| self.remove(netlink, ulids))
            .collect();
        outcomes.into_iter().collect()
    }

    /// Notes the route, and says which table it belongs in.
    fn reserve(&mut self, ulids: UlidPair, mtu: u32) -> Result<u32, BpfError> {
        let taken: BTreeSet<u32> = self.by_local.values().map(|table| table.id).collect();
        let mut free = TABLES.filter(|id| !taken.contains(id));
        if let Some(table) = self.by_local.get_mut(&ulids.local) {
            table.peers.insert(ulids.peer, mtu);
            return Ok(table.id);
        }
        let id = free.next().ok_or(BpfError::Full { what: "local ULID" })?;
        let peers = BTreeMap::from([(ulids.peer, mtu)]);
        self.by_local.insert(ulids.local, Table { id, peers });
        Ok(id)
    }

    fn write_route(
        &self,
        netlink: &mut Netlink,
        table: u32,
        peer: Ipv6Addr,
        mtu: u32,
    ) -> Result<(), BpfError> {
        let mut route = self.route(table, peer);
        route.attributes.extend([
            RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)]),
            RouteAttribute::Expires(LEASE.as_secs() as u32),
        ]);
        let request = RouteNetlinkMessage::NewRoute(route);
        netlink
            .request(
                "add a route to shim0",
                request,
                NLM_F_CREATE | NLM_F_REPLACE,
            )
            .map(drop)
    }

    fn route(&self, table: u32, peer: Ipv6Addr) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet6;
        message.header.destination_prefix_length = 128;
        message.header.protocol = PROTOCOL;
        message.header.kind = RouteType::Unicast;
        message.attributes = vec![
            RouteAttribute::Table(table),
            RouteAttribute::Destination(RouteAddress::Inet6(peer)),
            RouteAttribute::Oif(self.shim0),
        ];
        message
    }

    fn address(&self, local: Ipv6Addr) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet6;
        message.header.prefix_len = 128;
        message.header.index = self.shim0;
        message.attributes = vec![
            AddressAttribute::Address(IpAddr::V6(local)),
            // Nobody else is on shim0 who could have it, too.
            AddressAttribute::Flags(AddressFlags::Nodad | AddressFlags::Noprefixroute),
        ];
        message
    }
}

fn rule(local: Ipv6Addr, table: u32) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = AddressFamily::Inet6;
    message.header.action = RuleAction::ToTable;
    message.header.src_len = 128;
    message.header.flags = RuleFlags::from_bits_retain(FIND_SOURCE);
    message.attributes = vec![
        RuleAttribute::Priority(PRIORITY),
        RuleAttribute::Table(table),
        RuleAttribute::Source(IpAddr::V6(local)),
        RuleAttribute::Protocol(PROTOCOL),
    ];
    message
}

fn remove_rule(netlink: &mut Netlink, rule: RuleMessage) -> Result<(), BpfError> {
    netlink.remove("remove a routing rule", RouteNetlinkMessage::DelRule(rule))
}
