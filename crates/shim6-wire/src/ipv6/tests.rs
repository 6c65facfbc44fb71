//! Headers written out by hand, and random chains of them.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::test_data::{address, chain, hex, packet, tag};

const TAG: u64 = 0x1a2b_3c4d_5e6f;

fn insert(octets: &[u8]) -> Result<Vec<u8>, WireError> {
    let mut buf = [&[0xee; Packet::HEADROOM][..], octets].concat();
    let end = buf.len();
    let mut packet = Packet::new(&mut buf, Packet::HEADROOM, end)?;
    packet.insert_payload_ext(ContextTag::from_bits(TAG), address(0x1a), address(0x1b))?;
    assert_eq!(packet.range(), 0..end);
    Ok(packet.octets().to_vec())
}

fn remove(octets: &[u8]) -> Result<(ContextTag, Vec<u8>), WireError> {
    let mut buf = octets.to_vec();
    let end = buf.len();
    let mut packet = Packet::new(&mut buf, 0, end)?;
    let tag = packet.remove_payload_ext(address(0xa), address(0xb))?;
    assert_eq!(packet.range(), Packet::HEADROOM..end);
    Ok((tag, packet.octets().to_vec()))
}

/// UDP from port 1 to 2 with four octets.
const UDP: &str = "0001000200 0caaaa 01020304";
const ADDRESSES: &str = "
    20010db8 00000000 00000000 0000000a
    20010db8 00000000 00000000 0000000b";
const LOCATORS: &str = "
    20010db8 00000000 00000000 0000001a
    20010db8 00000000 00000000 0000001b";

