//! The network that a trial is played on: paths of a round trip of 20 ms, daemons, MPTCP's subflows.

use std::fs;
use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use shimq_benches::daemon::{Monitor, Program};
use shimq_benches::error::BenchError;
use shimq_testbed::{A, B, Emulator, Namespace, Path, Prefix, Provider, Shim, TwoHosts};
use tempfile::TempDir;

/// Fields in the order of their end: what uses the network goes first.
pub(crate) struct Network {
    pub(crate) emulator: Emulator,
    pub(crate) hosts: TwoHosts,
    pub(crate) folder: TempDir,
}

impl Network {
    /// Builds the network; `seed` decides what its paths leave to chance.
    pub(crate) fn new(seed: u64) -> Result<Self, BenchError> {
        let hosts = TwoHosts::new()?;
        let emulator = hosts.emulate(seed)?;
        for (host, providers) in [(&hosts.a, A), (&hosts.b, B)] {
            route_by_source(host, &providers)?;
        }
        let network = Self {
            emulator,
            hosts,
            folder: tempfile::tempdir().map_err(BenchError::io("make a folder"))?,
        };
        network.set_paths(PATH);
        network.set_up_mptcp()?;
        Ok(network)
    }

    /// Makes every path between the hosts this one, cut or not before.
    pub(crate) fn set_paths(&self, path: Path) {
        for a in A {
            for b in B {
                self.emulator.set(a.prefix, b.prefix, path);
                self.emulator.set(b.prefix, a.prefix, path);
            }
        }
    }

    /// Starts a daemon on each host with `config` (TOML), and returns once both have addresses of all providers.
    pub(crate) fn start_daemons(
        &self,
        program: &Program,
        config: &str,
    ) -> Result<Shims<'_>, BenchError> {
        let folder = self.folder.path();
        let mut at_a = program.start(&self.hosts.a, "A", folder, config)?;
        let mut at_b = program.start(&self.hosts.b, "B", folder, config)?;
        let locators = [at_a.wait_until_ready(&A)?, at_b.wait_until_ready(&B)?];
        let monitors = [Monitor::follow(&at_a)?, Monitor::follow(&at_b)?];
        Ok(Shims {
            daemons: [at_a, at_b],
            monitors,
            locators,
        })
    }

    /// Host A connects from its second address, too.
    fn set_up_mptcp(&self) -> Result<(), BenchError> {
        for host in [&self.hosts.a, &self.hosts.b] {
            host.set_sysctl("mptcp/enabled", "1")?;
            let limits = "mptcp limits set subflow 2 add_addr_accepted 2";
            host.run("ip", limits.split(' '))?;
        }
        let (address, link) = (A[1].host(), A[1].link);
        let endpoint = format!("mptcp endpoint add {address} dev {link} subflow");
        self.hosts.a.run("ip", endpoint.split(' '))?;
        Ok(())
    }

    /// Subflows that have joined connections of host B so far.
    pub(crate) fn joined_subflows(&self) -> Result<u64, BenchError> {
        let counters = self
            .hosts
            .b
            .enter(|| fs::read_to_string("/proc/thread-self/net/netstat"))?
            .map_err(BenchError::io("read the kernel's counters"))?;
        Ok(counter(&counters, "MPTcpExt:", "MPJoinAckRx").unwrap_or_default())
    }

    /// The providers whose pair carries most from A to B, found by looking for a moment.
    pub(crate) fn busiest(&self) -> (Provider, Provider) {
        let octets =
            |(a, b): (Provider, Provider)| self.emulator.counts(a.prefix, b.prefix).passed.octets;
        let pairs = || A.into_iter().flat_map(|a| B.map(|b| (a, b)));
        let before: Vec<u64> = pairs().map(octets).collect();
        std::thread::sleep(Duration::from_millis(65));
        let grown = pairs()
            .zip(before)
            .map(|(pair, before)| (octets(pair) - before, pair));
        grown
            .max_by_key(|(grown, _)| *grown)
            .map_or((A[0], B[0]), |(_, pair)| pair)
    }
}

/// The daemons of both hosts.
pub(crate) struct Shims<'n> {
    pub(crate) daemons: [Shim<'n>; 2],
    pub(crate) monitors: [Monitor; 2],
    /// Of A and of B, in the order of their providers.
    pub(crate) locators: [Vec<Ipv6Addr>; 2],
}

/// Waits until `condition` holds.
pub(crate) fn wait_until(
    what: &str,
    patience: Duration,
    mut condition: impl FnMut() -> Result<bool, BenchError>,
) -> Result<(), BenchError> {
    let deadline = Instant::now() + patience;
    while !condition()? {
        if Instant::now() > deadline {
            return Err(BenchError::TooLate {
                condition: what.to_owned(),
            });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// What the first table column names in /proc/net/netstat: a line of names, then one of values.
fn counter(table: &str, group: &str, name: &str) -> Option<u64> {
    let mut lines = table.lines().filter(|line| line.starts_with(group));
    let (names, values) = (lines.next()?, lines.next()?);
    let column = names.split(' ').position(|other| other == name)?;
    values.split(' ').nth(column)?.parse().ok()
}

/// MPTCP's second subflow has to leave by the provider of its source.
fn route_by_source(host: &Namespace, providers: &[Provider]) -> Result<(), BenchError> {
    for (table, provider) in (FIRST_TABLE..).zip(providers) {
        let Provider { link, prefix } = provider;
        let router = provider.router();
        for command in [
            format!("-6 rule add from {prefix} lookup {table} priority 30000"),
            format!("-6 route add {prefix} dev {link} table {table}"),
            format!("-6 route add default via {router} dev {link} table {table}"),
        ] {
            host.run("ip", command.split(' '))?;
        }
    }
    Ok(())
}

const FIRST_TABLE: u32 = 7_001;

/// Half of the round trip, and a rate that a bulk transfer is limited by.
pub(crate) const PATH: Path = Path {
    up: true,
    delay: Duration::from_millis(10),
    jitter: Duration::ZERO,
    in_order: true,
    loss: 0.0,
    duplication: 0.0,
    reordering: 0.0,
    rate: Some(20_000_000),
    queue: Duration::from_millis(20),
};

/// Both ends of a cut, as prefixes.
pub(crate) fn ends((a, b): (Provider, Provider)) -> (Prefix, Prefix) {
    (a.prefix, b.prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_found_under_its_name() {
        let table = "TcpExt: A B\nTcpExt: 1 2\nMPTcpExt: MPJoinSynRx MPJoinAckRx\nMPTcpExt: 3 4\n";
        assert_eq!(counter(table, "MPTcpExt:", "MPJoinAckRx"), Some(4));
        assert_eq!(counter(table, "MPTcpExt:", "Nothing"), None);
    }
}
