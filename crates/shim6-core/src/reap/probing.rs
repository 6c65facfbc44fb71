//! One exploration as it goes: which pair is probed next, and when the one after it (RFC 5534 §4.3).

use std::net::Ipv6Addr;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;
use shim6_wire::{Message, Probe};

use super::order::{self, Candidate, Known};
use super::{Exploration, Outcome, Reap, State, Surroundings};
use crate::context::{Standing, weight};
use crate::event::Cause;
use crate::pair::LocatorPair;

/// How long a probe waits that is over the budget, on average.
const DEFERRAL: Duration = Duration::from_millis(250);

/// Questions to a pair that was never doubted for nothing.
const QUESTIONS_MIN: u32 = 5;

/// Questions to a pair that often was, and where there is no hurry.
const QUESTIONS_MAX: u32 = 8;

/// Probes that ask one pair, close together, before others are probed.
///
/// The first probe on another pair goes out when they have had their time, and its answer tells which
/// of them arrived (RFC 5534 §5.2): so a pair that works is taken for dead only if all of them are lost
/// on their way there, whatever becomes of the answers. Five are all lost once in three million times
/// where one packet in twenty is, and each doubt that proved unfounded adds one.
//= https://www.rfc-editor.org/rfc/rfc5534#section-7
//= type=exception
//= reason=a few probes on the pair in use, sooner than half a second apart, ask whether there is anything to explore; what follows keeps the RFC's pace
//# Initial Probe Timeout 0.5 seconds
#[derive(Debug)]
pub(super) struct Questions {
    /// The next one last.
    pairs: Vec<LocatorPair>,
    spacing: Duration,
    /// What all of them have together.
    time: Duration,
}

impl Reap {
    /// Goes on with an exploration as if it began now: there are other addresses to probe from, and
    /// that nothing was heard on the former ones says nothing about them.
    pub(crate) fn explore_afresh(&mut self, cx: &mut Surroundings<'_>) {
        self.probes = 0;
        self.probe_interval = cx.config.initial_probe_timeout;
        self.queue.clear();
        if let Some(exploration) = &mut self.exploration {
            exploration.fruitless = false;
        }
        self.probe_next(cx);
    }

    /// Probes `pair`, which another context has found to work, unless that was done a moment ago.
    pub(crate) fn probe_found(&mut self, pair: LocatorPair, cx: &mut Surroundings<'_>) {
        let pause = cx.config.initial_probe_timeout;
        let done = self.reports.probed_within(pair, pause, cx.now);
        if self.exploration.is_none() || done || !cx.may_probe(pair) {
            return;
        }
        self.queue.push(pair);
        if self.questions.is_some() {
            self.insist_no_more();
        } else {
            self.probe_if_affordable(cx);
        }
    }

    /// Leaves it at one question: others learned that something of the pair is dead.
    pub(super) fn insist_no_more(&mut self) {
        if let Some(questions) = self.questions.as_mut().filter(|it| it.pairs.len() > 1) {
            questions.spacing = questions.time;
            questions.pairs.truncate(1);
        }
    }

    /// Asks `pair` before any other, as often as it takes to tell loss from failure, in the time that an
    /// answer may need.
    ///
    /// Where it was silent for a whole Send Timeout that is the time that an answer needs on average: one
    /// that takes longer is not lost, for the peer tells of it in its answer to the next probe.
    pub(super) fn ask_first(&mut self, pair: LocatorPair, cause: Cause, cx: &Surroundings<'_>) {
        let trip = self.round_trip();
        let (count, time) = if cause == Cause::SendTimeout {
            (QUESTIONS_MAX, trip.smoothed())
        } else {
            let count = QUESTIONS_MIN + cx.false_alarms;
            (count.min(QUESTIONS_MAX), trip.nearly_always())
        };
        let time = time.max(cx.config.test_timeout);
        let time = time.min(cx.config.initial_probe_timeout);
        self.questions = Some(Box::new(Questions {
            pairs: vec![pair; count as usize],
            spacing: time / count,
            time,
        }));
    }

