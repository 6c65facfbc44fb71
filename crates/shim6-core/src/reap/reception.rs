//! What a context hears of its peer, and what REAP makes of it (RFC 5534 §6.1, §6.6 to §6.9).

use std::time::Duration;

use shim6_wire::{Probe, ProbeState};

use super::{Outcome, Reap, State, Surroundings};
use crate::event::Cause;
use crate::pair::LocatorPair;

impl Reap {
    /// Notes payload, whichever address it came to.
    ///
    /// Once the address is gone that the current pair had, this says nothing: what was under way, or is
    /// only counted now, came to that address, and whoever took it for a sign that the peer is heard
    /// would tell the peer to stay there.
    pub(crate) fn handle_payload_received(&mut self, cx: &mut Surroundings<'_>) {
        if self.state != State::Exploring || cx.announced.contains(cx.current.local) {
            self.handle_sign_of_life(cx);
        }
    }

    /// Notes something of the peer's, other than a Probe, that came to an address in use.
    //= https://www.rfc-editor.org/rfc/rfc5534#section-6.1
    //= id=R-042
    //# If the node is in the Exploring state, it transitions to the
    //# InboundOK state, sends a Probe message, and starts the Send Timer.
    pub(crate) fn handle_sign_of_life(&mut self, cx: &mut Surroundings<'_>) {
        match self.state {
            State::Operational | State::InboundOk => cx.account.stop_send_timer(),
            State::Exploring => self.hear_again(cx),
        }
    }

    //= https://www.rfc-editor.org/rfc/rfc5534#section-6.6
    //= id=R-050
    //# Upon the reception of a Keepalive message in the Operational state,
    //# the node stops the Send Timer if it was running.
    pub(crate) fn handle_keepalive(&mut self, cx: &mut Surroundings<'_>) {
        self.handle_sign_of_life(cx);
    }

    fn hear_again(&mut self, cx: &mut Surroundings<'_>) {
        self.state = State::InboundOk;
        cx.account.restart_send_timer(cx.now);
        self.probe_next(cx);
    }

    /// Where to answer a peer that asked on `asked_on` and that no probe of ours is known to have
    /// reached: on the current pair, unless more of what went there was never seen.
    fn better_heard(&self, asked_on: LocatorPair, cx: &Surroundings<'_>) -> LocatorPair {
        let lost_on = |on: LocatorPair| {
            let unseen = self.reports.unseen(cx.now, Duration::ZERO);
            unseen.filter(|&pair| pair == on).count()
        };
        if cx.may_probe(cx.current) && lost_on(cx.current) <= lost_on(asked_on) {
            cx.current
        } else {
            asked_on
        }
    }

    /// Takes in a Probe; `arrived_on` is its pair, seen from this host.
    pub(crate) fn handle_probe(
        &mut self,
        probe: &Probe,
        arrived_on: LocatorPair,
        cx: &mut Surroundings<'_>,
    ) -> Option<Outcome> {
        if probe.state == ProbeState::Exploring && self.exploration.is_none() {
            self.reports.clear();
        }
        if let Some(described) = probe.sent.first() {
            self.reports.received(*described);
        }
        let target = self
            .exploration()
            .and_then(|exploration| exploration.target);
        let wanted = target.unwrap_or(cx.current);
        // What arrived on a pair that is gone since says nothing about those that are left.
        let arrived = self
            .reports
            .arrived(&probe.received, cx.now, wanted, |pair| cx.may_probe(pair));
        for &(pair, rtt) in &arrived.measured {
            cx.history.note_answer(pair, rtt, cx.now);
            self.note_round_trip(rtt);
        }
        let proven = arrived.pair;
        match probe.state {
            //= https://www.rfc-editor.org/rfc/rfc5534#section-6.7
            //= id=R-051
            //# Upon receiving a Probe message with State set to Exploring, the node
            //# enters the InboundOK state, sends a Probe message as described in
            //# Section 6.1, stops the Keepalive Timer if it was running, and
            //# restarts the Send Timer.
            ProbeState::Exploring => {
                cx.account.stop_keepalive_timer();
                cx.account.restart_send_timer(cx.now);
                self.state = State::InboundOk;
                let began = self.begin(Cause::PeerExploring, Some(arrived_on), cx);
                // It asks on the pair in use, so that one is not dead: what it does not hear may be lost.
                if began && arrived_on == cx.current && cx.may_probe(arrived_on) {
                    self.ask_first(arrived_on, Cause::PeerExploring, cx);
                } else if arrived_on != cx.current && target.is_none() {
                    // It has left that pair or given it up, and waits for an answer elsewhere.
                    self.questions = None;
                }
                // Where only one pair works each way, no other answer would reach the peer.
                self.queue
                    .extend(proven.filter(|pair| self.queue.last() != Some(pair)));
                self.probe_next(cx);
                began.then_some(Outcome::Began {
                    silence: Duration::ZERO,
                })
            }
            //= https://www.rfc-editor.org/rfc/rfc5534#section-6.8
            //= id=R-052
            //# Upon the reception of a Probe message with State set to InboundOk,
            //# the node sends a Probe message, restarts the Send Timer, stops the
            //# Keepalive Timer if it was running, and transitions to the Operational
            //# state.
            ProbeState::InboundOk => {
                cx.account.restart_send_timer(cx.now);
                cx.account.stop_keepalive_timer();
                self.state = State::Operational;
                // A late report about a pair that was not needed must not move payload again.
                let proven = proven.filter(|_| self.exploration.is_some());
                let answer_on = proven.unwrap_or_else(|| self.better_heard(arrived_on, cx));
                self.probe(answer_on, cx);
                Some(self.end(proven, arrived_on, cx))
            }
            //= https://www.rfc-editor.org/rfc/rfc5534#section-6.9
            //= id=R-053
            //# Upon the reception of a Probe message with State set to Operational,
            //# the node stops the Send Timer if it was running, starts the Keepalive
            //# Timer if it was not yet running, and transitions to the Operational
            //# state.
            ProbeState::Operational => {
                cx.account.stop_send_timer();
                if self.state != State::Operational {
                    // It only runs in Operational: what the account noted meanwhile does not count.
                    cx.account.stop_keepalive_timer();
                }
                cx.account.start_keepalive_timer(cx.now);
                self.state = State::Operational;
                Some(self.end(proven, arrived_on, cx))
            }
        }
    }
}
