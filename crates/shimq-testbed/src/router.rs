//! The router's rules: ingress filtering, cuts, and the counters that say what got through.
//!
//! ```text
//! table ip6 providers
//!   forward ── source outside the prefix of the provider it came by? ── yes: counter spoofed, drop
//!              └─ no ── leaves for a path emulator? ── yes: accepted, and comes by again
//!              └─ no ── chain cuts: a cut path? ── yes: counter cut, drop
//!                       └─ no ── counted in set paths per (source, destination), forwarded
//! ```
//!
//! A drop is silent: no ICMPv6 error, and every link stays up. Only what comes through is counted
//! as a path, so the set is a judge of which addresses a connection really uses.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv6Addr;

use serde_json::Value;

use crate::emulator::LINK;
use crate::{Provider, TestbedError};

/// Addresses that begin alike; an address is a prefix of 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The first address.
    pub address: Ipv6Addr,
    /// How many leading bits count, 0 to 128.
    pub length: u8,
}

impl Prefix {
    /// Every address.
    pub const ANY: Self = Self {
        address: Ipv6Addr::UNSPECIFIED,
        length: 0,
    };

    /// Whether `address` begins like this prefix.
    pub fn contains(&self, address: Ipv6Addr) -> bool {
        let differing = self.address.to_bits() ^ address.to_bits();
        differing.leading_zeros() >= u32::from(self.length)
    }
}

impl From<Ipv6Addr> for Prefix {
    fn from(address: Ipv6Addr) -> Self {
        Self {
            address,
            length: 128,
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

/// Which way a cut holds; A and B are the two ends as [`TwoHosts::cut`](crate::TwoHosts::cut)
/// is given them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    Both,
    /// Packets from the first end to the second.
    AToB,
    /// Packets from the second end to the first.
    BToA,
}

/// Packets and octets, counted with their IPv6 headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets, where segmentation offload may make one of many segments.
    pub packets: u64,
    /// Octets from the IPv6 header on.
    pub octets: u64,
}

/// What the router has seen since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Dropped, because the source did not belong to the provider.
    pub spoofed: Count,
    /// Dropped by cuts.
    pub cut: Count,
    /// Forwarded, by source and destination.
    pub paths: BTreeMap<(Ipv6Addr, Ipv6Addr), Count>,
}

impl Counters {
    /// What was forwarded from `source` to `destination`.
    pub fn path(&self, source: Ipv6Addr, destination: Ipv6Addr) -> Count {
        let path = self.paths.get(&(source, destination));
        path.copied().unwrap_or_default()
    }

    /// Reads what `nft -j list table ip6 providers` wrote.
    pub(crate) fn parse(listing: &[u8]) -> Result<Self, TestbedError> {
        let parsed: Option<Self> = serde_json::from_slice(listing)
            .ok()
            .and_then(|listing: Value| Self::from_listing(&listing));
        parsed.ok_or_else(|| TestbedError::UnexpectedAnswer {
            program: "nft",
            answer: String::from_utf8_lossy(listing).into_owned(),
        })
    }

    fn from_listing(listing: &Value) -> Option<Self> {
        let mut counters = Self::default();
        for object in listing["nftables"].as_array()? {
            let counter = &object["counter"];
            match counter["name"].as_str() {
                Some("spoofed") => counters.spoofed = count(counter)?,
                Some("cut") => counters.cut = count(counter)?,
                Some(_) | None => (),
            }
            // A set without elements has no "elem".
            for element in object["set"]["elem"].as_array().into_iter().flatten() {
                let element = &element["elem"];
                let end = |index: usize| element["val"]["concat"][index].as_str()?.parse().ok();
                let path = (end(0)?, end(1)?);
                counters.paths.insert(path, count(&element["counter"])?);
            }
        }
        Some(counters)
    }
}

fn count(counter: &Value) -> Option<Count> {
    Some(Count {
        packets: counter["packets"].as_u64()?,
        octets: counter["bytes"].as_u64()?,
    })
}

