//! Local routes of addresses that are no longer on an interface.
//!
//! Decides what the kernel must know of a ULID that is [`super::held`]: that it is this host's.
//! Connections on it go on over other links, and packets to them that get their ULIDs back before the
//! kernel looks for their way (the prerouting hook) would else be forwarded.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAttribute, RouteMessage, RouteType};

use super::netlink::Kernel;
use super::routes::{dump_table, is_ours, route_to};
use super::{HostError, Removed};

/// The kernel's number of the table of local addresses.
const TABLE: u32 = 255;

/// Index of the loopback interface, in every network namespace.
const LOOPBACK: u32 = 1;

/// Behind the route that comes with an address on an interface.
const PRIORITY: u32 = 1;

/// Makes the addresses with a local route of ours, `present` so far, those that are `wanted`.
pub(super) async fn keep(
    kernel: &Kernel,
    present: &mut BTreeSet<Ipv6Addr>,
    wanted: &BTreeSet<Ipv6Addr>,
) -> Result<(), HostError> {
    for &address in wanted {
        if !present.contains(&address) {
            let request = RouteNetlinkMessage::NewRoute(route(address));
            kernel.add("adding a local route", request).await?;
            present.insert(address);
        }
    }
    let surplus: Vec<_> = present.difference(wanted).copied().collect();
    for address in surplus {
        let request = RouteNetlinkMessage::DelRoute(route(address));
        kernel.remove("removing a local route", request).await?;
        present.remove(&address);
    }
    Ok(())
}

/// Removes all local routes of ours, and lists them.
pub(super) async fn release(kernel: &Kernel) -> Result<Vec<Removed>, HostError> {
    let mut removed = Vec::new();
    let routes = dump_table(kernel, TABLE).await?;
    for route in routes.into_iter().filter(is_ours) {
        let request = RouteNetlinkMessage::DelRoute(route);
        kernel.remove("removing a local route", request).await?;
        removed.push(Removed::Route { table: TABLE });
    }
    Ok(removed)
}

fn route(address: Ipv6Addr) -> RouteMessage {
    let mut message = route_to(address, TABLE, RouteType::Local);
    message.attributes.extend([
        RouteAttribute::Oif(LOOPBACK),
        RouteAttribute::Priority(PRIORITY),
    ]);
    message
}
