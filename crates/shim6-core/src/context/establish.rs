//! The four-way exchange: I1, R1, I2, R2 (RFC 5533 §7.3 to §7.16).

use std::sync::Arc;
use std::time::Duration;

use rand_core::RngCore;
use shim6_wire::{
    ContextTag, Fii, I1, I2, InitiatorNonce, KeepaliveTimeout, LocatorOptions, Message, R1, R2,
    Ulids,
};

use super::{Context, CurrentPair, State, Step};
use crate::endpoint::{Arrived, Endpoint};
use crate::event::{Cause, DropReason, Event};
use crate::flow::Account;
use crate::locator::{Answer, PeerLocators, ProbedLocator};
use crate::pair::UlidPair;
use crate::reap::Reap;
use crate::responder::Initiation;
use crate::table::Taken;
use crate::time::Instant;

/// What I2, I2bis and R2 alike bring: the peer's half of a context.
pub(super) struct PeerHalf {
    pub(super) tag: ContextTag,
    pub(super) locators: PeerLocators,
    pub(super) keepalive_timeout: Option<KeepaliveTimeout>,
}

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
    /// Begins a context: allocates it and sends I1 (RFC 5533 §7.7). `false` if it cannot be.
    pub(crate) fn initiate(&mut self, ulids: UlidPair, now: Instant) -> bool {
        let Some(mut context) = self.new_context(ulids, Fii::DEFAULT, State::I1Sent, now) else {
            return false;
        };
        context.initiated = true;
        self.start_exchange(&mut context, Step::I1, ulids.into(), now);
        self.settle(context, now);
        true
    }

    /// Allocates a context with an unused tag. `None` if `ulids.local` is no ULID of this host, or
    /// if there are too many contexts.
    pub(super) fn new_context(
        &mut self,
        ulids: UlidPair,
        fii: Fii,
        state: State,
        now: Instant,
    ) -> Option<Taken> {
        let announcement = Arc::clone(self.local.announcement(ulids.local)?);
        if self.table.len() >= self.config.contexts_max {
            self.counters.drop(DropReason::TableFull);
            return None;
        }
        self.counters.contexts_created += 1;
        let context = Context {
            ulids,
            fii,
            state,
            local_tag: self.unused_tag(),
            peer_tag: None,
            initiator_nonce: self.unused_nonce(),
            acknowledged: Arc::clone(&announcement),
            announcement,
            peer: PeerLocators::ulid_alone(ulids.peer),
            current: CurrentPair::of_ulids(ulids),
            inbound: ulids.into(),
            exchange: None,
            fell_back: false,
            update: None,
            reap: Reap::new(&self.config, &mut self.rng),
            silence: None,
            false_alarms: (0, now),
            tested_at: now,
            account: Arc::new(Account::default()),
            initiated: false,
            created: now,
            end: None,
        };
        Some(self.table.insert(context, now))
    }

    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.1
    //= id=S-059
    //# the Context Tag MUST be unique for each context.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.1
    //= id=S-060
    //# at least 30 bits of the Context Tag MUST be unstructured and populated by random or
    //# pseudo-random bits.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.1
    //= id=S-061
    //# the host SHOULD randomly cycle through the unstructured tag name space that is reserved
    //# for randomly assigned Context Tag values
    fn unused_tag(&mut self) -> ContextTag {
        loop {
            let tag = ContextTag::from_bits(self.rng.next_u64());
            if self.table.by_local_tag(tag).is_none() {
                return tag;
            }
        }
    }

    pub(super) fn unused_nonce(&mut self) -> InitiatorNonce {
        loop {
            let nonce = InitiatorNonce(self.rng.next_u32());
            if self.table.by_nonce(nonce).is_none() {
                return nonce;
            }
        }
    }

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
            .or_else(|| self.new_context(ulids, fii, State::Established, arrived.now))
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
            self.begin_life(&mut context, current);
        }
        if newly || context.peer_tag != Some(initiator.tag) {
            // The peer waits for R2 and takes the list from there.
            context.acknowledged = Arc::clone(&context.announcement);
        }
        context.reap.set_rtt(initiator.round_trip);
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
        let r2 = self.r2(&context, initiator.nonce);
        self.send(arrived.reversed(), &r2);
        self.doubt_stale_pair(&mut context, arrived.now);
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
            self.begin_life(context, current);
        } else {
            let current = CurrentPair::of_ulids(context.ulids);
            self.begin_life(context, current);
        }
        // Only what was sent once tells how long the answer took.
        if exchange.retries == 0 {
            context.reap.set_rtt(arrived.now.since(exchange.begun));
        }
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
        }
        self.doubt_stale_pair(context, arrived.now);
    }

    /// Enters ESTABLISHED from a STATE in which nothing was known of the peer.
    ///
    /// What passed before was not watched, so it leaves no timer running.
    fn begin_life(&mut self, context: &mut Context, current: CurrentPair) {
        context.state = State::Established;
        context.exchange = None;
        context.update = None;
        context.fell_back = false;
        context.current = current;
        context.inbound = current.pair();
        context.silence = None;
        context.reap = Reap::new(&self.config, &mut self.rng);
        context.account.stop_send_timer();
        context.account.stop_keepalive_timer();
    }

    /// Looks for another pair if the peer no longer lists where payload goes.
    fn doubt_stale_pair(&mut self, context: &mut Context, now: Instant) {
        if context.state.has_peer() && !context.peer.contains(context.current.peer.address()) {
            self.explore(context, Cause::PeerLocatorLost, now);
        }
    }

    /// Takes over CT(peer) and Ls(peer); ends contexts that the peer must have forgotten.
    fn adopt(&mut self, context: &mut Taken, half: PeerHalf) {
        context.peer_tag = Some(half.tag);
        context.peer = half.locators;
        if let Some(KeepaliveTimeout(seconds)) = half.keepalive_timeout {
            context
                .reap
                .set_keepalive_timeout(Duration::from_secs(u64::from(seconds.max(1))));
        }
        //= https://www.rfc-editor.org/rfc/rfc5533#section-7.15
        //= id=S-068,S-102,S-104,S-105,S-106,S-108,S-113
        //# In
        //# any case, once that this situation is detected, the host MUST NOT
        //# keep two contexts with overlapping Ls(peer) locator sets and the
        //# same Context Tag in ESTABLISHED STATE
        for id in self.table.by_peer_tag(half.tag) {
            let confused = self
                .table
                .get(id)
                .is_some_and(|other| other.peer.overlaps(&context.peer));
            if let Some(other) = confused.then(|| self.table.take(id)).flatten() {
                self.discard(other, Cause::Confusion);
            }
        }
    }

    fn tell_established(&mut self, context: &Context) {
        self.events.push_back(Event::Established {
            ulids: context.ulids,
            fii: context.fii,
            local_tag: context.local_tag,
            initiated: context.initiated,
            peer_locators: context.peer.len(),
        });
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

    //= https://www.rfc-editor.org/rfc/rfc5534#section-5.3
    //= id=R-034,R-035
    //# If the node is using a non-default Send Timeout value, it MUST communicate this value as a
    //# Keepalive Timeout value to the peer in the below option.
    //= https://www.rfc-editor.org/rfc/rfc5534#section-5.3
    //= id=R-036
    //# The option SHOULD only need to be sent once in a given Shim6 association.
    pub(super) fn keepalive_option(&self) -> Option<KeepaliveTimeout> {
        let default = crate::Config::default().send_timeout;
        let seconds = self.config.send_timeout.as_secs().max(1);
        (self.config.send_timeout != default)
            .then(|| KeepaliveTimeout(u16::try_from(seconds).unwrap_or(u16::MAX)))
    }

    fn take_by_nonce(&mut self, nonce: InitiatorNonce) -> Option<Taken> {
        self.table
            .by_nonce(nonce)
            .and_then(|id| self.table.take(id))
    }

    /// The ULIDs that a message conveys, in this host's order; `None` (counted) if `local` is no ULID
    /// of this host.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.9
    //# If there is no
    //# ULID-pair option, then the ULID pair is taken from the Source and
    //# Destination fields in the IPv6 header.
    pub(super) fn ulids_of(
        &mut self,
        option: Option<Ulids>,
        arrived: &Arrived<'_>,
    ) -> Option<UlidPair> {
        let pair = arrived.reversed();
        let ulids = option.map_or(
            UlidPair {
                local: pair.local,
                peer: pair.peer,
            },
            |ulids| UlidPair {
                local: ulids.receiver,
                peer: ulids.sender,
            },
        );
        if self.local.contains(ulids.local) {
            return Some(ulids);
        }
        self.counters.drop(DropReason::NotOurs);
        None
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use rand_core::SeedableRng;
    use shim6_cga::{MultiPrefix, form_hba_set, random_nonce};

    use super::*;
    use crate::locator::LocalLocator;
    use crate::trigger::VolumeOrAge;

    /// A host with one HBA.
    fn endpoint() -> (Endpoint, Ipv6Addr) {
        let config = crate::Config::default();
        let mut endpoint = Endpoint::new(config, Box::new(VolumeOrAge::default()), [7; 32]);
        let set = MultiPrefix {
            has_public_key: false,
            prefixes: vec![[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 1]],
        };
        let nonce = random_nonce(&mut rand_chacha::ChaCha20Rng::seed_from_u64(1));
        let (address, pds) = form_hba_set([0; 16], &set, 0, &nonce, 0).unwrap().remove(0);
        let locator = LocalLocator {
            address,
            pds: Arc::new(pds),
            key: None,
            usable: true,
        };
        endpoint.handle_local_locators(Instant::from_micros(1), &[locator]);
        (endpoint, address)
    }

    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.1
    //= type=test
    //= id=S-059
    //# the Context Tag MUST be unique for each context.
    #[test]
    fn a_tag_in_use_is_not_drawn_again() {
        let (mut endpoint, local) = endpoint();
        let now = Instant::from_micros(1);
        let before = endpoint.rng.clone();
        for host in 1..=3 {
            // Every context draws from the same numbers.
            endpoint.rng = before.clone();
            let peer = Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, host);
            assert!(endpoint.initiate(UlidPair { local, peer }, now));
        }
        let mut tags: Vec<_> = endpoint.contexts().iter().map(|c| c.local_tag).collect();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), 3);
    }
}
