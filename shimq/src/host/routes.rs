//! IPv6 routes as the kernel lists them, and the default routes among them.
//!
//! Decides what makes two default routes the same, and whose a route is. Which routes there should be
//! is decided in [`super::routing`] and [`super::anchor`].

use std::net::Ipv6Addr;

use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteProtocol, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::netlink::Kernel;
use super::{HostError, PROTOCOL};

/// The kernel's number of the main routing table.
pub(super) const MAIN_TABLE: u32 = 254;

/// A default route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DefaultRoute {
    /// Index of the interface.
    pub(super) interface: u32,
    /// `None` on a link without routers, such as a tunnel.
    pub(super) gateway: Option<Ipv6Addr>,
    /// The gateway is on the link although no prefix says so.
    onlink: bool,
    /// Lower comes first.
    priority: u32,
    /// MTU and the like.
    metrics: Vec<RouteMetric>,
    /// What the router advertised about itself (RFC 4191 §2.1).
    preference: Option<RouteAttribute>,
}

impl DefaultRoute {
    /// A message about a route of ours in the main table: the same, but for packets from `source` alone.
    pub(super) fn to_message_from(&self, source: Ipv6Addr) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet6;
        message.header.source_prefix_length = 128;
        message.header.protocol = RouteProtocol::Other(PROTOCOL);
        message.header.kind = RouteType::Unicast;
        if self.onlink {
            message.header.flags = RouteFlags::Onlink;
        }
        message.attributes = vec![
            RouteAttribute::Table(MAIN_TABLE),
            RouteAttribute::Source(RouteAddress::Inet6(source)),
            RouteAttribute::Oif(self.interface),
            RouteAttribute::Priority(self.priority),
        ];
        if let Some(gateway) = self.gateway {
            message
                .attributes
                .push(RouteAttribute::Gateway(RouteAddress::Inet6(gateway)));
        }
        if !self.metrics.is_empty() {
            message
                .attributes
                .push(RouteAttribute::Metrics(self.metrics.clone()));
        }
        message.attributes.extend(self.preference.clone());
        message
    }
}

/// The default routes for packets from anywhere, one for each next hop.
pub(super) fn default_routes(routes: &[RouteMessage]) -> Vec<DefaultRoute> {
    let defaults = routes.iter().filter(|route| is_default(route));
    defaults.flat_map(next_hops).collect()
}

/// Whether a route is for packets from anywhere to anywhere.
pub(super) fn is_default(route: &RouteMessage) -> bool {
    route.header.source_prefix_length == 0 && leads_everywhere(route)
}

/// The default routes of ours, with the address that they are for packets from, one for each next hop.
pub(super) fn own_default_routes(routes: &[RouteMessage]) -> Vec<(Ipv6Addr, DefaultRoute)> {
    let defaults = routes.iter().filter(|route| is_own_default(route));
    defaults
        .filter_map(|route| Some((source(route)?, route)))
        .flat_map(|(source, route)| next_hops(route).into_iter().map(move |hop| (source, hop)))
        .collect()
}

/// Whether a route is one of ours that leads everywhere.
pub(super) fn is_own_default(route: &RouteMessage) -> bool {
    is_ours(route) && leads_everywhere(route)
}

/// Whether packets to all destinations take a route.
fn leads_everywhere(route: &RouteMessage) -> bool {
    route.header.destination_prefix_length == 0 && route.header.kind == RouteType::Unicast
}

/// The only address from which packets take a route.
fn source(route: &RouteMessage) -> Option<Ipv6Addr> {
    let source = route.attributes.iter().find_map(|attribute| {
        if let RouteAttribute::Source(RouteAddress::Inet6(source)) = attribute {
            Some(*source)
        } else {
            None
        }
    });
    source.filter(|_| route.header.source_prefix_length == 128)
}

/// The interfaces, by index, that a route leaves by.
pub(super) fn next_hop_interfaces(route: &RouteMessage) -> impl Iterator<Item = u32> {
    next_hops(route).into_iter().map(|hop| hop.interface)
}

