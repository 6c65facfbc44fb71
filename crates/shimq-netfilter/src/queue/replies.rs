//! The verdicts of one wake-up, as messages in the slots.
//!
//! A run of packets with the same plain verdict takes one NFQNL_MSG_VERDICT_BATCH, which means "all packets up to this
//! id"; that is right because packets arrive and are answered in the order of their ids, so that nothing older is still
//! waiting. A rewritten packet takes a message of its own.

use std::ops::Range;

use super::config::SUBSYSTEM;
use super::slots::{ROOM, SLOTS, Slots};
use crate::netlink::{self, ATTR_LEN, HEADER_LEN, NFGEN_LEN, NLM_F_REQUEST};

/// The verdict messages, in the order of the packets.
pub(super) struct Replies {
    number: u16,
    list: Vec<Reply>,
}

/// One verdict message.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) slot: usize,
    /// Where in the slot it is, padding included.
    pub(super) range: Range<usize>,
    /// The verdict, where it may cover older packets too.
    plain: Option<PlainVerdict>,
}

/// A verdict without a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlainVerdict {
    Accept,
    Drop,
}

impl Replies {
    /// No verdicts yet, for queue `number`.
    pub(super) fn new(number: u16) -> Self {
        Self {
            number,
            list: Vec::with_capacity(SLOTS),
        }
    }

    pub(super) fn clear(&mut self) {
        self.list.clear();
    }

    pub(super) fn as_slice(&self) -> &[Reply] {
        &self.list
    }

    /// Adds a verdict without a packet, by extending the last one if that is the same.
    pub(super) fn add_plain(
        &mut self,
        slots: &mut Slots,
        slot: usize,
        verdict: PlainVerdict,
        id: u32,
    ) {
        if let Some(last) = self.list.last()
            && last.plain == Some(verdict)
        {
            slots.slot_mut(last.slot)[ID].copy_from_slice(&id.to_be_bytes());
            return;
        }
        self.put(slots, slot, MSG_VERDICT_BATCH, verdict, id);
        self.list.push(Reply {
            slot,
            range: 0..PLAIN_LEN,
            plain: Some(verdict),
        });
    }

    /// Adds a verdict with a new packet, which is `packet` of the slot.
    ///
    /// # Panics
    ///
    /// If the packet is not inside of the slot, or leaves no room for the header before it.
    pub(super) fn add_rewrite(
        &mut self,
        slots: &mut Slots,
        slot: usize,
        id: u32,
        packet: Range<usize>,
    ) {
        let range =
            packet.start.wrapping_sub(REWRITE_LEN)..packet.start + netlink::align(packet.len());
        let octets = slots.slot_mut(slot);
        assert!(
            range.start < packet.start && range.end <= octets.len(),
            "rewritten outside the buffer"
        );
        // A longer packet than IPv6 can have does not fit an attribute either; nothing can become of it.
        let Ok(attr_len) = u16::try_from(ATTR_LEN + packet.len()) else {
            self.put(slots, slot, MSG_VERDICT, PlainVerdict::Drop, id);
            self.list.push(Reply {
                slot,
                range: 0..PLAIN_LEN,
                plain: None,
            });
            return;
        };
        let message = &mut octets[range.clone()];
        put_head(message, MSG_VERDICT, self.number, PlainVerdict::Accept, id);
        message[PLAIN_LEN..][..2].copy_from_slice(&attr_len.to_ne_bytes());
        message[PLAIN_LEN + 2..][..2].copy_from_slice(&NFQA_PAYLOAD.to_ne_bytes());
        self.list.push(Reply {
            slot,
            range,
            plain: None,
        });
    }

    /// Writes a message without a packet to the start of a slot.
    fn put(&self, slots: &mut Slots, slot: usize, kind: u16, verdict: PlainVerdict, id: u32) {
        let message = &mut slots.slot_mut(slot)[..PLAIN_LEN];
        put_head(message, kind, self.number, verdict, id);
    }
}

