//! Where packets between two locators leave this host: what the kernel would do, asked beforehand.

use std::net::{IpAddr, Ipv6Addr};

use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkLayerType, LinkMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use shim6_core::LocatorPair;

use crate::BpfError;
use crate::device;
use crate::netlink::Netlink;

/// The first hop towards the peer's locator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Path {
    /// Index of the interface that packets leave by.
    pub(crate) interface: u32,
    /// The router, or the peer's locator itself if it is on the link.
    pub(crate) next_hop: Ipv6Addr,
    /// Octets of the largest packet that this host may send there, as far as it knows.
    pub(crate) mtu: u32,
}

impl Path {
    /// Looks the path of `locators` up; never one by `shim0`, whose routes are about ULIDs.
    ///
    /// `interfaces` are those that have the local locator. A packet leaves by one of them where
    /// there is a route, as packets from a provider's locator should; otherwise by any.
    pub(crate) fn find(
        netlink: &mut Netlink,
        locators: LocatorPair,
        interfaces: &[u32],
        shim0: u32,
    ) -> Result<Self, BpfError> {
        let candidates = interfaces.iter().map(|&index| Some(index)).chain([None]);
        for candidate in candidates {
            let Some(route) = look_up(netlink, locators, candidate) else {
                continue;
            };
            let Some(interface) = route.interface.filter(|&index| index != shim0) else {
                continue;
            };
            let device_mtu = ethernet_mtu(netlink, interface)?;
            return Ok(Self {
                interface,
                next_hop: route.gateway.unwrap_or(locators.peer),
                mtu: route.mtu.map_or(device_mtu, |mtu| mtu.min(device_mtu)),
            });
        }
        Err(BpfError::NoRoute {
            local: locators.local,
            peer: locators.peer,
        })
    }
}

/// The parts of the kernel's answer that matter here.
#[derive(Default)]
struct Route {
    interface: Option<u32>,
    gateway: Option<Ipv6Addr>,
    mtu: Option<u32>,
}

/// The route of packets between `locators`, of those on `interface` if one is given.
fn look_up(netlink: &mut Netlink, locators: LocatorPair, interface: Option<u32>) -> Option<Route> {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet6;
    message.header.destination_prefix_length = 128;
    message.header.source_prefix_length = 128;
    message.attributes = vec![
        RouteAttribute::Destination(RouteAddress::Inet6(locators.peer)),
        RouteAttribute::Source(RouteAddress::Inet6(locators.local)),
    ];
    message
        .attributes
        .extend(interface.map(RouteAttribute::Oif));
    // "Unreachable" is an answer, too: then there is none by this interface.
    let answers = netlink
        .request("look up a route", RouteNetlinkMessage::GetRoute(message), 0)
        .ok()?;
    answers.into_iter().find_map(|answer| {
        let RouteNetlinkMessage::NewRoute(message) = answer else {
            return None;
        };
        let mut route = Route::default();
        for attribute in message.attributes {
            if let RouteAttribute::Oif(index) = attribute {
                route.interface = Some(index);
            } else if let RouteAttribute::Gateway(RouteAddress::Inet6(gateway)) = attribute {
                route.gateway = Some(gateway);
            } else if let RouteAttribute::Metrics(metrics) = attribute {
                route.mtu = metrics.into_iter().find_map(|metric| {
                    if let RouteMetric::Mtu(mtu) = metric {
                        Some(mtu)
                    } else {
                        None
                    }
                });
            }
        }
        Some(route)
    })
}

/// Octets that one frame of this Ethernet interface carries.
fn ethernet_mtu(netlink: &mut Netlink, index: u32) -> Result<u32, BpfError> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    let link = device::get(netlink, message)?.ok_or(BpfError::NotEthernet { index })?;
    let mtu = link.attributes.iter().find_map(|attribute| {
        if let LinkAttribute::Mtu(mtu) = attribute {
            Some(*mtu)
        } else {
            None
        }
    });
    match (link.header.link_layer_type, mtu) {
        (LinkLayerType::Ether, Some(mtu)) => Ok(mtu),
        _ => Err(BpfError::NotEthernet { index }),
    }
}

/// All IPv6 addresses of this host, each with the index of its interface.
pub(crate) fn addresses(netlink: &mut Netlink) -> Result<Vec<(Ipv6Addr, u32)>, BpfError> {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet6;
    let answers = netlink.dump("list addresses", RouteNetlinkMessage::GetAddress(message))?;
    let addresses = answers.into_iter().filter_map(|answer| {
        let RouteNetlinkMessage::NewAddress(message) = answer else {
            return None;
        };
        let address = message.attributes.iter().find_map(|attribute| {
            if let AddressAttribute::Address(IpAddr::V6(address)) = attribute {
                Some(*address)
            } else {
                None
            }
        });
        address.map(|address| (address, message.header.index))
    });
    Ok(addresses.collect())
}
