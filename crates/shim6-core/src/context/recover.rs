//! A context that one side has lost: R1bis and I2bis (RFC 5533 §7.5, §7.17 to §7.20).

use shim6_wire::{ContextTag, Fii, I2bis, Message, R1bis};

use super::respond::Initiator;
use super::{State, Step};
use crate::dispatch::Arrived;
use crate::endpoint::Endpoint;
use crate::event::{DropReason, Event};
use crate::responder::LostContext;

impl Endpoint {
    /// Tells whoever sent `tag` that this host has no such context, and keeps nothing of it.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.17
    //= id=S-114,S-144,S-146,S-154
    //# Upon the receipt of a Shim6 Payload Extension header where there is
    //# no current Shim6 context at the receiver, the receiver is to respond
    //# with an R1bis message in order to enable a fast re-establishment of
    //# the lost Shim6 context.
    pub(crate) fn send_r1bis(&mut self, tag: ContextTag, arrived: &Arrived<'_>) {
        if !self.answer_budget.spend(arrived.now) {
            self.counters.drop(DropReason::OverBudget);
            return;
        }
        let responder_nonce = self.responder.nonce(arrived.now, &mut self.rng);
        let lost = arrived.lost_context(tag);
        let validator = self.responder.r1bis(responder_nonce, &lost, arrived.now);
        let r1bis = R1bis {
            packet_tag: tag,
            responder_nonce,
            validator,
        };
        self.send(arrived.reversed(), &Message::R1bis(r1bis));
    }

    /// RFC 5533 §7.18.
    pub(crate) fn on_r1bis(&mut self, r1bis: R1bis, arrived: &Arrived<'_>) {
        //= https://www.rfc-editor.org/rfc/rfc5533#section-7.18
        //= id=S-116
        //# the
        //# host looks for an existing context where the Packet Context Tag
        //# matches CT(peer) and where the locators match Lp(peer) and Lp(local),
        //# respectively.
        //= https://www.rfc-editor.org/rfc/rfc5533#section-7.18
        //= id=S-116
        //= type=exception
        //= reason=probes go to other pairs too: were their R1bis ignored, a peer that lost the context while the current pair is dead would never be found again
        //# where the locators match Lp(peer) and Lp(local),
        let pair = arrived.reversed();
        let found = self.table.by_peer(r1bis.packet_tag, pair.peer);
        let found = found.filter(|&id| {
            let context = self.table.get(id);
            context.is_some_and(|context| context.announcement.contains(pair.local))
        });
        let Some(mut context) = found.and_then(|id| self.table.take(id)) else {
            self.counters.drop(DropReason::NoContext);
            return;
        };
        if context.state == State::Established {
            context.state = State::I2bisSent;
            context.initiator_nonce = self.unused_nonce();
            let R1bis {
                packet_tag,
                responder_nonce,
                validator,
            } = r1bis;
            let step = Step::I2bis {
                packet_tag,
                responder_nonce,
                validator,
            };
            self.start_exchange(&mut context, step, pair, arrived.now);
            self.events.push_back(Event::Recovering {
                ulids: context.ulids,
            });
        } else {
            self.counters.drop(DropReason::WrongState);
        }
        self.settle(context, arrived.now);
    }

    /// RFC 5533 §7.20.
    pub(crate) fn on_i2bis(&mut self, i2bis: &I2bis, arrived: &Arrived<'_>) {
        let Some(ulids) = self.ulids_of(i2bis.ulids, arrived) else {
            return;
        };
        let fii = i2bis.fii.unwrap_or(Fii::DEFAULT);
        let lost: LostContext = arrived.lost_context(i2bis.packet_tag);
        let nonce = i2bis.responder_nonce;
        let age = self
            .responder
            .accepts_i2bis(nonce, &i2bis.validator, &lost, arrived.now);
        let Some(round_trip) = age else {
            self.counters.drop(DropReason::BadValidator);
            return;
        };
        // `new_context` draws one, and 47 random bits do not meet by chance.
        //= https://www.rfc-editor.org/rfc/rfc5533#section-7.20
        //= id=S-125
        //# The host SHOULD NOT use the Packet Context Tag in the I2bis message for CT(local);
        //# instead, it should pick a new random Context Tag just as when it processes an I2
        //# message.
        let initiator = Initiator {
            ulids,
            fii,
            tag: i2bis.initiator_tag,
            nonce: i2bis.initiator_nonce,
            locators: &i2bis.locators,
            keepalive_timeout: i2bis.keepalive_timeout,
            round_trip,
        };
        self.accept_initiator(&initiator, arrived);
    }
}