/// The router's table, for `nft -f`.
pub(crate) fn ruleset(providers: impl IntoIterator<Item = Provider>) -> String {
    let filters = providers.into_iter().map(|Provider { link, prefix }| {
        format!("iifname \"{link}\" ip6 saddr != {prefix} counter name spoofed drop")
    });
    let filters = filters.collect::<Vec<_>>().join("\n");
    format!(
        "table ip6 {TABLE} {{
            counter spoofed {{ }}
            counter cut {{ }}
            set paths {{
                type ipv6_addr . ipv6_addr; size 65535; flags dynamic; counter;
            }}
            chain cuts {{ }}
            chain forward {{
                type filter hook forward priority filter; policy accept;
                {filters}
                oifname \"{LINK}\" accept
                jump cuts
                update @paths {{ ip6 saddr . ip6 daddr }}
            }}
        }}\n"
    )
}

/// Replaces all cuts by `cuts`, each a source and a destination, in one transaction.
pub(crate) fn replace_cuts(cuts: &[(Prefix, Prefix)]) -> String {
    let rules = cuts.iter().map(|(source, destination)| {
        format!(
            "add rule ip6 {TABLE} cuts ip6 saddr {source} ip6 daddr {destination} \
             counter name cut drop\n"
        )
    });
    std::iter::once(format!("flush chain ip6 {TABLE} cuts\n"))
        .chain(rules)
        .collect()
}

/// The router's only table; hosts may have tables of their own.
pub(crate) const TABLE: &str = "providers";

#[cfg(test)]
mod tests {
    use super::*;

    /// `nft -j list table ip6 providers`, nftables 1.0.6, chains left out.
    const LISTING: &str = r#"{"nftables": [
        {"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
        {"table": {"family": "ip6", "name": "providers", "handle": 1}},
        {"counter": {"family": "ip6", "name": "spoofed", "table": "providers", "handle": 3,
            "packets": 3, "bytes": 312}},
        {"counter": {"family": "ip6", "name": "cut", "table": "providers", "handle": 4,
            "packets": 0, "bytes": 0}},
        {"set": {"family": "ip6", "name": "paths", "table": "providers",
            "type": ["ipv6_addr", "ipv6_addr"], "handle": 5, "size": 65535, "flags": ["dynamic"],
            "elem": [{"elem": {"val": {"concat": ["2001:db8:a1::2", "2001:db8:b1::2"]},
                "counter": {"packets": 2, "bytes": 208}}}], "stmt": [{"counter": null}]}}]}"#;

    #[test]
    fn a_listing_yields_every_counter() {
        let counters = Counters::parse(LISTING.as_bytes()).unwrap();
        let [a1, b1] = ["2001:db8:a1::2", "2001:db8:b1::2"].map(|text| text.parse().unwrap());
        assert_eq!(
            counters.spoofed,
            Count {
                packets: 3,
                octets: 312
            }
        );
        assert_eq!(counters.cut, Count::default());
        assert_eq!(
            counters.path(a1, b1),
            Count {
                packets: 2,
                octets: 208
            }
        );
        assert_eq!(counters.path(b1, a1), Count::default());
    }

    #[test]
    fn a_prefix_contains_what_begins_alike() {
        let prefix = crate::A[0].prefix;
        assert!(prefix.contains("2001:db8:a1::ffff:1".parse().unwrap()));
        assert!(!prefix.contains("2001:db8:a1:1::".parse().unwrap()));
        assert!(Prefix::ANY.contains(Ipv6Addr::LOCALHOST));
        assert!(!Prefix::from(Ipv6Addr::LOCALHOST).contains(Ipv6Addr::UNSPECIFIED));
    }

    #[test]
    fn something_other_than_a_listing_is_an_error() {
        for answer in ["", "{}", r#"{"nftables": [{"counter": {"name": "cut"}}]}"#] {
            assert!(Counters::parse(answer.as_bytes()).is_err(), "{answer}");
        }
    }
}
