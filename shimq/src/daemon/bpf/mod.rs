//! Mapped flows in the hands of the kernel: where `datapath.mode = "bpf"` or the operator wants it.
//!
//! Decides who maps a flow. Who shall is configured, or chosen for a ULID pair ([`choice`]). A flow that becomes mapped, or changes its locators, is the queues' at
//! first, as in any other mode: that takes one element of a set, so no recovery waits for more. Then
//! flows are handed to the rewriter of [`shimq_bpf`], one a turn of the daemon. In between a packet is
//! mapped by either; none is lost, and none mapped twice. What the rewriter refuses, and everything if
//! there is none, stays with the queues; the operator is told why.
//!
//! To the rules a flow that the kernel maps looks like one on its ULIDs, since that is what they see
//! of it, both ways: they count it, they notice its silence, and they show the daemon what goes into
//! it. Those few packets the queues map.
//!
//! There is a rewriter from the first time on that it is wanted ([`rewriting`]). One that is lost, because
//! somebody removed its devices, is built again ([`retry`]).
//!
//! A daemon that is killed takes the rewriter's programs with it. Its routes lead nowhere for
//! [`shimq_bpf::LEASE`] at most, unless a new daemon comes first; then packets pass with ULIDs, as they
//! do at once in the other modes.

mod choice;
mod report;
mod retry;
mod rewriting;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv6Addr;
use std::sync::Arc;

use shim6_core::{Flow, FlowUpdate, LocatorPair, Path, Tagged, UlidPair};
use shimq_bpf::MappedFlow;

use super::WATCH;
use crate::control::DatapathChoice;
use choice::Choices;
pub(crate) use report::{DatapathChanged, DatapathReport, MapperReport};
use retry::Retry;
use rewriting::{Rewriting, in_full, is_about_the_rewriter};

/// Why the kernel does not map a flow that it otherwise could.
const NARROW: &str = "the path takes less than the IPv6 minimum";
const OBSTRUCTED: &str = "another flow is mapped to these ULIDs by queues";

/// The flows that the kernel maps, or could.
#[derive(Debug)]
pub(crate) struct KernelMapping {
    choices: Choices,
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
    /// To be taken from the rewriter once the queues know.
    relieved: Vec<UlidPair>,
    /// Where the last look over flows ended.
    looked_over: Option<UlidPair>,
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
    pub(crate) fn start(kernel_maps: bool, exempt_mark: u32) -> Self {
        let config = shimq_bpf::Config {
            exempt_mark,
            ..shimq_bpf::Config::default()
        };
        let mut mapping = Self::new(Choices::new(kernel_maps), config);
        if kernel_maps {
            mapping.attach();
            return mapping;
        }
        match shimq_bpf::release() {
            Ok(false) => {}
            Ok(true) => tracing::info!("removed the device pair that a killed daemon left"),
            // Somebody else's devices of that name are none of our business.
            Err(error) => tracing::debug!(reason = in_full(&error), "no device pair removed"),
        }
        mapping
    }

    fn new(choices: Choices, config: shimq_bpf::Config) -> Self {
        Self {
            choices,
            rewriter: Rewriting::Unwanted,
            config,
            retry: Retry::default(),
            news: VecDeque::new(),
            locators: Vec::new(),
            flows: BTreeMap::new(),
            waiting: BTreeSet::new(),
            updates: VecDeque::new(),
            relieved: Vec::new(),
            looked_over: None,
        }
    }

