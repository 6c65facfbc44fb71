//! Leads packets between two ULIDs to shim0, and nothing else.
//!
//! ```text
//! 13799: from all fwmark MARK goto 13801   what the daemon sends goes its own way
//! 13800: from LOCAL_ULID lookup 13800 ...  a rule and a table per local ULID
//!        PEER_ULID dev shim0 mtu 1492      a route per mapped peer
//! 13801: nop
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
use std::ops::{Bound, RangeInclusive};
use std::time::Duration;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteProtocol, RouteType,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::io::Errno;
use shim6_core::UlidPair;

use crate::BpfError;
use crate::netlink::Netlink;

/// How long routes to the rewriter last unless renewed, see
/// [`Rewriter::renew`](crate::Rewriter::renew).
pub const LEASE: Duration = Duration::from_secs(10);

/// Tables for local ULIDs.
const TABLES: RangeInclusive<u32> = 13_800..=13_898;

/// Of the rules: behind the kernel's for its own addresses, before those about providers.
const PRIORITY: u32 = 13_800;
/// Of the rule that leads what the daemon sends past the others, and of where it leads.
const PAST: [u32; 2] = [PRIORITY - 1, PRIORITY + 1];

/// Of rules and routes: Shim6's Next Header value. Says who made them, to us and to the operator.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(140);

/// `FIB_RULE_FIND_SADDR` of `linux/fib_rules.h`.
const FIND_SOURCE: u32 = 0x0001_0000;

/// The rules, routes and addresses that lead to shim0.
#[derive(Debug)]
pub(crate) struct Routes {
    shim0: u32,
    /// SO_MARK of packets that are not led to shim0.
    exempt_mark: u32,
    by_local: BTreeMap<Ipv6Addr, Table>,
    /// The last one that was renewed.
    renewed: Option<UlidPair>,
}

/// What became of a route that was to be there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Written {
    /// It was, and lasts longer now.
    Renewed,
    /// It was not, or was another.
    New,
}

/// What one local ULID has.
#[derive(Debug)]
struct Table {
    id: u32,
    /// Peers' ULIDs, each with the MTU of its route.
    peers: BTreeMap<Ipv6Addr, u32>,
}

impl Routes {
    /// Starts with none.
    pub(crate) fn new(shim0: u32, exempt_mark: u32) -> Self {
        Self {
            shim0,
            exempt_mark,
            by_local: BTreeMap::new(),
            renewed: None,
        }
    }

    /// Leads packets of `ulids` to shim0, none larger than `mtu` octets.
    pub(crate) fn add(
        &mut self,
        netlink: &mut Netlink,
        ulids: UlidPair,
        mtu: u32,
    ) -> Result<(), BpfError> {
        if self.by_local.is_empty() {
            for rule in self.rules_past() {
                let request = RouteNetlinkMessage::NewRule(rule);
                netlink.request("add a routing rule", request, NLM_F_CREATE)?;
            }
        }
        let is_new = !self.by_local.contains_key(&ulids.local);
        let former_mtu = self.mtu(ulids);
        let id = self.reserve(ulids, mtu)?;
        if is_new {
            let request = RouteNetlinkMessage::NewAddress(self.address(ulids.local));
            netlink.request("add a ULID to shim0", request, NLM_F_CREATE | NLM_F_REPLACE)?;
        }
        let written = if former_mtu == Some(mtu) {
            self.renew_route(netlink, id, ulids.peer, mtu)?
        } else {
            let request = RouteNetlinkMessage::NewRoute(self.lasting_route(id, ulids.peer, mtu));
            netlink.request(ADD_ROUTE, request, NLM_F_CREATE | NLM_F_REPLACE)?;
            Written::New
        };
        match written {
            Written::Renewed => Ok(()),
            Written::New if is_new => {
                let request = RouteNetlinkMessage::NewRule(rule(ulids.local, id));
                let added = netlink.request("add a routing rule", request, NLM_F_CREATE);
                added.map(drop)
            }
            Written::New => Self::announce(netlink, ulids.local, id),
        }
    }

