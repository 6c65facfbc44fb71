//! Links and addresses as the kernel has them, and news about them.
//!
//! Decides what is remembered of a link and an address, and when that memory is stale: it starts
//! from a dump, follows notifications, and is dumped again when notifications were lost. What an
//! address is good for is decided in [`super::form`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::sys::SocketAddr;
use shimq_bpf::PAIR_MACS;
use tokio::task::JoinSet;

use super::advertised::AdvertisedPrefix;
use super::lifetime::{Lifetime, Lifetimes};
use super::netlink::Kernel;
use super::routes::{
    MAIN_TABLE, is_default, is_ours, is_own_default, next_hop_interfaces, table_of,
};
use super::{HostError, SubnetPrefix};

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    /// Its name, as in `ip link`.
    pub(super) name: String,
    /// Up, and able to carry packets.
    pub(super) up: bool,
    /// The host itself.
    pub(super) loopback: bool,
}

/// An IPv6 address on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InterfaceAddress {
    /// Index of the interface.
    pub(super) interface: u32,
    pub(super) address: Ipv6Addr,
    /// In bits.
    pub(super) prefix_len: u8,
    /// Global scope, which unique local addresses have too.
    pub(super) global: bool,
    /// Who added it (IFA_PROTO); 0 if unsaid, as on kernels before 5.18.
    pub(super) protocol: u8,
    pub(super) flags: AddressFlags,
    pub(super) lifetimes: Lifetimes,
}

impl InterfaceAddress {
    /// The leftmost 64 bits.
    pub(super) fn prefix(&self) -> SubnetPrefix {
        prefix_of(self.address)
    }

    /// Duplicate address detection has not finished, or has failed.
    pub(super) fn tentative(&self) -> bool {
        self.flags.contains(AddressFlags::Tentative) || self.duplicate()
    }

    /// Duplicate address detection found another owner.
    pub(super) fn duplicate(&self) -> bool {
        self.flags.contains(AddressFlags::Dadfailed)
    }

    /// Not for new connections.
    pub(super) fn deprecated(&self) -> bool {
        self.flags.contains(AddressFlags::Deprecated)
    }

    /// A privacy address (RFC 8981), which the kernel flags as secondary.
    pub(super) fn temporary(&self) -> bool {
        self.flags.contains(AddressFlags::Secondary)
    }

    /// Reads a message; `None` if it is not about an IPv6 unicast address.
    fn parse(message: &AddressMessage, now: Instant) -> Option<Self> {
        if message.header.family != AddressFamily::Inet6 {
            return None;
        }
        let mut address = None;
        let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
        let mut protocol = 0;
        let mut lifetimes = Lifetimes {
            valid: Lifetime::Forever,
            preferred: Lifetime::Forever,
        };
        for attribute in &message.attributes {
            // On a point-to-point link Address is the peer's and Local comes first.
            if let AddressAttribute::Local(IpAddr::V6(local)) = attribute {
                address = Some(*local);
            } else if let AddressAttribute::Address(IpAddr::V6(other)) = attribute {
                address = address.or(Some(*other));
            } else if let AddressAttribute::Flags(all) = attribute {
                flags = *all;
            } else if let AddressAttribute::Protocol(number) = attribute {
                protocol = u8::from(*number);
            } else if let AddressAttribute::CacheInfo(info) = attribute {
                lifetimes = Lifetimes {
                    valid: Lifetime::from_seconds(info.ifa_valid, now),
                    preferred: Lifetime::from_seconds(info.ifa_preferred, now),
                };
            }
        }
        Some(Self {
            interface: message.header.index,
            address: address?,
            prefix_len: message.header.prefix_len,
            global: message.header.scope == AddressScope::Universe,
            protocol,
            flags,
            lifetimes,
        })
    }
}

/// The leftmost 64 bits of an address.
pub(super) fn prefix_of(address: Ipv6Addr) -> SubnetPrefix {
    ((u128::from(address) >> 64) as u64).to_be_bytes()
}

/// All links, and all IPv6 addresses, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// By index.
    pub(super) interfaces: BTreeMap<u32, Interface>,
    /// By interface index and address.
    pub(super) addresses: BTreeMap<(u32, Ipv6Addr), InterfaceAddress>,
    /// Indices of the device pair of the kernel's mapping: ULIDs are on it as well, but it is not
    /// where they are from.
    pub(super) pair: BTreeSet<u32>,
}

impl Snapshot {
    /// Asks the kernel.
    pub(super) async fn dump(kernel: &Kernel) -> Result<Self, HostError> {
        let mut links = LinkMessage::default();
        links.header.interface_family = AddressFamily::Unspec;
        let mut addresses = AddressMessage::default();
        addresses.header.family = AddressFamily::Inet6;
        let mut snapshot = Self::default();
        for (doing, request) in [
            ("listing links", RouteNetlinkMessage::GetLink(links)),
            (
                "listing addresses",
                RouteNetlinkMessage::GetAddress(addresses),
            ),
        ] {
            for message in kernel.dump(doing, request).await? {
                snapshot.apply(&message, Instant::now());
            }
        }
        Ok(snapshot)
    }

