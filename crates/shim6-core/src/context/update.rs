//! Locator updates in the life of a context (RFC 5533 §10).

use std::sync::Arc;
use std::time::Duration;

use rand_core::RngCore;
use shim6_wire::{Message, RequestNonce, UpdateAck, UpdateRequest};

use super::{Context, PendingUpdate};
use crate::dispatch::Arrived;
use crate::endpoint::Endpoint;
use crate::event::{Cause, DropReason, Event};
use crate::locator::Announcement;
use crate::reap::Reap;
use crate::table::Taken;
use crate::time::Instant;

/// How long a message may be under way: those that come later come too rarely to reckon with.
const UNDER_WAY_MAX: Duration = Duration::from_secs(5);

impl Context {
    /// Takes over Ls(local) as the peer is to be told from now on.
    pub(crate) fn announce(&mut self, announcement: Arc<Announcement>) {
        self.announcement = announcement;
        self.strays_until = self.told + UNDER_WAY_MAX;
    }
}

impl Endpoint {
    /// Tells the peer of Ls(local) as it is now, in the place of an update that is under way.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-10.3
    //= id=S-142
    //# There can be at most one outstanding Update Request message at any
    //# time.
    pub(crate) fn start_update(&mut self, context: &mut Context, now: Instant) {
        self.plan_update(context, now);
        self.send_update(context, now);
    }

    /// Tells the peer once more, when nothing older can be under way to it any more.
    ///
    /// Generations are random, so the peer cannot know which of two lists is the newer one: a message
    /// that the newer one overtook puts the older list in its place, and nobody notices. So what was told
    /// before the last of those can have arrived is not sure to have stayed, though it was acknowledged.
    pub(super) fn confirm_update(&mut self, context: &mut Context, now: Instant) {
        self.plan_update(context, context.strays_until.max(now));
    }

    /// Sees to it that the peer is told at `due`.
    fn plan_update(&mut self, context: &mut Context, due: Instant) {
        context.update = Some(PendingUpdate {
            nonce: RequestNonce(self.rng.next_u32()),
            sent: due,
            due,
            retries: 0,
        });
    }

    /// Sends the pending update, for the first time or again.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-10.2
    //= id=S-141
    //# Should there be no response, the retransmissions continue forever.
    //# The binary exponential backoff stops at MAX_UPDATE_TIMEOUT.
    fn send_update(&mut self, context: &mut Context, now: Instant) {
        let Some(update) = &mut context.update else {
            return;
        };
        let nominal = self.config.update_timeout * (1 << update.retries.min(16));
        let nominal = nominal.min(self.config.max_update_timeout);
        let nonce = update.nonce;
        let wait = self.half_to_three_halves(nominal);
        if let Some(update) = &mut context.update {
            update.sent = now;
            update.due = now + wait;
            update.retries += 1;
        }
        let request = UpdateRequest {
            receiver_tag: context.peer_tag(),
            request_nonce: nonce,
            locators: context.announcement.options(),
            keepalive_timeout: self.keepalive_option(),
        };
        context.told = now;
        context.account.control_sent(now);
        self.send(context.current.pair(), &Message::UpdateRequest(request));
    }

    pub(crate) fn handle_update_timeout(&mut self, context: &mut Context, now: Instant) {
        if context
            .update
            .as_ref()
            .is_some_and(|update| now >= update.due)
        {
            self.send_update(context, now);
        }
    }

    /// RFC 5533 §10.4; the caller found the context and checked the addresses.
    pub(crate) fn on_update_request(
        &mut self,
        context: &mut Taken,
        request: &UpdateRequest,
        arrived: &Arrived<'_>,
    ) {
        let known = context.peer.clone();
        match self.prove(context.ulids.peer, Some(&known), &request.locators, arrived) {
            //= https://www.rfc-editor.org/rfc/rfc5533#section-10.1
            //= id=S-040
            //# The Update Request message can include just a Locator List option (to convey the
            //# new set of locators), just a Locator Preferences option, or both a new Locator
            //# List and new Locator Preferences.
            Ok(locators) => {
                if locators.reappraises(&known) {
                    context.stay.heard_news();
                }
                context.peer = locators;
            }
            Err(refusal) => return self.refuse(refusal, arrived),
        }
        if let Some(timeout) = request.keepalive_timeout {
            let timeout = std::time::Duration::from_secs(u64::from(timeout.0.max(1)));
            context.reap.set_keepalive_timeout(timeout);
        }
        // In I2-SENT the peer's tag may not be known yet: the R2 that brings it is on its way, and the
        // request will come again.
        let Some(peer_tag) = context.peer_tag else {
            return;
        };
        //= https://www.rfc-editor.org/rfc/rfc5533#section-10.4
        //= id=S-151
        //# the host
        //# sends an Update Acknowledgement message, copying the nonce from the
        //# request and using the CT(peer) as the Receiver Context Tag.
        let ack = UpdateAck {
            receiver_tag: peer_tag,
            request_nonce: request.request_nonce,
        };
        self.send(arrived.reversed(), &Message::UpdateAck(ack));
        if !context.state.has_peer() {
            return;
        }
        self.end_confused(context);
        self.count_as_payload(context, arrived.now);
        context.account.control_sent(arrived.now);
        self.events.push_back(Event::LocatorsUpdated {
            ulids: context.ulids,
            peer: true,
        });
        if !context.peer.contains(context.current.peer.address()) {
            self.explore(context, Cause::PeerLocatorLost, arrived.now);
        }
        self.heed_preferences(context, arrived.now);
    }

    /// RFC 5533 §10.5; the caller found the context and checked the addresses.
    pub(crate) fn on_update_ack(
        &mut self,
        context: &mut Taken,
        ack: &UpdateAck,
        arrived: &Arrived<'_>,
    ) {
        //= https://www.rfc-editor.org/rfc/rfc5533#section-10.5
        //= id=S-155
        //# If the Request Nonce doesn't match the nonce for the last sent Update
        //# Request for the context, then the Update Acknowledgement is silently
        //# ignored.
        let awaited = context
            .update
            .take_if(|update| update.nonce == ack.request_nonce);
        let Some(update) = awaited else {
            self.counters.drop(DropReason::WrongState);
            return;
        };
        context.acknowledged = Arc::clone(&context.announcement);
        if update.sent < context.strays_until {
            self.confirm_update(context, arrived.now);
        }
        self.count_as_payload(context, arrived.now);
        self.events.push_back(Event::LocatorsUpdated {
            ulids: context.ulids,
            peer: false,
        });
    }

    //= https://www.rfc-editor.org/rfc/rfc5534#section-6.1
    //= id=R-044
    //# The reception of Shim6 control messages other than the Keepalive and
    //# Probe messages are treated the same as the reception of payload
    //# packets.
    fn count_as_payload(&mut self, context: &mut Taken, now: Instant) {
        context.account.control_received(now);
        self.with_reap(context, now, |reap, cx| {
            Reap::handle_sign_of_life(reap, cx);
            None
        });
    }
}