    /// Has connections look for their routes again. A route in a table of ours is no reason for that
    /// to the kernel; a rule is.
    fn announce(netlink: &mut Netlink, local: Ipv6Addr, id: u32) -> Result<(), BpfError> {
        // There are two of them for a moment, never none.
        let rule = rule(local, id);
        let request = RouteNetlinkMessage::NewRule(rule.clone());
        netlink.request("add a routing rule", request, NLM_F_CREATE)?;
        remove_rule(netlink, rule)
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
        let mut past = Ok(());
        if self.by_local.is_empty() {
            for rule in self.rules_past() {
                past = past.and(remove_rule(netlink, rule));
            }
        }
        route.and(rule).and(address).and(past)
    }

    /// Makes `count` routes, those whose turn it is, last for another [`LEASE`].
    pub(crate) fn renew(&mut self, netlink: &mut Netlink, count: usize) -> Result<(), BpfError> {
        let all: BTreeMap<_, _> = self
            .by_local
            .iter()
            .flat_map(|(&local, table)| {
                let peers = table.peers.iter();
                peers.map(move |(&peer, &mtu)| (UlidPair { local, peer }, (table.id, mtu)))
            })
            .collect();
        let last = self.renewed.take();
        let after = last.map_or(Bound::Unbounded, Bound::Excluded);
        let turn = all.range((after, Bound::Unbounded)).chain(&all);
        for (&ulids, &(id, mtu)) in turn.take(count.min(all.len())) {
            if self.renew_route(netlink, id, ulids.peer, mtu)? == Written::New {
                // It had expired while this process was not running.
                Self::announce(netlink, ulids.local, id)?;
            }
            self.renewed = Some(ulids);
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

    fn mtu(&self, ulids: UlidPair) -> Option<u32> {
        let table = self.by_local.get(&ulids.local)?;
        table.peers.get(&ulids.peer).copied()
    }

    /// Lets a route last, with what the kernel learnt about its path. One that is gone comes back.
    fn renew_route(
        &self,
        netlink: &mut Netlink,
        id: u32,
        peer: Ipv6Addr,
        mtu: u32,
    ) -> Result<Written, BpfError> {
        let request = RouteNetlinkMessage::NewRoute(self.lasting_route(id, peer, mtu));
        match netlink.request(ADD_ROUTE, request, NLM_F_CREATE) {
            // To a route that is there already the kernel gives the new time.
            Err(BpfError::Netlink { source, .. })
                if Errno::from_io_error(&source) == Some(Errno::EXIST) =>
            {
                Ok(Written::Renewed)
            }
            added => added.map(|_| Written::New),
        }
    }

    fn lasting_route(&self, table: u32, peer: Ipv6Addr, mtu: u32) -> RouteMessage {
        let mut route = self.route(table, peer);
        route.attributes.extend([
            RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)]),
            RouteAttribute::Expires(LEASE.as_secs() as u32),
        ]);
        route
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

    /// The rules that lead past the others, the one that is led to first.
    fn rules_past(&self) -> [RuleMessage; 2] {
        let rule = |priority, action, attribute: Option<RuleAttribute>| {
            let mut message = RuleMessage::default();
            message.header.family = AddressFamily::Inet6;
            message.header.action = action;
            message.attributes = vec![
                RuleAttribute::Priority(priority),
                RuleAttribute::Protocol(PROTOCOL),
            ];
            message.attributes.extend(attribute);
            message
        };
        let [from, to] = PAST;
        let mut past = rule(from, RuleAction::Goto, Some(RuleAttribute::Goto(to)));
        let mark = RuleAttribute::FwMark(self.exempt_mark);
        past.attributes.push(mark);
        [rule(to, RuleAction::Nop, None), past]
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

/// What is tried when a route is written.
const ADD_ROUTE: &str = "add a route to shim0";

/// Removes the rules that a killed process left; true if there were any.
pub(crate) fn remove_left_over(netlink: &mut Netlink) -> Result<bool, BpfError> {
    let mut request = RuleMessage::default();
    request.header.family = AddressFamily::Inet6;
    let request = RouteNetlinkMessage::GetRule(request);
    let mut found = false;
    for answer in netlink.dump("list routing rules", request)? {
        if let RouteNetlinkMessage::NewRule(rule) = answer
            && rule.attributes.contains(&RuleAttribute::Protocol(PROTOCOL))
            && [PAST[0], PRIORITY, PAST[1]]
                .map(RuleAttribute::Priority)
                .iter()
                .any(|priority| rule.attributes.contains(priority))
        {
            remove_rule(netlink, rule)?;
            found = true;
        }
    }
    Ok(found)
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
