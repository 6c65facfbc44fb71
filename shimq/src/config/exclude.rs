//! What is left alone by the operator's wish.

use std::fmt;
use std::net::Ipv6Addr;

use nix::errno::Errno;
use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};
use shimq_netfilter::rules::{Exclusions, Prefix};

use super::ConfigError;

#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Exclude {
    /// Peers that never get a context: `2001:db8::/32`, or an address.
    peers: Vec<String>,
    /// TCP and UDP ports, at either end.
    ports: Vec<u16>,
    /// SO_MARK of packets, with all its bits, that leave this host as if there were no shimq and start no
    /// context. What arrives has no mark: what the peer sends on a context of the same pair is restored.
    marks: Vec<u32>,
    /// Users, by name or number (uid), whose sockets' packets leave in the same way. A socket belongs to
    /// who made it, and to nobody once it is closed: what it still has to send goes the way of its pair.
    users: Vec<User>,
}

/// A user of this host. Names are looked up when the file is read, and not again before the next reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct User {
    uid: u32,
}

impl Exclude {
    /// What the kernel is to leave alone; `own_mark` is that of the daemon's packets.
    ///
    /// # Errors
    ///
    /// A prefix that is none, or a mark that cannot be excluded.
    pub(super) fn exclusions(&self, own_mark: u32) -> Result<Exclusions, ConfigError> {
        Ok(Exclusions {
            peers: self
                .peers
                .iter()
                .map(|text| prefix(text))
                .collect::<Result<_, _>>()?,
            ports: self.ports.clone(),
            marks: self
                .marks
                .iter()
                .map(|&given| mark(given, own_mark))
                .collect::<Result<_, _>>()?,
            users: self.users.iter().map(|user| user.uid).collect(),
        })
    }
}

fn prefix(text: &str) -> Result<Prefix, ConfigError> {
    let (address, len) = text.split_once('/').unwrap_or((text, "128"));
    let parsed = address.parse::<Ipv6Addr>().ok().zip(len.parse().ok());
    parsed
        .and_then(|(address, len)| Prefix::new(address, len))
        .ok_or_else(|| ConfigError::Value {
            key: "exclude.peers",
            value: text.to_owned(),
            reason: "an IPv6 prefix such as 2001:db8::/32, or an address",
        })
}

fn mark(given: u32, own_mark: u32) -> Result<u32, ConfigError> {
    let reason = if given == 0 {
        "any other number: 0 marks no packet"
    } else if given == own_mark {
        "any other number: this marks the daemon's own packets (datapath.mark)"
    } else {
        return Ok(given);
    };
    Err(ConfigError::Value {
        key: "exclude.marks",
        value: format!("{given:#x}"),
        reason,
    })
}

impl<'de> Deserialize<'de> for User {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameOrNumber)
    }
}

struct NameOrNumber;

impl Visitor<'_> for NameOrNumber {
    type Value = User;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a user, or a uid of 0 to 4294967294")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<User, E> {
        match u32::try_from(number) {
            // The last one means no user at all.
            Ok(uid) if uid != u32::MAX => Ok(User { uid }),
            _ => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<User, E> {
        match nix::unistd::User::from_name(name) {
            Ok(Some(user)) => Ok(User {
                uid: user.uid.as_raw(),
            }),
            Ok(None) | Err(Errno::ENOENT | Errno::ESRCH) => Err(E::custom(format!(
                "this host has no user {name:?}: correct the name, or give a number (uid), without quotes"
            ))),
            Err(errno) => Err(E::custom(format!(
                "user {name:?} cannot be looked up: {}: give the number (uid), without quotes",
                errno.desc()
            ))),
        }
    }
}