    /// The interface with this name, and its index.
    pub(super) fn interface_named(&self, name: &str) -> Option<(u32, &Interface)> {
        self.interfaces
            .iter()
            .find(|(_, interface)| interface.name == name)
            .map(|(&index, interface)| (index, interface))
    }

    /// Takes in what the kernel says at `now`, and tells what kind of news it was.
    //= https://www.rfc-editor.org/rfc/rfc5534#section-3.1
    //= id=R-002
    //# Shim6 implementations MUST be able to employ information provided by IPv6 Neighbor
    //# Discovery [RFC4861], Address Autoconfiguration [RFC4862], and DHCP [RFC3315] (when DHCP is
    //# implemented).
    fn apply(&mut self, message: &RouteNetlinkMessage, now: Instant) -> News {
        let mut news = News::default();
        if let RouteNetlinkMessage::NewLink(link) = message {
            // A bridge tells about its ports under a family of its own.
            if link.header.interface_family == AddressFamily::Unspec {
                news.addresses = self.set_link(link);
            }
        } else if let RouteNetlinkMessage::DelLink(link) = message {
            if link.header.interface_family == AddressFamily::Unspec {
                self.pair.remove(&link.header.index);
                news.addresses = self.interfaces.remove(&link.header.index).is_some();
                self.addresses
                    .retain(|&(index, _), _| index != link.header.index);
            }
        } else if let RouteNetlinkMessage::NewAddress(address) = message {
            if let Some(address) = InterfaceAddress::parse(address, now)
                && !self.pair.contains(&address.interface)
            {
                news.addresses = true;
                self.addresses
                    .insert((address.interface, address.address), address);
            }
        } else if let RouteNetlinkMessage::DelAddress(address) = message {
            if let Some(address) = InterfaceAddress::parse(address, now) {
                let key = (address.interface, address.address);
                news.addresses = self.addresses.remove(&key).is_some();
                // The kernel removes an address of limited lifetime when it is a duplicate.
                if address.duplicate() {
                    news.duplicates.push(key);
                }
            }
        } else if let RouteNetlinkMessage::NewPrefix(prefix) = message {
            news.prefixes.extend(AdvertisedPrefix::parse(prefix));
        } else if let RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) =
            message
        {
            news.routes = concerns_us(route);
            if matches!(message, RouteNetlinkMessage::DelRoute(_)) {
                // Not for what anchors do themselves.
                let leads_somewhere = route.header.kind == RouteType::Unicast;
                news.routes_lost = leads_somewhere && (news.routes || !is_ours(route));
                if is_way_out(route) {
                    news.ways_lost.extend(next_hop_interfaces(route));
                }
            }
        } else if let RouteNetlinkMessage::NewNeighbour(neighbour) = message {
            news.silent_neighbours.extend(silent_neighbour(neighbour));
        } else if let RouteNetlinkMessage::DelRule(_) = message {
            news.routes_lost = true;
        }
        news
    }

    /// Remembers a link; false if nothing of interest changed.
    fn set_link(&mut self, link: &LinkMessage) -> bool {
        if is_of_pair(link) {
            self.pair.insert(link.header.index);
            return false;
        }
        let flags = link.header.flags;
        let name = link.attributes.iter().find_map(|attribute| {
            if let LinkAttribute::IfName(name) = attribute {
                Some(name.clone())
            } else {
                None
            }
        });
        let interface = Interface {
            name: name.unwrap_or_default(),
            //= https://www.rfc-editor.org/rfc/rfc5534#section-3.2
            //= id=R-004
            //# Implementations MAY also employ additional, link-layer-specific mechanisms.
            up: flags.contains(LinkFlags::Up | LinkFlags::Running),
            loopback: flags.contains(LinkFlags::Loopback),
        };
        let index = link.header.index;
        self.interfaces.insert(index, interface.clone()) != Some(interface)
    }
}

/// Whether a link is an end of the device pair of the kernel's mapping.
fn is_of_pair(link: &LinkMessage) -> bool {
    PAIR_MACS.iter().any(|&mac| {
        let mac = LinkAttribute::Address(mac.into());
        link.attributes.contains(&mac)
    })
}

/// Whether a route is a default route that [`super::routing`] copies, or such a copy.
fn concerns_us(route: &RouteMessage) -> bool {
    is_way_out(route) || (is_own_default(route) && table_of(route) == MAIN_TABLE)
}

/// Whether a route is a default route of the main table.
fn is_way_out(route: &RouteMessage) -> bool {
    is_default(route) && table_of(route) == MAIN_TABLE
}

