//! Octets of every message and option, written out by hand from the figures of the RFCs.

use std::ops::Range;

use super::*;
use crate::ids::{
    Fii, Generation, InitiatorNonce, ProbeNonce, RequestNonce, ResponderNonce, Validator,
};
use crate::option::{
    KeepaliveTimeout, ListedLocator, LocatorList, LocatorOptions, LocatorPreferences, Preference,
    PreferenceFlags, Ulids, VerificationMethod,
};
use crate::test_data::{address, hex, seal};

#[test]
fn every_message_reads_as_the_figures_say() {
    for (octets, message) in all() {
        assert_eq!(Message::parse(&octets), Ok(message));
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-5.15
//= id=S-045
//= type=test
//# If padding is added, the Length field MUST NOT include the padding.
//= https://www.rfc-editor.org/rfc/rfc5533#section-5.15
//= id=S-046
//= type=test
//# Any added padding bytes MUST be zeroed by the sender
//= https://www.rfc-editor.org/rfc/rfc5533#section-5.15.6
//= id=S-057
//= type=test
//# Length = 36
//= https://www.rfc-editor.org/rfc/rfc5534#section-5.1
//= id=R-017
//= type=test
//# This field identifies the Keepalive message and MUST be set to 66 (Keepalive).
//= https://www.rfc-editor.org/rfc/rfc5534#section-5.2
//= id=R-023
//= type=test
//# This field identifies the Probe message and MUST be set to 67 (Probe).
//= https://www.rfc-editor.org/rfc/rfc5534#section-5.2
//= id=R-029
//= type=test
//# Reserved2 MUST be set to zero upon transmission and MUST be ignored upon reception.
//= https://www.rfc-editor.org/rfc/rfc5534#section-5.3
//= id=R-038
//= type=test
//# This field identifies the option and MUST be set to 10 (Keepalive Timeout).
#[test]
fn every_message_is_written_as_the_figures_say() {
    for (octets, message) in all() {
        assert_eq!(message.emit(), octets, "{message:?}");
        assert_eq!(message.emitted_len(), octets.len(), "{message:?}");
    }
}

/// Asserts that messages of type `ty` mean the same whatever these bits are. Bits count from the
/// start of the header, as in the figures.
#[track_caller]
pub(super) fn assert_bits_ignored(ty: MessageType, reserved: &[Range<usize>]) {
    for (octets, message) in all().into_iter().filter(|(_, m)| m.message_type() == ty) {
        for bit in reserved.iter().cloned().flatten() {
            let mut changed = octets.clone();
            changed[bit / 8] ^= 0x80 >> (bit % 8);
            assert_eq!(
                Message::parse(&seal(changed)),
                Ok(message.clone()),
                "bit {bit}"
            );
        }
    }
}

/// Asserts that a message of type `ty` is dropped in silence if it has 8 octets less than `need`.
#[track_caller]
pub(super) fn assert_too_short(ty: MessageType, need: usize) {
    let have = need - 8;
    for (mut octets, _) in all().into_iter().filter(|(_, m)| m.message_type() == ty) {
        octets.truncate(have);
        octets[1] = (have / 8 - 1) as u8;
        let error = WireError::MessageTooShort { ty, need, have };
        assert_eq!(Message::parse(&seal(octets)), Err(error));
        assert_eq!(error.report(), None);
    }
}

#[test]
fn there_are_octets_of_every_message() {
    for ty in (0..0x80).filter_map(MessageType::from_bits) {
        assert!(
            all()
                .iter()
                .any(|(_, message)| message.message_type() == ty),
            "{ty:?}"
        );
    }
}

/// Every kind of message with all of its options: the octets, and what they say.
pub(super) fn all() -> Vec<(Vec<u8>, Message)> {
    [establishment(), recovery(), of_a_context()].concat()
}

/// The four messages that set a context up.
fn establishment() -> Vec<(Vec<u8>, Message)> {
    vec![
        (
            rows(&[I1_HEADER]),
            Message::I1(I1 {
                initiator_tag: tag(),
                initiator_nonce: INITIATOR_NONCE,
                ulids: None,
                fii: None,
            }),
        ),
        (
            rows(&[I1_HEADER_WITH_OPTIONS, ULIDS, FII]),
            Message::I1(I1 {
                initiator_tag: tag(),
                initiator_nonce: INITIATOR_NONCE,
                ulids: Some(ulids()),
                fii: Some(Fii(7)),
            }),
        ),
        (
            rows(&[R1_HEADER, VALIDATOR]),
            Message::R1(R1 {
                initiator_nonce: INITIATOR_NONCE,
                responder_nonce: RESPONDER_NONCE,
                validator: validator(),
            }),
        ),
        (
            rows(&[I2_HEADER, VALIDATOR, ULIDS, FII, KEEPALIVE_TIMEOUT]),
            Message::I2(I2 {
                initiator_tag: tag(),
                initiator_nonce: INITIATOR_NONCE,
                responder_nonce: RESPONDER_NONCE,
                validator: validator(),
                ulids: Some(ulids()),
                fii: Some(Fii(7)),
                locators: LocatorOptions::default(),
                keepalive_timeout: Some(KeepaliveTimeout(30)),
            }),
        ),
        (
            rows(&[
                R2_HEADER,
                LIST,
                PREFERENCES,
                PDS,
                SIGNATURE,
                KEEPALIVE_TIMEOUT,
            ]),
            Message::R2(R2 {
                responder_tag: tag(),
                initiator_nonce: INITIATOR_NONCE,
                locators: proven_locators(),
                keepalive_timeout: Some(KeepaliveTimeout(30)),
            }),
        ),
    ]
}

/// The two messages that set a lost context up again.
fn recovery() -> Vec<(Vec<u8>, Message)> {
    vec![
        (
            rows(&[R1BIS_HEADER, VALIDATOR]),
            Message::R1bis(R1bis {
                packet_tag: tag(),
                responder_nonce: RESPONDER_NONCE,
                validator: validator(),
            }),
        ),
        (
            rows(&[I2BIS_HEADER, VALIDATOR, ULIDS, FII]),
            Message::I2bis(I2bis {
                initiator_tag: tag(),
                initiator_nonce: INITIATOR_NONCE,
                responder_nonce: RESPONDER_NONCE,
                packet_tag: ContextTag::from_bits(0x7a8b_9cad_becf),
                validator: validator(),
                ulids: Some(ulids()),
                fii: Some(Fii(7)),
                locators: LocatorOptions::default(),
                keepalive_timeout: None,
            }),
        ),
    ]
}

/// The messages of a context that stands, and Error.
fn of_a_context() -> Vec<(Vec<u8>, Message)> {
    vec![
        (
            rows(&[UPDATE_REQUEST_HEADER, LIST, PREFERENCES]),
            Message::UpdateRequest(UpdateRequest {
                receiver_tag: tag(),
                request_nonce: REQUEST_NONCE,
                locators: locators(),
                keepalive_timeout: None,
            }),
        ),
        (
            rows(&[UPDATE_ACK]),
            Message::UpdateAck(UpdateAck {
                receiver_tag: tag(),
                request_nonce: REQUEST_NONCE,
            }),
        ),
        (
            rows(&[KEEPALIVE]),
            Message::Keepalive(Keepalive {
                receiver_tag: tag(),
            }),
        ),
        (
            rows(&[PROBE]),
            Message::Probe(Probe {
                receiver_tag: tag(),
                state: ProbeState::InboundOk,
                sent: vec![
                    report(0xa, 0xb, 0x1111_1111, 1),
                    report(0x1a, 0x1b, 0x2222_2222, 2),
                ],
                received: vec![report(0xb, 0xa, 0x3333_3333, 3)],
            }),
        ),
        (
            rows(&[ERROR]),
            Message::Error(Error {
                code: ErrorCode::CriticalOption,
                pointer: 42,
                packet: vec![0x60, 0, 0, 0, 0, 0x10, 0x8c, 0xff],
            }),
        ),
    ]
}

fn report(source: u16, destination: u16, nonce: u32, data: u32) -> ProbeReport {
    ProbeReport {
        source: address(source),
        destination: address(destination),
        nonce: ProbeNonce(nonce),
        data,
    }
}

const INITIATOR_NONCE: InitiatorNonce = InitiatorNonce(0x0102_0304);
const RESPONDER_NONCE: ResponderNonce = ResponderNonce(0x0506_0708);
const REQUEST_NONCE: RequestNonce = RequestNonce(0x0a0b_0c0d);

pub(super) const VALIDATOR: &str = "
    00020005 // Type 1, C = 0; Length 5
    a1a2a3a4
    a5000000 // Padding: 7 octets
    00000000";
pub(super) const ULIDS: &str = "
    000c0024 // Type 6, C = 0; Length 36
    00000000 // Reserved2
    20010db8 00000000 00000000 0000000a // Sender ULID
    20010db8 00000000 00000000 0000000b // Receiver ULID";
pub(super) const FII: &str = "
    000e0004 // Type 7, C = 0; Length 4
    00000007 // Forked Instance Identifier";
pub(super) const KEEPALIVE_TIMEOUT: &str = "
    00140004 // Type 10, C = 0; Length 4
    0000001e // Reserved; Keepalive Timeout";
pub(super) const LIST: &str = "
    0004002c // Type 2, C = 0; Length 44, inner padding included
    0000002a // Locator List Generation
    02010200 // Num Locators; HBA, CGA; Padding: 5 octets
    00000000
    20010db8 00010000 00000000 00000001
    20010db8 00020000 00000000 00000001";
pub(super) const PREFERENCES: &str = "
    0006000b // Type 3, C = 0; Length 11
    0000002a // Locator List Generation
    03010a05 // Element Len; BROKEN, Priority 10, Weight 5
    02140900 // TRANSIENT, Priority 20, Weight 9; Padding: 1 octet";
const PDS: &str = "
    00080003 // Type 4, C = 0; Length 3
    c1c2c300 // Padding: 1 octet";
const SIGNATURE: &str = "
    000a0006 // Type 5, C = 0; Length 6
    d1d2d3d4
    d5d60000 // Padding: 6 octets
    00000000";

const I1_HEADER: &str = "
    3b010100 // Next Header 59, Hdr Ext Len 1, P = 0, Type 1, Reserved1, S = 0
    0b111a2b // Checksum, R, Initiator Context Tag
    3c4d5e6f
    01020304 // Initiator Nonce";
const I1_HEADER_WITH_OPTIONS: &str = "
    3b070100 // Hdr Ext Len 7
    af3a1a2b
    3c4d5e6f
    01020304";
pub(super) const R1_HEADER: &str = "
    3b030200 // Next Header 59, Hdr Ext Len 3, P = 0, Type 2, Reserved1, S = 0
    c8990000 // Checksum, Reserved2
    01020304 // Initiator Nonce
    05060708 // Responder Nonce";
pub(super) const I2_HEADER: &str = "
    3b0b0300 // Next Header 59, Hdr Ext Len 11, P = 0, Type 3, Reserved1, S = 0
    b6a31a2b // Checksum, R, Initiator Context Tag
    3c4d5e6f
    01020304 // Initiator Nonce
    05060708 // Responder Nonce
    00000000 // Reserved2";
const R2_HEADER: &str = "
    3b0d0400 // Next Header 59, Hdr Ext Len 13, P = 0, Type 4, Reserved1, S = 0
    8f4a1a2b // Checksum, R, Responder Context Tag
    3c4d5e6f
    01020304 // Initiator Nonce";
pub(super) const R1BIS_HEADER: &str = "
    3b030500 // Next Header 59, Hdr Ext Len 3, P = 0, Type 5, Reserved1, S = 0
    14b81a2b // Checksum, R, Packet Context Tag
    3c4d5e6f
    05060708 // Responder Nonce";
pub(super) const I2BIS_HEADER: &str = "
    3b0b0600 // Next Header 59, Hdr Ext Len 11, P = 0, Type 6, Reserved1, S = 0
    ddd01a2b // Checksum, R, Initiator Context Tag
    3c4d5e6f
    01020304 // Initiator Nonce
    05060708 // Responder Nonce
    00000000 // Reserved2: 49 bits
    00007a8b // Packet Context Tag: 47 bits
    9cadbecf";
pub(super) const UPDATE_REQUEST_HEADER: &str = "
    3b094000 // Next Header 59, Hdr Ext Len 9, P = 0, Type 64, Reserved1, S = 0
    41cf1a2b // Checksum, R, Receiver Context Tag
    3c4d5e6f
    0a0b0c0d // Request Nonce";
const UPDATE_ACK: &str = "
    3b014100 // Next Header 59, Hdr Ext Len 1, P = 0, Type 65, Reserved1, S = 0
    b8fe1a2b // Checksum, R, Receiver Context Tag
    3c4d5e6f
    0a0b0c0d // Request Nonce";
pub(super) const KEEPALIVE: &str = "
    3b014200 // Next Header 59, Hdr Ext Len 1, P = 0, Type 66, Reserved1, S = 0
    ce161a2b // Checksum, R, Receiver Context Tag
    3c4d5e6f
    00000000 // Reserved2";
pub(super) const PROBE: &str = "
    3b104300 // Next Header 59, Hdr Ext Len 16, P = 0, Type 67, Reserved, S = 0
    dafe1a2b // Checksum, R, Receiver Context Tag
    3c4d5e6f
    12800000 // Precvd 1, Psent 2, Sta 2, Reserved2
    20010db8 00000000 00000000 0000000a // First probe sent: source
    20010db8 00000000 00000000 0000000b // destination
    11111111 00000001 // Probe Nonce, Probe Data
    20010db8 00000000 00000000 0000001a // Second probe sent
    20010db8 00000000 00000000 0000001b
    22222222 00000002
    20010db8 00000000 00000000 0000000b // First probe received
    20010db8 00000000 00000000 0000000a
    33333333 00000003";
pub(super) const ERROR: &str = "
    3b014402 // Next Header 59, Hdr Ext Len 1, P = 0, Type 68, Error Code 1, S = 0
    93c2002a // Checksum, Pointer
    60000000 // Packet in error
    00108cff";

pub(super) fn rows(parts: &[&str]) -> Vec<u8> {
    hex(&parts.join("\n"))
}

pub(super) fn tag() -> ContextTag {
    ContextTag::from_bits(0x1a2b_3c4d_5e6f)
}

fn ulids() -> Ulids {
    Ulids {
        sender: address(0xa),
        receiver: address(0xb),
    }
}

fn validator() -> Validator {
    Validator(vec![0xa1, 0xa2, 0xa3, 0xa4, 0xa5])
}

pub(super) fn locators() -> LocatorOptions {
    let locator = |address: &str, method| ListedLocator {
        address: address.parse().unwrap(),
        method,
    };
    LocatorOptions {
        list: Some(LocatorList {
            generation: Generation(42),
            locators: vec![
                locator("2001:db8:1::1", VerificationMethod::Hba),
                locator("2001:db8:2::1", VerificationMethod::Cga),
            ],
        }),
        preferences: Some(LocatorPreferences {
            generation: Generation(42),
            elements: vec![
                Preference {
                    flags: PreferenceFlags::BROKEN,
                    priority: 10,
                    weight: 5,
                },
                Preference {
                    flags: PreferenceFlags::TRANSIENT,
                    priority: 20,
                    weight: 9,
                },
            ],
        }),
        ..LocatorOptions::default()
    }
}

fn proven_locators() -> LocatorOptions {
    LocatorOptions {
        pds: Some(vec![0xc1, 0xc2, 0xc3]),
        signature: Some(vec![0xd1, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6]),
        ..locators()
    }
}
