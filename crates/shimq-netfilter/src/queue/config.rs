//! NFQNL_MSG_CONFIG: what a queue is told at its birth and at its end; and what only wakes its reader.

use super::{MAX_COPY_RANGE, QueueConfig};
use crate::netlink::Builder;

/// nfnetlink subsystem of the queue, in the upper octet of a message type.
pub(super) const SUBSYSTEM: u16 = 3 << 8;
const MSG_CONFIG: u16 = SUBSYSTEM | 2;
const CFG_CMD: u16 = 1;
const CFG_PARAMS: u16 = 2;
const CFG_QUEUE_MAXLEN: u16 = 3;
const CFG_MASK: u16 = 4;
const CFG_FLAGS: u16 = 5;
const CMD_BIND: u8 = 1;
const CMD_UNBIND: u8 = 2;
const COPY_PACKET: u8 = 2;
const FLAG_FAIL_OPEN: u32 = 1 << 0;
const FLAG_GSO: u32 = 1 << 2;

/// One request that binds and configures: no packet can arrive in between and meet half a configuration.
pub(super) fn bind(config: &QueueConfig) -> Vec<u8> {
    let mut out = Vec::new();
    let copy = config.copy_range.min(MAX_COPY_RANGE).to_be_bytes();
    let mut flags = 0;
    if config.fail_open {
        flags |= FLAG_FAIL_OPEN;
    }
    if config.gso {
        flags |= FLAG_GSO;
    }
    Builder::new(&mut out, MSG_CONFIG, 0, 0, 0, config.number)
        .attr(CFG_CMD, &[CMD_BIND, 0, 0, 0])
        .attr(
            CFG_PARAMS,
            &[copy[0], copy[1], copy[2], copy[3], COPY_PACKET],
        )
        .attr(CFG_QUEUE_MAXLEN, &config.max_len.to_be_bytes())
        .attr(CFG_FLAGS, &flags.to_be_bytes())
        .attr(CFG_MASK, &(FLAG_FAIL_OPEN | FLAG_GSO).to_be_bytes());
    out
}

/// Ends the binding of queue `number`.
pub(super) fn unbind(number: u16) -> Vec<u8> {
    let mut out = Vec::new();
    Builder::new(&mut out, MSG_CONFIG, 0, 0, 0, number).attr(CFG_CMD, &[CMD_UNBIND, 0, 0, 0]);
    out
}

/// A message that the kernel refuses whatever is in it, because only the kernel may send it. The refusal is something to
/// read on the socket that sent it, and changes nothing.
pub(super) fn wake(number: u16) -> Vec<u8> {
    let mut out = Vec::new();
    Builder::new(&mut out, super::packet::MSG_PACKET, 0, 0, 0, number);
    out
}
