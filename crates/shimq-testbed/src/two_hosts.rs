//! Two hosts with two providers each: the least network in which multihoming matters.
//!
//! ```text
//!             a1  2001:db8:a1::/64   ┌───┐   2001:db8:b1::/64  b1
//!   ┌───┐ ::2 ──────────────────── ::1   ::1 ──────────────────── ::2 ┌───┐
//!   │ A │                            │ R │                            │ B │
//!   └───┘ ::2 ──────────────────── ::1   ::1 ──────────────────── ::2 └───┘
//!             a2  2001:db8:a2::/64   └───┘   2001:db8:b2::/64  b2
//! ```
//!
//! Each line is a provider: a link, named alike at both ends, and a prefix. R stands for all
//! providers and the network between them, so there are four paths each way, one per pair of
//! addresses. It drops a packet whose source does not belong to the provider it came by, as real
//! providers do; nothing passes by luck. A host has a default route by each provider, of metric 1
//! and 2, and no policy routing: left alone, all that it sends leaves by the first.
//!
//! Addresses are usable at once: duplicate address detection is off. Where two providers are too few,
//! there is a third for each host, a3 and b3, and so nine paths each way.

use std::net::Ipv6Addr;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::emulator::{self, Emulator};
use crate::router::{TABLE, replace_cuts, ruleset};
use crate::{Capture, Counters, Direction, Namespace, Prefix, TestbedError, require};

/// One provider of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Name of the link to the router, at both ends.
    pub link: &'static str,
    /// The /64 that the provider delegates, and whose sources alone it lets through.
    pub prefix: Prefix,
}

impl Provider {
    const fn new(link: &'static str, subnet: u16) -> Self {
        let address = Ipv6Addr::new(0x2001, 0xdb8, subnet, 0, 0, 0, 0, 0);
        let prefix = Prefix {
            address,
            length: 64,
        };
        Self { link, prefix }
    }

    /// The router's address, the next hop of the default route.
    pub fn router(&self) -> Ipv6Addr {
        self.address(1)
    }

    /// The host's ordinary address.
    pub fn host(&self) -> Ipv6Addr {
        self.address(2)
    }

    fn address(&self, interface: u128) -> Ipv6Addr {
        (self.prefix.address.to_bits() | interface).into()
    }
}

/// The providers of host A, the preferred one first.
pub const A: [Provider; 2] = [A3[0], A3[1]];

/// The providers of host B, the preferred one first.
pub const B: [Provider; 2] = [B3[0], B3[1]];

/// The providers of host A if it has three.
pub const A3: [Provider; 3] = [
    Provider::new("a1", 0xa1),
    Provider::new("a2", 0xa2),
    Provider::new("a3", 0xa3),
];

/// The providers of host B if it has three.
pub const B3: [Provider; 3] = [
    Provider::new("b1", 0xb1),
    Provider::new("b2", 0xb2),
    Provider::new("b3", 0xb3),
];

/// Hosts A and B with the router between them; the module draws them.
#[derive(Debug)]
pub struct TwoHosts {
    /// The host of the providers [`A`].
    pub a: Namespace,
    /// The host of the providers [`B`].
    pub b: Namespace,
    /// The router.
    pub router: Namespace,
    /// Providers of each host, two or three.
    providers: usize,
    /// Sources and destinations; locked until the router has them.
    cuts: Mutex<Vec<(Prefix, Prefix)>>,
}

impl TwoHosts {
    /// Builds the network and leaves it idle, every path open.
    ///
    /// # Errors
    ///
    /// What is missing of programs, privilege or kernel features.
    pub fn new() -> Result<Self, TestbedError> {
        Self::build(A.len())
    }

    /// Builds the network with three providers for each host, [`A3`] and [`B3`].
    ///
    /// # Errors
    ///
    /// As for [`Self::new`].
    pub fn with_three_providers() -> Result<Self, TestbedError> {
        Self::build(A3.len())
    }

    fn build(providers: usize) -> Result<Self, TestbedError> {
        require(&["ip", "nft", "setpriv", "unshare"])?;
        let hosts = Self {
            a: Namespace::new("host A")?,
            b: Namespace::new("host B")?,
            router: Namespace::new("router R")?,
            providers,
            cuts: Mutex::default(),
        };
        for namespace in [&hosts.a, &hosts.b, &hosts.router] {
            namespace.set_sysctl(DUPLICATE_DETECTION, "0")?;
        }
        // Forwarding comes first: turning it on makes the kernel forget some addresses' routes.
        hosts.router.set_sysctl("ipv6/conf/all/forwarding", "1")?;
        ip(&hosts.router, &hosts.router_links())?;
        for (host, providers) in hosts.ends() {
            ip(host, &host_links(providers))?;
        }
        hosts.nft(&ruleset(hosts.providers().copied()))?;
        Ok(hosts)
    }

    /// The hosts, each with its providers.
    fn ends(&self) -> [(&Namespace, &'static [Provider]); 2] {
        [
            (&self.a, &A3[..self.providers]),
            (&self.b, &B3[..self.providers]),
        ]
    }

    fn providers(&self) -> impl Iterator<Item = &'static Provider> {
        self.ends()
            .into_iter()
            .flat_map(|(_, providers)| providers.iter())
    }

