//! The contexts, indexed for packets: what becomes of each one.

use std::sync::Arc;
use std::time::Duration;

use shim6_wire::{Class, ContextTag, IcmpError, IcmpKind, Packet};

use super::index::Index;
use super::{Exploring, Flow, FlowUpdate, Notice, Path, Tagged, Verdict};
use crate::config::Config;
use crate::event::DropReason;
use crate::pair::{LocatorPair, UlidPair};
use crate::time::Instant;

/// The contexts, indexed for packets. One per queue thread.
#[derive(Debug)]
pub struct FlowTable {
    /// The kernel counts untouched flows: what is seen of one is what it sends into silence.
    kernel_counts: bool,
    suspicious_silence: Duration,
    deliver_icmp_errors: bool,
    pub(super) default: Index<UlidPair>,
    marked: Index<(UlidPair, u32)>,
    /// Has every flow.
    pub(super) tagged: Index<ContextTag>,
    mapped: Index<(ContextTag, LocatorPair)>,
    /// Flows as they were before their context moved, where they were mapped: errors about what was
    /// sent then are still on their way.
    left: Index<(ContextTag, LocatorPair)>,
    /// The same by CT(local): one for each context at most.
    left_by: Index<ContextTag>,
}

impl FlowTable {
    /// An empty table, whose hashes are keyed with `seed`.
    pub(crate) fn new(seed: u64, kernel_counts: bool, config: &Config) -> Self {
        Self {
            kernel_counts,
            suspicious_silence: config.suspicious_silence,
            deliver_icmp_errors: config.deliver_icmp_errors,
            default: Index::new(seed),
            marked: Index::new(seed),
            tagged: Index::new(seed),
            mapped: Index::new(seed),
            left: Index::new(seed),
            left_by: Index::new(seed),
        }
    }

    /// Takes over a change of the endpoint's.
    pub fn apply(&mut self, update: FlowUpdate) {
        match update {
            FlowUpdate::Set(flow) => {
                let former = self.forget(flow.local_tag);
                if let Some(former) = former.filter(|former| former.path != flow.path) {
                    self.leave(&former);
                }
                self.default.insert(&flow);
                self.marked.insert(&flow);
                self.tagged.insert(&flow);
                self.mapped.insert(&flow);
            }
            FlowUpdate::Remove(flow) => {
                self.forget(flow.local_tag);
                self.forget_left(flow.local_tag);
            }
        }
    }

    fn forget(&mut self, local_tag: ContextTag) -> Option<Arc<Flow>> {
        let flow = self.tagged.take(&local_tag)?;
        self.default.remove(&flow);
        self.marked.remove(&flow);
        self.mapped.remove(&flow);
        Some(flow)
    }

    /// Keeps what a flow was until now, in the place of what it was before that.
    fn leave(&mut self, former: &Arc<Flow>) {
        self.forget_left(former.local_tag);
        match former.path {
            Path::Mapped { .. } => {
                self.left.insert(former);
                self.left_by.insert(former);
            }
            // An error about it is the upper layer's as it is.
            Path::Untouched => {}
        }
    }

    fn forget_left(&mut self, local_tag: ContextTag) {
        if let Some(flow) = self.left_by.take(&local_tag) {
            self.left.remove(&flow);
        }
    }