//= https://www.rfc-editor.org/rfc/rfc5533#section-5.2
//= id=S-006
//= type=test
//# Receiver Context Tag: 47-bit unsigned integer.  Allocated by the receiver to identify the
//# context.
//= https://www.rfc-editor.org/rfc/rfc5533#section-12.2
//= id=S-161
//= type=test
//# Finally, the Shim6 Payload Extension header is removed from the packet (so that the ULP doesn't
//# get confused by it), and the Next Header value in the preceding header is set to be the actual
//# protocol number for the payload.
//= https://www.rfc-editor.org/rfc/rfc5533#section-5
//= id=S-003
//= type=test
//# The Shim6 messages are all carried using a new IP protocol number (140).
//= https://www.rfc-editor.org/rfc/rfc5533#section-11.1
//= id=S-157
//= type=test
//# Note that this MUST NOT cause any recalculation of the ULP checksums, since the ULP checksums
//# are carried end-to-end and the ULP pseudo-header contains the ULIDs that are preserved
//# end-to-end.
#[test]
fn the_payload_extension_header_is_put_in_as_the_figure_says() {
    let plain = hex(&["6ab12345 000c 11 40", ADDRESSES, UDP].concat());
    let tagged = hex(&[
        "6ab12345 0014 8c 40 // Payload Length 20, Next Header 140",
        LOCATORS,
        "
        11009a2b // Next Header UDP, Hdr Ext Len 0, P = 1, Receiver Context Tag
        3c4d5e6f
        ",
        UDP,
    ]
    .concat());
    assert_eq!(insert(&plain), Ok(tagged.clone()));
    assert_eq!(remove(&tagged), Ok((ContextTag::from_bits(TAG), plain)));
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-4.6
//= id=S-002
//= type=test
//# the Shim header will be placed before any Endpoint Extension headers (Fragmentation headers,
//# Destination Options header, AH, ESP) but after any routing-related headers (Hop-by-Hop
//# Extensions header, Routing header, and a Destinations Options header, which precedes a Routing
//# header).
#[test]
fn the_payload_extension_header_goes_between_routing_and_endpoint_headers() {
    const FRAGMENT: u8 = 44;
    const ESP: u8 = 50;
    const AH: u8 = 51;
    const UDP: u8 = 17;
    for (before, after) in [
        (&[][..], &[UDP][..]),
        (&[], &[FRAGMENT, UDP]),
        (&[], &[AH, UDP]),
        (&[], &[ESP]),
        (&[], &[DESTINATION_OPTIONS, UDP]),
        (&[HOP_BY_HOP], &[UDP]),
        (
            &[HOP_BY_HOP],
            &[DESTINATION_OPTIONS, FRAGMENT, DESTINATION_OPTIONS, UDP],
        ),
        (&[ROUTING], &[FRAGMENT, UDP]),
        (&[DESTINATION_OPTIONS, ROUTING], &[DESTINATION_OPTIONS, UDP]),
        (
            &[HOP_BY_HOP, DESTINATION_OPTIONS, ROUTING],
            &[FRAGMENT, AH, UDP],
        ),
    ] {
        let tagged = insert(&packet(&chain(&[before, after].concat()))).unwrap();
        let mut next_header_at = NEXT_HEADER;
        let mut at = IPV6_HEADER;
        for &header in before {
            assert_eq!(tagged[next_header_at], header, "{before:?} {after:?}");
            next_header_at = at;
            at += 8 + usize::from(tagged[at + 1]) * 8;
        }
        assert_eq!(tagged[next_header_at], SHIM6, "{before:?} {after:?}");
        assert_eq!(tagged[at], after[0], "{before:?} {after:?}");
        assert_eq!(tagged[at + 1..at + 3], [0, 0x9a]);
    }
}

#[test]
fn a_header_behind_destination_options_is_taken_out_all_the_same() {
    let mut octets = packet(&chain(&[DESTINATION_OPTIONS, SHIM6]));
    let at = octets.len() - PAYLOAD_EXT;
    octets[at..].copy_from_slice(&hex("3b009a2b 3c4d5e6f"));
    let (tag, plain) = remove(&octets).unwrap();
    assert_eq!(tag, ContextTag::from_bits(TAG));
    assert_eq!(plain[IPV6_HEADER], NO_NEXT_HEADER);
    assert_eq!(plain.len(), at);
    assert_eq!(payload_length(&plain), at - IPV6_HEADER);
}

#[test]
fn a_second_shim6_header_is_refused() {
    let tagged = insert(&packet(&chain(&[HOP_BY_HOP, 17]))).unwrap();
    let at = IPV6_HEADER + 8;
    assert_eq!(insert(&tagged), Err(WireError::AlreadyShim6 { at }));
}

#[test]
fn what_is_no_payload_extension_header_is_not_taken_out() {
    let tagged = insert(&packet(&chain(&[17]))).unwrap();
    let change = |at: usize, octet| {
        let mut changed = tagged.clone();
        changed[at] = octet;
        remove(&changed).unwrap_err()
    };
    assert_eq!(change(NEXT_HEADER, 17), WireError::NotPayloadExt { at: 40 });
    assert_eq!(change(42, 0x1a), WireError::NotPayloadExt { at: 40 });
    assert_eq!(change(41, 1), WireError::PayloadExtLength { at: 41 });
}

#[test]
fn a_packet_without_headroom_stays_as_it_is() {
    let octets = packet(&chain(&[HOP_BY_HOP, 17]));
    let mut buf = [&[0; 7][..], &octets].concat();
    let end = buf.len();
    let mut packet = Packet::new(&mut buf, 7, end).unwrap();
    let tag = ContextTag::from_bits(TAG);
    let inserted = packet.insert_payload_ext(tag, address(1), address(2));
    assert_eq!(inserted, Err(WireError::NoHeadroom));
    assert_eq!(packet.octets(), octets);
}

#[test]
fn a_packet_that_would_outgrow_payload_length_is_refused() {
    let longest = packet(&(17, vec![0; 0xffff - PAYLOAD_EXT]));
    assert_eq!(insert(&longest).unwrap().len(), IPV6_HEADER + 0xffff);
    let longer = packet(&(17, vec![0; 0xffff - PAYLOAD_EXT + 1]));
    assert_eq!(
        insert(&longer),
        Err(WireError::PacketTooLong { length: 0x1_0000 })
    );
}

#[test]
fn octets_that_payload_length_does_not_count_are_cut_off() {
    let mut buf = packet(&chain(&[17]));
    let end = buf.len();
    buf.extend_from_slice(&[0xee; 3]);
    let padded = buf.len();
    assert_eq!(Packet::new(&mut buf, 0, padded).unwrap().range(), 0..end);
}

#[test]
fn what_is_no_whole_ipv6_packet_is_refused() {
    let whole = packet(&chain(&[17]));
    let new = |octets: &[u8], end| Packet::new(&mut octets.to_vec(), 0, end).err();
    let (need, have) = (whole.len(), whole.len() - 1);
    assert_eq!(new(&whole, need), None);
    assert_eq!(
        new(&whole, have),
        Some(WireError::Truncated { at: 0, need, have })
    );
    let past_buffer = WireError::Truncated {
        at: 0,
        need: need + 1,
        have: need,
    };
    assert_eq!(new(&whole, need + 1), Some(past_buffer));
    assert_eq!(new(&whole, 39), Some(WireError::NotIpv6 { at: 0 }));
    let mut ipv4 = whole.clone();
    ipv4[0] = 0x45;
    assert_eq!(new(&ipv4, need), Some(WireError::NotIpv6 { at: 0 }));
    let mut jumbogram = whole;
    jumbogram[PAYLOAD_LENGTH].fill(0);
    assert_eq!(new(&jumbogram, need), Some(WireError::Jumbogram));
}

/// Chains of headers that have no Shim6 header; the payload is random.
fn packets() -> impl Strategy<Value = Vec<u8>> {
    let header = prop_oneof![Just(HOP_BY_HOP), Just(ROUTING), Just(DESTINATION_OPTIONS)];
    let last = any::<u8>().prop_filter("ends the chain", |last| {
        ![SHIM6, HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS].contains(last)
    });
    (vec(header, 0..6), last, vec(any::<u8>(), 0..200)).prop_map(|(mut types, last, payload)| {
        types.push(last);
        let (first, mut octets) = chain(&types);
        octets.extend(payload);
        packet(&(first, octets))
    })
}

proptest! {
    #[test]
    fn taking_the_header_out_undoes_putting_it_in(
        octets in packets(),
        tag in tag(),
        headroom in Packet::HEADROOM..32,
    ) {
        let mut buf = [&vec![0xee; headroom][..], &octets].concat();
        let end = buf.len();
        let mut packet = Packet::new(&mut buf, headroom, end).unwrap();
        let (source, destination) = (packet.source(), packet.destination());
        packet.insert_payload_ext(tag, address(1), address(2)).unwrap();
        prop_assert_eq!((packet.source(), packet.destination()), (address(1), address(2)));
        prop_assert_eq!(packet_len(packet.octets()), Ok(octets.len() + PAYLOAD_EXT));
        prop_assert_eq!(packet.remove_payload_ext(source, destination), Ok(tag));
        prop_assert_eq!(packet.range(), headroom..end);
        prop_assert_eq!(packet.octets(), octets);
        prop_assert!(buf[..headroom - Packet::HEADROOM].iter().all(|&octet| octet == 0xee));
    }

    #[test]
    fn any_octets_can_be_tried(octets: Vec<u8>, next_headers: [u8; 4]) {
        let shim6 = [SHIM6, HOP_BY_HOP, ROUTING, DESTINATION_OPTIONS];
        let first = shim6[usize::from(next_headers[0]) % shim6.len()];
        let octets = packet(&(first, octets));
        let _ = insert(&octets);
        let _ = remove(&octets);
    }
}
