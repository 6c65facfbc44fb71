//! Memory of contexts that nobody uses: what the allocator was asked for and has not got back.
//!
//! The kernel's sets are not in it, nor is what the allocator itself adds.

use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use serde::Serialize;
use shim6_cga::SigningKey;
use shim6_core::{Endpoint, FlowTable};

use crate::exchange::{self, Proof};
use crate::{ALLOCATOR, Region};

/// Octets a context.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) role: &'static str,
    pub(crate) contexts: u32,
    pub(crate) octets: f64,
}

/// Negotiates contexts of one host with as many others, in both roles, and drops the others. The
/// host's flow table, which each of its queue threads has, is counted once.
pub(crate) fn measure(
    contexts: u32,
    key: &Arc<SigningKey>,
    rng: &mut ChaCha20Rng,
    progress: impl Fn(),
) -> [Row; 2] {
    ["responder", "initiator"].map(|role| {
        let own = exchange::locators(Proof::Cga, key, &exchange::prefixes(0, 2), rng);
        let mut host = exchange::host(&own, 0);
        let mut flows = host.flow_table();
        let region = Region::new(ALLOCATOR);
        for number in 1..=contexts {
            let peer = exchange::locators(Proof::Cga, key, &exchange::prefixes(number, 2), rng);
            let mut other = exchange::host(&peer, number);
            if role == "initiator" {
                exchange::negotiate(&mut host, &mut other, exchange::ulids(&own, &peer));
            } else {
                exchange::negotiate(&mut other, &mut host, exchange::ulids(&peer, &own));
            }
            keep_up(&mut host, &mut flows);
        }
        let change = region.change();
        let held = change.bytes_allocated - change.bytes_deallocated;
        progress();
        Row {
            role,
            contexts,
            octets: held as f64 / f64::from(contexts),
        }
    })
}

/// Hands the host's flows to its table.
fn keep_up(host: &mut Endpoint, flows: &mut FlowTable) {
    while let Some(update) = host.poll_flow_update() {
        flows.apply(update);
    }
    assert!(exchange::settle(host), "a context");
}
