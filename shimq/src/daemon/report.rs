//! What the daemon tells programs: JSON with stable keys, times in microseconds since boot.

use std::net::Ipv6Addr;

use serde::Serialize;
use shim6_core::{
    Cause, ContextView, Counters, DropReason, Event, Instant, LocatorPair, ReapState, UlidPair,
};

use shim6_wire::Preference;

use super::bpf::{DatapathReport, MapperReport};
use super::queues::{QueueCounters, QueueThread};
use crate::preferences::PreferenceReport;
use shimq_netfilter::queue::QueueStatistics;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

/// Version of these forms: a program may rely on keys that it knows while the number stays.
pub(crate) const SCHEMA: u32 = 1;

#[derive(Serialize)]
pub(crate) struct Pair {
    local: Ipv6Addr,
    peer: Ipv6Addr,
}

impl From<UlidPair> for Pair {
    fn from(UlidPair { local, peer }: UlidPair) -> Self {
        Self { local, peer }
    }
}

impl From<LocatorPair> for Pair {
    fn from(LocatorPair { local, peer }: LocatorPair) -> Self {
        Self { local, peer }
    }
}

/// One line of `shimq monitor --json`.
#[derive(Serialize)]
pub(crate) struct EventReport {
    /// Microseconds since boot.
    t_us: u64,
    event: &'static str,
    ulids: Pair,
    #[serde(skip_serializing_if = "Option::is_none")]
    locators: Option<Pair>,
    #[serde(skip_serializing_if = "Option::is_none")]
    former_locators: Option<Pair>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    initiated: Option<bool>,
    /// How long payload had gone unanswered.
    #[serde(skip_serializing_if = "Option::is_none")]
    silence_us: Option<u64>,
    /// How long the exploration took.
    #[serde(skip_serializing_if = "Option::is_none")]
    explored_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hold_s: Option<u64>,
}

impl EventReport {
    pub(crate) fn new(event: &Event, now: Instant) -> Self {
        let micros = |span: std::time::Duration| u64::try_from(span.as_micros()).ok();
        let bare = |event, ulids: UlidPair| Self {
            t_us: now.as_micros(),
            event,
            ulids: ulids.into(),
            locators: None,
            former_locators: None,
            cause: None,
            initiated: None,
            silence_us: None,
            explored_us: None,
            hold_s: None,
        };
        match *event {
            Event::Established {
                ulids, initiated, ..
            } => Self {
                initiated: Some(initiated),
                ..bare("context-established", ulids)
            },
            Event::Declined { ulids, cause, hold } => Self {
                cause: Some(cause.as_str()),
                hold_s: Some(hold.as_secs()),
                ..bare("context-declined", ulids)
            },
            Event::Exploring {
                ulids,
                pair,
                cause,
                silence,
            } => {
                let name = if cause == Cause::PeerExploring {
                    "exploring"
                } else if cause == Cause::Silence {
                    "pair-suspected"
                } else if matches!(cause, Cause::Preference | Cause::Operator) {
                    "pair-tried"
                } else {
                    "failure-detected"
                };
                Self {
                    locators: Some(pair.into()),
                    cause: Some(cause.as_str()),
                    silence_us: micros(silence),
                    ..bare(name, ulids)
                }
            }
            Event::Unreachable { ulids, explored } => Self {
                explored_us: micros(explored),
                ..bare("peer-unreachable", ulids)
            },
            Event::PairChanged {
                ulids,
                from,
                to,
                cause,
                explored,
            } => Self {
                locators: Some(to.into()),
                former_locators: Some(from.into()),
                cause: Some(cause.as_str()),
                explored_us: micros(explored),
                ..bare("pair-changed", ulids)
            },
            Event::PairConfirmed {
                ulids,
                pair,
                explored,
            } => Self {
                locators: Some(pair.into()),
                explored_us: micros(explored),
                ..bare("pair-confirmed", ulids)
            },
            Event::PairDeclined {
                ulids,
                pair,
                cause,
                explored,
            } => Self {
                locators: Some(pair.into()),
                cause: Some(cause.as_str()),
                explored_us: micros(explored),
                ..bare("pair-declined", ulids)
            },
            Event::LocatorsUpdated { ulids, peer } => {
                let name = if peer {
                    "peer-locators-updated"
                } else {
                    "locators-acknowledged"
                };
                bare(name, ulids)
            }
            Event::Recovering { ulids } => bare("context-recovering", ulids),
            Event::Discarded { ulids, cause, .. } => Self {
                cause: Some(cause.as_str()),
                ..bare("context-discarded", ulids)
            },
        }
    }
}