    /// Asks `target`, and if it does not answer the current pair, which then ends the exploration.
    pub(super) fn ask_for_move(&mut self, target: LocatorPair, cx: &Surroundings<'_>) {
        self.ask_first(cx.current, Cause::Silence, cx);
        if let Some(questions) = &mut self.questions {
            let count = questions.pairs.len();
            questions.pairs.resize(2 * count, target);
        }
    }

    /// Enters an exploration unless one is under way; says whether it did.
    pub(super) fn begin(
        &mut self,
        cause: Cause,
        heard: Option<LocatorPair>,
        cx: &mut Surroundings<'_>,
    ) -> bool {
        if let Some(exploration) = &mut self.exploration {
            // The peer does not hear us: no longer a mere suspicion.
            if cause == Cause::PeerExploring && exploration.cause == Cause::Silence {
                exploration.cause = cause;
            }
            // The peer was heard on another pair: that one is worth the next probe.
            self.queue
                .extend(heard.filter(|pair| self.queue.last() != Some(pair)));
            return false;
        }
        self.exploration = Some(Box::new(Exploration {
            since: cx.now,
            cause,
            by_peer: cause == Cause::PeerExploring,
            target: None,
            fruitless: false,
        }));
        self.probes = 0;
        self.probe_interval = cx.config.initial_probe_timeout;
        self.queue = explored_order(heard, cx);
        true
    }

    pub(super) fn end(
        &mut self,
        proven: Option<LocatorPair>,
        answered_on: LocatorPair,
        cx: &mut Surroundings<'_>,
    ) -> Outcome {
        let patience = self.round_trip().nearly_always();
        if let Some(proven) = proven {
            for pair in self.reports.unseen(cx.now, patience) {
                cx.history.note_failure(pair, cx.now);
            }
            cx.history.note_working(proven, cx.now);
        }
        self.probe_due = None;
        self.questions = None;
        self.queue = Vec::new();
        Outcome::Ended {
            proven,
            answered_on,
        }
    }

    /// Forgets the exploration that [`Outcome::Ended`] ended, once its story has been told.
    pub(crate) fn close_exploration(&mut self) -> Option<Exploration> {
        self.exploration.take().map(|exploration| *exploration)
    }

    /// Probes the next pair, unless all contexts together probe too much already: then a little later.
    ///
    /// A failed uplink makes every context explore at once. Each keeps the RFC's pace for itself, and
    /// all of them this one, so that neither the peers nor the links that are left drown in probes.
    pub(super) fn probe_if_affordable(&mut self, cx: &mut Surroundings<'_>) {
        if cx.probe_budget.spend(cx.now) {
            self.probe_next(cx);
        } else {
            self.probe_due = Some(cx.now + randomised(DEFERRAL, 100, cx.rng));
        }
    }

    /// Probes the next pair of the round and sets the timer for the one after it.
    ///
    //= https://www.rfc-editor.org/rfc/rfc5534#section-4.3
    //= id=R-015
    //# However, all nodes MUST perform this process sequentially and with exponential back-off.
    pub(super) fn probe_next(&mut self, cx: &mut Surroundings<'_>) {
        let undoubted = self.exploration().is_some_and(|it| it.target.is_some());
        if !undoubted && cx.history.doubts(cx.current, cx.now) > 0 {
            self.insist_no_more();
        }
        if let Some(questions) = &mut self.questions {
            let next = questions.pairs.pop().filter(|&pair| cx.may_probe(pair));
            if let Some(pair) = next {
                self.probe_due = Some(cx.now + questions.spacing);
                self.probe(pair, cx);
                return;
            }
            self.questions = None;
        }
        // Either list may have changed since the round began.
        self.queue.retain(|&pair| cx.may_probe(pair));
        if self.queue.is_empty() {
            self.queue = explored_order(None, cx);
            if let Some(exploration) = self.exploration.as_mut().filter(|_| self.probes > 0) {
                exploration.fruitless = true;
            }
        }
        // There may be no address to probe from: then the timer runs on until there is one.
        if let Some(pair) = self.queue.pop() {
            self.probe(pair, cx);
        }
        if self.probes == 0 && self.state == State::Exploring {
            self.probe_at_once(cx.config.initial_burst.saturating_sub(1), cx);
        }
        self.probes += 1;
        if self.probes > cx.config.initial_probes {
            self.probe_interval = (self.probe_interval * 2).min(cx.config.max_probe_timeout);
        }
        self.probe_due = Some(cx.now + randomised(self.probe_interval, 20, cx.rng));
    }

