//! One host's Shim6: what happened goes in, what is next comes out.
//!
//! This file is the border. Packets are told apart in `dispatch`; what a message does in which STATE
//! is in `context`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use shim6_wire::{ContextTag, Message};

use crate::budget::{Budget, Shares};
use crate::config::Config;
use crate::context::{Searches, State};
use crate::event::{Cause, Counters, DropReason, Event, Resend, Transmit};
use crate::flow::{FlowTable, FlowUpdate};
use crate::locator::{LocalLocator, LocalLocators};
use crate::pair::{LocatorPair, UlidPair};
use crate::reap::{ExplorationPolicy, History, Reap, State as ReapState};
use crate::responder::Responder;
use crate::table::{Census, ContextId, ContextView, Table, Taken};
use crate::time::Instant;
use crate::trigger::{Candidate, Heuristic};

/// A host that did not look at its timers for so long was asleep: it looks every few seconds while it has
/// a context. Nothing was used meanwhile, and yet connections go on that lived before.
const ASLEEP: Duration = Duration::from_secs(60);

/// One host's Shim6.
///
/// Feed it with `handle_*`; after each call take what it has to say with [`Self::poll_transmit`],
/// [`Self::poll_flow_update`] and [`Self::poll_event`] until each answers `None`, and call
/// [`Self::handle_timeout`] not later than [`Self::poll_timeout`] says. `now` never decreases.
#[derive(Debug)]
pub struct Endpoint {
    pub(crate) config: Config,
    pub(crate) rng: ChaCha20Rng,
    pub(crate) local: LocalLocators,
    pub(crate) responder: Responder,
    pub(crate) table: Table,
    pub(crate) counters: Counters,
    pub(crate) answer_budget: Budget,
    pub(crate) verification_budget: Budget,
    pub(crate) shares: Shares,
    pub(crate) events: VecDeque<Event>,
    /// What all contexts learned of pairs.
    pub(crate) history: History,
    pub(crate) probe_budget: Budget,
    /// Which contexts look for a pair, and which leave that to others.
    pub(crate) searches: Searches,
    /// Kept between calls so that a timer that finds nothing to do allocates nothing.
    pub(crate) reap_outbox: Vec<(LocatorPair, Message)>,
    pub(crate) heuristic: Box<dyn Heuristic>,
    pub(crate) candidates: BTreeMap<UlidPair, Candidate>,
    /// When timers were last looked at.
    looked: Instant,
    /// When this host last woke up.
    awake_since: Instant,
    transmits: VecDeque<Transmit>,
    pub(crate) resends: VecDeque<Resend>,
    flow_updates: VecDeque<FlowUpdate>,
}

impl Endpoint {
    /// A host without addresses. All randomness comes from `seed`, which must be secret in earnest
    /// use: tags, nonces and validators hang on it.
    #[must_use]
    pub fn new(config: Config, heuristic: Box<dyn Heuristic>, seed: [u8; 32]) -> Self {
        let mut rng = ChaCha20Rng::from_seed(seed);
        Self {
            local: LocalLocators::default(),
            responder: Responder::new(config.validator_min_lifetime, &mut rng),
            table: Table::new(&mut rng),
            counters: Counters::default(),
            answer_budget: Budget::new(config.answers_per_second),
            verification_budget: Budget::new(config.verifications_per_second),
            shares: Shares::default(),
            events: VecDeque::new(),
            history: History::default(),
            probe_budget: Budget::new(config.probes_per_second),
            searches: Searches::default(),
            reap_outbox: Vec::new(),
            heuristic,
            candidates: BTreeMap::new(),
            looked: Instant::default(),
            awake_since: Instant::default(),
            transmits: VecDeque::new(),
            resends: VecDeque::new(),
            flow_updates: VecDeque::new(),
            config,
            rng,
        }
    }

    /// Takes over this host's addresses: all that can be a ULID, usable now or not.
    ///
    /// Contexts whose ULID is not among them end; the others tell their peers.
    pub fn handle_local_locators(&mut self, now: Instant, locators: &[LocalLocator]) {
        self.local.replace(locators, &mut self.rng);
        for id in self.table.ids() {
            let Some(mut context) = self.table.take(id) else {
                continue;
            };
            let Some(announcement) = self.local.announcement(context.ulids.local).cloned() else {
                //= https://www.rfc-editor.org/rfc/rfc5533#section-1.5
                //= id=S-001
                //# any communication using a ULID MUST be terminated when the ULID becomes
                //# invalid (due to the underlying prefix becoming invalid).
                self.discard(context, Cause::UlidLost);
                continue;
            };
            if Arc::ptr_eq(&announcement, &context.announcement) {
                self.settle(context, now);
                continue;
            }
            if announcement.reappraises(&context.announcement) {
                context.stay.heard_news();
            }
            context.announce(announcement);
            if context.state.has_peer() {
                if context.reap.state() != ReapState::Operational {
                    self.with_reap(&mut context, now, |reap, cx| {
                        reap.explore_afresh(cx);
                        None
                    });
                } else if !context.announcement.contains(context.current.local) {
                    self.explore(&mut context, Cause::LocalLocatorLost, now);
                }
                self.start_update(&mut context, now);
                Self::expect_heed(&mut context, now);
            }
            self.settle(context, now);
        }
    }

    /// The ULIDs of the context with this tag of ours.
    #[must_use]
    pub fn ulids(&self, tag: ContextTag) -> Option<UlidPair> {
        let id = self.table.by_local_tag(tag)?;
        self.table.get(id).map(|context| context.ulids)
    }

