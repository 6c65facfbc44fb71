//! Octets written as the RFCs draw them, and random values, for the tests.

use std::net::Ipv6Addr;

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use crate::checksum::checksum;
use crate::ids::{
    ContextTag, Fii, Generation, InitiatorNonce, ProbeNonce, RequestNonce, ResponderNonce,
    Validator,
};
use crate::message::{
    Error, ErrorCode, I1, I2, I2bis, Keepalive, Message, Probe, ProbeReport, ProbeState, R1, R1bis,
    R2, UpdateAck, UpdateRequest,
};
use crate::option::{
    KeepaliveTimeout, ListedLocator, LocatorList, LocatorOptions, LocatorPreferences, Preference,
    PreferenceFlags, Ulids, VerificationMethod,
};

/// Reads hexadecimal octets; white space and what follows `//` on a line are left out.
pub(crate) fn hex(rows: &str) -> Vec<u8> {
    let digits: Vec<u32> = rows
        .lines()
        .map(|line| line.split("//").next().unwrap())
        .flat_map(str::chars)
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).unwrap())
        .collect();
    let (pairs, []) = digits.as_chunks::<2>() else {
        panic!("odd number of digits: {rows}")
    };
    pairs
        .iter()
        .map(|[high, low]| (high << 4 | low) as u8)
        .collect()
}

/// Makes the checksum of a changed message right again.
pub(crate) fn seal(mut message: Vec<u8>) -> Vec<u8> {
    let checksum = checksum(&message);
    message[4..6].copy_from_slice(&checksum.to_be_bytes());
    message
}

/// A message without options with `options` put after it.
pub(crate) fn with_options(mut message: Vec<u8>, options: &[u8]) -> Vec<u8> {
    message.extend_from_slice(options);
    message[1] = (message.len() / 8 - 1) as u8;
    seal(message)
}

/// An address of the documentation prefix.
pub(crate) fn address(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)
}

/// An IPv6 packet from ::a to ::b; `payload` is its Next Header and what follows the IPv6 header.
pub(crate) fn packet((next_header, payload): &(u8, Vec<u8>)) -> Vec<u8> {
    let mut packet = hex("6ab12345");
    packet.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    packet.extend_from_slice(&[*next_header, 64]);
    packet.extend_from_slice(&address(0xa).octets());
    packet.extend_from_slice(&address(0xb).octets());
    packet.extend_from_slice(payload);
    packet
}

/// A chain of headers for [`packet`]. The first, third, ... have 8 octets, the others 16; the last
/// is 8 octets of whatever it is.
pub(crate) fn chain(types: &[u8]) -> (u8, Vec<u8>) {
    let mut octets = Vec::new();
    for (place, next_header) in types[1..].iter().enumerate() {
        let hdr_ext_len = place % 2;
        octets.extend_from_slice(&[*next_header, hdr_ext_len as u8]);
        octets.resize(octets.len() + 6 + hdr_ext_len * 8, 0);
    }
    octets.resize(octets.len() + 8, 0);
    (types[0], octets)
}

pub(crate) fn tag() -> impl Strategy<Value = ContextTag> {
    any::<u64>().prop_map(ContextTag::from_bits)
}

/// A message of any kind that fits into 2048 octets.
pub(crate) fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        i1().prop_map(Message::I1),
        r1().prop_map(Message::R1),
        i2().prop_map(Message::I2),
        r2().prop_map(Message::R2),
        r1bis().prop_map(Message::R1bis),
        i2bis().prop_map(Message::I2bis),
        update_request().prop_map(Message::UpdateRequest),
        update_ack().prop_map(Message::UpdateAck),
        tag().prop_map(|receiver_tag| Message::Keepalive(Keepalive { receiver_tag })),
        probe().prop_map(Message::Probe),
        error().prop_map(Message::Error),
    ]
}

fn i1() -> impl Strategy<Value = I1> {
    (tag(), any::<u32>(), of(ulids()), of(any::<u32>())).prop_map(|(tag, nonce, ulids, fii)| I1 {
        initiator_tag: tag,
        initiator_nonce: InitiatorNonce(nonce),
        ulids,
        fii: fii.map(Fii),
    })
}

fn r1() -> impl Strategy<Value = R1> {
    (any::<u32>(), any::<u32>(), validator()).prop_map(|(initiator, responder, validator)| R1 {
        initiator_nonce: InitiatorNonce(initiator),
        responder_nonce: ResponderNonce(responder),
        validator,
    })
}

fn i2() -> impl Strategy<Value = I2> {
    i2bis().prop_map(|i2bis| I2 {
        initiator_tag: i2bis.initiator_tag,
        initiator_nonce: i2bis.initiator_nonce,
        responder_nonce: i2bis.responder_nonce,
        validator: i2bis.validator,
        ulids: i2bis.ulids,
        fii: i2bis.fii,
        locators: i2bis.locators,
        keepalive_timeout: i2bis.keepalive_timeout,
    })
}

