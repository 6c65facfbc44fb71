//! The end that answers: I1 in, R1 out, I2 in, R2 out (RFC 5533 §7.9, §7.10, §7.13, §7.14).

use std::sync::Arc;
use std::time::Duration;

use shim6_wire::{
    ContextTag, Fii, I1, I2, InitiatorNonce, KeepaliveTimeout, LocatorOptions, Message, R1, R2,
};

use super::establish::PeerHalf;
use super::{Context, CurrentPair, State};
use crate::budget::Site;
use crate::dispatch::Arrived;
use crate::endpoint::Endpoint;
use crate::event::DropReason;
use crate::locator::{Answer, ProbedLocator};
use crate::pair::UlidPair;
use crate::responder::Initiation;

/// An I2 or I2bis whose validator is good.
pub(super) struct Initiator<'a> {
    pub(super) ulids: UlidPair,
    pub(super) fii: Fii,
    /// CT(initiator).
    pub(super) tag: ContextTag,
    pub(super) nonce: InitiatorNonce,
    /// What it claims and how it means to prove it.
    pub(super) locators: &'a LocatorOptions,
    pub(super) keepalive_timeout: Option<KeepaliveTimeout>,
    /// From our R1 or R1bis to this message.
    pub(super) round_trip: Duration,
}

impl Endpoint {
    /// RFC 5533 §7.9.
    pub(crate) fn on_i1(&mut self, i1: &I1, arrived: &Arrived<'_>) {
        let Some(ulids) = self.ulids_of(i1.ulids, arrived) else {
            return;
        };
        let fii = i1.fii.unwrap_or(Fii::DEFAULT);
        let existing = self
            .table
            .by_ulids(ulids, fii)
            .and_then(|id| self.table.get(id));
        //= https://www.rfc-editor.org/rfc/rfc5533#section-7.6
        //= id=S-070
        //# Note that an I1 message with a duplicate Context Tag should not cause the removal of
        //# the old context state; this operation needs to be deferred until the reception of the
        //# I2 message.
        let answer_with_r2 = existing.is_some_and(|context| match context.state {
            State::Established => {
                //= https://www.rfc-editor.org/rfc/rfc5533#section-7.9
                //= id=S-079,S-080,S-081
                //# If the Context Tags match, then this probably means that the R2
                //# message was lost and this I1 is a retransmission.
                context.peer.contains(arrived.source) && context.peer_tag == Some(i1.initiator_tag)
            }
            //= https://www.rfc-editor.org/rfc/rfc5533#section-7.9
            //= id=S-082
            //# the host leaves CT(peer) unchanged and
            //# replies with an R2 message.
            State::I1Sent | State::I2Sent | State::I2bisSent => true,
            State::EFailed | State::NoSupport => false,
        });
        match existing.filter(|_| answer_with_r2) {
            // R2 is larger than I1 and its source is not proven: strangers share a budget.
            Some(_) if !self.answer_budget.spend(arrived.now) => {
                self.counters.drop(DropReason::OverBudget);
            }
            Some(context) => {
                let r2 = self.r2(context, i1.initiator_nonce);
                self.send(arrived.reversed(), &r2);
            }
            None => self.send_r1(i1, ulids, fii, arrived),
        }
    }

    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.10
    //= id=S-078
    //# No state is
    //# created on the host in this case.
    fn send_r1(&mut self, i1: &I1, ulids: UlidPair, fii: Fii, arrived: &Arrived<'_>) {
        if !self.answer_budget.spend(arrived.now) {
            self.counters.drop(DropReason::OverBudget);
            return;
        }
        let responder_nonce = self.responder.nonce(arrived.now, &mut self.rng);
        let initiation = arrived.initiation(i1.initiator_tag, ulids, fii);
        let r1 = R1 {
            initiator_nonce: i1.initiator_nonce,
            responder_nonce,
            validator: self.responder.r1(responder_nonce, &initiation, arrived.now),
        };
        self.send(arrived.reversed(), &Message::R1(r1));
    }