/// A default route for each next hop of a route.
fn next_hops(route: &RouteMessage) -> Vec<DefaultRoute> {
    let mut single = DefaultRoute {
        interface: 0,
        gateway: None,
        onlink: route.header.flags.contains(RouteFlags::Onlink),
        priority: 0,
        metrics: Vec::new(),
        preference: None,
    };
    let mut hops = Vec::new();
    for attribute in &route.attributes {
        if let RouteAttribute::Oif(index) = attribute {
            single.interface = *index;
        } else if let RouteAttribute::Gateway(RouteAddress::Inet6(gateway)) = attribute {
            single.gateway = Some(*gateway);
        } else if let RouteAttribute::Priority(priority) = attribute {
            single.priority = *priority;
        } else if let RouteAttribute::Metrics(metrics) = attribute {
            single.metrics.clone_from(metrics);
        } else if let RouteAttribute::Preference(_) = attribute {
            single.preference = Some(attribute.clone());
        } else if let RouteAttribute::MultiPath(several) = attribute {
            hops.clone_from(several);
        }
    }
    if hops.is_empty() {
        return vec![single];
    }
    hops.iter()
        .map(|hop| DefaultRoute {
            interface: hop.interface_index,
            gateway: hop.attributes.iter().find_map(|attribute| {
                if let RouteAttribute::Gateway(RouteAddress::Inet6(gateway)) = attribute {
                    Some(*gateway)
                } else {
                    None
                }
            }),
            onlink: RouteFlags::from_bits_retain(hop.flags.bits().into())
                .contains(RouteFlags::Onlink),
            ..single.clone()
        })
        .collect()
}

/// All IPv6 routes of a table, or of all tables for 0.
pub(super) async fn dump_table(
    kernel: &Kernel,
    table: u32,
) -> Result<Vec<RouteMessage>, HostError> {
    let mut request = RouteMessage::default();
    request.header.address_family = AddressFamily::Inet6;
    if table != 0 {
        request.attributes.push(RouteAttribute::Table(table));
    }
    let request = RouteNetlinkMessage::GetRoute(request);
    let answers = kernel.dump("listing routes", request).await?;
    Ok(answers
        .into_iter()
        .filter_map(|answer| {
            if let RouteNetlinkMessage::NewRoute(route) = answer {
                Some(route)
            } else {
                None
            }
        })
        .collect())
}

/// The table of a route.
pub(super) fn table_of(route: &RouteMessage) -> u32 {
    route
        .attributes
        .iter()
        .find_map(|attribute| {
            if let RouteAttribute::Table(table) = attribute {
                Some(*table)
            } else {
                None
            }
        })
        .unwrap_or_else(|| route.header.table.into())
}

/// A message about a route of ours to one address.
pub(super) fn route_to(destination: Ipv6Addr, table: u32, kind: RouteType) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet6;
    message.header.destination_prefix_length = 128;
    message.header.protocol = RouteProtocol::Other(PROTOCOL);
    message.header.kind = kind;
    message.attributes = vec![
        RouteAttribute::Table(table),
        RouteAttribute::Destination(RouteAddress::Inet6(destination)),
    ];
    message
}

/// Whether a route was added by us.
pub(super) fn is_ours(route: &RouteMessage) -> bool {
    route.header.protocol == RouteProtocol::Other(PROTOCOL)
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::route::RouteNextHop;

    use super::*;

    #[test]
    fn each_next_hop_of_a_default_route_belongs_to_its_own_interface() {
        let hop = |interface_index, gateway: &str| {
            let mut hop = RouteNextHop::default();
            hop.interface_index = interface_index;
            hop.attributes = vec![RouteAttribute::Gateway(RouteAddress::Inet6(
                gateway.parse().unwrap(),
            ))];
            hop
        };
        let mut route = RouteMessage::default();
        route.header.kind = RouteType::Unicast;
        route.attributes = vec![
            RouteAttribute::Priority(1024),
            RouteAttribute::MultiPath(vec![hop(2, "fe80::2"), hop(3, "fe80::3")]),
        ];
        let found: Vec<_> = default_routes(&[route])
            .into_iter()
            .map(|route| (route.interface, route.gateway, route.priority))
            .collect();
        assert_eq!(
            found,
            [
                (2, Some("fe80::2".parse().unwrap()), 1024),
                (3, Some("fe80::3".parse().unwrap()), 1024)
            ]
        );
    }
}
