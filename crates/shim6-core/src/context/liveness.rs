//! Where REAP's findings become a context's current pair (RFC 5534 §6, RFC 5533 §10.4).

use shim6_wire::Probe;

use super::silence::Lost;
use super::{Context, CurrentPair};
use crate::dispatch::Arrived;
use crate::endpoint::Endpoint;
use crate::event::{Cause, DropReason, Event};
use crate::locator::{Answer, ProbedLocator};
use crate::pair::LocatorPair;
use crate::reap::{self, Outcome, Reap, Surroundings};
use crate::time::Instant;

impl Endpoint {
    /// Lets `work` at the context's REAP machine, then sends and carries out what comes of it.
    pub(crate) fn with_reap(
        &mut self,
        context: &mut Context,
        now: Instant,
        work: impl FnOnce(&mut Reap, &mut Surroundings<'_>) -> Option<Outcome>,
    ) {
        let mut outbox = std::mem::take(&mut self.reap_outbox);
        let mut surroundings = Surroundings {
            now,
            config: &self.config,
            rng: &mut self.rng,
            account: &context.account,
            history: &mut self.history,
            probe_budget: &mut self.probe_budget,
            announced: &context.announcement,
            acknowledged: &context.acknowledged,
            peer: &context.peer,
            current: context.current.pair(),
            peer_tag: context
                .peer_tag
                .unwrap_or(shim6_wire::ContextTag::from_bits(0)),
            false_alarms: context.false_alarms.0,
            outbox: &mut outbox,
        };
        let was_fruitless = context.reap.is_fruitless();
        let outcome = work(&mut context.reap, &mut surroundings);
        if let Some(exploration) = context.reap.exploration().filter(|it| it.fruitless)
            && !was_fruitless
        {
            self.events.push_back(Event::Unreachable {
                ulids: context.ulids,
                explored: now.since(exploration.since),
            });
        }
        for (pair, message) in outbox.drain(..) {
            self.send(pair, &message);
        }
        self.reap_outbox = outbox;
        match outcome {
            Some(Outcome::Began { silence }) => {
                self.join_search(context, now);
                let cause = context
                    .reap
                    .exploration()
                    .map_or(Cause::SendTimeout, |e| e.cause);
                let (ulids, pair) = (context.ulids, context.current.pair());
                self.events.push_back(Event::Exploring {
                    ulids,
                    pair,
                    cause,
                    silence,
                });
            }
            Some(Outcome::Ended {
                proven,
                answered_on,
            }) => {
                self.end_exploration(context, proven, answered_on, now);
            }
            None => {}
        }
    }

    /// Doubts the current pair for another reason than a Send Timeout, unless it is in doubt already.
    pub(crate) fn explore(&mut self, context: &mut Context, cause: Cause, now: Instant) {
        if context.reap.state() != reap::State::Operational {
            return;
        }
        self.with_reap(context, now, |reap, cx| reap.explore(cause, None, cx));
    }

    /// Takes over the pair that exploration has proven.
    ///
    //= https://www.rfc-editor.org/rfc/rfc5534#section-6.9
    //= id=R-054
    //# The reachability detection and exploration process has no effect on
    //# payload communications until a new operational address pair has
    //# actually been confirmed.
    fn end_exploration(
        &mut self,
        context: &mut Context,
        proven: Option<LocatorPair>,
        answered_on: LocatorPair,
        now: Instant,
    ) {
        let inbound_moved = answered_on != context.inbound;
        context.inbound = answered_on;
        let Some(exploration) = context.reap.close_exploration() else {
            return;
        };
        let explored = now.since(exploration.since);
        let (ulids, from) = (context.ulids, context.current.pair());
        let next = proven.filter(|&pair| pair != from).and_then(|pair| {
            // Either list may have changed since the probe was sent.
            let peer = context.peer.verified(pair.peer)?;
            context
                .announcement
                .contains(pair.local)
                .then_some(CurrentPair {
                    local: pair.local,
                    peer: ProbedLocator::new(peer, Answer::nonce()),
                })
        });
        // Heard on the old pair since the doubt arose: the silence was a pause, not a failure.
        let heard = context
            .account
            .last_received()
            .is_some_and(|at| at > exploration.since);
        // Nothing spoke against the old pair where another was to be tried.
        let elsewhere = |next: &CurrentPair| exploration.target != Some(next.pair());
        let undoubted = exploration.target.is_some() && next.as_ref().is_some_and(elsewhere);
        let unfounded = heard && (exploration.cause == Cause::Silence || undoubted);
        let next = next.filter(|_| !unfounded);
        let works = next.map_or(from, CurrentPair::pair);
        let found = Some(works).filter(|_| next.is_some() || proven == Some(from) || unfounded);
        self.leave_search(context.local_tag, found, now);
        let Some(next) = next else {
            if inbound_moved {
                // Our direction works and the peer's did not: what it sent in answer is lost.
                Self::schedule_resend(context, now, Lost::Answer);
            } else if exploration.cause == Cause::Silence {
                Self::note_false_alarm(context, now);
            }
            self.events.push_back(match exploration.target {
                Some(pair) => Event::PairDeclined {
                    ulids,
                    pair,
                    cause: exploration.cause,
                    explored,
                },
                None => Event::PairConfirmed {
                    ulids,
                    pair: from,
                    explored,
                },
            });
            // Confirmed for want of a better one; but what is gone cannot be stayed on.
            let local_gone = !context.announcement.contains(from.local);
            if local_gone || !context.peer.contains(from.peer) {
                let cause = if local_gone {
                    Cause::LocalLocatorLost
                } else {
                    Cause::PeerLocatorLost
                };
                self.with_reap(context, now, |reap, cx| reap.explore_on(cause, None, cx));
            }
            return;
        };
        context.current = next;
        // It went out on the pair that failed; and it may say why that failed.
        if let Some(update) = context.update.as_mut().filter(|it| it.sent <= now) {
            update.due = now;
        }
        // What was moved without need left nothing behind.
        if exploration.target != Some(next.pair()) {
            Self::schedule_resend(context, now, Lost::Packet);
        }
        context.stay.moved(&exploration, &self.config, now);
        self.counters.pair_changes += 1;
        //= https://www.rfc-editor.org/rfc/rfc5534#section-4.2
        //= id=R-013,S-167
        //= type=exception
        //= reason=operators and programs are told (PairChanged); Linux has no way to tell the transport of a
        //= socket, so TCP learns of the change from what is sent again
        //# Upon changing to a new address pair, the network path traversed most
        //# likely has changed, so the upper-layer protocol (ULP), SHOULD be
        //# informed.
        let (to, cause) = (next.pair(), exploration.cause);
        self.events.push_back(Event::PairChanged {
            ulids,
            from,
            to,
            cause,
            explored,
        });
    }

    pub(crate) fn on_probe(&mut self, context: &mut Context, probe: &Probe, arrived: &Arrived<'_>) {
        if !context.state.has_peer() {
            self.counters.drop(DropReason::WrongState);
            return;
        }
        let pair = arrived.reversed();
        self.with_reap(context, arrived.now, |reap, cx| {
            reap.handle_probe(probe, pair, cx)
        });
    }

    pub(crate) fn on_keepalive(&mut self, context: &mut Context, now: Instant) {
        if !context.state.has_peer() {
            self.counters.drop(DropReason::WrongState);
            return;
        }
        self.with_reap(context, now, |reap, cx| {
            reap.handle_keepalive(cx);
            None
        });
    }
}
