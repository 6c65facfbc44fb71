//! What the kernel is told of the flows: the sets of our table follow the endpoint.
//!
//! Changes are gathered and made in one transaction, after the queue threads know of them.

use std::collections::{BTreeSet, HashSet};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use shim6_core::{Flow, Instant, Path, UlidPair};
use shimq_netfilter::rules::{
    AddressPair, Change, Mode, RulesError, Ruleset, RulesetConfig, Statement,
};

use super::counting::KernelCounting;
use crate::config::{Config, RulesetOwner};

/// For how long the kernel does not ask again about a pair that cannot have a context.
const DECLINED: Duration = Duration::from_mins(1);

/// How old the accounts may be when a decision hangs on them.
const FRESH: Duration = Duration::from_millis(5);

/// The ruleset in force, and what is in its sets.
pub(crate) struct Kernel {
    ruleset: Ruleset,
    /// Whether the kernel counts for REAP; otherwise every packet is queued.
    counts: bool,
    counting: KernelCounting,
    identities: BTreeSet<Ipv6Addr>,
    contexts: HashSet<UlidPair>,
    mapped: HashSet<UlidPair>,
    /// What became mapped, or ceased to be, since that was last asked for.
    remapped: Vec<(UlidPair, bool)>,
    /// Contexts whose REAP waits for a sign of life.
    watched: HashSet<UlidPair>,
    changes: Vec<Change>,
    polled_at: Instant,
    polls: u64,
}

impl Kernel {
    /// Loads the rules, or takes over those that the operator loaded.
    pub(crate) fn start(config: &Config, rules: &RulesetConfig) -> Result<Self, RulesError> {
        let ruleset = match config.ruleset {
            RulesetOwner::Own => Ruleset::load(rules)?,
            RulesetOwner::External => Ruleset::attach(rules)?,
        };
        Ok(Self {
            ruleset,
            counts: rules.mode == Mode::Queue,
            counting: KernelCounting::default(),
            identities: BTreeSet::new(),
            contexts: HashSet::new(),
            mapped: HashSet::new(),
            remapped: Vec::new(),
            watched: HashSet::new(),
            changes: Vec::new(),
            polled_at: Instant::default(),
            polls: 0,
        })
    }

    /// How this kernel queues.
    pub(crate) fn statement(&self) -> Statement {
        self.ruleset.statement()
    }

    /// How often the counters were read.
    pub(crate) fn polls(&self) -> u64 {
        self.polls
    }

    /// Whether there are counters to read.
    pub(crate) fn counts_something(&self) -> bool {
        self.counts && !self.counting.is_empty()
    }

    /// Reads the counters into the accounts; returns watched flows that heard something.
    pub(crate) fn poll_counters(&mut self, now: Instant) -> Result<Vec<Arc<Flow>>, RulesError> {
        self.polls += 1;
        self.polled_at = now;
        self.counting.poll(&mut self.ruleset, now)
    }

    /// Whether the accounts lag behind the kernel's counters by more than a decision may.
    pub(crate) fn is_stale(&self, now: Instant) -> bool {
        self.counts_something() && now.since(self.polled_at) >= FRESH
    }

    /// Whether some context's REAP waits for a sign of life.
    pub(crate) fn watches_something(&self) -> bool {
        !self.watched.is_empty()
    }

    /// Packets of these addresses, and no others, may get contexts.
    pub(crate) fn set_identities(&mut self, identities: &[Ipv6Addr]) -> Result<(), RulesError> {
        let wanted: BTreeSet<_> = identities.iter().copied().collect();
        for &gone in self.identities.difference(&wanted) {
            self.changes.push(Change::RemoveIdentity(gone));
        }
        for &new in wanted.difference(&self.identities) {
            self.changes.push(Change::AddIdentity(new));
        }
        self.identities = wanted;
        self.commit()
    }

    /// Follows a flow. Counted from its first day to its last, so that untagged packets of the peer
    /// are seen even while ours are mapped.
    pub(crate) fn set(&mut self, flow: &Arc<Flow>) {
        if !flow.is_default {
            return;
        }
        if self.contexts.insert(flow.ulids) {
            self.changes.push(Change::AddContext(pair(flow.ulids)));
        }
        self.counting.set(flow);
        if flow.watched {
            self.watched.insert(flow.ulids);
        } else {
            self.watched.remove(&flow.ulids);
        }
        let is_mapped = matches!(flow.path, Path::Mapped { .. });
        if is_mapped && self.mapped.insert(flow.ulids) {
            self.changes.push(Change::Map(pair(flow.ulids)));
            self.remapped.push((flow.ulids, true));
        } else if !is_mapped {
            self.unmap(flow.ulids);
        }
    }

    /// Forgets a flow.
    pub(crate) fn remove(&mut self, flow: &Arc<Flow>) {
        if !flow.is_default {
            return;
        }
        self.unmap(flow.ulids);
        if self.contexts.remove(&flow.ulids) {
            self.changes.push(Change::RemoveContext(pair(flow.ulids)));
        }
        self.counting.remove(flow.ulids);
        self.watched.remove(&flow.ulids);
    }

    fn unmap(&mut self, ulids: UlidPair) {
        if self.mapped.remove(&ulids) {
            self.changes.push(Change::Unmap(pair(ulids)));
            self.remapped.push((ulids, false));
        }
    }

    /// The ULIDs that became mapped, or ceased to be, since the last call.
    pub(crate) fn take_remapped(&mut self) -> Vec<(UlidPair, bool)> {
        std::mem::take(&mut self.remapped)
    }

    /// Lets packets of these ULIDs pass without a question for a while.
    pub(crate) fn decline(&mut self, ulids: UlidPair) {
        self.changes.push(Change::Decline(pair(ulids), DECLINED));
    }

    /// Makes the gathered changes.
    pub(crate) fn commit(&mut self) -> Result<(), RulesError> {
        if self.changes.is_empty() {
            return Ok(());
        }
        let result = self.ruleset.apply(&self.changes);
        self.changes.clear();
        result
    }

    /// Takes the rules out of force.
    pub(crate) fn stop(self) -> Result<(), RulesError> {
        self.ruleset.remove()
    }
}

fn pair(ulids: UlidPair) -> AddressPair {
    AddressPair {
        local: ulids.local,
        peer: ulids.peer,
    }
}
