//! The rules that hold for all messages, and those of single ones.

use proptest::prelude::*;

use super::golden::{
    ERROR, FII, I2_HEADER, I2BIS_HEADER, KEEPALIVE, KEEPALIVE_TIMEOUT, LIST, PREFERENCES, PROBE,
    R1_HEADER, R1BIS_HEADER, ULIDS, UPDATE_REQUEST_HEADER, VALIDATOR, all, locators, rows, tag,
};
use super::*;
use crate::ids::{RequestNonce, ResponderNonce, Validator};
use crate::ipv6::NO_NEXT_HEADER;
use crate::option::{OptionType, option_offset};
use crate::test_data::{self, hex, seal, with_options};

//= https://www.rfc-editor.org/rfc/rfc5533#section-12.3
//= id=S-162
//= type=test
//# The Shim Header Length field is also verified against the length of the IPv6 packet to make sure
//# that the shim message doesn't claim to end past the end of the IPv6 packet.
#[test]
fn a_message_cut_anywhere_is_dropped_in_silence() {
    for (octets, _) in all() {
        for have in 0..octets.len() {
            let need = if have < 4 { 8 } else { octets.len() };
            let error = WireError::PastPacketEnd { need, have };
            assert_eq!(Message::parse(&octets[..have]), Err(error));
            assert_eq!(error.report(), None);
        }
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-12.3
//= id=S-162
//= type=test
//# A shim control message has the Checksum field verified.
#[test]
fn a_wrong_checksum_is_dropped_in_silence() {
    for (mut octets, _) in all() {
        octets[5] ^= 1;
        assert_eq!(Message::parse(&octets), Err(WireError::Checksum));
        assert_eq!(WireError::Checksum.report(), None);
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-5.3
//= id=S-008
//= type=test
//# Thus, when there is a payload following the Shim6 header, the payload is NOT included in the
//# Shim6 checksum.
#[test]
fn octets_after_the_message_are_not_looked_at() {
    for (mut octets, message) in all() {
        octets.extend_from_slice(&[0xff; 5]);
        assert_eq!(Message::parse(&octets), Ok(message));
    }
}

#[test]
fn a_payload_extension_header_or_a_hip_message_is_no_control_message() {
    let keepalive = rows(&[KEEPALIVE]);
    let mut payload_ext = keepalive.clone();
    payload_ext[2] |= 0x80;
    assert_eq!(
        Message::parse(&seal(payload_ext)),
        Err(WireError::NotControl)
    );
    let mut hip = keepalive;
    hip[3] |= 1;
    assert_eq!(Message::parse(&seal(hip)), Err(WireError::Hip));
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-12.3
//= id=S-163
//= type=test
//# The Pointer field is set to point at the first octet of the shim message type.
#[test]
fn an_unknown_type_is_reported_at_the_type_octet() {
    for ty in (0..0x80).filter(|&ty| MessageType::from_bits(ty).is_none()) {
        let mut octets = rows(&[KEEPALIVE]);
        octets[2] = ty;
        let error = Message::parse(&seal(octets)).unwrap_err();
        assert_eq!(error, WireError::UnknownType { ty });
        assert_eq!(error.report(), Some((ErrorCode::UnknownMessageType, 2)));
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-5.5
//= id=S-017
//= type=test
//# Variable length option.  This option MUST be included in the R1 message.
#[test]
fn messages_that_need_a_validator_are_refused_without_one() {
    for (octets, fixed) in [
        (rows(&[R1_HEADER]), 16),
        (rows(&[I2_HEADER]), 24),
        (rows(&[R1BIS_HEADER]), 16),
        (rows(&[I2BIS_HEADER]), 32),
    ] {
        let ty = MessageType::from_bits(octets[2]).unwrap();
        let octets = with_options(octets, &[]);
        assert_eq!(
            Message::parse(&octets),
            Err(WireError::NoValidator { ty, at: fixed })
        );
    }
}

//= https://www.rfc-editor.org/rfc/rfc5534#section-5.2
//= id=R-026
//= type=test
//# The first set of Probe fields pertains to the current message and MUST be present, so the
//# minimum value for this field is 1.
#[test]
fn a_probe_that_does_not_describe_itself_is_refused() {
    let mut octets = rows(&[PROBE]);
    octets[12] = 0x30;
    assert_eq!(Message::parse(&seal(octets)), Err(WireError::NoProbeSent));
}

//= https://www.rfc-editor.org/rfc/rfc5534#section-5.2
//= id=R-033
//= type=test
//# This 2-bit State field is used to inform the peer about the state of the sender.  It has three
//# legal values:
#[test]
fn the_fourth_state_of_a_probe_is_refused() {
    let mut octets = rows(&[PROBE]);
    octets[13] = 0xc0;
    assert_eq!(Message::parse(&seal(octets)), Err(WireError::ProbeState));
}

#[test]
fn a_probe_that_counts_more_reports_than_it_has_is_refused() {
    let mut octets = rows(&[PROBE]);
    octets[12] = 0x22;
    let error = WireError::MessageTooShort {
        ty: MessageType::Probe,
        need: 152,
        have: 136,
    };
    assert_eq!(Message::parse(&seal(octets)), Err(error));
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-5.14
//= id=S-043
//= type=test
//# As much of invoking packet as possible without the Error message packet exceeding the minimum
//# IPv6 MTU.
#[test]
fn an_error_message_quotes_what_fits_1280_octets() {
    let packet: Vec<u8> = (0..2000_u16).map(|octet| octet as u8).collect();
    let error = Error {
        code: ErrorCode::Other(120),
        pointer: 1,
        packet: packet.clone(),
    };
    let message = Message::Error(error);
    let octets = message.emit();
    assert_eq!(40 + octets.len(), 1280);
    assert_eq!(octets[8..], packet[..1232]);
    assert!(message.fits());
}

#[test]
fn an_error_message_fills_up_to_8_octets_with_zeros() {
    for (len, filled) in [(0, 8), (1, 8), (8, 8), (9, 16)] {
        let packet = vec![0x66; len];
        let code = ErrorCode::UnknownMessageType;
        let octets = Message::Error(Error {
            code,
            pointer: 2,
            packet: packet.clone(),
        })
        .emit();
        assert_eq!(octets.len(), 8 + filled);
        assert_eq!(octets[8..8 + len], packet[..]);
        assert!(octets[8 + len..].iter().all(|&octet| octet == 0));
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-5.1
//= id=S-004
//= type=test
//# Shim6 signaling packets may not be larger than 1280 bytes, including the IPv6 header and any
//# intermediate headers between the IPv6 header and the Shim6 header.
#[test]
fn a_message_fits_up_to_1280_octets_of_packet() {
    let r1 = |validator| {
        Message::R1(R1 {
            initiator_nonce: InitiatorNonce(1),
            responder_nonce: ResponderNonce(2),
            validator: Validator(vec![0; validator]),
        })
    };
    assert!(r1(1220).fits());
    assert_eq!(r1(1220).emit().len(), 1240);
    assert!(!r1(1221).fits());
}

#[test]
fn what_hdr_ext_len_cannot_count_is_left_out_but_counted_in_the_length() {
    let mut update = UpdateRequest {
        receiver_tag: tag(),
        request_nonce: RequestNonce(1),
        locators: locators(),
        keepalive_timeout: None,
    };
    update.locators.pds = Some(vec![0; 70_000]);
    let message = Message::UpdateRequest(update.clone());
    assert_eq!(message.emitted_len(), 16 + 48 + 16 + 70_008);
    assert!(!message.fits());
    update.locators.pds = None;
    assert_eq!(
        Message::parse(&message.emit()),
        Ok(Message::UpdateRequest(update))
    );
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-5.3
//= id=S-009
//= type=test
//# Type codes 0-63 will not trigger R1bis messages on a missing context, while codes 64-127 will
//# trigger R1bis.
#[test]
fn the_receiver_tag_is_found_where_messages_refer_to_a_context() {
    for (octets, message) in all() {
        let expected = match message.message_type() {
            MessageType::UpdateRequest
            | MessageType::UpdateAck
            | MessageType::Keepalive
            | MessageType::Probe => Some(tag()),
            MessageType::I1
            | MessageType::R1
            | MessageType::I2
            | MessageType::R2
            | MessageType::R1bis
            | MessageType::I2bis
            | MessageType::Error => None,
        };
        assert_eq!(receiver_tag(&octets), expected, "{message:?}");
        assert_eq!(receiver_tag(&octets[..11]), None);
    }
    assert_eq!(receiver_tag(&hex("06009a2b 3c4d5e6f")), Some(tag()));
    assert_eq!(receiver_tag(&hex("06009a2b 3c4d5e")), None);
}

#[test]
fn options_are_found_at_their_offset() {
    let i2 = rows(&[I2_HEADER, VALIDATOR, ULIDS, FII, KEEPALIVE_TIMEOUT]);
    assert_eq!(option_offset(&i2, OptionType::ResponderValidator), Some(24));
    assert_eq!(option_offset(&i2, OptionType::KeepaliveTimeout), Some(88));
    assert_eq!(option_offset(&i2, OptionType::Pds), None);
    let update = rows(&[UPDATE_REQUEST_HEADER, LIST, PREFERENCES]);
    assert_eq!(
        option_offset(&update, OptionType::LocatorPreferences),
        Some(64)
    );
    let probe = with_options(rows(&[PROBE]), &rows(&[FII]));
    assert_eq!(option_offset(&probe, OptionType::Fii), Some(136));
    assert_eq!(option_offset(&rows(&[ERROR]), OptionType::Fii), None);
}

proptest! {
    //= https://www.rfc-editor.org/rfc/rfc5533#section-5.3
    //= id=S-007
    //= type=test
    //# Next Header: 8-bit selector.  Normally set to NO_NXT_HDR (59).
    //= https://www.rfc-editor.org/rfc/rfc5533#section-5.3
    //= id=S-007
    //= type=test
    //# The Shim6 headers must be a multiple of 8 octets; hence, the minimum size is 8 octets.
    #[test]
    fn any_message_reads_as_it_was_written(message in test_data::message()) {
        let octets = message.emit();
        prop_assert_eq!(octets[0], NO_NEXT_HEADER);
        prop_assert_eq!(octets[2] & P_BIT, 0);
        prop_assert_eq!(octets[3] & S_BIT, 0);
        prop_assert_eq!(octets.len() % 8, 0);
        prop_assert_eq!(octets.len(), message.emitted_len());
        prop_assert_eq!(Message::parse(&octets), Ok(message));
    }

    #[test]
    fn any_octets_are_a_message_or_an_error(octets: Vec<u8>) {
        let _ = Message::parse(&octets);
        let _ = receiver_tag(&octets);
        let _ = option_offset(&octets, OptionType::LocatorList);
    }

    /// Changed octets under a right checksum go deep into the parser.
    #[test]
    fn a_damaged_message_that_still_reads_is_written_no_longer_and_reads_the_same(
        message in test_data::message(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut octets = message.emit();
        for (at, octet) in damage {
            *at.get_mut(&mut octets[6..]) = octet;
        }
        let octets = seal(octets);
        let _ = option_offset(&octets, OptionType::LocatorList);
        if let Ok(message) = Message::parse(&octets) {
            let again = message.emit();
            prop_assert!(again.len() <= octets.len());
            prop_assert_eq!(Message::parse(&again), Ok(message));
        }
    }
}
