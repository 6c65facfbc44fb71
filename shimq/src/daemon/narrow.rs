//! Paths that take less than the IPv6 minimum of what upper layers send: only a route tells these so.
//!
//! Such a route lasts as long as the kernel remembers what a path takes (`route/mtu_expires`, ten
//! minutes): by then the path may take more, and if it does not, the next error tells again.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use shim6_core::{Instant, UlidPair};

use super::Daemon;
use crate::clock;

/// A path that takes less than the IPv6 minimum of what upper layers send.
pub(super) struct NarrowPath {
    pub(super) ulids: UlidPair,
    /// Octets that it takes of their packets.
    pub(super) mtu: u32,
    /// The Packet Too Big that told, as it arrived.
    pub(super) error: Vec<u8>,
}

/// Those that are told of, and those that routes were set for.
#[derive(Default)]
pub(super) struct NarrowPaths {
    /// With the errors that told.
    pub(super) told: Vec<NarrowPath>,
    /// Since when.
    known: BTreeMap<UlidPair, Instant>,
}

impl NarrowPaths {
    /// Packets between these ULIDs have no narrow path any more, nor its route.
    pub(super) fn forget(&mut self, ulids: UlidPair) {
        self.known.remove(&ulids);
    }

    /// Takes out those that were told of too long ago.
    fn take_expired(&mut self, now: Instant) -> Vec<UlidPair> {
        if self.known.is_empty() {
            return Vec::new();
        }
        let lifetime = lifetime();
        let (mut expired, mut known) = (Vec::new(), BTreeMap::new());
        for (ulids, at) in std::mem::take(&mut self.known) {
            if now.since(at) >= lifetime {
                expired.push(ulids);
            } else {
                known.insert(ulids, at);
            }
        }
        self.known = known;
        expired
    }
}

/// How long the kernel remembers what a path takes.
fn lifetime() -> Duration {
    let seconds = fs::read_to_string("/proc/sys/net/ipv6/route/mtu_expires");
    let seconds = seconds.ok().and_then(|text| text.trim().parse().ok());
    Duration::from_secs(seconds.unwrap_or(600))
}

impl Daemon {
    /// Has the local stack send no more than a path takes. The error that said so came too early to be
    /// heeded: now that a route says the same, it is told again, and TCP need not time out first.
    pub(super) async fn narrow(&mut self, narrow: &NarrowPath) {
        let UlidPair { local, peer } = narrow.ulids;
        if !self.kernel.is_mapped(narrow.ulids) {
            return;
        }
        tracing::debug!(ulids = %narrow.ulids, mtu = narrow.mtu, "narrow path");
        self.kernel_mapping.leave_narrow(narrow.ulids);
        self.settle_mappers();
        if let Err(error) = self.host.set_anchor(local, peer, Some(narrow.mtu)).await {
            tracing::warn!(ulids = %narrow.ulids, %error, "the path takes less than is sent");
            return;
        }
        self.narrow_paths.known.insert(narrow.ulids, clock::now());
        let told = shim6_wire::icmp::translate(&narrow.error, local, peer)
            .map_err(std::io::Error::other)
            .and_then(|translated| self.injector.deliver(&translated));
        if let Err(error) = told {
            self.send_errors += 1;
            tracing::debug!(%error, "cannot tell the local stack again");
        }
    }

    /// Lets the local stack try what paths take that were narrow long ago.
    pub(super) async fn forget_narrow_paths(&mut self) {
        for ulids in self.narrow_paths.take_expired(clock::now()) {
            if !self.kernel.is_mapped(ulids) {
                continue;
            }
            tracing::debug!(%ulids, "the path may take more by now");
            if let Err(error) = self.host.set_anchor(ulids.local, ulids.peer, None).await {
                tracing::warn!(%ulids, %error, "the path takes more than is sent");
            }
            self.kernel_mapping.leave_narrow_no_more(ulids);
        }
    }
}
