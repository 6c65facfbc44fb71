//! Errors about mapped packets, control messages and packets of others.

use proptest::prelude::*;

use super::*;
use crate::classify::{Class, classify};
use crate::ipv6::Packet;
use crate::message::{I1, Message};
use crate::test_data::{address, chain, hex, packet};

const TAG: u64 = 0x1a2b_3c4d_5e6f;

const UNREACHABLE: u8 = 1;
const TOO_BIG: u8 = 2;
const TIME_EXCEEDED: u8 = 3;
const PARAMETER: u8 = 4;

/// The packet that the upper layer sent: between the ULIDs ::a and ::b.
fn unmapped(payload: usize) -> Vec<u8> {
    let (first, mut octets) = chain(&[0, 43, 17]);
    octets.extend((0..payload).map(|octet| octet as u8));
    packet(&(first, octets))
}

/// The same as it went out: between the locators ::1a and ::1b, with the header at octet 64.
fn mapped(payload: usize) -> Vec<u8> {
    let mut buf = [vec![0; Packet::HEADROOM], unmapped(payload)].concat();
    let end = buf.len();
    let mut packet = Packet::new(&mut buf, Packet::HEADROOM, end).unwrap();
    let tag = ContextTag::from_bits(TAG);
    packet
        .insert_payload_ext(tag, address(0x1a), address(0x1b))
        .unwrap();
    packet.octets().to_vec()
}

/// Start of the Shim6 header in [`mapped`], and where the header before it announces it.
const SHIM6_AT: u32 = 64;
const ANNOUNCED_AT: u32 = 48;

/// An ICMPv6 error from a router ::99 to the locator ::1a.
fn icmp(ty: u8, code: u8, word: u32, body: &[u8]) -> Vec<u8> {
    let message = [&[ty, code, 0, 0], &word.to_be_bytes()[..], body].concat();
    let mut octets = packet(&(ICMPV6, message));
    ipv6::set_address(&mut octets, SOURCE, address(0x99));
    ipv6::set_address(&mut octets, DESTINATION, address(0x1a));
    let checksum = sum(&octets, &octets[40..]);
    octets[42..44].copy_from_slice(&checksum.to_be_bytes());
    octets
}

