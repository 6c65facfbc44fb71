//! What the kernel is told of the flows: the sets of our table follow the endpoint.
//!
//! Changes are gathered and made in one transaction, after the queue threads know of them. Somebody
//! else may take the rules away at any time; that ends nothing. Packets then pass as if there were no
//! shimq, and [`Kernel::mend`] brings the rules back with all that was in them.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use shim6_core::{Flow, Instant, Path, Tagged, UlidPair};
use shimq_netfilter::rules::{
    Change, Direction, Exclusions, Mode, RulesError, Ruleset, RulesetConfig, Statement,
};

use super::counting::{KernelCounting, Reading, pair};
use crate::clock;
use crate::config::{Config, RulesetOwner};

/// For how long the kernel does not ask again about a pair that cannot have a context.
const DECLINED: Duration = Duration::from_secs(60);

/// Changes made at a time.
const TRANSACTION_MAX: usize = 512;

/// Reading the counters may take this part of the daemon's time.
const POLL_SHARE: u32 = 20;

/// How old the accounts may be when a decision hangs on them.
const FRESH: Duration = Duration::from_millis(5);

/// For how long decisions hang on a context of which a packet was shown that went into silence.
const DOUBTED: Duration = Duration::from_secs(1);

/// Accounts brought up to date before a decision, at most: a tenth of the time that they stay fresh.
const PRESSING_MAX: usize = 128;

/// The ruleset in force, and what is in its sets.
pub(crate) struct Kernel {
    owner: RulesetOwner,
    rules: RulesetConfig,
    statement: Statement,
    /// `None` while it is lost.
    ruleset: Option<Ruleset>,
    /// Times that it was lost.
    losses: u64,
    /// Whether the kernel counts for REAP; otherwise every packet is queued.
    counts: bool,
    counting: KernelCounting,
    identities: BTreeSet<Ipv6Addr>,
    mapped: HashSet<UlidPair>,
    /// Of these, the ones that queues map.
    queued: HashSet<UlidPair>,
    /// Marks and ULIDs whose packets a queue takes for a fork.
    forks: BTreeSet<(u32, UlidPair)>,
    /// What became mapped, or ceased to be, since that was last asked for.
    remapped: Vec<(UlidPair, bool)>,
    /// Contexts whose REAP waits for a sign of life.
    watched: HashSet<UlidPair>,
    /// Contexts of which a packet was shown that went into silence, and when that was last.
    doubted: HashMap<UlidPair, Instant>,
    changes: Vec<Change>,
    /// When the accounts that decisions hang on were brought up to date.
    freshened_at: Instant,
    /// When the counters are read unless somebody asks, and before when they are not.
    next_poll: Instant,
    no_poll_before: Instant,
    polls: u64,
}

impl Kernel {
    /// Loads the rules, or takes over those that the operator loaded.
    pub(crate) fn start(config: &Config, rules: &RulesetConfig) -> Result<Self, RulesError> {
        let ruleset = obtain(config.ruleset, rules)?;
        Ok(Self {
            owner: config.ruleset,
            rules: rules.clone(),
            statement: ruleset.statement(),
            ruleset: Some(ruleset),
            losses: 0,
            counts: rules.mode == Mode::Queue,
            counting: KernelCounting::default(),
            identities: BTreeSet::new(),
            mapped: HashSet::new(),
            queued: HashSet::new(),
            forks: BTreeSet::new(),
            remapped: Vec::new(),
            watched: HashSet::new(),
            doubted: HashMap::new(),
            changes: Vec::new(),
            freshened_at: Instant::default(),
            next_poll: Instant::default(),
            no_poll_before: Instant::default(),
            polls: 0,
        })
    }

    /// How this kernel queues.
    pub(crate) fn statement(&self) -> Statement {
        self.statement
    }

    /// Times that the rules were lost, and whether they are now.
    pub(crate) fn losses(&self) -> (u64, bool) {
        (self.losses, self.ruleset.is_none())
    }

    /// How often the counters were read.
    pub(crate) fn polls(&self) -> u64 {
        self.polls
    }

    /// Whether there are counters to read.
    pub(crate) fn counts_something(&self) -> bool {
        self.counts && !self.counting.is_empty()
    }

