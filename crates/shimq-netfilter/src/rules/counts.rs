//! What the kernel counts of each context.

use super::elements::{AddressPair, Direction, Element};
use super::{RulesError, TABLE, listing, wire};
use crate::netlink::{Attr, Builder, Message, NLM_F_ACK, NLM_F_DUMP, Socket};

/// What a context sent or received while its locators were its ULIDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContextCount {
    /// The ULIDs.
    pub pair: AddressPair,
    /// Packets since the context was added.
    pub packets: u64,
    /// Octets of them, IPv6 headers included.
    pub octets: u64,
}

/// See [`Ruleset::read_contexts`](super::Ruleset::read_contexts).
pub(super) fn read_contexts(
    socket: &Socket,
    buf: &mut [u8],
    direction: Direction,
    out: &mut Vec<ContextCount>,
) -> Result<(), RulesError> {
    let mut octets = Vec::new();
    request(&mut octets, NLM_F_DUMP, direction, &[]);
    listing::repeat_if_interrupted(|| {
        out.clear();
        socket.ask(&octets, buf, |message| take_counts(&message, out))
    })
}

/// See [`Ruleset::read_these_contexts`](super::Ruleset::read_these_contexts).
pub(super) fn read_these_contexts(
    socket: &Socket,
    buf: &mut [u8],
    direction: Direction,
    pairs: &[AddressPair],
    out: &mut Vec<ContextCount>,
) -> Result<(), RulesError> {
    out.clear();
    let mut octets = Vec::new();
    for pairs in pairs.chunks(ASKED_AT_ONCE) {
        let mut rest = pairs;
        while !rest.is_empty() {
            octets.clear();
            request(&mut octets, NLM_F_ACK, direction, rest);
            let before = out.len();
            match socket.ask(&octets, buf, |message| take_counts(&message, out)) {
                Ok(()) => break,
                // The kernel ends at the first that is not there.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                    let answered = out.len() - before;
                    rest = rest.get(answered + 1..).unwrap_or_default();
                }
                Err(error) => return Err(RulesError::general(error)),
            }
        }
    }
    Ok(())
}

/// Writes the request for the counters of these elements, or of all where there are none.
fn request(octets: &mut Vec<u8>, flags: u16, direction: Direction, pairs: &[AddressPair]) {
    let mut request = Builder::new(octets, wire::GETSETELEM, flags, 0, wire::NFPROTO_IPV6, 0);
    request
        .name(wire::NFTA_SET_ELEM_LIST_TABLE, TABLE)
        .name(wire::NFTA_SET_ELEM_LIST_SET, direction.set().as_c_str());
    if !pairs.is_empty() {
        request.nest(wire::NFTA_SET_ELEM_LIST_ELEMENTS, |list| {
            for pair in pairs {
                Element::Pair(*pair).write(list);
            }
        });
    }
}

/// Takes what `message` tells of elements.
fn take_counts(message: &Message<'_>, out: &mut Vec<ContextCount>) {
    message
        .attrs()
        .filter(|attr| attr.kind == wire::NFTA_SET_ELEM_LIST_ELEMENTS)
        .flat_map(|list| list.attrs())
        .filter_map(|element| parse_count(&element))
        .for_each(|count| out.push(count));
}

/// Reads an element with its counter.
fn parse_count(element: &Attr<'_>) -> Option<ContextCount> {
    let (mut pair, mut packets, mut octets) = (None, None, None);
    for attr in element.attrs() {
        match attr.kind {
            wire::NFTA_SET_ELEM_KEY => {
                let data = attr
                    .attrs()
                    .find(|data| data.kind == wire::NFTA_DATA_VALUE)?;
                pair = AddressPair::from_key(data.value);
            }
            wire::NFTA_SET_ELEM_EXPR => {
                let data = attr
                    .attrs()
                    .find(|data| data.kind == wire::NFTA_EXPR_DATA)?;
                for count in data.attrs() {
                    match count.kind {
                        wire::NFTA_COUNTER_PACKETS => packets = count.be64(),
                        wire::NFTA_COUNTER_BYTES => octets = count.be64(),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(ContextCount {
        pair: pair?,
        packets: packets?,
        octets: octets?,
    })
}

/// Elements asked for with one message. Each is answered by a message of its own, and all of these have to fit into a
/// receive buffer that nobody was allowed to enlarge.
const ASKED_AT_ONCE: usize = 64;