    /// Sends all that passes the router through a path emulator from now on; `seed` decides what it
    /// leaves to chance. Every path does nothing until it is told to.
    ///
    /// May be called once for a network. The hosts' links no longer segment or compute checksums, so
    /// that packets are what they would be on a real link.
    ///
    /// # Errors
    ///
    /// What is missing of programs, privilege or kernel features.
    pub fn emulate(&self, seed: u64) -> Result<Emulator, TestbedError> {
        require(&["ethtool"])?;
        for (host, providers) in self.ends() {
            for provider in providers {
                host.run("ethtool", ["-K", provider.link, "tx", "off"])?;
            }
        }
        let line = Namespace::new("line")?;
        line.set_sysctl(DUPLICATE_DETECTION, "0")?;
        let links = self.providers().map(|provider| provider.link);
        ip(&self.router, &emulator::hosts_side(links, &line.path()))?;
        let (of_line, of_router) = emulator::line_side();
        ip(&line, &of_line)?;
        ip(&self.router, &of_router)?;
        Emulator::start(line, seed)
    }

    /// Limits every provider to `rate` bits per second each way, with a queue of 50 ms.
    ///
    /// Needs the kernel's token bucket filter.
    pub fn limit_rate(&self, rate: u64) -> Result<(), TestbedError> {
        for (host, providers) in self.ends() {
            for provider in providers {
                for end in [host, &self.router] {
                    let rate = format!("rate {rate}bit burst 16kb latency 50ms");
                    let command = format!("qdisc replace dev {} root tbf {rate}", provider.link);
                    end.run("tc", command.split(' '))?;
                }
            }
        }
        Ok(())
    }

    /// Silently drops all packets between `a` and `b` from now on, in `direction`.
    ///
    /// Either end is an address or a prefix. Cuts add up.
    pub fn cut(
        &self,
        a: impl Into<Prefix>,
        b: impl Into<Prefix>,
        direction: Direction,
    ) -> Result<(), TestbedError> {
        let (a, b) = (a.into(), b.into());
        self.change_cuts(|cuts| match direction {
            Direction::Both => cuts.extend([(a, b), (b, a)]),
            Direction::AToB => cuts.push((a, b)),
            Direction::BToA => cuts.push((b, a)),
        })
    }

    /// Undoes every cut.
    pub fn heal(&self) -> Result<(), TestbedError> {
        self.change_cuts(Vec::clear)
    }

    fn change_cuts(
        &self,
        change: impl FnOnce(&mut Vec<(Prefix, Prefix)>),
    ) -> Result<(), TestbedError> {
        // A list of cuts cannot be half changed, so a panic elsewhere does not matter.
        let mut cuts = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut cuts);
        self.nft(&replace_cuts(&cuts))
    }

    /// What the router has forwarded and dropped since the network was built.
    pub fn counters(&self) -> Result<Counters, TestbedError> {
        let listing = self
            .router
            .run("nft", ["-j", "list", "table", "ip6", TABLE])?;
        Counters::parse(&listing.stdout)
    }

    /// Writes every IPv6 packet that reaches the router to `file` (pcap), also those that it drops.
    ///
    /// # Errors
    ///
    /// [`TestbedError::Io`] if the file or the packet socket cannot be opened.
    pub fn capture(&self, file: &Path) -> Result<Capture, TestbedError> {
        Capture::start(&self.router, file)
    }

    fn nft(&self, transaction: &str) -> Result<(), TestbedError> {
        self.router.feed("nft", ["-f", "-"], transaction).map(drop)
    }

    /// The router's half of the topology; it also makes the hosts' links.
    fn router_links(&self) -> Vec<String> {
        let mut commands = vec!["link set lo up".to_owned()];
        for (host, providers) in self.ends() {
            let host = host.path();
            for provider in providers {
                let (link, address) = (provider.link, provider.router());
                commands.extend([
                    format!(
                        "link add {link} type veth peer name {link} netns {}",
                        host.display()
                    ),
                    format!("link set {link} up"),
                    format!("address add {address}/64 dev {link} nodad"),
                ]);
            }
        }
        commands
    }
}

/// A host's half of the topology.
fn host_links(providers: &[Provider]) -> Vec<String> {
    let mut commands = vec!["link set lo up".to_owned()];
    for (metric, provider) in (1..).zip(providers) {
        let (link, address, router) = (provider.link, provider.host(), provider.router());
        commands.extend([
            format!("link set {link} up"),
            format!("address add {address}/64 dev {link} nodad"),
            format!("route add default via {router} dev {link} metric {metric}"),
        ]);
    }
    commands
}

fn ip(namespace: &Namespace, commands: &[String]) -> Result<(), TestbedError> {
    let batch = commands.join("\n");
    namespace
        .feed("ip", ["-6", "-batch", "-"], &batch)
        .map(drop)
}

/// Links made later inherit what "default" says.
const DUPLICATE_DETECTION: &str = "ipv6/conf/default/accept_dad";