    /// Probes up to `more` pairs without waiting for answers in between; of those that work, the one
    /// with the shortest way answers first.
    //= https://www.rfc-editor.org/rfc/rfc5534#section-4.3
    //= type=exception
    //= reason=by default there is no burst; an operator who asks for one gets it, once an exploration, and the back-off after it is the RFC's
    //= id=R-015
    //# However, all nodes MUST perform this process sequentially and with exponential back-off.
    fn probe_at_once(&mut self, more: u32, cx: &mut Surroundings<'_>) {
        for _ in 0..more {
            if let Some(pair) = self.queue.pop() {
                self.probe(pair, cx);
            }
        }
    }

    //= https://www.rfc-editor.org/rfc/rfc5534#section-6.1
    //= id=R-043
    //# When sending a Probe message,
    //# the State field MUST be set to a value that matches the conceptual
    //# state of the sender after sending the Probe.
    pub(super) fn probe(&mut self, pair: LocatorPair, cx: &mut Surroundings<'_>) {
        let sent = self.reports.send(pair, cx.now, cx.rng);
        let probe = Probe {
            receiver_tag: cx.peer_tag,
            state: self.state.into(),
            sent,
            received: self.reports.to_report(),
        };
        cx.outbox.push((pair, Message::Probe(probe)));
    }
}

impl Surroundings<'_> {
    /// The pair that would be probed first if the current one failed now.
    pub(crate) fn most_promising_other(&mut self) -> Option<LocatorPair> {
        let order = explored_order(None, self);
        order.into_iter().rev().find(|&pair| pair != self.current)
    }
}

/// The pairs to probe, last one first, so that the next is popped from the end.
///
/// Addresses that the peer may not know come after all others. A probe from there it may answer with an
/// R1bis (RFC 5533 §12.4), and the exchange that follows tells it: the way out where the update that
/// should have told it goes to a pair that is dead, and nothing else answers.
fn explored_order(heard: Option<LocatorPair>, cx: &mut Surroundings<'_>) -> Vec<LocatorPair> {
    let acknowledged = cx.acknowledged;
    let mut pairs = ordered(heard, cx, |local| !acknowledged.contains(local));
    pairs.extend(ordered(heard, cx, |local| acknowledged.contains(local)));
    pairs
}

/// The pairs of those of our addresses that are `wanted`, last one first.
fn ordered(
    heard: Option<LocatorPair>,
    cx: &mut Surroundings<'_>,
    wanted: impl Fn(Ipv6Addr) -> bool,
) -> Vec<LocatorPair> {
    let local = cx.announced.addresses().filter(|&local| wanted(local));
    let announced = cx.announced;
    let candidates = local.flat_map(|local| {
        let ours = announced.preference(local);
        cx.peer
            .with_preferences()
            .map(move |(peer, preference)| Candidate {
                pair: LocatorPair { local, peer },
                standing: Standing::of(ours, preference),
                weight: weight(ours, preference),
            })
    });
    let candidates = candidates.collect();
    let known = Known {
        now: cx.now,
        failed: cx.current,
        heard,
        history: cx.history,
    };
    order::order(candidates, cx.config.exploration, &known, cx.rng)
}

/// `nominal`, give or take up to `percent` per cent.
///
//= https://www.rfc-editor.org/rfc/rfc5534#section-4.1
//= id=R-012
//# The actual value SHOULD be randomized in order to prevent
//# synchronization.
fn randomised(nominal: Duration, percent: u32, rng: &mut ChaCha20Rng) -> Duration {
    let spread = nominal * (2 * percent) / 100;
    let micros = u64::try_from(spread.as_micros()).unwrap_or(u64::MAX).max(1);
    nominal.saturating_sub(spread / 2) + Duration::from_micros(rng.next_u64() % micros)
}
