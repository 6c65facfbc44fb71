//! Mapped flows in the hands of the kernel: `datapath.mode = "bpf"`.
//!
//! Decides who maps a flow. A flow that becomes mapped, or changes its locators, is the queues' at
//! first, as in any other mode: that takes one element of a set, so no recovery waits for more. Then
//! flows are handed to the rewriter of [`shimq_bpf`], one a turn of the daemon. In between a packet is
//! mapped by either; none is lost, and none mapped twice. What the rewriter refuses, and everything if
//! there is none, stays with the queues; the operator is told why.
//!
//! To the rules a flow that the kernel maps looks like one on its ULIDs, since that is what they see
//! of it, both ways: they count it, they notice its silence, and they show the daemon what goes into
//! it. Those few packets the queues map.
//!
//! A rewriter that is lost, because somebody removed its devices, is built again ([`retry`]).
//!
//! A daemon that is killed takes the rewriter's programs with it. Its routes lead nowhere for
//! [`shimq_bpf::LEASE`] at most, unless a new daemon comes first; then packets pass with ULIDs, as they
//! do at once in the other modes.

mod report;
mod retry;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::error::Error;
use std::net::Ipv6Addr;
use std::ops::Bound;
use std::sync::Arc;

use shim6_core::{Flow, FlowUpdate, LocatorPair, Path, Tagged, UlidPair};
use shimq_bpf::{BpfError, LEASE, MappedFlow, Rewriter};

use super::WATCH;
pub(crate) use report::{DatapathChanged, DatapathReport, MapperReport};
use retry::Retry;

/// Flows that are looked over each second: routes may have changed, and refusals with them.
const LOOKED_OVER: usize = 8;

/// Parts in which flows are renewed, one part a second: well within the lease.
const RENEWAL_PARTS: usize = 3;

const _: () = assert!(WATCH.as_secs() * (RENEWAL_PARTS as u64) * 2 < LEASE.as_secs());

/// The flows that the kernel maps, or could.
#[derive(Debug)]
pub(crate) struct KernelMapping {
    rewriter: Rewriting,
    config: shimq_bpf::Config,
    retry: Retry,
    /// What is to be told of the rewriter's coming and going.
    news: VecDeque<DatapathChanged>,
    /// This host's locators, at which tagged packets may arrive.
    locators: Vec<Ipv6Addr>,
    /// Mapped contexts, the default one of each ULID pair.
    flows: BTreeMap<UlidPair, Mapped>,
    /// To be offered to the rewriter, anew or again.
    waiting: BTreeSet<UlidPair>,
    /// Who maps a flow changed.
    updates: VecDeque<FlowUpdate>,
    /// Where the last look over flows ended.
    looked_over: Option<UlidPair>,
}

/// Whether there is a rewriter.
#[derive(Debug)]
enum Rewriting {
    /// The configuration wants none.
    Unwanted,
    /// It is to be had, and this is it.
    InForce(Box<Rewriter>),
    /// It is not to be had, for this reason.
    Refused(String),
    /// It was lost, for this reason, and is to be had back.
    Lost(String),
}

/// A flow, and who maps it.
#[derive(Debug)]
struct Mapped {
    flow: Arc<Flow>,
    locators: LocatorPair,
    mapper: Mapper,
    /// The path takes less than the IPv6 minimum. What tells the stack so is a route that the
    /// rewriter's would hide.
    is_narrow: bool,
}

/// Who maps a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mapper {
    /// The queues; why not the kernel, once it refused.
    Queues(Option<String>),
    Kernel,
}

impl KernelMapping {
    /// Maps nothing yet. What a killed daemon left is gone after this, wanted or not.
    pub(crate) fn start(wanted: bool, exempt_mark: u32) -> Self {
        let config = shimq_bpf::Config {
            exempt_mark,
            ..shimq_bpf::Config::default()
        };
        let rewriter = if wanted {
            match Rewriter::attach(&config) {
                Ok(rewriter) => Rewriting::InForce(Box::new(rewriter)),
                Err(error) => {
                    let reason = in_full(&error);
                    tracing::warn!(reason, "the kernel does not map; queues do");
                    Rewriting::Refused(reason)
                }
            }
        } else {
            match shimq_bpf::release() {
                Ok(false) => {}
                Ok(true) => tracing::info!("removed the device pair that a killed daemon left"),
                // Somebody else's devices of that name are none of our business.
                Err(error) => tracing::debug!(reason = in_full(&error), "no device pair removed"),
            }
            Rewriting::Unwanted
        };
        Self {
            rewriter,
            config,
            retry: Retry::default(),
            news: VecDeque::new(),
            locators: Vec::new(),
            flows: BTreeMap::new(),
            waiting: BTreeSet::new(),
            updates: VecDeque::new(),
            looked_over: None,
        }
    }

