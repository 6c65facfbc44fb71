//! What is told of the kernel's mapping.

use std::collections::BTreeMap;

use serde::Serialize;
use shim6_core::UlidPair;
use shimq_bpf::{Rewriter, Tally};

use super::choice::datapath;
use super::{KernelMapping, Mapper, Rewriting};
use crate::clock;

/// `datapath` of `shimq status --json`.
#[derive(Serialize)]
pub(crate) struct DatapathReport {
    /// What the configuration says.
    wanted: &'static str,
    /// What is so, where nothing else was chosen.
    in_force: &'static str,
    /// Why the kernel maps nothing, though it shall.
    reason: Option<String>,
    /// What the operator chose otherwise than the configuration says.
    chosen: Option<ChosenReport>,
    /// What the kernel maps, where it does.
    kernel: Option<KernelReport>,
}

/// For how many ULID pairs the operator chose another data path.
#[derive(Serialize)]
struct ChosenReport {
    datapath: &'static str,
    pairs: usize,
}

/// One line of `shimq monitor --json`: another data path is in force for what the kernel shall map.
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
    /// `bpf` or `queue`, where the operator chose otherwise than the configuration says.
    pub(crate) chosen: Option<&'static str>,
    /// Why the kernel refused, or would.
    pub(crate) refusal: Option<String>,
}

impl KernelMapping {
    /// The data path in force, where `wanted` was.
    pub(crate) fn report(&self, wanted: &'static str) -> DatapathReport {
        let (in_force, reason, kernel) = match &self.rewriter {
            Rewriting::Unwanted => (wanted, None, None),
            Rewriting::InForce(rewriter) => (wanted, None, Some(self.kernel_report(rewriter))),
            Rewriting::Refused(reason) | Rewriting::Lost(reason) => {
                ("queue", Some(reason.clone()), None)
            }
        };
        let pairs = self.choices.exceptions();
        DatapathReport {
            wanted,
            in_force,
            reason,
            chosen: (pairs > 0).then_some(ChosenReport {
                datapath: self.choices.other_datapath(),
                pairs,
            }),
            kernel,
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

    /// Who maps the default context of these ULIDs, or would.
    pub(crate) fn mapper(&self, ulids: UlidPair) -> MapperReport {
        let mapper = self.flows.get(&ulids).map(|mapped| &mapped.mapper);
        let refusal = match (&self.rewriter, mapper) {
            _ if !self.choices.kernel_shall_map(ulids) => None,
            (Rewriting::Refused(reason) | Rewriting::Lost(reason), _) => Some(reason.clone()),
            (_, Some(Mapper::Queues(refusal))) => refusal.clone(),
            (_, Some(Mapper::Kernel) | None) => None,
        };
        MapperReport {
            mapper: match mapper {
                Some(Mapper::Kernel) => "kernel",
                Some(Mapper::Queues(_)) | None => "queue",
            },
            chosen: self.choices.chosen(ulids),
            refusal,
        }
    }

    /// Whom the default context of these ULIDs shall be mapped by: `bpf` or `queue`.
    pub(crate) fn datapath(&self, ulids: UlidPair) -> &'static str {
        datapath(self.choices.kernel_shall_map(ulids))
    }
}

impl MapperReport {
    /// Of a fork, which is the queues' in any case.
    pub(crate) fn of_fork() -> Self {
        Self {
            mapper: "queue",
            chosen: None,
            refusal: None,
        }
    }
}