fn r2() -> impl Strategy<Value = R2> {
    update_request().prop_map(|update| R2 {
        responder_tag: update.receiver_tag,
        initiator_nonce: InitiatorNonce(update.request_nonce.0),
        locators: update.locators,
        keepalive_timeout: update.keepalive_timeout,
    })
}

fn r1bis() -> impl Strategy<Value = R1bis> {
    (tag(), any::<u32>(), validator()).prop_map(|(packet_tag, nonce, validator)| R1bis {
        packet_tag,
        responder_nonce: ResponderNonce(nonce),
        validator,
    })
}

fn i2bis() -> impl Strategy<Value = I2bis> {
    (i1(), r1bis(), locators(), of(any::<u16>())).prop_map(|(i1, r1bis, locators, timeout)| I2bis {
        initiator_tag: i1.initiator_tag,
        initiator_nonce: i1.initiator_nonce,
        responder_nonce: r1bis.responder_nonce,
        packet_tag: r1bis.packet_tag,
        validator: r1bis.validator,
        ulids: i1.ulids,
        fii: i1.fii,
        locators,
        keepalive_timeout: timeout.map(KeepaliveTimeout),
    })
}

fn update_request() -> impl Strategy<Value = UpdateRequest> {
    (update_ack(), locators(), of(any::<u16>())).prop_map(|(ack, locators, timeout)| {
        UpdateRequest {
            receiver_tag: ack.receiver_tag,
            request_nonce: ack.request_nonce,
            locators,
            keepalive_timeout: timeout.map(KeepaliveTimeout),
        }
    })
}

fn update_ack() -> impl Strategy<Value = UpdateAck> {
    (tag(), any::<u32>()).prop_map(|(receiver_tag, nonce)| UpdateAck {
        receiver_tag,
        request_nonce: RequestNonce(nonce),
    })
}

fn probe() -> impl Strategy<Value = Probe> {
    let state = prop_oneof![
        Just(ProbeState::Operational),
        Just(ProbeState::Exploring),
        Just(ProbeState::InboundOk),
    ];
    (tag(), state, vec(report(), 1..=15), vec(report(), 0..=15)).prop_map(
        |(receiver_tag, state, sent, received)| Probe {
            receiver_tag,
            state,
            sent,
            received,
        },
    )
}

fn report() -> impl Strategy<Value = ProbeReport> {
    any::<(Ipv6Addr, Ipv6Addr, u32, u32)>().prop_map(|(source, destination, nonce, data)| {
        ProbeReport {
            source,
            destination,
            nonce: ProbeNonce(nonce),
            data,
        }
    })
}

fn error() -> impl Strategy<Value = Error> {
    let packet = (1..=Error::MAX_PACKET / 8).prop_flat_map(|units| vec(any::<u8>(), units * 8));
    (0_u8..0x80, any::<u16>(), packet).prop_map(|(code, pointer, packet)| Error {
        code: ErrorCode::from_bits(code),
        pointer,
        packet,
    })
}

fn ulids() -> impl Strategy<Value = Ulids> {
    any::<(Ipv6Addr, Ipv6Addr)>().prop_map(|(sender, receiver)| Ulids { sender, receiver })
}

fn validator() -> impl Strategy<Value = Validator> {
    vec(any::<u8>(), 0..64).prop_map(Validator)
}

fn locators() -> impl Strategy<Value = LocatorOptions> {
    (
        of(list()),
        of(preferences()),
        of(vec(any::<u8>(), 0..300)),
        of(vec(any::<u8>(), 0..300)),
    )
        .prop_map(|(list, preferences, pds, signature)| LocatorOptions {
            list,
            preferences,
            pds,
            signature,
        })
}

fn list() -> impl Strategy<Value = LocatorList> {
    let locator = any::<(Ipv6Addr, u8)>().prop_map(|(address, method)| ListedLocator {
        address,
        method: VerificationMethod::from_octet(method),
    });
    (any::<u32>(), vec(locator, 0..40)).prop_map(|(generation, locators)| LocatorList {
        generation: Generation(generation),
        locators,
    })
}

fn preferences() -> impl Strategy<Value = LocatorPreferences> {
    let element = any::<[u8; 3]>().prop_map(|[flags, priority, weight]| Preference {
        flags: PreferenceFlags(flags),
        priority,
        weight,
    });
    (any::<u32>(), vec(element, 0..40)).prop_map(|(generation, elements)| LocatorPreferences {
        generation: Generation(generation),
        elements,
    })
}