    /// Takes over a change of the endpoint's; returns it with the word who maps the flow.
    pub(crate) fn follow(&mut self, update: FlowUpdate) -> FlowUpdate {
        let (Rewriting::InForce(_) | Rewriting::Lost(_)) = self.rewriter else {
            return update;
        };
        match update {
            FlowUpdate::Set(flow) if flow.is_default => FlowUpdate::Set(self.set(flow)),
            FlowUpdate::Set(_) => update,
            FlowUpdate::Remove(ref flow) => {
                let ours = self.flows.get(&flow.ulids);
                if ours.is_some_and(|mapped| mapped.flow.local_tag == flow.local_tag) {
                    self.forget(flow.ulids);
                }
                update
            }
        }
    }

    fn set(&mut self, flow: Arc<Flow>) -> Arc<Flow> {
        let ulids = flow.ulids;
        // In other states the endpoint wants to see what arrives tagged.
        let (Path::Mapped { locators, .. }, Tagged::Delivered) = (flow.path, flow.tagged) else {
            self.forget(ulids);
            return flow;
        };
        if let Some(mapped) = self.flows.get_mut(&ulids) {
            let is_as_before =
                (mapped.flow.path, mapped.flow.local_tag) == (flow.path, flow.local_tag);
            mapped.flow = Arc::clone(&flow);
            if is_as_before {
                return mapped.flow_as_mapped();
            }
        }
        self.waiting.insert(ulids);
        let mapped = Mapped {
            flow: Arc::clone(&flow),
            locators,
            mapper: Mapper::Queues(None),
            is_narrow: false,
        };
        self.flows.insert(ulids, mapped);
        self.make_way(locators);
        flow
    }

    /// A flow that queues map to `locators` is routed by these: it must not meet a flow there whose
    /// ULIDs they are, and which the kernel maps.
    fn make_way(&mut self, locators: LocatorPair) {
        let ulids = UlidPair {
            local: locators.local,
            peer: locators.peer,
        };
        if let Some(mapped) = self.flows.get_mut(&ulids)
            && mapped.mapper == Mapper::Kernel
        {
            mapped.mapper = Mapper::Queues(None);
            self.updates
                .push_back(FlowUpdate::Set(Arc::clone(&mapped.flow)));
            self.withdraw(ulids);
            self.waiting.insert(ulids);
        }
    }

    fn forget(&mut self, ulids: UlidPair) {
        self.waiting.remove(&ulids);
        if self.flows.remove(&ulids).is_some() {
            self.withdraw(ulids);
        }
    }

    /// Has the kernel map a flow no more.
    pub(crate) fn withdraw(&mut self, ulids: UlidPair) {
        if let Rewriting::InForce(rewriter) = &mut self.rewriter
            && let Err(error) = rewriter.remove(ulids)
        {
            self.lose(&error);
        }
    }

    /// Tagged packets may arrive at these addresses.
    pub(crate) fn set_locators(&mut self, locators: &[Ipv6Addr]) {
        self.locators = locators.to_vec();
        self.waiting.extend(self.flows.keys());
    }

    /// The way to the locators of this flow may be another.
    pub(crate) fn look_again(&mut self, ulids: UlidPair) {
        if self.flows.contains_key(&ulids) {
            self.waiting.insert(ulids);
        }
    }

    /// Leaves a flow to the queues until its path is another one, since this one takes less than the
    /// IPv6 minimum; true if the kernel maps it, and is to be relieved by [`Self::withdraw`] once the
    /// queues know.
    pub(crate) fn leave_narrow(&mut self, ulids: UlidPair) -> bool {
        let Some(mapped) = self.flows.get_mut(&ulids) else {
            return false;
        };
        mapped.is_narrow = true;
        let reason = "the path takes less than the IPv6 minimum".to_owned();
        let former = std::mem::replace(&mut mapped.mapper, Mapper::Queues(Some(reason)));
        if former == Mapper::Kernel {
            let flow = Arc::clone(&mapped.flow);
            self.updates.push_back(FlowUpdate::Set(flow));
        }
        former == Mapper::Kernel
    }

    /// A flow that was left to the queues by [`Self::leave_narrow`] may be mapped by the kernel again.
    pub(crate) fn leave_narrow_no_more(&mut self, ulids: UlidPair) {
        if let Some(mapped) = self.flows.get_mut(&ulids) {
            mapped.is_narrow = false;
            self.waiting.insert(ulids);
        }
    }