    /// Notes a payload packet on a context that waits for a sign of life.
    pub fn handle_payload_received(&mut self, now: Instant, tag: ContextTag) {
        let found = self.table.take_by_local_tag(tag);
        let Some(mut context) = found else { return };
        if context.state.has_peer() {
            self.with_reap(&mut context, now, |reap, cx| {
                reap.handle_payload_received(cx);
                None
            });
        }
        //= https://www.rfc-editor.org/rfc/rfc5533#section-12.2
        //= id=S-160
        //# If I2-SENT, send I2 and proceed to process the message.
        if matches!(context.state, State::I2Sent | State::I2bisSent) {
            self.send_exchange_again(&mut context, now);
        }
        self.settle(context, now);
    }

    /// Probes in another order from now on; explorations that are under way do so in their next round.
    pub fn set_exploration(&mut self, policy: ExplorationPolicy) {
        self.config.exploration = policy;
    }

    /// In which order pairs are probed.
    #[must_use]
    pub fn exploration(&self) -> ExplorationPolicy {
        self.config.exploration
    }

    /// Does what is due at `now`. Calling early or twice does nothing.
    ///
    /// Each context has its turn once, so this ends whatever they want next.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now.since(self.looked) >= ASLEEP {
            self.awake_since = now;
        }
        self.looked = now;
        for _ in 0..self.table.len() {
            let due = self.table.due(now).and_then(|id| self.table.take(id));
            let Some(mut context) = due else { break };
            //= https://www.rfc-editor.org/rfc/rfc5533#section-9
            //= id=S-137,S-138
            //# it is RECOMMENDED that
            let idle_since = context.last_used().max(self.awake_since);
            let idle = now.since(idle_since) >= self.config.idle_lifetime;
            if idle && context.state.has_peer() && context.mark.is_none() {
                self.discard(context, Cause::Idle);
                continue;
            }
            self.handle_exchange_timeout(&mut context, now);
            self.handle_update_timeout(&mut context, now);
            self.handle_silence_timeout(&mut context, now);
            if context.state.has_peer() {
                self.handle_wish_timeout(&mut context, now);
                self.with_reap(&mut context, now, Reap::handle_timeout);
                self.return_if_better(&mut context, now);
            }
            self.settle(context, now);
        }
    }

    /// When [`Self::handle_timeout`] is next due; `None` while nothing waits.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.table.next_deadline()
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next payload packet to send again.
    pub fn poll_resend(&mut self) -> Option<Resend> {
        self.resends.pop_front()
    }

    /// The next thing an operator may want to know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next change to every flow table.
    pub fn poll_flow_update(&mut self) -> Option<FlowUpdate> {
        self.flow_updates.pop_front()
    }

    /// How many contexts there are; costs a look at each.
    #[must_use]
    pub fn census(&self) -> Census {
        self.table.census()
    }

    /// The contexts, to be looked at one by one with [`Self::context`]: at many of them not at once.
    #[must_use]
    pub fn context_ids(&self) -> Vec<ContextId> {
        self.table.ids()
    }

    /// A context as it is; `None` once it is gone.
    #[must_use]
    pub fn context(&self, id: ContextId) -> Option<ContextView> {
        self.table.view(id)
    }

    /// The contexts as they are.
    #[must_use]
    pub fn contexts(&self) -> Vec<ContextView> {
        self.table
            .ids()
            .into_iter()
            .filter_map(|id| self.table.view(id))
            .collect()
    }

    /// What happened so far, by kind.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What the trigger goes by.
    #[must_use]
    pub fn heuristic(&self) -> &dyn Heuristic {
        &*self.heuristic
    }

    /// A flow table for one more queue thread; it has to be there before the first context.
    pub fn flow_table(&mut self) -> FlowTable {
        self.new_flow_table(false)
    }

    /// The same for a data plane in which the kernel counts the packets of untouched flows, and shows
    /// only those that are sent into silence.
    pub fn flow_table_behind_kernel_counters(&mut self) -> FlowTable {
        self.new_flow_table(true)
    }

    fn new_flow_table(&mut self, kernel_counts: bool) -> FlowTable {
        FlowTable::new(self.rng.next_u64(), kernel_counts, &self.config)
    }

    /// Brings a context back into the table, or ends it; publishes what queue threads must know.
    pub(crate) fn settle(&mut self, mut context: Taken, now: Instant) {
        if let Some(cause) = context.end.take() {
            self.discard(context, cause);
        } else if let Some(flow) = self.table.put(context, now) {
            self.flow_updates.push_back(FlowUpdate::Set(flow));
        }
    }

    pub(crate) fn discard(&mut self, context: Taken, cause: Cause) {
        self.searches.forget(context.local_tag);
        let (context, published) = self.table.remove(context);
        self.flow_updates.extend(published.map(FlowUpdate::Remove));
        if let Some(site) = context.site {
            self.shares.give_back(site);
        }
        self.events.push_back(Event::Discarded {
            ulids: context.ulids,
            fii: context.fii,
            cause,
        });
    }

    pub(crate) fn send(&mut self, pair: LocatorPair, message: &Message) {
        // Lists are made to fit, but a peer's validator, which goes back to it, may have any length.
        if !message.fits() {
            self.counters.drop(DropReason::Oversized);
            return;
        }
        self.counters.sent += 1;
        self.transmits.push_back(Transmit {
            source: pair.local,
            destination: pair.peer,
            message: message.emit(),
        });
    }
}
