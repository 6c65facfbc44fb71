//! Two hosts with two providers each, and a folder for what the daemons keep.

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;

use shimq_testbed::{A, B, Namespace, Provider, TestbedError, TwoHosts, gain_privilege};
use tempfile::TempDir;

use super::{Recording, eventually};

/// One of the two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    A,
    B,
}

impl Side {
    /// The host's providers, the preferred one first.
    pub(crate) fn providers(self) -> [Provider; 2] {
        match self {
            Self::A => A,
            Self::B => B,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

/// A network of one's own.
pub(crate) struct Network {
    pub(crate) hosts: TwoHosts,
    folder: TempDir,
}

impl Network {
    /// Builds one. `None`, said aloud, where the system lets nobody do so.
    pub(crate) fn new() -> Option<Self> {
        match gain_privilege() {
            Ok(()) => {
                let network = Self {
                    hosts: TwoHosts::new().unwrap(),
                    folder: tempfile::tempdir().unwrap(),
                };
                for side in [Side::A, Side::B] {
                    network.settle(side);
                }
                Some(network)
            }
            Err(error @ TestbedError::NoPrivilege { .. }) => {
                // Not by a macro, whose output the test harness would keep to itself.
                let skipped = format!("SKIPPED: {error}\n");
                io::stderr().write_all(skipped.as_bytes()).unwrap();
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits until a host's addresses can be used: they are tentative for a moment even where
    /// duplicates are not looked for.
    pub(crate) fn settle(&self, side: Side) {
        eventually("no address is tentative", || {
            self.run(side, "ip", "-6 address show tentative").is_empty()
        });
    }

    pub(crate) fn host(&self, side: Side) -> &Namespace {
        match side {
            Side::A => &self.hosts.a,
            Side::B => &self.hosts.b,
        }
    }

    /// A file or folder that goes with the network.
    pub(crate) fn path(&self, name: impl AsRef<str>) -> PathBuf {
        self.folder.path().join(name.as_ref())
    }

    /// Runs a program on a host and returns what it printed.
    pub(crate) fn run(&self, side: Side, program: &str, arguments: &str) -> String {
        let output = self
            .host(side)
            .run(program, arguments.split_whitespace())
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Records what reaches the router, from now on.
    pub(crate) fn record(&self, name: &str) -> Recording {
        let file = self.path(name);
        Recording::new(self.hosts.capture(&file).unwrap(), file)
    }

    /// Lets every packet be on the wire as a network card would send it: checksums complete, one
    /// segment a packet. Flow labels, which are random, are left out.
    pub(crate) fn without_offload(&self) {
        let ends = [
            (&self.hosts.a, A.to_vec()),
            (&self.hosts.b, B.to_vec()),
            (&self.hosts.router, [A, B].concat()),
        ];
        for (host, providers) in ends {
            host.set_sysctl("ipv6/auto_flowlabels", "0").unwrap();
            for Provider { link, .. } in providers {
                let arguments = ["-K", link, "tx", "off", "gso", "off", "gro", "off"];
                host.run("ethtool", arguments).unwrap();
            }
        }
    }
}
