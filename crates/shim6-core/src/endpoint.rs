//! One host's Shim6: what happened goes in, what is next comes out.
//!
//! This file is the border and the dispatcher of RFC 5533 §12.3 and §12.4; what a message does in
//! which STATE is in `context`.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use shim6_wire::{
    Class, ContextTag, Error, ErrorCode, Fii, IcmpError, IcmpKind, MAX_CONTROL_PACKET, Message,
    classify,
};

use crate::budget::Budget;
use crate::config::Config;
use crate::context::State;
use crate::event::{Cause, Counters, DropReason, Event, Resend, Transmit};
use crate::flow::{FlowTable, FlowUpdate};
use crate::locator::{LocalLocator, LocalLocators};
use crate::pair::{LocatorPair, UlidPair};
use crate::reap::{Reap, State as ReapState};
use crate::responder::{Initiation, LostContext, Responder};
use crate::table::{ContextView, Table, Taken};
use crate::time::Instant;
use crate::trigger::{Decision, Heuristic, Seen};

/// How long the counts of a quiet candidate are kept (LinShim6: 60 s).
const CANDIDATE_LIFETIME: Duration = Duration::from_secs(60);

/// A control message that passed the checks of RFC 5533 §12.3, and where it came from.
#[derive(Clone, Copy)]
pub(crate) struct Arrived<'a> {
    pub(crate) now: Instant,
    pub(crate) source: Ipv6Addr,
    pub(crate) destination: Ipv6Addr,
    packet: &'a [u8],
    /// Offset of the Shim6 header in `packet`.
    at: usize,
}

impl Arrived<'_> {
    /// The pair on which an answer goes: this host's address first.
    pub(crate) fn reversed(&self) -> LocatorPair {
        LocatorPair {
            local: self.destination,
            peer: self.source,
        }
    }

    /// The octets of the message, from its Shim6 header on.
    pub(crate) fn shim(&self) -> &[u8] {
        &self.packet[self.at..]
    }

    pub(crate) fn initiation(
        &self,
        initiator_tag: ContextTag,
        ulids: UlidPair,
        fii: Fii,
    ) -> Initiation {
        let (source, destination) = (self.source, self.destination);
        Initiation {
            initiator_tag,
            ulids,
            source,
            destination,
            fii,
        }
    }

    pub(crate) fn lost_context(&self, packet_tag: ContextTag) -> LostContext {
        LostContext {
            packet_tag,
            source: self.source,
            destination: self.destination,
        }
    }
}