    /// RFC 5533 §7.13.
    pub(crate) fn on_i2(&mut self, i2: &I2, arrived: &Arrived<'_>) {
        let Some(ulids) = self.ulids_of(i2.ulids, arrived) else {
            return;
        };
        let fii = i2.fii.unwrap_or(Fii::DEFAULT);
        //= https://www.rfc-editor.org/rfc/rfc5533#section-7.13
        //= id=S-095
        //# the Responder Validator option matches
        //# the validator the host would have computed for the ULID, locators,
        //# Responder Nonce, Initiator Nonce, and FII.
        let initiation: Initiation = arrived.initiation(i2.initiator_tag, ulids, fii);
        let nonce = i2.responder_nonce;
        let age = self
            .responder
            .accepts_i2(nonce, &i2.validator, &initiation, arrived.now);
        let Some(round_trip) = age else {
            self.counters.drop(DropReason::BadValidator);
            return;
        };
        let initiator = Initiator {
            ulids,
            fii,
            tag: i2.initiator_tag,
            nonce: i2.initiator_nonce,
            locators: &i2.locators,
            keepalive_timeout: i2.keepalive_timeout,
            round_trip,
        };
        self.accept_initiator(&initiator, arrived);
    }

    /// An I2 or I2bis whose validator is good: create or refresh the context, answer R2.
    pub(super) fn accept_initiator(&mut self, initiator: &Initiator<'_>, arrived: &Arrived<'_>) {
        let &Initiator {
            ulids,
            fii,
            keepalive_timeout,
            ..
        } = initiator;
        let known = self.table.by_ulids(ulids, fii);
        let site = Site::of(arrived.source);
        // Looked at first, because a full table must not cost a signature.
        if let (None, Err(reason)) = (known, self.check_room(ulids, fii, Some(site))) {
            self.counters.drop(reason);
            return;
        }
        let known_locators = known
            .and_then(|id| self.table.get(id))
            .map(|c| c.peer.clone());
        //= https://www.rfc-editor.org/rfc/rfc5533#section-7.13
        //= id=S-097,S-099,S-101,S-126,S-128,S-130
        //# before updating Ls(peer)
        //# information, the host SHOULD perform the HBA/CGA validation of
        //# the peer's locator set at this point in time
        let locators = match self.prove(
            ulids.peer,
            known_locators.as_ref(),
            initiator.locators,
            arrived,
        ) {
            Ok(locators) => locators,
            Err(refusal) => return self.refuse(refusal, arrived),
        };
        // The source has to be among what was proven, whether the context is new or not: the validator
        // shows that somebody is there, the list that it is this peer.
        let Some(source) = locators.verified(arrived.source) else {
            self.counters.drop(DropReason::ForeignLocator);
            return;
        };
        let Some(mut context) = known
            .and_then(|id| self.table.take(id))
            .or_else(|| self.new_context(ulids, fii, Some(site), arrived.now))
        else {
            return;
        };
        //= https://www.rfc-editor.org/rfc/rfc5533#section-7.13
        //= id=S-098,S-100,S-127,S-129
        //# If this is the case, then the host updates the context
        //# information (CT(peer), Ls(peer)) with the data contained in the
        //# I2 message, and the host MUST send an R2 message back
        let newly = match context.state {
            State::Established => known.is_none(),
            State::I2Sent | State::I2bisSent => false,
            State::I1Sent | State::EFailed | State::NoSupport => true,
        };
        if newly {
            let current = CurrentPair {
                local: arrived.destination,
                peer: ProbedLocator::new(source, Answer::validator()),
            };
            self.begin_life(&mut context, current, arrived.now);
        }
        if newly || context.peer_tag != Some(initiator.tag) {
            // The peer waits for R2 and takes the list from there.
            context.acknowledged = Arc::clone(&context.announcement);
        }
        // If it took longer, the peer sent its I2 again, and no one knows when.
        if initiator.round_trip < self.config.i2_timeout / 2 {
            context.reap.note_round_trip(initiator.round_trip);
        }
        self.adopt(
            &mut context,
            PeerHalf {
                tag: initiator.tag,
                locators,
                keepalive_timeout,
            },
        );
        if newly {
            self.tell_established(&context);
        }
        context.told = arrived.now;
        let r2 = self.r2(&context, initiator.nonce);
        self.send(arrived.reversed(), &r2);
        self.doubt_stale_pair(&mut context, arrived.now);
        self.settle(context, arrived.now);
    }

    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.14
    //= id=S-103
    //# R2 messages are never retransmitted.
    fn r2(&self, context: &Context, initiator_nonce: InitiatorNonce) -> Message {
        Message::R2(R2 {
            responder_tag: context.local_tag,
            initiator_nonce,
            locators: context.announcement.options(),
            keepalive_timeout: self.keepalive_option(),
        })
    }
}
