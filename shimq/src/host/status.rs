//! What `shimq locators` shows: each address that is, or was, a locator of this host.
//!
//! Decides by the kernel and the state directory alone, so it needs no running daemon.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Instant;

use shim6_cga::{Kind, Pds};

use super::lifetime::Lifetime;
use super::netlink::Kernel;
use super::routing;
use super::store::Store;
use super::watch::{InterfaceAddress, Snapshot};
use super::{HostConfig, HostError};

/// How an address is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LocatorKind {
    /// By a signature (RFC 3972).
    Cga,
    /// By its prefix set (RFC 5535).
    Hba,
    /// Either way.
    CgaCompatibleHba,
}

impl From<Kind> for LocatorKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Cga => Self::Cga,
            Kind::Hba => Self::Hba,
            Kind::CgaCompatibleHba => Self::CgaCompatibleHba,
        }
    }
}

/// What the kernel thinks of an address (RFC 4862 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LocatorState {
    /// Duplicate address detection has not finished.
    Tentative,
    /// Duplicate address detection found another owner.
    Duplicate,
    /// In use, also by new connections.
    Preferred,
    /// Left to connections that have it.
    Deprecated,
    /// Not on the host, only in the state directory.
    Gone,
}

/// An address that is, or was, a locator.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct LocatorStatus {
    /// The address.
    pub(crate) address: Ipv6Addr,
    /// Name of the interface that it is on, or was formed for.
    pub(crate) interface: Option<String>,
    /// Its prefix, with length.
    pub(crate) prefix: String,
    /// How it is proven.
    pub(crate) kind: LocatorKind,
    /// Security parameter, 0 to 7 (RFC 3972 §2).
    pub(crate) sec: u8,
    /// What the kernel thinks of it.
    pub(crate) state: LocatorState,
    /// Seconds until it is gone; `None` if that is never, or past.
    pub(crate) valid_lifetime: Option<u32>,
    /// Seconds until it is deprecated; `None` if that is never, or past.
    pub(crate) preferred_lifetime: Option<u32>,
    /// The routers of its interface, which its packets leave by.
    pub(crate) routers: Vec<Ipv6Addr>,
}

/// The state of all addresses whose parameters are in the state directory.
pub(crate) async fn status(config: &HostConfig) -> Result<Vec<LocatorStatus>, HostError> {
    let kernel = Kernel::connect()?;
    let snapshot = Snapshot::dump(&kernel).await?;
    let routers = routing::routers(&kernel).await?;
    let store = Store::new(&config.state_dir);
    let mut all = Vec::new();
    for interface in store.formed_interfaces()? {
        for (address, pds) in store.formed(&interface)? {
            let present = snapshot
                .interface_named(&interface)
                .and_then(|(index, _)| snapshot.addresses.get(&(index, address)));
            all.push(describe(
                address,
                &pds,
                Some(interface.clone()),
                present,
                &routers,
            ));
        }
    }
    for (address, pds) in store.configured()? {
        let present = snapshot
            .addresses
            .values()
            .find(|present| present.address == address);
        let interface = present
            .and_then(|present| snapshot.interfaces.get(&present.interface))
            .map(|interface| interface.name.clone());
        all.push(describe(address, &pds, interface, present, &routers));
    }
    Ok(all)
}

fn describe(
    address: Ipv6Addr,
    pds: &Pds,
    interface: Option<String>,
    present: Option<&InterfaceAddress>,
    routers: &BTreeMap<Ipv6Addr, Vec<Ipv6Addr>>,
) -> LocatorStatus {
    let [a, b, c, d, ..] = address.segments();
    let now = Instant::now();
    let left = |lifetime: Lifetime| match lifetime {
        Lifetime::Until(end) if end > now => Some(lifetime.seconds(now)),
        Lifetime::Until(_) | Lifetime::Forever => None,
    };
    LocatorStatus {
        address,
        interface,
        prefix: format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)),
        kind: pds.kind().into(),
        sec: address.octets()[8] >> 5,
        state: present.map_or(LocatorState::Gone, state),
        valid_lifetime: present.and_then(|present| left(present.lifetimes.valid)),
        preferred_lifetime: present.and_then(|present| left(present.lifetimes.preferred)),
        routers: routers.get(&address).cloned().unwrap_or_default(),
    }
}

fn state(address: &InterfaceAddress) -> LocatorState {
    if address.duplicate() {
        LocatorState::Duplicate
    } else if address.tentative() {
        LocatorState::Tentative
    } else if address.deprecated() {
        LocatorState::Deprecated
    } else {
        LocatorState::Preferred
    }
}