/// One element of `shimq contexts --json`.
#[derive(Serialize)]
pub(crate) struct ContextReport {
    ulids: Pair,
    fii: u32,
    /// Of the packets that are sent on it, if this host forked it.
    mark: Option<u32>,
    state: &'static str,
    reap: &'static str,
    local_tag: String,
    peer_tag: Option<String>,
    locators: Pair,
    mapped: bool,
    /// `kernel` or `queue`, if it is mapped.
    mapped_by: Option<&'static str>,
    /// `bpf` or `queue`, where the operator chose otherwise than the configuration says.
    #[serde(skip_serializing_if = "Option::is_none")]
    chosen_datapath: Option<&'static str>,
    /// Why the kernel does not map it, or would not, though it shall.
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel_refusal: Option<String>,
    local_locators: Vec<Ipv6Addr>,
    peer_locators: Vec<Ipv6Addr>,
    /// Of the locators that are not used like any other.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    local_preferences: Vec<PreferenceReport>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    peer_preferences: Vec<PreferenceReport>,
    initiated: bool,
    age_s: u64,
    idle_s: Option<u64>,
    packets_sent: u64,
    packets_received: u64,
    bytes_sent: u64,
    bytes_received: u64,
}

impl ContextReport {
    pub(crate) fn new(view: &ContextView, mapper: MapperReport, now: Instant) -> Self {
        let is_mapped = view.current != view.ulids.into();
        let (packets_sent, packets_received) = view.account.packets();
        let (bytes_sent, bytes_received) = view.account.bytes();
        let tag = |tag: shim6_wire::ContextTag| format!("{:012x}", tag.bits());
        Self {
            ulids: view.ulids.into(),
            fii: view.fii.0,
            mark: view.mark,
            state: view.state.as_str(),
            reap: match view.reap {
                ReapState::Operational => "operational",
                ReapState::Exploring => "exploring",
                ReapState::InboundOk => "inbound-ok",
            },
            local_tag: tag(view.local_tag),
            peer_tag: view.peer_tag.map(tag),
            locators: view.current.into(),
            mapped: is_mapped,
            mapped_by: is_mapped.then_some(mapper.mapper),
            chosen_datapath: mapper.chosen,
            kernel_refusal: mapper.refusal,
            local_locators: view.local_locators.clone(),
            peer_locators: view.peer_locators.clone(),
            local_preferences: told(&view.local_locators, &view.local_preferences),
            peer_preferences: told(&view.peer_locators, &view.peer_preferences),
            initiated: view.initiated,
            age_s: now.since(view.created).as_secs(),
            idle_s: view
                .account
                .last_used()
                .map(|used| now.since(used).as_secs()),
            packets_sent,
            packets_received,
            bytes_sent,
            bytes_received,
        }
    }
}

fn told(locators: &[Ipv6Addr], preferences: &[Preference]) -> Vec<PreferenceReport> {
    let both = locators.iter().zip(preferences);
    both.filter(|(_, preference)| **preference != Preference::default())
        .map(|(&address, &preference)| PreferenceReport::new(address, preference))
        .collect()
}