/// The checksum of RFC 8200 §8.1, in the plainest way; 0 over a message with the right checksum.
fn sum(ipv6: &[u8], message: &[u8]) -> u16 {
    let length = (message.len() as u32).to_be_bytes();
    let pseudo = [&ipv6[8..40], &length, &[0, 0, 0, ICMPV6]].concat();
    let octets = [pseudo, message.to_vec(), vec![0; message.len() % 2]].concat();
    let words = octets
        .chunks_exact(2)
        .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn error(octets: &[u8]) -> IcmpError {
    let Class::IcmpError(error) = classify(octets) else {
        panic!("not about Shim6: {octets:02x?}");
    };
    error
}

fn translated(octets: &[u8]) -> Vec<u8> {
    let out = translate(octets, address(0xa), address(0xb)).unwrap();
    assert_eq!(ipv6::packet_len(&out), Ok(out.len()));
    assert_eq!(ipv6::address(&out, SOURCE), address(0x99));
    assert_eq!(ipv6::address(&out, DESTINATION), address(0xa));
    assert_eq!(sum(&out, &out[40..]), 0, "checksum");
    out
}

#[test]
fn an_error_about_a_mapped_packet_names_its_tag_and_locators() {
    let (code, mtu) = (3, 1400);
    for (ty, word, kind) in [
        (UNREACHABLE, 0, IcmpKind::DestinationUnreachable { code }),
        (TOO_BIG, mtu, IcmpKind::PacketTooBig { mtu }),
        (TIME_EXCEEDED, 0, IcmpKind::TimeExceeded { code }),
        (
            PARAMETER,
            6,
            IcmpKind::ParameterProblem {
                code,
                pointer: 6,
                in_shim6: false,
            },
        ),
    ] {
        assert_eq!(
            error(&icmp(ty, code, word, &mapped(100))),
            IcmpError {
                kind,
                quoted_source: address(0x1a),
                quoted_destination: address(0x1b),
                tag: Some(ContextTag::from_bits(TAG)),
                control: None,
                initiator_nonce: None,
            }
        );
    }
}

#[test]
fn an_error_about_a_control_message_names_its_type() {
    let keepalive = packet(&(SHIM6, hex("3b014200 ce161a2b 3c4d5e6f 00000000")));
    let about = error(&icmp(UNREACHABLE, 0, 0, &keepalive));
    assert_eq!(about.control, Some(MessageType::Keepalive));
    assert_eq!(about.tag, Some(ContextTag::from_bits(TAG)));
    assert_eq!(about.initiator_nonce, None);
    let i1 = Message::I1(I1 {
        initiator_tag: ContextTag::from_bits(TAG),
        initiator_nonce: InitiatorNonce(0x0102_0304),
        ulids: None,
        fii: None,
    });
    let about = error(&icmp(PARAMETER, 1, 6, &packet(&(SHIM6, i1.emit()))));
    assert_eq!(about.control, Some(MessageType::I1));
    assert_eq!(about.tag, None);
    assert_eq!(about.initiator_nonce, Some(InitiatorNonce(0x0102_0304)));
    assert_eq!(
        about.kind,
        IcmpKind::ParameterProblem {
            code: 1,
            pointer: 6,
            in_shim6: true
        },
        "the receiver does not know Next Header 140"
    );
}

#[test]
fn an_error_about_a_packet_without_shim6_is_payload() {
    assert_eq!(
        classify(&icmp(TOO_BIG, 0, 1280, &unmapped(100))),
        Class::Payload
    );
    assert_eq!(classify(&icmp(TOO_BIG, 0, 1280, &[])), Class::Payload);
    let echo_request = 128;
    assert_eq!(
        classify(&icmp(echo_request, 0, 0, &mapped(100))),
        Class::Payload
    );
    assert_eq!(
        classify(&packet(&(ICMPV6, vec![TOO_BIG, 0, 0, 0]))),
        Class::Payload
    );
}

#[test]
fn an_error_that_quotes_no_octet_of_the_shim6_header_has_neither_tag_nor_type() {
    let cut = &mapped(0)[..SHIM6_AT as usize];
    let about = error(&icmp(UNREACHABLE, 0, 0, cut));
    assert_eq!((about.tag, about.control), (None, None));
    assert_eq!(about.quoted_destination, address(0x1b));
}

#[test]
fn an_error_with_a_wrong_checksum_is_not_believed() {
    let mut octets = icmp(TOO_BIG, 0, 1400, &mapped(100));
    octets[47] ^= 1;
    let wrong = WireError::IcmpChecksum { at: 42 };
    assert_eq!(classify(&octets), Class::Malformed(wrong));
    assert_eq!(translate(&octets, address(0xa), address(0xb)), Err(wrong));
}

#[test]
fn a_parameter_problem_is_in_shim6_from_its_announcement_to_its_end() {
    for (pointer, expected) in [
        (ANNOUNCED_AT - 1, false),
        (ANNOUNCED_AT, true),
        (ANNOUNCED_AT + 1, false),
        (SHIM6_AT, true),
        (SHIM6_AT + 7, true),
        (SHIM6_AT + 8, false),
    ] {
        let kind = error(&icmp(PARAMETER, 0, pointer, &mapped(100))).kind;
        let expected = IcmpKind::ParameterProblem {
            code: 0,
            pointer,
            in_shim6: expected,
        };
        assert_eq!(kind, expected);
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-8
//= id=S-133
//= type=test
//# According to that recommendation, the following ICMP error messages should be processed by the
//# Shim6 layer and not passed to the ULP:
//= https://www.rfc-editor.org/rfc/rfc5533#section-8
//= id=S-134
//= type=test
//# The following ICMP error messages report problems that cannot be addressed by the Shim6 layer
//# and that should be passed to the ULP (as described below):
#[test]
fn errors_that_another_path_may_cure_concern_the_shim() {
    for code in 0..=8 {
        let unreachable = IcmpKind::DestinationUnreachable { code };
        assert_eq!(
            unreachable.concerns_shim6(),
            [0, 1, 2, 3, 5, 6].contains(&code),
            "{code}"
        );
    }
    assert!(IcmpKind::TimeExceeded { code: 0 }.concerns_shim6());
    assert!(!IcmpKind::PacketTooBig { mtu: 1280 }.concerns_shim6());
    for in_shim6 in [false, true] {
        let problem = IcmpKind::ParameterProblem {
            code: 1,
            pointer: 6,
            in_shim6,
        };
        assert_eq!(problem.concerns_shim6(), in_shim6);
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-8
//= id=S-135
//= type=test
//# The result is a "packet in error" that is passed to the ULP which looks as if the shim did not
//# exist.
//= https://www.rfc-editor.org/rfc/rfc5533#section-15.4
//= type=test
//= id=S-168
//# By conveying the information to the transport layer, it can adapt and reduce the Maximum
//# Segment Size (MSS) accordingly.
//= https://www.rfc-editor.org/rfc/rfc5533#section-8
//= id=S-136
//= type=test
//# If the ICMP error is a "packet too big", the reported MTU must be adjusted to be 8 octets less,
//# since the shim will add 8 octets when sending packets.
#[test]
fn a_translated_packet_too_big_is_the_one_that_the_ulids_would_have_got() {
    // An odd payload: the checksum has an octet to fill up.
    let out = translated(&icmp(TOO_BIG, 0, 1400, &mapped(101)));
    assert_eq!(out[40..42], [TOO_BIG, 0]);
    assert_eq!(out[44..48], 1392_u32.to_be_bytes());
    assert_eq!(out[48..], unmapped(101));
}

#[test]
fn the_packet_in_error_may_be_cut_after_its_shim6_header() {
    let header_end = SHIM6_AT as usize + PAYLOAD_EXT;
    for len in header_end..header_end + 20 {
        let out = translated(&icmp(UNREACHABLE, 4, 0, &mapped(1000)[..len]));
        assert_eq!(out[48..], unmapped(1000)[..len - PAYLOAD_EXT]);
    }
    let cut = icmp(UNREACHABLE, 4, 0, &mapped(1000)[..header_end - 1]);
    let error = WireError::Truncated {
        at: SHIM6_AT as usize,
        need: 8,
        have: 7,
    };
    assert_eq!(translate(&cut, address(0xa), address(0xb)), Err(error));
}

#[test]
fn the_pointer_of_a_parameter_problem_follows_the_octet_it_points_at() {
    for (pointer, moved) in [
        (6, 6),
        (ANNOUNCED_AT, ANNOUNCED_AT),
        (SHIM6_AT, ANNOUNCED_AT),
        (SHIM6_AT + 7, ANNOUNCED_AT),
        (SHIM6_AT + 8, SHIM6_AT),
        (SHIM6_AT + 20, SHIM6_AT + 12),
    ] {
        let out = translated(&icmp(PARAMETER, 0, pointer, &mapped(100)));
        assert_eq!(out[44..48], moved.to_be_bytes());
    }
}

/// RFC 5533 §8: "including the ICMP extensions defined in [25]", now RFC 4884.
#[test]
fn extensions_stay_where_the_length_field_says() {
    let extensions = hex("20000000 00080101 12345678");
    let mut quoted = mapped(200);
    quoted.truncate(128);
    let body = [&quoted[..], &extensions].concat();
    let octets = icmp(TIME_EXCEEDED, 0, 16 << 24, &body);
    assert_eq!(error(&octets).tag, Some(ContextTag::from_bits(TAG)));
    let out = translated(&octets);
    assert_eq!(out.len(), octets.len());
    assert_eq!(out[44..48], [16, 0, 0, 0]);
    assert_eq!(out[48..48 + 120], unmapped(200)[..120]);
    assert_eq!(out[48 + 120..48 + 128], [0; 8]);
    assert_eq!(out[48 + 128..], extensions);
}

#[test]
fn only_errors_about_mapped_packets_are_translated() {
    let translate = |octets: &[u8]| translate(octets, address(0xa), address(0xb)).unwrap_err();
    let echo_request = icmp(128, 0, 0, &mapped(10));
    assert_eq!(translate(&echo_request), WireError::NotIcmpError { at: 40 });
    assert_eq!(
        translate(&mapped(10)),
        WireError::NotIcmpError {
            at: SHIM6_AT as usize
        }
    );
    let unmapped = icmp(TOO_BIG, 0, 1280, &unmapped(10));
    assert!(matches!(
        translate(&unmapped),
        WireError::NotPayloadExt { .. }
    ));
    let keepalive = packet(&(SHIM6, hex("3b014200 ce161a2b 3c4d5e6f 00000000")));
    let about_control = icmp(TOO_BIG, 0, 1280, &keepalive);
    assert_eq!(
        translate(&about_control),
        WireError::NotPayloadExt { at: 40 }
    );
}

proptest! {
    #[test]
    fn any_error_is_read_and_translated_or_refused(
        ty in 1_u8..=4,
        word in prop_oneof![Just(0), Just(16 << 24), any::<u32>()],
        payload in 0_usize..300,
        cut in any::<prop::sample::Index>(),
        damage in any::<(prop::sample::Index, u8)>(),
    ) {
        let mut quoted = mapped(payload);
        *damage.0.get_mut(&mut quoted) = damage.1;
        quoted.truncate(cut.index(quoted.len() + 1));
        let octets = icmp(ty, 0, word, &quoted);
        let class = classify(&octets);
        if let Ok(out) = translate(&octets, address(0xa), address(0xb)) {
            prop_assert!(matches!(class, Class::IcmpError(_)));
            prop_assert_eq!(ipv6::packet_len(&out), Ok(out.len()));
            prop_assert_eq!(sum(&out, &out[40..]), 0);
        }
    }
}

#[test]
fn a_packet_too_big_of_ours_quotes_the_packet_to_its_sender_with_a_right_checksum() {
    let local: Ipv6Addr = "2001:db8:a1::1".parse().unwrap();
    let mut packet = vec![0; 1500];
    packet[0] = 0x60;
    packet[PAYLOAD_LENGTH].copy_from_slice(&1460_u16.to_be_bytes());
    packet[SOURCE..SOURCE + 16].copy_from_slice(&local.octets());
    packet[DESTINATION..DESTINATION + 16].copy_from_slice(&[0x20; 16]);
    let error = packet_too_big(&packet, 1492).unwrap();
    assert_eq!(error.len(), 1280);
    assert_eq!(error[SOURCE..SOURCE + 16], local.octets());
    assert_eq!(error[DESTINATION..DESTINATION + 16], local.octets());
    assert_eq!(error[40..42], [2, 0]);
    assert_eq!(error[44..48], 1492_u32.to_be_bytes());
    assert_eq!(error[48..], packet[..1232]);
    let view = Icmpv6Packet::new(&error[40..]).unwrap();
    assert_eq!(view.get_checksum(), icmpv6::checksum(&view, &local, &local));
}
