//! Each locator leaves by its own provider.
//!
//! Decides which routes bring that about. For each default route of a locator's interface, the main
//! table has a copy that is for packets from the locator alone:
//!
//! ```text
//! default from LOCATOR via ROUTER dev INTERFACE proto 140
//! ```
//!
//! The kernel compares destinations before sources, so destinations that the host has a route of
//! their own for (on the link, in a VPN) are reached as ever, and everything else goes to the routers
//! of the locator's interface, whichever default route is preferred otherwise. The copies follow what
//! they are copies of.
//!
//! Routing rules could do the same, but once a host has had one, the kernel walks its rules for each
//! packet instead of looking into the main table at once. And since no two locators share a route,
//! each path MTU is kept for one: packets that a context will move must be 8 octets shorter than those
//! that it has moved, and if both looked at one route, two contexts that moved to each other's locators
//! would shrink it for ever.
//!
//! A socket that connected before it had a source keeps the route that all sources share, and would not
//! learn what IPsec learns of the path with the copy. So when a context moves, sockets are made to look
//! for their routes again.
//!
//! The copies stay when the daemon stops, because connections live on the locators; a restart finds
//! them. Nobody else's routes are touched.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteMessage, RouteType};

use super::netlink::Kernel;
use super::routes::{
    DefaultRoute, MAIN_TABLE, default_routes, dump_table, own_default_routes, route_to,
};
use super::{HostError, Removed};

/// What is being done, should the kernel refuse it.
const ADDING: &str = "adding a route for one source address, which takes CONFIG_IPV6_SUBTREES";

/// Of the prefix that all routers discard (RFC 6666).
const DISCARDED: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0);

/// Makes our routes what `locators` (with the index of their interface) need.
pub(super) async fn route(
    kernel: &Kernel,
    locators: &BTreeMap<Ipv6Addr, u32>,
) -> Result<(), HostError> {
    let main = dump_table(kernel, MAIN_TABLE).await?;
    let present = own_default_routes(&main);
    let wanted = wanted(locators, &default_routes(&main));
    for (locator, route) in present.iter().filter(|route| !wanted.contains(route)) {
        remove(kernel, *locator, route).await?;
    }
    for (locator, route) in wanted.iter().filter(|route| !present.contains(route)) {
        let request = RouteNetlinkMessage::NewRoute(route.to_message_from(*locator));
        kernel.append(ADDING, request).await?;
    }
    Ok(())
}

/// Has all sockets look for their routes anew, which any change of the main table does.
pub(super) async fn have_sockets_look_again(kernel: &Kernel) -> Result<(), HostError> {
    let request = RouteNetlinkMessage::NewRoute(to_nowhere());
    kernel.add("adding a route to nowhere", request).await?;
    remove_to_nowhere(kernel).await
}

/// Removes all routes of ours, and lists them.
pub(super) async fn release(kernel: &Kernel) -> Result<Vec<Removed>, HostError> {
    // Should a daemon have been killed between adding and removing it.
    remove_to_nowhere(kernel).await?;
    let mut removed = Vec::new();
    for (from, route) in own_default_routes(&dump_table(kernel, MAIN_TABLE).await?) {
        remove(kernel, from, &route).await?;
        removed.push(Removed::DefaultRoute { from });
    }
    Ok(removed)
}

/// The routers that packets from each locator go to.
pub(super) async fn routers(
    kernel: &Kernel,
) -> Result<BTreeMap<Ipv6Addr, Vec<Ipv6Addr>>, HostError> {
    let mut routers = BTreeMap::<_, Vec<_>>::new();
    for (locator, route) in own_default_routes(&dump_table(kernel, MAIN_TABLE).await?) {
        routers.entry(locator).or_default().extend(route.gateway);
    }
    Ok(routers)
}

/// For each locator the default routes of its interface.
fn wanted(
    locators: &BTreeMap<Ipv6Addr, u32>,
    defaults: &[DefaultRoute],
) -> Vec<(Ipv6Addr, DefaultRoute)> {
    let of_one = |(&locator, &interface)| {
        let own = defaults
            .iter()
            .filter(move |route| route.interface == interface);
        own.map(move |route| (locator, route.clone()))
    };
    locators.iter().flat_map(of_one).collect()
}

async fn remove(kernel: &Kernel, locator: Ipv6Addr, route: &DefaultRoute) -> Result<(), HostError> {
    let request = RouteNetlinkMessage::DelRoute(route.to_message_from(locator));
    kernel.remove("removing a route", request).await.map(drop)
}

async fn remove_to_nowhere(kernel: &Kernel) -> Result<(), HostError> {
    let request = RouteNetlinkMessage::DelRoute(to_nowhere());
    let removed = kernel.remove("removing a route to nowhere", request);
    removed.await.map(drop)
}

/// A route that makes no difference to any packet.
fn to_nowhere() -> RouteMessage {
    route_to(DISCARDED, MAIN_TABLE, RouteType::BlackHole)
}
