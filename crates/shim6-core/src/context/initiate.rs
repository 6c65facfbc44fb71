//! The end that begins: I1 out, R1 in, I2 out, R2 in (RFC 5533 §7.7, §7.11, §7.16).

use std::sync::Arc;

use shim6_wire::{Fii, InitiatorNonce, R1, R2};

use super::establish::PeerHalf;
use super::{CurrentPair, State, Step};
use crate::dispatch::Arrived;
use crate::endpoint::Endpoint;
use crate::event::DropReason;
use crate::locator::{Answer, PeerLocators, ProbedLocator};
use crate::pair::UlidPair;
use crate::table::Taken;
use crate::time::Instant;

impl Endpoint {
    /// Begins a context: allocates it and sends I1 (RFC 5533 §7.7). `false` if it cannot be.
    pub(crate) fn initiate(&mut self, ulids: UlidPair, now: Instant) -> bool {
        let Some(mut context) = self.new_context(ulids, Fii::DEFAULT, None, now) else {
            return false;
        };
        self.start_exchange(&mut context, Step::I1, ulids.into(), now);
        self.settle(context, now);
        true
    }

    /// RFC 5533 §7.11.
    pub(crate) fn on_r1(&mut self, r1: R1, arrived: &Arrived<'_>) {
        let Some(mut context) = self.take_by_nonce(r1.initiator_nonce) else {
            self.counters.drop(DropReason::NoContext);
            return;
        };
        //= https://www.rfc-editor.org/rfc/rfc5533#section-7.11
        //= id=S-085
        //# Next, the host looks for an existing context that matches the Initiator Nonce and
        //# where the locators are contained in Ls(peer) and Ls(local), respectively.
        let ours = context.peer.contains(arrived.source)
            && context.announcement.contains(arrived.destination);
        if !ours {
            self.counters.drop(DropReason::ForeignLocator);
        } else if context.state == State::I1Sent {
            context.state = State::I2Sent;
            let R1 {
                responder_nonce,
                validator,
                ..
            } = r1;
            //= https://www.rfc-editor.org/rfc/rfc5533#section-7.11
            //= id=S-022
            //# When the host sends an I2 message, it includes the Responder
            //# Validator option that was in the R1 message.
            let step = Step::I2 {
                responder_nonce,
                validator,
            };
            self.start_exchange(&mut context, step, arrived.reversed(), arrived.now);
        } else {
            //= https://www.rfc-editor.org/rfc/rfc5533#section-7.11
            //= id=S-086
            //# so this R1 message MUST be silently
            //# discarded.
            self.counters.drop(DropReason::WrongState);
        }
        self.settle(context, arrived.now);
    }

    /// RFC 5533 §7.16.
    pub(crate) fn on_r2(&mut self, r2: &R2, arrived: &Arrived<'_>) {
        // A context that is ESTABLISHED is not found by its nonce.
        //= https://www.rfc-editor.org/rfc/rfc5533#section-7.16
        //= id=S-112
        //# If the STATE is ESTABLISHED, the R2 message is silently ignored, (since this is likely
        //# to be a reply to a retransmitted I2 message).
        let Some(mut context) = self.take_by_nonce(r2.initiator_nonce) else {
            self.counters.drop(DropReason::NoContext);
            return;
        };
        let awaited = context.exchange.as_ref().map(|exchange| exchange.pair);
        if awaited == Some(arrived.reversed()) {
            let known = context.peer.clone();
            //= https://www.rfc-editor.org/rfc/rfc5533#section-7.16
            //= id=S-111
            //# The host SHOULD perform the HBA/CGA verification of the peer's locator set at this
            //# point in time, as specified in Section 7.2.
            match self.prove(context.ulids.peer, Some(&known), &r2.locators, arrived) {
                Ok(locators) => self.complete(&mut context, r2, locators, arrived),
                Err(refusal) => self.refuse(refusal, arrived),
            }
        } else {
            self.counters.drop(DropReason::ForeignLocator);
        }
        self.settle(context, arrived.now);
    }

    /// The exchange that this host began has its answer.
    fn complete(
        &mut self,
        context: &mut Taken,
        r2: &R2,
        locators: PeerLocators,
        arrived: &Arrived<'_>,
    ) {
        let Some(exchange) = context.exchange.take() else {
            return;
        };
        if context.state == State::I2bisSent {
            // The pair is as good as it was; if it was in doubt, it still is.
            context.state = State::Established;
        } else if let Some(peer) = locators.verified(arrived.source) {
            let current = CurrentPair {
                local: arrived.destination,
                peer: ProbedLocator::new(peer, Answer::nonce()),
            };
            self.begin_life(context, current, arrived.now);
        } else {
            let current = CurrentPair::of_ulids(context.ulids);
            self.begin_life(context, current, arrived.now);
        }
        // Copies are seconds apart: the answer is to the last one.
        context
            .reap
            .note_round_trip(arrived.now.since(exchange.sent));
        context.fell_back = false;
        let half = PeerHalf {
            tag: r2.responder_tag,
            locators,
            keepalive_timeout: r2.keepalive_timeout,
        };
        self.adopt(context, half);
        self.tell_established(context);
        context.update = None;
        context.acknowledged = exchange.offered;
        if !Arc::ptr_eq(&context.acknowledged, &context.announcement) {
            self.start_update(context, arrived.now);
        } else if exchange.sent < context.strays_until {
            self.confirm_update(context, arrived.now);
        }
        self.doubt_stale_pair(context, arrived.now);
    }

    fn take_by_nonce(&mut self, nonce: InitiatorNonce) -> Option<Taken> {
        self.table
            .by_nonce(nonce)
            .and_then(|id| self.table.take(id))
    }
}