    /// Whether there is a flow to be handed over.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.rewriter, Rewriting::InForce(_)) && !self.waiting.is_empty()
    }

    /// Offers the next waiting flow to the rewriter.
    pub(crate) fn hand_over(&mut self) {
        let Some(ulids) = self.waiting.pop_first() else {
            return;
        };
        let obstructed = self.is_obstructed(ulids);
        let Rewriting::InForce(rewriter) = &mut self.rewriter else {
            return;
        };
        let found = self.flows.get_mut(&ulids);
        let Some(mapped) = found.filter(|mapped| !mapped.is_narrow) else {
            return;
        };
        let Path::Mapped { locators, peer_tag } = mapped.flow.path else {
            return;
        };
        if obstructed {
            let reason = "another flow is mapped to these ULIDs by queues".to_owned();
            mapped.mapper = Mapper::Queues(Some(reason));
            return;
        }
        let inserted = rewriter.insert(&MappedFlow {
            ulids,
            locators,
            peer_tag,
            local_tag: mapped.flow.local_tag,
            local_locators: self.locators.clone(),
        });
        let (mapper, lost) = match inserted {
            Ok(()) => (Mapper::Kernel, None),
            Err(error) => {
                let reason = in_full(&error);
                (Mapper::Queues(Some(reason)), Some(error))
            }
        };
        if mapped.mapper != mapper {
            if let Mapper::Queues(Some(reason)) = &mapper {
                tracing::info!(%ulids, reason, "queues map this flow, the kernel does not");
            }
            mapped.mapper = mapper;
            let flow = mapped.flow_as_mapped();
            self.updates.push_back(FlowUpdate::Set(flow));
        }
        if let Some(error) = lost.filter(is_about_the_rewriter) {
            self.lose(&error);
        }
    }

    /// Whether queues map another flow to these ULIDs.
    fn is_obstructed(&self, ulids: UlidPair) -> bool {
        let by_queue = |mapped: &&Mapped| mapped.mapper != Mapper::Kernel;
        let mut others = self.flows.values().filter(by_queue);
        others.any(|mapped| mapped.locators == ulids.into())
    }

    /// Keeps what the kernel has, and looks over some flows; to be called every [`WATCH`].
    pub(crate) fn look_after(&mut self) {
        if let Rewriting::Lost(_) = self.rewriter
            && self.retry.is_due()
        {
            self.try_again();
        }
        let Rewriting::InForce(rewriter) = &mut self.rewriter else {
            return;
        };
        self.retry.note_in_force();
        let part = self.flows.len().div_ceil(RENEWAL_PARTS);
        if let Err(error) = rewriter.renew(part) {
            self.lose(&error);
            return;
        }
        let after = self.looked_over.map_or(Bound::Unbounded, Bound::Excluded);
        let turn = self.flows.range((after, Bound::Unbounded));
        let turn: Vec<_> = turn.map(|(&ulids, _)| ulids).take(LOOKED_OVER).collect();
        // At the end of the list it begins again.
        self.looked_over = turn.last().copied();
        self.waiting.extend(turn);
    }

    /// The rewriter is of no use any more; the queues take over.
    fn lose(&mut self, error: &BpfError) {
        let reason = in_full(error);
        for mapped in self.flows.values_mut() {
            let lost = Mapper::Queues(Some(reason.clone()));
            if std::mem::replace(&mut mapped.mapper, lost) == Mapper::Kernel {
                let flow = Arc::clone(&mapped.flow);
                self.updates.push_back(FlowUpdate::Set(flow));
            }
        }
        self.set_back(reason);
    }

    /// Tries to have the rewriter back.
    fn try_again(&mut self) {
        match Rewriter::attach(&self.config) {
            Ok(rewriter) => {
                tracing::info!("the kernel maps again");
                self.rewriter = Rewriting::InForce(Box::new(rewriter));
                self.retry.note_success();
                self.news.push_back(DatapathChanged::new("bpf", None));
                self.waiting.extend(self.flows.keys());
            }
            Err(error) => self.set_back(in_full(&error)),
        }
    }

    /// There is no rewriter, and perhaps there will be.
    fn set_back(&mut self, reason: String) {
        let news = DatapathChanged::new("queue", Some(reason.clone()));
        self.news.push_back(news);
        self.waiting.clear();
        self.rewriter = if self.retry.note_setback() {
            tracing::warn!(reason, "the kernel does not map; queues do, for the moment");
            Rewriting::Lost(reason)
        } else {
            tracing::error!(
                reason,
                "the kernel maps no more; queues do, until the daemon is started again"
            );
            Rewriting::Refused(reason)
        };
    }

    /// What is to be told of the rewriter's coming and going.
    pub(crate) fn poll_news(&mut self) -> Option<DatapathChanged> {
        self.news.pop_front()
    }

    /// What queues and rules have to be told next.
    pub(crate) fn poll_update(&mut self) -> Option<FlowUpdate> {
        self.updates.pop_front()
    }

    /// Takes everything back, before the rules go.
    pub(crate) fn stop(self) {
        if let Rewriting::InForce(rewriter) = self.rewriter {
            drop(rewriter);
        }
    }
}

impl Mapped {
    /// The flow, with the word who maps it.
    fn flow_as_mapped(&self) -> Arc<Flow> {
        match self.mapper {
            Mapper::Queues(_) => Arc::clone(&self.flow),
            Mapper::Kernel => Arc::new(self.flow.to_kernel_mapped()),
        }
    }
}

/// Whether an error is about more than one flow.
fn is_about_the_rewriter(error: &BpfError) -> bool {
    !matches!(
        error,
        BpfError::NotEthernet { .. } | BpfError::NoRoute { .. } | BpfError::Full { .. }
    )
}

/// The error and what caused it.
fn in_full(error: &BpfError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