/// The neighbour that a message is about, if Neighbor Unreachability Detection has given it up.
fn silent_neighbour(message: &NeighbourMessage) -> Option<(u32, Ipv6Addr)> {
    if message.header.state != NeighbourState::Failed {
        return None;
    }
    message.attributes.iter().find_map(|attribute| {
        if let NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) = attribute {
            Some((message.header.ifindex, *address))
        } else {
            None
        }
    })
}

/// What has happened since the last look.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each kind of news was heard of, or not"
)]
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// Links or addresses changed.
    pub(super) addresses: bool,
    /// Default routes changed.
    pub(super) routes: bool,
    /// Some route went, or a rule that leads to routes.
    pub(super) routes_lost: bool,
    /// Addresses that the kernel gave up as duplicates, with their interface.
    pub(super) duplicates: Vec<(u32, Ipv6Addr)>,
    /// What routers advertised. The kernel tells it once.
    pub(super) prefixes: Vec<AdvertisedPrefix>,
    /// Interfaces, by index, that lost a default route.
    pub(super) ways_lost: Vec<u32>,
    /// Neighbours, with their interface, that answer no Neighbor Solicitation (RFC 4861 §7.3).
    pub(super) silent_neighbours: Vec<(u32, Ipv6Addr)>,
    /// There was more news than could be received; what can be asked for again, was.
    pub(super) lost: bool,
}

impl News {
    fn merge(&mut self, other: Self) {
        self.addresses |= other.addresses;
        self.routes |= other.routes;
        self.routes_lost |= other.routes_lost;
        self.duplicates.extend(other.duplicates);
        self.prefixes.extend(other.prefixes);
        self.ways_lost.extend(other.ways_lost);
        self.silent_neighbours.extend(other.silent_neighbours);
        self.lost |= other.lost;
    }

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

type Notification = (NetlinkMessage<RouteNetlinkMessage>, SocketAddr);

/// Follows links and addresses.
pub(super) struct Watch {
    kernel: Kernel,
    notifications: BoxStream<'static, Notification>,
    snapshot: Snapshot,
    /// Notifications were lost since the last dump.
    stale: bool,
    /// Reads the socket; ends with this value.
    _connection: JoinSet<()>,
}

impl Watch {
    /// Subscribes, then looks, so that nothing falls between.
    pub(super) async fn start(kernel: Kernel) -> Result<Self, HostError> {
        let (connection, _, notifications) = rtnetlink::new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv6Prefix,
            MulticastGroup::Ipv6Route,
            MulticastGroup::Ipv6Rule,
            MulticastGroup::Neigh,
        ])
        .map_err(|source| HostError::netlink("opening a netlink socket", source))?;
        let mut serving = JoinSet::new();
        serving.spawn(connection);
        let snapshot = Snapshot::dump(&kernel).await?;
        Ok(Self {
            kernel,
            notifications: notifications.boxed(),
            snapshot,
            stale: false,
            _connection: serving,
        })
    }

    /// What is known now.
    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Waits for news and takes in all that has arrived. Dropping the future loses nothing.
    pub(super) async fn news(&mut self) -> Result<News, HostError> {
        loop {
            if self.stale {
                self.snapshot = Snapshot::dump(&self.kernel).await?;
                self.stale = false;
                return Ok(News {
                    addresses: true,
                    routes: true,
                    lost: true,
                    ..News::default()
                });
            }
            let (first, _) = self.notifications.next().await.ok_or_else(closed)?;
            let mut news = self.handle(&first.payload);
            // A burst is one piece of news.
            while let Some(Some((message, _))) = self.notifications.next().now_or_never() {
                news.merge(self.handle(&message.payload));
            }
            if !news.is_empty() {
                return Ok(news);
            }
        }
    }

    fn handle(&mut self, payload: &NetlinkPayload<RouteNetlinkMessage>) -> News {
        if let NetlinkPayload::InnerMessage(message) = payload {
            return self.snapshot.apply(message, Instant::now());
        }
        // The kernel had more to say than the socket could hold.
        self.stale |= matches!(payload, NetlinkPayload::Overrun(_));
        News::default()
    }
}

fn closed() -> HostError {
    HostError::netlink(
        "following addresses",
        std::io::ErrorKind::NotConnected.into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lost_notifications_are_made_up_for_by_a_dump() {
        let mut watch = Watch::start(Kernel::connect().unwrap()).await.unwrap();
        let before = watch.snapshot.interfaces.clone();
        assert!(!before.is_empty());
        watch.snapshot = Snapshot::default();
        watch.handle(&NetlinkPayload::Overrun(Vec::new()));
        let news = watch.news().await.unwrap();
        assert!(news.addresses && news.routes);
        assert_eq!(watch.snapshot.interfaces, before);
    }
}