/// Packets between two ULIDs that have no context yet.
#[derive(Debug)]
struct Candidate {
    since: Instant,
    last: Instant,
    packets_sent: u64,
    packets_received: u64,
    bytes: u64,
}

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
    pub(crate) events: VecDeque<Event>,
    /// Kept between calls so that a timer that finds nothing to do allocates nothing.
    pub(crate) reap_outbox: Vec<(LocatorPair, Message)>,
    heuristic: Box<dyn Heuristic>,
    candidates: BTreeMap<UlidPair, Candidate>,
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
            events: VecDeque::new(),
            reap_outbox: Vec::new(),
            heuristic,
            candidates: BTreeMap::new(),
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
            context.announcement = announcement;
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
            }
            self.settle(context, now);
        }
    }

    /// Takes in an IPv6 packet that a [`crate::FlowTable`] did not settle: a control message, payload
    /// with an unknown tag, an ICMPv6 error about a Shim6 packet.
    pub fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
        let Some((source, destination)) = addresses(packet) else {
            self.counters.drop(DropReason::Malformed);
            return;
        };
        let arrived = |at| Arrived {
            now,
            source,
            destination,
            packet,
            at,
        };
        match classify(packet) {
            Class::Control { at } => self.handle_control(&arrived(at)),
            Class::PayloadExt { tag, at } if !self.knows_tag(tag) => {
                self.counters.drop(DropReason::UnknownTag);
                if self.local.contains(destination) && is_unicast(source) {
                    self.send_r1bis(tag, &arrived(at));
                }
            }
            Class::IcmpError(error) => self.on_icmp(&error, now),
            Class::PayloadExt { .. } | Class::Payload => {}
            Class::Malformed(_) => self.counters.drop(DropReason::Malformed),
        }
    }

    /// Whether `tag` is that of a context. One that is held down is none to the peer: what it sends is
    /// answered as in IDLE, so that it comes back at once.
    fn knows_tag(&self, tag: ContextTag) -> bool {
        self.table
            .by_local_tag(tag)
            .and_then(|id| self.table.get(id))
            .is_some_and(|context| !context.state.is_held_down())
    }

    //= https://www.rfc-editor.org/rfc/rfc5533#section-12.3
    //= id=S-162
    //# If any of those checks fail, the packet is
    //# silently dropped.
    fn handle_control(&mut self, arrived: &Arrived<'_>) {
        if !is_unicast(arrived.source) || !is_unicast(arrived.destination) {
            self.counters.drop(DropReason::Malformed);
            return;
        }
        if !self.local.contains(arrived.destination) {
            self.counters.drop(DropReason::NotOurs);
            return;
        }
        let message = match Message::parse(arrived.shim()) {
            Ok(message) => message,
            Err(error) => {
                self.counters.drop(DropReason::Malformed);
                if let Some((code, pointer)) = error.report() {
                    self.send_error(code, usize::from(pointer), arrived);
                }
                return;
            }
        };
        self.counters.received += 1;
        match message {
            Message::I1(i1) => self.on_i1(&i1, arrived),
            Message::R1(r1) => self.on_r1(r1, arrived),
            Message::I2(i2) => self.on_i2(&i2, arrived),
            Message::R2(r2) => self.on_r2(&r2, arrived),
            Message::R1bis(r1bis) => self.on_r1bis(r1bis, arrived),
            Message::I2bis(i2bis) => self.on_i2bis(&i2bis, arrived),
            Message::UpdateRequest(request) => {
                self.in_context(request.receiver_tag, arrived, |endpoint, context| {
                    endpoint.on_update_request(context, &request, arrived);
                });
            }
            Message::UpdateAck(ack) => {
                self.in_context(ack.receiver_tag, arrived, |endpoint, context| {
                    endpoint.on_update_ack(context, &ack, arrived);
                });
            }
            //= https://www.rfc-editor.org/rfc/rfc5534#section-5.1
            //= id=R-022
            //# A valid message conforms to the format above, has a Receiver Context Tag that
            //# matches the context known by the receiver, is a valid Shim6 control message as
            //# defined in Section 12.3 of the Shim6 protocol description [RFC5533], and has a
            //# Shim6 context that is in state ESTABLISHED.
            Message::Keepalive(keepalive) => {
                self.in_context(keepalive.receiver_tag, arrived, |endpoint, context| {
                    endpoint.on_keepalive(context, arrived.now);
                });
            }
            Message::Probe(probe) => {
                self.in_context(probe.receiver_tag, arrived, |endpoint, context| {
                    endpoint.on_probe(context, &probe, arrived);
                });
            }
            // Nothing is to be done about an error of ours, and nothing may be answered.
            Message::Error(_) => {}
        }
    }

    /// Finds the context of an Update, Keepalive or Probe, or answers that there is none.
    fn in_context(
        &mut self,
        tag: ContextTag,
        arrived: &Arrived<'_>,
        work: impl FnOnce(&mut Self, &mut Taken),
    ) {
        let found = self
            .table
            .by_local_tag(tag)
            .filter(|_| self.knows_tag(tag))
            .and_then(|id| self.table.take(id));
        let Some(mut context) = found else {
            self.counters.drop(DropReason::NoContext);
            self.send_r1bis(tag, arrived);
            return;
        };
        //= https://www.rfc-editor.org/rfc/rfc5533#section-12.4
        //= id=S-145,S-153,S-165
        //# Verify that the IPv6 Source Address field is part
        //# of Ls(peer) and that the IPv6 Destination Address field is part of
        //# Ls(local).  If not, send an R1bis message.
        let is_peers = context.peer.contains(arrived.source);
        let is_ours = context.announcement.contains(arrived.destination)
            || context.acknowledged.contains(arrived.destination);
        if !is_peers || !is_ours {
            self.counters.drop(DropReason::ForeignLocator);
            self.send_r1bis(tag, arrived);
        } else if context.state == State::Established {
            work(self, &mut context);
        } else if matches!(context.state, State::I2Sent | State::I2bisSent) {
            //= https://www.rfc-editor.org/rfc/rfc5533#section-10.4
            //= id=S-148
            //# If I2-SENT, send I2 and proceed to process the message.
            self.send_exchange_again(&mut context, arrived.now);
            if context.state == State::I2bisSent {
                work(self, &mut context);
            }
        } else {
            self.counters.drop(DropReason::WrongState);
        }
        self.settle(context, arrived.now);
    }

    fn on_icmp(&mut self, error: &IcmpError, now: Instant) {
        if let (Some(peer_tag), None) = (error.tag, error.control) {
            self.on_icmp_about_payload(error, peer_tag, now);
            return;
        }
        let ulids = UlidPair {
            local: error.quoted_source,
            peer: error.quoted_destination,
        };
        let found = self
            .table
            .by_ulids(ulids, Fii::DEFAULT)
            .and_then(|id| self.table.take(id));
        let Some(mut context) = found else {
            self.counters.drop(DropReason::IcmpForeign);
            return;
        };
        //= https://www.rfc-editor.org/rfc/rfc5533#section-7.8
        //= id=S-076
        //# If the host receives an ICMP error with "Unrecognized Next Header" type (type 4, code
        //# 1) and the included packet is the I1 message it just sent, then this is a more
        //# reliable indication that the peer ULID does not implement Shim6.
        if context.state == State::I1Sent
            && matches!(error.kind, IcmpKind::ParameterProblem { code: 1, .. })
            && error.initiator_nonce == Some(context.initiator_nonce)
        {
            let hold = self.config.icmp_holddown;
            self.hold_down(
                &mut context,
                State::NoSupport,
                Cause::NotSupported,
                hold,
                now,
            );
        } else {
            self.counters.drop(DropReason::IcmpActedUpon);
        }
        self.settle(context, now);
    }

    /// A router could not forward a mapped packet: a hint, which anybody can forge, so it raises a
    /// question and decides nothing.
    //= https://www.rfc-editor.org/rfc/rfc5534#section-8
    //= id=R-058
    //# Unprotected
    //# indications SHOULD NOT be taken as a proof of connectivity problems.
    fn on_icmp_about_payload(&mut self, error: &IcmpError, peer_tag: ContextTag, now: Instant) {
        let pair = LocatorPair {
            local: error.quoted_source,
            peer: error.quoted_destination,
        };
        let found = self.table.by_peer_tag(peer_tag).into_iter().find(|&id| {
            self.table
                .get(id)
                .is_some_and(|context| context.current.pair() == pair)
        });
        let Some(mut context) = found.and_then(|id| self.table.take(id)) else {
            self.counters.drop(DropReason::IcmpForeign);
            return;
        };
        self.counters.drop(DropReason::IcmpActedUpon);
        self.test_current_pair(&mut context, now);
        self.settle(context, now);
    }

    /// Notes a payload packet on a context that is watched.
    pub fn handle_payload_received(&mut self, now: Instant, tag: ContextTag) {
        let found = self
            .table
            .by_local_tag(tag)
            .and_then(|id| self.table.take(id));
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

    /// Notes a packet between ULIDs that have no context, and asks the heuristic about it.
    pub fn handle_candidate(&mut self, now: Instant, ulids: UlidPair, sent: bool, octets: usize) {
        if !self.may_initiate(ulids) {
            return;
        }
        // Only what this host sends makes an entry: no stranger makes it negotiate.
        if !sent && !self.candidates.contains_key(&ulids) {
            return;
        }
        if self.candidates.len() >= self.config.candidates_max {
            self.candidates
                .retain(|_, candidate| now.since(candidate.last) < CANDIDATE_LIFETIME);
            if self.candidates.len() >= self.config.candidates_max {
                self.counters.drop(DropReason::TableFull);
                return;
            }
        }
        let fresh = Candidate {
            since: now,
            last: now,
            packets_sent: 0,
            packets_received: 0,
            bytes: 0,
        };
        let candidate = self.candidates.entry(ulids).or_insert(fresh);
        if now.since(candidate.last) >= CANDIDATE_LIFETIME {
            *candidate = Candidate {
                since: now,
                packets_sent: 0,
                packets_received: 0,
                bytes: 0,
                last: now,
            };
        }
        candidate.last = now;
        candidate.packets_sent += u64::from(sent);
        candidate.packets_received += u64::from(!sent);
        candidate.bytes += octets as u64;
        let seen = Seen {
            ulids,
            packets_sent: candidate.packets_sent,
            packets_received: candidate.packets_received,
            bytes: candidate.bytes,
            age: now.since(candidate.since),
        };
        match self.heuristic.decide(&seen) {
            Decision::Initiate => {
                self.handle_trigger(now, ulids);
            }
            Decision::Wait => {}
        }
    }

    /// Begins a context: the kernel applied the heuristic's rule, or an operator asks for it.
    ///
    /// `false` if there is none and none can be begun: asking again soon would not help.
    pub fn handle_trigger(&mut self, now: Instant, ulids: UlidPair) -> bool {
        self.candidates.remove(&ulids);
        let known = self.table.by_ulids(ulids, Fii::DEFAULT).is_some();
        known || (self.may_initiate(ulids) && self.initiate(ulids, now))
    }

    fn may_initiate(&self, ulids: UlidPair) -> bool {
        self.heuristic.initiates()
            && self.local.contains(ulids.local)
            && is_unicast(ulids.peer)
            && !ulids.peer.is_unicast_link_local()
            && !self.local.contains(ulids.peer)
            && self.table.by_ulids(ulids, Fii::DEFAULT).is_none()
    }

    /// Does what is due at `now`. Calling early or twice does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(mut context) = self.table.due(now).and_then(|id| self.table.take(id)) {
            //= https://www.rfc-editor.org/rfc/rfc5533#section-9
            //= id=S-137,S-138
            //# it is RECOMMENDED that
            let idle = now.since(context.last_used()) >= self.config.idle_lifetime;
            if idle && context.state.has_peer() {
                self.discard(context, Cause::Idle);
                continue;
            }
            self.handle_exchange_timeout(&mut context, now);
            self.handle_update_timeout(&mut context, now);
            self.handle_resend_timeout(&mut context, now);
            if context.state.has_peer() {
                self.with_reap(&mut context, now, Reap::handle_timeout);
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
        FlowTable::new(
            self.rng.next_u64(),
            kernel_counts,
            self.config.suspicious_silence,
        )
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
        let (context, published) = self.table.remove(context);
        self.flow_updates.extend(published.map(FlowUpdate::Remove));
        self.events.push_back(Event::Discarded {
            ulids: context.ulids,
            fii: context.fii,
            cause,
        });
    }

    pub(crate) fn send(&mut self, pair: LocatorPair, message: &Message) {
        self.counters.sent += 1;
        self.transmits.push_back(Transmit {
            source: pair.local,
            destination: pair.peer,
            message: message.emit(),
        });
    }

    /// Tells the peer what was wrong; `offset` counts from the Shim6 header.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-5.14
    //= id=S-043
    //# Identifies the octet offset within the invoking packet where the error was detected.
    pub(crate) fn send_error(&mut self, code: ErrorCode, offset: usize, arrived: &Arrived<'_>) {
        /// IPv6 header and the fixed part of the Error message.
        const OVERHEAD: usize = 40 + 8;
        if !self.answer_budget.spend(arrived.now) {
            self.counters.drop(DropReason::OverBudget);
            return;
        }
        let quoted = arrived.packet.len().min(MAX_CONTROL_PACKET - OVERHEAD);
        let error = Error {
            code,
            pointer: u16::try_from(arrived.at + offset).unwrap_or(u16::MAX),
            packet: arrived.packet[..quoted].to_vec(),
        };
        self.send(arrived.reversed(), &Message::Error(error));
    }
}

/// Source and destination in an IPv6 header, if there is one.
pub(crate) fn addresses(packet: &[u8]) -> Option<(Ipv6Addr, Ipv6Addr)> {
    let source: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
    let destination: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
    Some((source.into(), destination.into()))
}

/// Whether `address` can be one end of a conversation between hosts.
pub(crate) fn is_unicast(address: Ipv6Addr) -> bool {
    !address.is_multicast() && !address.is_unspecified() && !address.is_loopback()
}
