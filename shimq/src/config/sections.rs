//! The tables of the configuration file, and their defaults.

use serde::Deserialize;
use shim6_core::{PacketCount, VolumeOrAge};
use shimq_netfilter::rules::RulesetConfig;

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Datapath {
    /// `queue`: what the kernel can count it counts; `bpf`: and what it can map it maps, where BPF
    /// programs may be loaded; `queue-all`: every packet of an identity is queued. Of the first two,
    /// `shimq set datapath` chooses by context.
    pub(super) mode: DatapathMode,
    /// `input`, or `prerouting` on a host with a stateful firewall.
    pub(super) input_hook: HookName,
    /// First queue number.
    pub(super) queue_number: u16,
    /// Queues, and threads, of each kind but the keeping one, of which there is one. Of several each
    /// has the packets of some processors, on which its thread stays.
    pub(super) queues: u16,
    /// `batch` or `plain` (crate nfq: one verdict a system call).
    pub(super) backend: Backend,
    /// SO_MARK of the daemon's own packets.
    pub(super) mark: u32,
    /// Whether ICMPv6 errors about mapped packets reach applications even where shimq acts upon them by
    /// looking for another path (RFC 5533 §8).
    pub(super) deliver_icmp_errors: bool,
    /// Whether packets that are to be mapped go on with their ULIDs while nobody serves their queue,
    /// instead of being dropped. The daemon's own table goes with it, and packets pass then anyway; so
    /// this is for `ruleset = "external"`, until the daemon is back or its sets are emptied.
    pub(super) bypass: bool,
    /// Whether packets that are only looked at go on when their queue is full, instead of being dropped.
    pub(super) fail_open: bool,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum DatapathMode {
    Queue,
    Bpf,
    QueueAll,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum HookName {
    Input,
    Prerouting,
}

/// How packets are taken from the kernel.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Backend {
    /// Drained and answered in batches, over mnl.
    Batch,
    /// One packet and one verdict at a time, by the crate nfq.
    Plain,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Trigger {
    /// When a flow is worth a context.
    pub(super) heuristic: HeuristicName,
    /// `volume-or-age`: octets sent.
    pub(super) bytes: u64,
    /// `volume-or-age`: age of a flow in use.
    pub(super) age: u64,
    /// `packet-count`: packets received.
    pub(super) packets: u64,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum HeuristicName {
    VolumeOrAge,
    PacketCount,
    RespondOnly,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Limits {
    /// Contexts held at once; peers may begin three quarters of them.
    pub(super) contexts: usize,
    /// Contexts that peers of one /48 may begin.
    pub(super) contexts_per_site: usize,
}

impl Default for Datapath {
    fn default() -> Self {
        let rules = RulesetConfig::default();
        Self {
            mode: DatapathMode::Queue,
            input_hook: HookName::Input,
            queue_number: rules.observe.start,
            queues: 1,
            backend: Backend::Batch,
            mark: rules.own_mark,
            deliver_icmp_errors: shim6_core::Config::default().deliver_icmp_errors,
            bypass: rules.bypass,
            fail_open: true,
        }
    }
}

impl Default for Trigger {
    fn default() -> Self {
        let volume_or_age = VolumeOrAge::default();
        Self {
            heuristic: HeuristicName::VolumeOrAge,
            bytes: volume_or_age.bytes,
            age: volume_or_age.age.as_secs(),
            packets: PacketCount::default().packets,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let core = shim6_core::Config::default();
        Self {
            contexts: core.contexts_max,
            contexts_per_site: core.contexts_per_site_max,
        }
    }
}
