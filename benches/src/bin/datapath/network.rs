//! Two hosts, back to back by two links: nothing between them that would cost, too.
//!
//! ```text
//!   ┌───┐ ::a ─── link1, 2001:db8:1::/64 ─── ::b ┌───┐
//!   │ A │                                        │ B │
//!   └───┘ ::a ─── link2, 2001:db8:2::/64 ─── ::b └───┘
//! ```
//!
//! Both hosts share the machine's processors, so every figure is one of both hosts' work together.

use std::net::Ipv6Addr;

use shimq_testbed::{Namespace, TestbedError, require};

/// The links, the one of the ULIDs first.
pub(crate) const LINKS: [&str; 2] = ["link1", "link2"];

/// One of the two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    A,
    B,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::A, Self::B];

    pub(crate) fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// The host's address on a link, counted from 0.
    pub(crate) fn address(self, link: u16) -> Ipv6Addr {
        let interface = match self {
            Self::A => 0xa,
            Self::B => 0xb,
        };
        Ipv6Addr::new(0x2001, 0xdb8, link + 1, 0, 0, 0, 0, interface)
    }
}

/// One thing of each host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Both<T> {
    pub(crate) a: T,
    pub(crate) b: T,
}

impl<T> Both<T> {
    /// Makes both, A's first.
    pub(crate) fn try_new<E>(mut make: impl FnMut(Side) -> Result<T, E>) -> Result<Self, E> {
        Ok(Self {
            a: make(Side::A)?,
            b: make(Side::B)?,
        })
    }

    pub(crate) fn of(&self, side: Side) -> &T {
        match side {
            Side::A => &self.a,
            Side::B => &self.b,
        }
    }
}

/// The network; gone when dropped.
#[derive(Debug)]
pub(crate) struct Network {
    hosts: Both<Namespace>,
}

impl Network {
    /// Builds the network and leaves it idle.
    pub(crate) fn new() -> Result<Self, TestbedError> {
        require(&["ip", "nft", "ethtool", "setpriv", "unshare"])?;
        let hosts = Both::try_new(|side| Namespace::new(&format!("host {side:?}")))?;
        let network = Self { hosts };
        for side in Side::BOTH {
            network
                .host(side)
                .set_sysctl("ipv6/conf/default/accept_dad", "0")?;
        }
        let peer = network.host(Side::B).path();
        let pairs = LINKS.map(|link| {
            let peer = peer.display();
            format!("link add {link} type veth peer name {link} netns {peer}")
        });
        network.ip(Side::A, &pairs)?;
        for side in Side::BOTH {
            let mut commands = vec!["link set lo up".to_owned()];
            for (index, link) in (0..).zip(LINKS) {
                commands.push(format!("link set {link} up"));
                let address = side.address(index);
                // Usable at once, however late the kernel gets round to it.
                commands.push(format!("address add {address}/64 dev {link} nodad"));
            }
            network.ip(side, &commands)?;
        }
        Ok(network)
    }

    pub(crate) fn host(&self, side: Side) -> &Namespace {
        self.hosts.of(side)
    }

    /// Runs `ip` commands on a host.
    pub(crate) fn ip(&self, side: Side, commands: &[String]) -> Result<(), TestbedError> {
        let batch = commands.join("\n");
        let done = self.host(side).feed("ip", ["-6", "-batch", "-"], &batch);
        done.map(drop)
    }

    /// Loads nft text on a host.
    pub(crate) fn nft(&self, side: Side, text: &str) -> Result<(), TestbedError> {
        self.host(side).feed("nft", ["-f", "-"], text).map(drop)
    }

    /// Makes every packet of the stack one frame of the link, in both directions.
    pub(crate) fn turn_offloads_off(&self) -> Result<(), TestbedError> {
        for side in Side::BOTH {
            for link in LINKS {
                let features = ["tso", "off", "gso", "off", "gro", "off"];
                let arguments = ["-K", link].into_iter().chain(features);
                self.host(side).run("ethtool", arguments)?;
            }
        }
        Ok(())
    }
}