    /// How many contexts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tagged.len()
    }

    /// Whether there is no context.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Decides on a packet that the local stack sends: ULIDs become locators.
    pub fn outgoing(&self, packet: &mut Packet<'_>, now: Instant) -> (Verdict, Option<Notice>) {
        self.outgoing_marked(packet, 0, now)
    }

    /// The same for a packet of a socket with a mark (`SO_MARK`), for which there may be a fork.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-12.4
    //# If we have
    //# a ULP API that allows the ULP to do context forking, then presumably
    //# the ULP would pass down the Forked Instance Identifier.
    pub fn outgoing_marked(
        &self,
        packet: &mut Packet<'_>,
        mark: u32,
        now: Instant,
    ) -> (Verdict, Option<Notice>) {
        let ulids = UlidPair {
            local: packet.source(),
            peer: packet.destination(),
        };
        let fork = if mark == 0 {
            None
        } else {
            // One that is not established, or no more, leaves its packets to the default context.
            let fork = self.marked.get(&(ulids, mark));
            fork.filter(|flow| flow.path != Path::Untouched)
        };
        let Some(flow) = fork.or_else(|| self.default.get(&ulids)) else {
            return (Verdict::Accept, Some(Notice::Candidate(ulids)));
        };
        let notice = self.note_sent(flow, packet.octets().len(), now);
        match flow.path {
            //= https://www.rfc-editor.org/rfc/rfc5533#section-11
            //= id=S-156
            //# If this is the case, then packets can be sent unmodified by the shim.
            //= https://www.rfc-editor.org/rfc/rfc5533#section-11.1
            //= id=S-158
            //# If there has been a failure causing a switch, and later the context switches back
            //# to sending things using the ULID pair as the locator pair, then there is no longer
            //# a need to do any packet transformation by the sender; hence, there is no need to
            //# include the 8-octet Extension header.
            Path::Untouched => (Verdict::Accept, notice),
            Path::Mapped { locators, peer_tag } => {
                match packet.insert_payload_ext(peer_tag, locators.local, locators.peer) {
                    Ok(()) => (Verdict::Rewritten, notice),
                    Err(_) => (Verdict::Drop(DropReason::TooBig), None),
                }
            }
        }
    }

    /// Notes a packet of the local stack that passes as it is, `octets` long.
    pub fn observe_outgoing(&self, ulids: UlidPair, octets: usize, now: Instant) -> Option<Notice> {
        match self.default.get(&ulids) {
            Some(flow) => self.note_sent(flow, octets, now),
            None => Some(Notice::Candidate(ulids)),
        }
    }

    /// Notes an untagged packet for the local stack, `octets` long.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-12.1
    //# If such a context is found,
    //# the context appears not to be quiescent; this should be remembered in
    //# order to avoid tearing down the context and for reachability
    //# detection purposes as described in [4].
    pub fn observe_incoming(&self, ulids: UlidPair, octets: usize, now: Instant) -> Option<Notice> {
        let Some(flow) = self.default.get(&ulids) else {
            return Some(Notice::Candidate(ulids));
        };
        flow.account.saw(now, octets);
        flow.exploring
            .awaits_life()
            .then_some(Notice::Payload(flow.local_tag))
    }

    /// Accounts for a packet sent, unless the kernel does; says so if it goes into silence.
    fn note_sent(&self, flow: &Flow, octets: usize, now: Instant) -> Option<Notice> {
        let counted = self.kernel_counts && (flow.path == Path::Untouched || flow.kernel_maps);
        let silent = if counted {
            // The kernel heard nothing; but of what arrives tagged it knows nothing.
            flow.account.seen_since(now) >= self.suspicious_silence
        } else {
            let silent = flow
                .account
                .awaiting_peer()
                .is_some_and(|since| now.since(since) >= self.suspicious_silence);
            flow.account.sent(now, 1, octets as u64);
            silent
        };
        (silent && flow.account.may_copy(now)).then_some(Notice::Unanswered(flow.local_tag))
    }

    /// Decides on a packet that arrived for the local stack: locators become ULIDs.
    pub fn incoming(&self, packet: &mut Packet<'_>, now: Instant) -> (Verdict, Option<Notice>) {
        match shim6_wire::classify(packet.octets()) {
            Class::Payload => {
                let ulids = UlidPair {
                    local: packet.destination(),
                    peer: packet.source(),
                };
                let notice = self.observe_incoming(ulids, packet.octets().len(), now);
                (Verdict::Accept, notice)
            }
            Class::PayloadExt { tag, .. } => self.incoming_tagged(packet, tag, now),
            Class::Control { .. } => (Verdict::Drop(DropReason::Consumed), Some(Notice::Packet)),
            Class::IcmpError(error) => self.incoming_icmp(packet.octets(), &error),
            Class::Malformed(_) => (Verdict::Drop(DropReason::Malformed), None),
        }
    }

    /// Whether a packet that arrived names one of these contexts by CT(local), which nobody off its
    /// path knows: as payload, or as a control message of an exchange that is under way or was.
    #[must_use]
    pub fn is_named_by(&self, packet: &[u8]) -> bool {
        let tag = match shim6_wire::classify(packet) {
            Class::PayloadExt { tag, .. } => Some(tag),
            // All messages with a tag for the receiver have it in the same place (RFC 5533 §5.7 to §5.13).
            Class::Control { at } => packet
                .get(at + RECEIVER_TAG..)
                .and_then(|octets| octets.first_chunk())
                .map(|&[a, b, c, d, e, f]| {
                    let bits = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
                    ContextTag::from_bits(bits)
                }),
            Class::Payload | Class::IcmpError(_) | Class::Malformed(_) => None,
        };
        tag.is_some_and(|tag| self.tagged.get(&tag).is_some())
    }

    fn incoming_tagged(
        &self,
        packet: &mut Packet<'_>,
        tag: ContextTag,
        now: Instant,
    ) -> (Verdict, Option<Notice>) {
        //= https://www.rfc-editor.org/rfc/rfc5533#section-12.2
        //= id=S-159
        //# If no
        //# context is found, the receiver SHOULD generate an R1bis message (see
        //# Section 7.17).
        let Some(flow) = self.tagged.get(&tag) else {
            return (Verdict::Drop(DropReason::UnknownTag), Some(Notice::Packet));
        };
        //= https://www.rfc-editor.org/rfc/rfc5533#section-12.2
        //= id=S-160
        //# If I1-SENT, discard the message and stay in I1-SENT.
        if flow.tagged == Tagged::Refused {
            let notice = Some(Notice::Packet);
            return (Verdict::Drop(DropReason::NotEstablished), notice);
        }
        let told = flow.exploring.awaits_life() || flow.tagged == Tagged::DeliveredAndTold;
        //= https://www.rfc-editor.org/rfc/rfc5533#section-12.2
        //= id=S-161
        //# With the context in hand, the receiver can now replace the IP address
        //# fields with the ULIDs kept in the context.
        if packet
            .remove_payload_ext(flow.ulids.peer, flow.ulids.local)
            .is_err()
        {
            return (Verdict::Drop(DropReason::Malformed), None);
        }
        flow.account.saw(now, packet.octets().len());
        (Verdict::Rewritten, told.then_some(Notice::Payload(tag)))
    }

    /// An error about a packet that we mapped speaks of locators: the upper layer knows only ULIDs.
    fn incoming_icmp(&self, packet: &[u8], error: &IcmpError) -> (Verdict, Option<Notice>) {
        //= https://www.rfc-editor.org/rfc/rfc5533#section-12.4
        //# Deliver to the context with CT(peer) equal to the Receiver Context
        //# Tag -- Lp(local) being the IPv6 source address and Lp(peer) being
        //# the IPv6 destination address.
        let (Some(peer_tag), None) = (error.tag, error.control) else {
            return (
                Verdict::Drop(DropReason::IcmpActedUpon),
                Some(Notice::Packet),
            );
        };
        let locators = LocatorPair {
            local: error.quoted_source,
            peer: error.quoted_destination,
        };
        let key = (peer_tag, locators);
        let (flow, is_left) = match (self.mapped.get(&key), self.left.get(&key)) {
            (Some(flow), _) => (flow, false),
            (None, Some(flow)) => (flow, true),
            (None, None) => return (Verdict::Drop(DropReason::IcmpForeign), None),
        };
        let acted_upon = error.kind.concerns_shim6();
        let notice = if is_left {
            // It says nothing about the pair in use; that took over, which is what could be done.
            None
        } else if let IcmpKind::PacketTooBig { mtu } = error.kind {
            narrow_path(flow.ulids, mtu)
        } else {
            acted_upon.then_some(Notice::Packet)
        };
        //= https://www.rfc-editor.org/rfc/rfc5533#section-8
        //= id=S-131
        //# All ICMP messages MUST be delivered to the ULP in all cases, except when Shim6
        //# successfully acts on the message (e.g., selects a new path).
        let solved = acted_upon && (is_left || flow.exploring != Exploring::Fruitless);
        //= https://www.rfc-editor.org/rfc/rfc5533#section-8
        //= id=S-132
        //# There SHOULD be a configuration option to unconditionally deliver all ICMP messages
        //# (including ones acted on by shim6) to the ULP.
        if solved && !self.deliver_icmp_errors {
            return (Verdict::Drop(DropReason::IcmpActedUpon), notice);
        }
        //= https://www.rfc-editor.org/rfc/rfc5533#section-8
        //= id=S-135
        //# the implementation will have to apply reverse mapping to the "packet in error" before
        //# passing the ICMP error up to the ULP
        match shim6_wire::icmp::translate(packet, flow.ulids.local, flow.ulids.peer) {
            Ok(translated) => (Verdict::Replaced(translated), notice),
            Err(_) => (Verdict::Drop(DropReason::Malformed), notice),
        }
    }
}

