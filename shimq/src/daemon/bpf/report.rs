//! What is told of the kernel's mapping.

use std::collections::BTreeMap;

use serde::Serialize;
use shim6_core::UlidPair;
use shimq_bpf::{Rewriter, Tally};

use super::{KernelMapping, Mapper, Rewriting};
use crate::clock;

/// `datapath` of `shimq status --json`.
#[derive(Serialize)]
pub(crate) struct DatapathReport {
    /// What the configuration says.
    wanted: &'static str,
    /// What is so.
    in_force: &'static str,
    /// Why these differ.
    reason: Option<String>,
    /// What the kernel maps, where it does.
    kernel: Option<KernelReport>,
}

/// One line of `shimq monitor --json`: another data path is in force.
#[derive(Debug, Serialize)]
pub(crate) struct DatapathChanged {
    /// Microseconds since boot.
    t_us: u64,
    event: &'static str,
    in_force: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
}

impl DatapathChanged {
    pub(super) fn new(in_force: &'static str, cause: Option<String>) -> Self {
        Self {
            t_us: clock::now().as_micros(),
            event: "datapath-changed",
            in_force,
            cause,
        }
    }
}

/// What the kernel maps.
#[derive(Serialize)]
struct KernelReport {
    /// Contexts that it maps now.
    contexts: usize,
    /// Mapped contexts that are left to the queues.
    left_to_queues: usize,
    sent: TallyReport,
    received: TallyReport,
    dropped: BTreeMap<&'static str, u64>,
}

/// One direction, since the daemon started.
#[derive(Default, Serialize)]
struct TallyReport {
    packets: u64,
    bytes: u64,
}

impl From<Tally> for TallyReport {
    fn from(Tally { packets, bytes, .. }: Tally) -> Self {
        Self { packets, bytes }
    }
}

/// Who maps a context, and why not the kernel.
pub(crate) struct MapperReport {
    /// `kernel` or `queue`.
    pub(crate) mapper: &'static str,
    /// Why the kernel refused.
    pub(crate) refusal: Option<String>,
}

impl KernelMapping {
    /// The data path in force, where `wanted` was.
    pub(crate) fn report(&self, wanted: &'static str) -> DatapathReport {
        match &self.rewriter {
            Rewriting::Unwanted => DatapathReport {
                wanted,
                in_force: wanted,
                reason: None,
                kernel: None,
            },
            Rewriting::Refused(reason) | Rewriting::Lost(reason) => DatapathReport {
                wanted,
                in_force: "queue",
                reason: Some(reason.clone()),
                kernel: None,
            },
            Rewriting::InForce(rewriter) => DatapathReport {
                wanted,
                in_force: wanted,
                reason: None,
                kernel: Some(self.kernel_report(rewriter)),
            },
        }
    }

    fn kernel_report(&self, rewriter: &Rewriter) -> KernelReport {
        let flows = self.flows.values();
        let contexts = flows
            .filter(|mapped| mapped.mapper == Mapper::Kernel)
            .count();
        // A map that cannot be read has nothing to say; the next status may have.
        let totals = rewriter.totals().unwrap_or_default();
        let drops = rewriter.drops().unwrap_or_default();
        KernelReport {
            contexts,
            left_to_queues: self.flows.len() - contexts,
            sent: totals.sent.into(),
            received: totals.received.into(),
            dropped: drops
                .by_reason()
                .into_iter()
                .filter(|&(_, count)| count > 0)
                .collect(),
        }
    }

    /// Who maps the default context of these ULIDs, if it is mapped.
    pub(crate) fn mapper(&self, ulids: UlidPair) -> MapperReport {
        let (mapper, refusal) = match self.flows.get(&ulids).map(|mapped| &mapped.mapper) {
            Some(Mapper::Kernel) => ("kernel", None),
            Some(Mapper::Queues(refusal)) => ("queue", refusal.clone()),
            None => ("queue", None),
        };
        MapperReport { mapper, refusal }
    }
}
