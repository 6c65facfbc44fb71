//! Taking everything back: `shimq locators release`.
//!
//! Decides what is ours without a running daemon: what carries [`PROTOCOL`], the labels of
//! [`prefer`], and addresses whose parameters say that shimq formed them.

use std::fmt;
use std::net::Ipv6Addr;

use netlink_packet_route::RouteNetlinkMessage;
use shimq_bpf::BpfError;

use super::netlink::Kernel;
use super::store::Store;
use super::watch::Snapshot;
use super::{
    HostConfig, HostError, PROTOCOL, anchor, autoconf, check_capability, check_ipv6, form, local,
    prefer, routing,
};

/// Something of ours that was removed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub(crate) enum Removed {
    /// An address that shimq had formed.
    Address {
        /// The address.
        address: Ipv6Addr,
        /// Name of its interface.
        interface: String,
    },
    /// A default route.
    DefaultRoute {
        /// Packets from this address alone took it.
        from: Ipv6Addr,
    },
    /// A route.
    Route {
        /// The table that it was in.
        table: u32,
    },
    /// The switch that kept the kernel from forming addresses on an interface.
    AutoconfOff {
        /// Name of the interface.
        interface: String,
    },
    /// The device pair of the kernel's mapping, which a daemon that was killed left.
    DevicePair,
    /// An address label.
    Label {
        /// Of addresses in this prefix.
        prefix: Ipv6Addr,
        /// Length of the prefix, in bits.
        prefix_len: u8,
    },
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { address, interface } => write!(f, "address {address} dev {interface}"),
            Self::DefaultRoute { from } => write!(f, "default route from {from}"),
            Self::Route { table } => write!(f, "route in table {table}"),
            Self::AutoconfOff { interface } => {
                write!(f, "setting net.ipv6.conf.{interface}.autoconf=0")
            }
            Self::DevicePair => f.write_str("the device pair of a daemon that was killed"),
            Self::Label { prefix, prefix_len } => {
                write!(f, "addrlabel prefix {prefix}/{prefix_len}")
            }
        }
    }
}

/// Removes everything of ours from the host, in an order that no new connection notices; lists it.
///
/// Key and parameters stay in the state directory: the next start forms the same addresses. Stop
/// the daemon first, or it adds them again at once.
///
/// # Errors
///
/// As [`HostError`] says; what was removed until then stays removed, and a second try goes on.
pub(crate) async fn release(config: &HostConfig) -> Result<Vec<Removed>, HostError> {
    check_ipv6()?;
    check_capability()?;
    let kernel = Kernel::connect()?;
    let mut removed = release_device_pair()?;
    removed.extend(prefer::release(&kernel).await?);
    removed.extend(anchor::release(&kernel).await?);
    removed.extend(local::release(&kernel).await?);
    removed.extend(routing::release(&kernel).await?);
    let snapshot = Snapshot::dump(&kernel).await?;
    let store = Store::new(&config.state_dir);
    removed.extend(autoconf::restore(&store)?);
    for address in snapshot.addresses.values() {
        let Some(interface) = snapshot.interfaces.get(&address.interface) else {
            continue;
        };
        // Kernels before 5.18 do not remember who added an address; the state directory does.
        let ours = address.protocol == PROTOCOL
            || store
                .formed(&interface.name)?
                .iter()
                .any(|(formed, _)| *formed == address.address);
        if ours {
            let message = form::message(address.interface, address.address);
            let request = RouteNetlinkMessage::DelAddress(message);
            kernel.remove("removing an address", request).await?;
            removed.push(Removed::Address {
                address: address.address,
                interface: interface.name.clone(),
            });
        }
    }
    Ok(removed)
}

/// Removes what leads mapped packets into the kernel's own mapping.
fn release_device_pair() -> Result<Vec<Removed>, HostError> {
    match shimq_bpf::release() {
        Ok(true) => Ok(vec![Removed::DevicePair]),
        // Devices of the same name that are somebody else's stay.
        Ok(false) | Err(BpfError::NameTaken { .. }) => Ok(Vec::new()),
        Err(error) => Err(HostError::netlink(
            "removing the device pair",
            std::io::Error::other(error),
        )),
    }
}