/// What is to be said of a path that takes packets of `mtu` octets, if that leaves the upper layers
/// less than the IPv6 minimum. No link takes less than the minimum, so no error can make it less.
fn narrow_path(ulids: UlidPair, mtu: u32) -> Option<Notice> {
    let left = mtu.max(MINIMUM_MTU) - Packet::HEADROOM as u32;
    let mtu = Some(left).filter(|&left| left < MINIMUM_MTU)?;
    Some(Notice::NarrowPath { ulids, mtu })
}

/// Octets that every link takes (RFC 8200 §5).
const MINIMUM_MTU: u32 = 1280;

/// Offset of the Receiver Context Tag in a control message, in octets; a reserved bit precedes its 47.
const RECEIVER_TAG: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Endpoint, RespondOnly};
    use shim6_wire::{I1, InitiatorNonce, Keepalive, Message, RequestNonce, UpdateAck};

    const OURS: ContextTag = ContextTag::from_bits(0x1234_5678_9abc);

    fn table() -> FlowTable {
        let mut table =
            Endpoint::new(Config::default(), Box::new(RespondOnly), [1; 32]).flow_table();
        table.apply(FlowUpdate::Set(flow(Path::Untouched)));
        table
    }

    fn flow(path: Path) -> Arc<Flow> {
        Arc::new(Flow {
            ulids: UlidPair {
                local: "2001:db8::1".parse().unwrap(),
                peer: "2001:db8::2".parse().unwrap(),
            },
            is_default: true,
            mark: None,
            local_tag: OURS,
            path,
            tagged: Tagged::Delivered,
            exploring: Exploring::No,
            kernel_maps: false,
            account: Arc::default(),
        })
    }

    fn mapped_to(last: u16) -> (Path, (ContextTag, LocatorPair)) {
        let peer_tag = ContextTag::from_bits(7);
        let locators = LocatorPair {
            local: "2001:db8:2::1".parse().unwrap(),
            peer: [0x2001, 0xdb8, 2, 0, 0, 0, 0, last].into(),
        };
        let path = Path::Mapped { locators, peer_tag };
        (path, (peer_tag, locators))
    }

    fn packet(message: &Message) -> Vec<u8> {
        let message = message.emit();
        let mut packet = vec![0x60, 0, 0, 0, 0, message.len() as u8, 140, 64];
        for last in [2, 1] {
            packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        }
        packet.extend(message);
        packet
    }

    #[test]
    fn messages_for_a_context_are_told_from_those_that_anybody_can_send() {
        let table = table();
        let other = ContextTag::from_bits(OURS.bits() ^ 1);
        for (tag, named) in [(OURS, true), (other, false)] {
            for message in [
                Message::Keepalive(Keepalive { receiver_tag: tag }),
                Message::UpdateAck(UpdateAck {
                    receiver_tag: tag,
                    request_nonce: RequestNonce(5),
                }),
            ] {
                assert_eq!(table.is_named_by(&packet(&message)), named, "{message:?}");
            }
        }
        let stranger = Message::I1(I1 {
            initiator_tag: other,
            initiator_nonce: InitiatorNonce(1),
            ulids: None,
            fii: None,
        });
        assert!(!table.is_named_by(&packet(&stranger)));
        assert!(!table.is_named_by(&[0x60; 7]));
    }

    #[test]
    fn a_context_that_moves_is_no_longer_found_by_the_locators_it_had() {
        let mut table = table();
        let [(first, first_key), (second, second_key)] = [1, 2].map(mapped_to);
        for (path, found, not_found) in [
            (first, Some(first_key), second_key),
            (second, Some(second_key), first_key),
            (Path::Untouched, None, second_key),
        ] {
            table.apply(FlowUpdate::Set(flow(path)));
            assert!(found.is_none_or(|key| table.mapped.get(&key).is_some()));
            assert!(table.mapped.get(&not_found).is_none());
            assert_eq!(table.len(), 1);
            assert!(table.left.len() <= 1 && table.left_by.len() == table.left.len());
        }
        table.apply(FlowUpdate::Remove(flow(Path::Untouched)));
        assert!(table.is_empty());
        assert_eq!(table.left.len() + table.left_by.len(), 0);
        assert_eq!(table.default.len(), 0);
    }
}
