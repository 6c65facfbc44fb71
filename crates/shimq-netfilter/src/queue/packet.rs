//! NFQNL_MSG_PACKET: where in a received message the packet lies and what the kernel says about it.

use super::Hook;
use super::config::SUBSYSTEM;
use crate::netlink::{self, ATTR_LEN, Attr, HEADER_LEN, NFGEN_LEN, NLMSG_ERROR};

pub(super) const MSG_PACKET: u16 = SUBSYSTEM;
const NFQA_PACKET_HDR: u16 = 1;
const NFQA_MARK: u16 = 3;
const NFQA_PAYLOAD: u16 = 10;
const NFQA_CAP_LEN: u16 = 13;
const NFQA_SKB_INFO: u16 = 14;
const SKB_CSUM_NOT_READY: u32 = 1 << 0;
const SKB_GSO: u32 = 1 << 1;

/// The kernel's answer to a message that only it may send: its own ENOTSUPP, which `libc` does not have because no
/// system call is meant to return it.
pub(super) const WOKEN: i32 = 524;

/// Octets that the attributes of a packet message take besides the packet itself, with a margin.
pub(super) const METADATA_LEN: usize = 1024;

/// What one received datagram is.
#[derive(Debug)]
pub(super) enum Received {
    Packet(Metadata),
    /// A verdict was refused; requests that succeed are not acknowledged.
    Refusal,
    /// The answer to [`super::Remote::wake`], or nothing that a queue socket is sent.
    Other,
}

/// The attributes of a queued packet; `start` and `end` are offsets into the received datagram.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Metadata {
    pub(super) id: u32,
    pub(super) hook: Hook,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) mark: u32,
    pub(super) original_len: usize,
    pub(super) checksum_missing: bool,
    pub(super) segmented: bool,
}

/// Reads one datagram; the kernel puts one message into each.
pub(super) fn parse(datagram: &[u8]) -> Received {
    let Some(message) = netlink::messages(datagram).next() else {
        return Received::Other;
    };
    match message.kind {
        MSG_PACKET => parse_packet(datagram).map_or(Received::Other, Received::Packet),
        NLMSG_ERROR if message.answer().is_some_and(|answer| answer.errno == WOKEN) => {
            Received::Other
        }
        NLMSG_ERROR => Received::Refusal,
        _ => Received::Other,
    }
}

fn parse_packet(datagram: &[u8]) -> Option<Metadata> {
    let message = netlink::messages(datagram).next()?;
    let mut header = None;
    let (mut mark, mut info, mut original_len) = (0, 0, None);
    let (mut start, mut end) = (0, 0);
    let mut offset = HEADER_LEN + NFGEN_LEN;
    for attr in message.attrs() {
        match attr.kind {
            NFQA_PACKET_HDR => header = packet_header(&attr),
            NFQA_MARK => mark = attr.be32()?,
            NFQA_SKB_INFO => info = attr.be32()?,
            NFQA_CAP_LEN => original_len = Some(attr.be32()? as usize),
            NFQA_PAYLOAD => {
                (start, end) = (offset + ATTR_LEN, offset + ATTR_LEN + attr.value.len());
            }
            _ => {}
        }
        offset += ATTR_LEN + netlink::align(attr.value.len());
    }
    let (id, hook) = header?;
    Some(Metadata {
        id,
        hook,
        start,
        end,
        mark,
        original_len: original_len.unwrap_or(end - start),
        checksum_missing: info & SKB_CSUM_NOT_READY != 0,
        segmented: info & SKB_GSO != 0,
    })
}

/// `struct nfqnl_msg_packet_hdr`: packet id, EtherType, hook.
fn packet_header(attr: &Attr<'_>) -> Option<(u32, Hook)> {
    let [i0, i1, i2, i3, _, _, hook] = *attr.value.first_chunk()?;
    Some((u32::from_be_bytes([i0, i1, i2, i3]), self::hook(hook)?))
}

/// The hook behind a kernel number; rules of ours queue at no other one.
pub(super) fn hook(number: u8) -> Option<Hook> {
    match number {
        0 => Some(Hook::PreRouting),
        1 => Some(Hook::LocalIn),
        3 => Some(Hook::LocalOut),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::Builder;
    use proptest::prelude::*;

    fn message() -> Vec<u8> {
        let mut out = Vec::new();
        Builder::new(&mut out, MSG_PACKET, 0, 0, 10, 5543)
            .attr(NFQA_PACKET_HDR, &[0, 0, 1, 2, 0x86, 0xdd, 3])
            .attr(NFQA_MARK, &0x5533_u32.to_be_bytes())
            .attr(NFQA_CAP_LEN, &1480_u32.to_be_bytes())
            .attr(NFQA_SKB_INFO, &3_u32.to_be_bytes())
            .attr(NFQA_PAYLOAD, b"sixty");
        out
    }

    #[test]
    fn a_packet_message_yields_its_packet_and_attributes() {
        let datagram = message();
        let Received::Packet(read) = parse(&datagram) else {
            panic!("not a packet");
        };
        assert_eq!(&datagram[read.start..read.end], b"sixty");
        assert!(read.start >= super::super::HEADROOM);
        assert_eq!(
            (read.id, read.hook, read.mark),
            (0x102, Hook::LocalOut, 0x5533)
        );
        assert_eq!(read.original_len, 1480);
        assert!(read.checksum_missing && read.segmented);
    }

    proptest! {
        /// A damaged message yields ranges inside the datagram, or nothing.
        #[test]
        fn damaged_messages_never_point_outside(cut in 0_usize..100, at in 0_usize..80, octet: u8) {
            let mut datagram = message();
            datagram.truncate(cut);
            if let Some(target) = datagram.get_mut(at) {
                *target = octet;
            }
            if let Received::Packet(read) = parse(&datagram) {
                prop_assert!(read.start <= read.end && read.end <= datagram.len());
            }
        }
    }
}