/// `shimq status --json`.
#[derive(Serialize)]
pub(crate) struct StatusReport {
    pub(crate) schema: u32,
    pub(crate) version: &'static str,
    pub(crate) uptime_s: u64,
    pub(crate) ruleset: String,
    pub(crate) ruleset_lost: bool,
    pub(crate) ruleset_losses: u64,
    pub(crate) contexts: usize,
    pub(crate) established: usize,
    pub(crate) exploring: usize,
    pub(crate) mapped: usize,
    pub(crate) exploration: &'static str,
    pub(crate) locators: Vec<Ipv6Addr>,
    pub(crate) datapath: DatapathReport,
    pub(crate) queues: Vec<QueueReport>,
    pub(crate) counters: CountersReport,
}

/// One queue: what the thread did, and what the kernel dropped before it.
#[derive(Serialize)]
pub(crate) struct QueueReport {
    number: u16,
    receive_buffer: usize,
    wakes: u64,
    packets: u64,
    rewritten: u64,
    /// Datagrams that were too big with their header, and sent in fragments.
    fragmented: u64,
    /// Packets to be mapped that are longer than the kernel copies, and passed with their ULIDs.
    passed_unmapped: u64,
    overruns: u64,
    verdicts_too_late: u64,
    /// Notices for which the endpoint had no room: about contexts, from strangers, from one source.
    known_full: u64,
    strangers_full: u64,
    source_full: u64,
    kernel_queue_dropped: Option<u64>,
    kernel_user_dropped: Option<u64>,
    dropped: BTreeMap<&'static str, u64>,
}

impl QueueReport {
    pub(crate) fn new(thread: &QueueThread, kernel: &[QueueStatistics]) -> Self {
        let kernel = kernel.iter().find(|queue| queue.number == thread.number);
        let counters: &QueueCounters = &thread.counters;
        Self {
            number: thread.number,
            receive_buffer: thread.receive_buffer,
            wakes: counters.wakes.load(Relaxed),
            packets: counters.packets.load(Relaxed),
            rewritten: counters.rewritten.load(Relaxed),
            fragmented: counters.fragmented.load(Relaxed),
            passed_unmapped: counters.passed_unmapped.load(Relaxed),
            overruns: counters.overruns.load(Relaxed),
            verdicts_too_late: counters.gone.load(Relaxed),
            known_full: counters.known_full.load(Relaxed),
            strangers_full: counters.strangers_full.load(Relaxed),
            source_full: counters.source_full.load(Relaxed),
            kernel_queue_dropped: kernel.map(|queue| queue.queue_dropped),
            kernel_user_dropped: kernel.map(|queue| queue.user_dropped),
            dropped: by_reason(|reason| counters.dropped(reason)),
        }
    }
}

/// What the endpoint and the daemon did.
#[derive(Serialize)]
pub(crate) struct CountersReport {
    pub(crate) messages_received: u64,
    pub(crate) messages_sent: u64,
    pub(crate) send_errors: u64,
    pub(crate) verifications: u64,
    pub(crate) contexts_created: u64,
    pub(crate) pair_changes: u64,
    pub(crate) counter_polls: u64,
    pub(crate) dropped: BTreeMap<&'static str, u64>,
}

impl CountersReport {
    pub(crate) fn new(counters: &Counters, send_errors: u64, counter_polls: u64) -> Self {
        Self {
            messages_received: counters.received,
            messages_sent: counters.sent,
            send_errors,
            verifications: counters.verifications,
            contexts_created: counters.contexts_created,
            pair_changes: counters.pair_changes,
            counter_polls,
            dropped: by_reason(|reason| counters.dropped(reason)),
        }
    }
}

fn by_reason(count: impl Fn(DropReason) -> u64) -> BTreeMap<&'static str, u64> {
    let counts = DropReason::ALL
        .iter()
        .map(|&reason| (reason.as_str(), count(reason)));
    counts.filter(|&(_, count)| count > 0).collect()
}