    /// Takes over a change of the endpoint's; returns it with the word who maps the flow.
    pub(crate) fn follow(&mut self, update: FlowUpdate) -> FlowUpdate {
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

    /// Has flows mapped as the operator chose; `with_context` has all ULID pairs that have a context.
    pub(crate) fn choose(
        &mut self,
        chosen: &BTreeSet<UlidPair>,
        choice: DatapathChoice,
        with_context: &BTreeSet<UlidPair>,
    ) {
        for &ulids in chosen {
            self.choose_for(ulids, choice);
        }
        self.choices.forget_oldest(with_context);
        let mut chosen = chosen.iter();
        if chosen.any(|&ulids| self.choices.kernel_shall_map(ulids)) {
            self.have_rewriter();
        }
    }

    fn choose_for(&mut self, ulids: UlidPair, choice: DatapathChoice) {
        self.choices.choose(ulids, choice);
        if self.choices.kernel_shall_map(ulids) {
            self.offer(ulids);
        } else {
            self.waiting.remove(&ulids);
            self.leave_to_queues(ulids, None);
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
        let mapped = Mapped {
            flow: Arc::clone(&flow),
            locators,
            mapper: Mapper::Queues(None),
            is_narrow: false,
        };
        self.flows.insert(ulids, mapped);
        self.offer(ulids);
        self.make_way(locators);
        flow
    }

    /// Has a flow wait for the rewriter, if it is mapped and the kernel shall map it.
    fn offer(&mut self, ulids: UlidPair) {
        if self.flows.contains_key(&ulids) && self.choices.kernel_shall_map(ulids) {
            self.waiting.insert(ulids);
        }
    }

    fn offer_all(&mut self) {
        let flows = self.flows.keys().copied();
        let wanted = flows.filter(|&ulids| self.choices.kernel_shall_map(ulids));
        self.waiting.extend(wanted);
    }

    /// A flow that queues map to `locators` is routed by these: it must not meet a flow there whose
    /// ULIDs they are, and which the kernel maps.
    fn make_way(&mut self, locators: LocatorPair) {
        let ulids = UlidPair {
            local: locators.local,
            peer: locators.peer,
        };
        let found = self.flows.get(&ulids);
        if found.is_some_and(|mapped| mapped.mapper == Mapper::Kernel) {
            self.leave_to_queues(ulids, None);
            // Not once the queues know: by then they map the other.
            self.withdraw(ulids);
            self.offer(ulids);
        }
    }

    /// Leaves a flow to the queues, for a reason if the kernel was to have it. Once they know,
    /// [`Self::relieve`] takes it from the kernel.
    fn leave_to_queues(&mut self, ulids: UlidPair, reason: Option<String>) {
        let Some(mapped) = self.flows.get_mut(&ulids) else {
            return;
        };
        self.relieved.push(ulids);
        if std::mem::replace(&mut mapped.mapper, Mapper::Queues(reason)) == Mapper::Kernel {
            let locators = mapped.locators;
            let flow = Arc::clone(&mapped.flow);
            self.updates.push_back(FlowUpdate::Set(flow));
            self.make_way(locators);
        }
    }

    /// Has the kernel map no more what was left to the queues, now that they know; true if there was
    /// anything.
    pub(crate) fn relieve(&mut self) -> bool {
        let relieved = std::mem::take(&mut self.relieved);
        for &ulids in &relieved {
            self.withdraw(ulids);
        }
        !relieved.is_empty()
    }

    fn forget(&mut self, ulids: UlidPair) {
        self.waiting.remove(&ulids);
        if self.flows.remove(&ulids).is_some() {
            self.withdraw(ulids);
        }
    }

    /// Has the kernel map a flow no more.
    fn withdraw(&mut self, ulids: UlidPair) {
        if let Rewriting::InForce(rewriter) = &mut self.rewriter
            && let Err(error) = rewriter.remove(ulids)
        {
            self.lose(&error);
        }
    }

    /// Tagged packets may arrive at these addresses.
    pub(crate) fn set_locators(&mut self, locators: &[Ipv6Addr]) {
        self.locators = locators.to_vec();
        self.offer_all();
    }

    /// The way to the locators of this flow may be another.
    pub(crate) fn look_again(&mut self, ulids: UlidPair) {
        self.offer(ulids);
    }

    /// Leaves a flow to the queues until its path is another one, since this one takes less than the
    /// IPv6 minimum.
    pub(crate) fn leave_narrow(&mut self, ulids: UlidPair) {
        if let Some(mapped) = self.flows.get_mut(&ulids) {
            mapped.is_narrow = true;
            self.leave_to_queues(ulids, Some(NARROW.to_owned()));
        }
    }

    /// A flow that was left to the queues by [`Self::leave_narrow`] may be mapped by the kernel again.
    pub(crate) fn leave_narrow_no_more(&mut self, ulids: UlidPair) {
        if let Some(mapped) = self.flows.get_mut(&ulids) {
            mapped.is_narrow = false;
            self.offer(ulids);
        }
    }

    /// Whether there is a flow to be handed over.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.rewriter, Rewriting::InForce(_)) && !self.waiting.is_empty()
    }

    /// Whether this flow is to be handed over, and it is not known yet what comes of it.
    pub(crate) fn is_pending(&self, ulids: UlidPair) -> bool {
        self.is_waiting() && self.waiting.contains(&ulids)
    }

    /// Offers the next waiting flow to the rewriter.
    pub(crate) fn hand_over(&mut self) {
        let Some(ulids) = self.waiting.pop_first() else {
            return;
        };
        let Some(mapped) = self.flows.get(&ulids) else {
            return;
        };
        let obstacle = if mapped.is_narrow {
            Some(NARROW)
        } else {
            self.is_obstructed(ulids).then_some(OBSTRUCTED)
        };
        if let Some(reason) = obstacle {
            self.leave_to_queues(ulids, Some(reason.to_owned()));
            return;
        }
        let (Rewriting::InForce(rewriter), Some(mapped)) =
            (&mut self.rewriter, self.flows.get_mut(&ulids))
        else {
            return;
        };
        let Path::Mapped { locators, peer_tag } = mapped.flow.path else {
            return;
        };
        let inserted = rewriter.insert(&MappedFlow {
            ulids,
            locators,
            peer_tag,
            local_tag: mapped.flow.local_tag,
            local_locators: self.locators.clone(),
        });
        let Err(error) = inserted else {
            if std::mem::replace(&mut mapped.mapper, Mapper::Kernel) != Mapper::Kernel {
                let flow = mapped.flow_as_mapped();
                self.updates.push_back(FlowUpdate::Set(flow));
            }
            return;
        };
        let reason = in_full(&error);
        if mapped.mapper != Mapper::Queues(Some(reason.clone())) {
            tracing::info!(%ulids, reason, "queues map this flow, the kernel does not");
        }
        self.leave_to_queues(ulids, Some(reason));
        if is_about_the_rewriter(&error) {
            self.lose(&error);
        }
    }

    /// Whether queues map another flow to these ULIDs.
    fn is_obstructed(&self, ulids: UlidPair) -> bool {
        let by_queue = |mapped: &&Mapped| mapped.mapper != Mapper::Kernel;
        let mut others = self.flows.values().filter(by_queue);
        others.any(|mapped| mapped.locators == ulids.into())
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
