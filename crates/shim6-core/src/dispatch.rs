//! Which handler a packet is for: the checks of RFC 5533 §12.3, the lookups of §12.4.
//!
//! What a message does in which STATE is in `context`.

use std::net::Ipv6Addr;

use shim6_wire::{Class, ContextTag, Error, ErrorCode, Fii, MAX_CONTROL_PACKET, Message, classify};

use crate::context::State;
use crate::endpoint::Endpoint;
use crate::event::DropReason;
use crate::pair::{LocatorPair, UlidPair};
use crate::responder::{Initiation, LostContext};
use crate::table::Taken;
use crate::time::Instant;

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

impl Endpoint {
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
            work(self, &mut context);
        } else {
            self.counters.drop(DropReason::WrongState);
        }
        self.settle(context, arrived.now);
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