    /// When the counters are to be read next, if there are any.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.counts_something().then_some(self.next_poll)
    }

    /// Reads the counters into the accounts.
    pub(crate) fn poll_counters(&mut self, now: Instant) -> Reading {
        if now < self.no_poll_before {
            return Reading::default();
        }
        self.next_poll = now + self.counting.interval();
        if self.counting.are_few() {
            self.freshened_at = now;
        }
        // Counters begin at zero again where that changes, so it is done at once, and not in between.
        let may_change = self.changes.is_empty();
        let (reading, changes) =
            self.read_counters(|counting, ruleset| counting.poll(ruleset, now, may_change));
        // With very many contexts reading takes long: then it is done less often.
        self.no_poll_before = now + clock::now().since(now) * POLL_SHARE;
        self.next_poll = self.next_poll.max(self.no_poll_before);
        if may_change {
            self.changes = changes;
            self.commit();
        }
        reading
    }

    /// Before a decision hangs on what was heard last: brings those accounts up to date on which it may.
    pub(crate) fn freshen_counters(&mut self, now: Instant) -> Reading {
        if !self.counts_something() || now.since(self.freshened_at) < FRESH {
            return Reading::default();
        }
        if self.counting.are_few() {
            return self.poll_counters(now);
        }
        self.freshened_at = now;
        self.doubted
            .retain(|_, shown_at| now.since(*shown_at) < DOUBTED);
        let pressing = self.watched.iter().chain(self.doubted.keys());
        let pressing: Vec<_> = pressing.copied().take(PRESSING_MAX).collect();
        if pressing.is_empty() {
            return Reading::default();
        }
        self.read_counters(|counting, ruleset| counting.poll_these(ruleset, &pressing, now))
    }

    /// The same for a context of which a packet was shown that went into silence.
    pub(crate) fn freshen_counter(&mut self, ulids: UlidPair, now: Instant) -> Reading {
        if !self.counts_something() || self.counting.are_few() {
            return self.freshen_counters(now);
        }
        let shown_before = self.doubted.insert(ulids, now);
        if shown_before.is_some_and(|before| now.since(before) < FRESH) {
            return Reading::default();
        }
        self.read_counters(|counting, ruleset| counting.poll_these(ruleset, &[ulids], now))
    }

    fn read_counters<R: Default>(
        &mut self,
        read: impl FnOnce(&mut KernelCounting, &mut Ruleset) -> Result<R, RulesError>,
    ) -> R {
        let Some(ruleset) = &mut self.ruleset else {
            return R::default();
        };
        self.polls += 1;
        read(&mut self.counting, ruleset).unwrap_or_else(|error| {
            self.lose(&error);
            R::default()
        })
    }

    /// Looks whether the rules are what they should be, and brings them back if not.
    pub(crate) fn mend(&mut self) {
        if let Some(ruleset) = &mut self.ruleset {
            if let Err(error) = ruleset.verify() {
                self.lose(&error);
            }
            return;
        }
        match obtain(self.owner, &self.rules) {
            Ok(ruleset) => {
                tracing::info!("the rules are back");
                self.ruleset = Some(ruleset);
                self.refill();
            }
            Err(error) => tracing::debug!(%error, "the rules are not to be had"),
        }
    }

    fn lose(&mut self, error: &RulesError) {
        tracing::error!(%error, "the rules are lost; packets pass as if there were no shimq");
        self.ruleset = None;
        self.losses += 1;
    }

    /// Puts into fresh sets what was in the old ones.
    fn refill(&mut self) {
        // Without those that come first, control messages would be answered by the kernel.
        let identities = self.identities.iter();
        self.changes = identities
            .map(|&address| Change::AddIdentity(address))
            .collect();
        let queued = self.queued.iter();
        self.changes
            .extend(queued.map(|&ulids| Change::Map(pair(ulids))));
        let forks = self.forks.iter();
        self.changes
            .extend(forks.map(|&(mark, ulids)| Change::Fork(mark, pair(ulids))));
        self.changes.extend(self.counting.begin_all_anew());
        self.commit();
    }

    /// Whether some context's REAP waits for a sign of life.
    pub(crate) fn watches_something(&self) -> bool {
        !self.watched.is_empty()
    }

    /// Leaves other packets alone than so far.
    pub(crate) fn set_exclusions(&mut self, excluded: Exclusions) -> Result<(), RulesError> {
        if excluded == self.rules.excluded {
            return Ok(());
        }
        if let Some(ruleset) = &mut self.ruleset {
            ruleset.set_exclusions(&excluded)?;
        }
        self.rules.excluded = excluded;
        Ok(())
    }

    /// Whether packets with this mark are left alone, even by a fork.
    pub(crate) fn excludes_mark(&self, mark: u32) -> bool {
        self.rules.excluded.marks.contains(&mark)
    }

    /// Packets of these addresses, and no others, may get contexts.
    pub(crate) fn set_identities(&mut self, identities: &[Ipv6Addr]) {
        let wanted: BTreeSet<_> = identities.iter().copied().collect();
        for &gone in self.identities.difference(&wanted) {
            self.changes.push(Change::RemoveIdentity(gone));
        }
        for &new in wanted.difference(&self.identities) {
            self.changes.push(Change::AddIdentity(new));
        }
        self.identities = wanted;
        self.commit();
    }

    /// Follows a flow. What arrives is counted from its first day to its last, so that untagged packets
    /// of the peer are seen even while ours are mapped; what is sent, unless queues map it.
    pub(crate) fn set(&mut self, flow: &Arc<Flow>) {
        self.set_fork(flow, matches!(flow.path, Path::Mapped { .. }));
        if !flow.is_default {
            return;
        }
        let is_mapped = matches!(flow.path, Path::Mapped { .. });
        let is_queued = is_mapped && !flow.kernel_maps;
        if flow.tagged == Tagged::Refused {
            // Being negotiated, or refused: plain IPv6, about which nothing is to be asked for a while.
            self.changes.extend(self.counting.remove(flow.ulids));
            self.decline(flow.ulids);
        } else {
            self.counting.set(flow);
            let received = self.counting.set_counted(flow.ulids, Direction::In, true);
            let sent = self
                .counting
                .set_counted(flow.ulids, Direction::Out, !is_queued);
            self.changes.extend([received, sent].into_iter().flatten());
        }
        if flow.exploring.awaits_life() {
            self.watched.insert(flow.ulids);
        } else {
            self.watched.remove(&flow.ulids);
        }
        if is_mapped {
            self.set_queued(flow.ulids, is_queued);
            if self.mapped.insert(flow.ulids) {
                self.remapped.push((flow.ulids, true));
            }
        } else {
            self.unmap(flow.ulids);
        }
    }

    /// Forgets a flow.
    pub(crate) fn remove(&mut self, flow: &Arc<Flow>) {
        self.set_fork(flow, false);
        if !flow.is_default {
            return;
        }
        self.unmap(flow.ulids);
        self.changes.extend(self.counting.remove(flow.ulids));
        self.watched.remove(&flow.ulids);
        self.doubted.remove(&flow.ulids);
    }

    /// Has packets with the mark of a fork queued, or no more; the queue thread knows the fork by then.
    fn set_fork(&mut self, flow: &Flow, wanted: bool) {
        let Some(mark) = flow.mark else { return };
        let (ulids, pair) = (flow.ulids, pair(flow.ulids));
        if wanted && self.forks.insert((mark, ulids)) {
            self.changes.push(Change::Fork(mark, pair));
        } else if !wanted && self.forks.remove(&(mark, ulids)) {
            self.changes.push(Change::Unfork(mark, pair));
        }
    }

    fn unmap(&mut self, ulids: UlidPair) {
        self.set_queued(ulids, false);
        if self.mapped.remove(&ulids) {
            self.remapped.push((ulids, false));
        }
    }

    /// Sends packets of these ULIDs to the queues that map, or no longer.
    fn set_queued(&mut self, ulids: UlidPair, is_queued: bool) {
        if is_queued && self.queued.insert(ulids) {
            self.changes.push(Change::Map(pair(ulids)));
        } else if !is_queued && self.queued.remove(&ulids) {
            self.changes.push(Change::Unmap(pair(ulids)));
        }
    }

    /// The ULIDs that became mapped, or ceased to be, since the last call.
    pub(crate) fn take_remapped(&mut self) -> Vec<(UlidPair, bool)> {
        std::mem::take(&mut self.remapped)
    }

    /// Whether packets of these ULIDs travel between other locators.
    pub(crate) fn is_mapped(&self, ulids: UlidPair) -> bool {
        self.mapped.contains(&ulids)
    }

    /// Lets packets of these ULIDs pass without a question for a while.
    pub(crate) fn decline(&mut self, ulids: UlidPair) {
        self.changes.push(Change::Decline(pair(ulids), DECLINED));
    }

    /// Makes the gathered changes.
    pub(crate) fn commit(&mut self) {
        let changes = std::mem::take(&mut self.changes);
        let Some(ruleset) = self.ruleset.as_mut().filter(|_| !changes.is_empty()) else {
            return;
        };
        // A transaction has to fit into a socket buffer.
        for part in changes.chunks(TRANSACTION_MAX) {
            if let Err(error) = ruleset.apply(part) {
                self.lose(&error);
                return;
            }
        }
    }

    /// Takes the rules out of force.
    pub(crate) fn stop(self) -> Result<(), RulesError> {
        self.ruleset.map_or(Ok(()), Ruleset::remove)
    }
}

fn obtain(owner: RulesetOwner, rules: &RulesetConfig) -> Result<Ruleset, RulesError> {
    match owner {
        RulesetOwner::Own => Ruleset::load(rules),
        RulesetOwner::External => Ruleset::attach(rules),
    }
}
