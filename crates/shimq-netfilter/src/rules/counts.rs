//! What the kernel counts of each context.

use super::elements::{AddressPair, Direction};
use super::{RulesError, TABLE, listing, wire};
use crate::netlink::{Attr, Builder, NLM_F_DUMP, Socket};

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
    let mut request = Vec::new();
    Builder::new(
        &mut request,
        wire::GETSETELEM,
        NLM_F_DUMP,
        0,
        wire::NFPROTO_IPV6,
        0,
    )
    .name(wire::NFTA_SET_ELEM_LIST_TABLE, TABLE)
    .name(wire::NFTA_SET_ELEM_LIST_SET, direction.set().as_c_str());
    listing::repeat_if_interrupted(|| {
        out.clear();
        socket.dump(&request, buf, |message| {
            message
                .attrs()
                .filter(|attr| attr.kind == wire::NFTA_SET_ELEM_LIST_ELEMENTS)
                .flat_map(|list| list.attrs())
                .filter_map(|element| parse_count(&element))
                .for_each(|count| out.push(count));
        })
    })
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