/// Writes `struct nlmsghdr`, `struct nfgenmsg` and the NFQA_VERDICT_HDR attribute, all that a plain verdict has, to the
/// start of `message`, which is as long as it shall say.
fn put_head(message: &mut [u8], kind: u16, number: u16, verdict: PlainVerdict, id: u32) {
    let verdict: u32 = match verdict {
        PlainVerdict::Accept => NF_ACCEPT,
        PlainVerdict::Drop => NF_DROP,
    };
    let len = message.len() as u32;
    message[0..4].copy_from_slice(&len.to_ne_bytes());
    message[4..6].copy_from_slice(&kind.to_ne_bytes());
    message[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    // Sequence number, port id; family, version.
    message[8..18].fill(0);
    message[18..20].copy_from_slice(&number.to_be_bytes());
    message[20..22].copy_from_slice(&VERDICT_ATTR_LEN.to_ne_bytes());
    message[22..24].copy_from_slice(&NFQA_VERDICT_HDR.to_ne_bytes());
    message[24..28].copy_from_slice(&verdict.to_be_bytes());
    message[ID].copy_from_slice(&id.to_be_bytes());
}

const MSG_VERDICT: u16 = SUBSYSTEM | 1;
const MSG_VERDICT_BATCH: u16 = SUBSYSTEM | 3;
const NFQA_VERDICT_HDR: u16 = 2;
const NFQA_PAYLOAD: u16 = 10;
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;
/// NFQA_VERDICT_HDR: verdict and packet id.
const VERDICT_ATTR_LEN: u16 = ATTR_LEN as u16 + 8;
const PLAIN_LEN: usize = HEADER_LEN + NFGEN_LEN + VERDICT_ATTR_LEN as usize;
/// Octets before the packet.
const REWRITE_LEN: usize = PLAIN_LEN + ATTR_LEN;
/// Where a message has the packet id.
const ID: Range<usize> = PLAIN_LEN - 4..PLAIN_LEN;
// A message without a packet leaves the datagram alone, and one with the packet where it was received has room.
const _: () = assert!(REWRITE_LEN <= ROOM);

#[cfg(test)]
mod tests {
    use super::*;

    /// Kind, verdict, id and packet of each message.
    fn read(replies: &Replies, slots: &Slots) -> Vec<(u16, u32, u32, Vec<u8>)> {
        let read = |reply: &Reply| {
            let octets = &slots.slot(reply.slot)[reply.range.clone()];
            assert_eq!(netlink::align(octets.len()), octets.len());
            let mut messages = netlink::messages(octets);
            let message = messages.next().unwrap();
            assert!(messages.next().is_none());
            assert_eq!(message.flags, NLM_F_REQUEST);
            assert_eq!(message.body[..4], [0, 0, 21, 167]);
            let mut attrs = message.attrs();
            let verdict = attrs.next().unwrap().value;
            let packet = attrs.next().map(|attr| attr.value.to_vec());
            assert!(attrs.next().is_none());
            (
                message.kind,
                u32::from_be_bytes(*verdict.first_chunk().unwrap()),
                u32::from_be_bytes(*verdict.last_chunk().unwrap()),
                packet.unwrap_or_default(),
            )
        };
        replies.as_slice().iter().map(read).collect()
    }

    /// Slots that something was received in before.
    fn dirty_slots(datagram_len: usize) -> Slots {
        let mut slots = Slots::new(datagram_len);
        for index in 0..SLOTS {
            slots.slot_mut(index).fill(0xa5);
        }
        slots
    }

    #[test]
    fn a_rewrite_carries_its_range_of_the_slot_whatever_its_length() {
        let mut slots = dirty_slots(200);
        for len in 40..60 {
            for (octet, number) in slots.slot_mut(3).iter_mut().zip((0..=u8::MAX).cycle()) {
                *octet = number;
            }
            let packet = slots.slot(3)[70..70 + len].to_vec();
            let mut replies = Replies::new(5543);
            replies.add_rewrite(&mut slots, 3, 0x0102_0304, 70..70 + len);
            let message = (MSG_VERDICT, NF_ACCEPT, 0x0102_0304, packet);
            assert_eq!(read(&replies, &slots), [message]);
        }
    }

    #[test]
    fn only_neighbours_with_the_same_plain_verdict_share_a_reply() {
        let mut slots = dirty_slots(200);
        let mut replies = Replies::new(5543);
        let plain = [
            (1, PlainVerdict::Accept),
            (2, PlainVerdict::Accept),
            (4, PlainVerdict::Accept),
            (5, PlainVerdict::Drop),
            (6, PlainVerdict::Drop),
        ];
        for (id, verdict) in plain {
            if id == 4 {
                replies.add_rewrite(&mut slots, 2, 3, 80..120);
            }
            replies.add_plain(&mut slots, id as usize - 1, verdict, id);
        }
        assert_eq!(
            read(&replies, &slots),
            [
                (MSG_VERDICT_BATCH, NF_ACCEPT, 2, vec![]),
                (MSG_VERDICT, NF_ACCEPT, 3, vec![0xa5; 40]),
                (MSG_VERDICT_BATCH, NF_ACCEPT, 4, vec![]),
                (MSG_VERDICT_BATCH, NF_DROP, 6, vec![]),
            ]
        );
    }

    #[test]
    fn a_packet_that_no_attribute_can_hold_is_dropped_alone() {
        let mut slots = dirty_slots(70_000);
        let mut replies = Replies::new(5543);
        replies.add_rewrite(&mut slots, 0, 4, 64..64 + 65_532);
        replies.add_plain(&mut slots, 1, PlainVerdict::Drop, 5);
        assert_eq!(
            read(&replies, &slots),
            [
                (MSG_VERDICT, NF_DROP, 4, vec![]),
                (MSG_VERDICT_BATCH, NF_DROP, 5, vec![])
            ]
        );
    }

    #[test]
    #[should_panic(expected = "rewritten outside the buffer")]
    fn a_packet_without_room_for_its_verdict_is_refused() {
        let mut slots = Slots::new(200);
        Replies::new(5543).add_rewrite(&mut slots, 0, 1, REWRITE_LEN - 1..100);
    }
}
