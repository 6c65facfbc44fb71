//! Every class, and what a Shim6 header may not look like.

use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::*;
use crate::ipv6::set_address;
use crate::test_data::{chain, hex, packet};

const PAYLOAD_EXT: &str = "3b009a2b 3c4d5e6f";
const KEEPALIVE: &str = "3b014200 ce161a2b 3c4d5e6f 00000000";

fn shim6(header: &str) -> Vec<u8> {
    packet(&(SHIM6, hex(header)))
}

fn malformed(error: WireError) -> Class {
    Class::Malformed(error)
}

#[test]
fn a_packet_without_a_shim6_header_is_payload() {
    assert_eq!(classify(&packet(&chain(&[17]))), Class::Payload);
    assert_eq!(
        classify(&packet(&chain(&[0, 43, 60, 44, 6]))),
        Class::Payload
    );
    assert_eq!(classify(&packet(&(59, Vec::new()))), Class::Payload);
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-5.1
//= id=S-005
//= type=test
//# P:             A single bit to distinguish Shim6 Payload Extension headers from control
//# messages.
#[test]
fn the_p_bit_tells_payload_from_control() {
    let tag = ContextTag::from_bits(0x1a2b_3c4d_5e6f);
    assert_eq!(
        classify(&shim6(PAYLOAD_EXT)),
        Class::PayloadExt { tag, at: 40 }
    );
    assert_eq!(classify(&shim6(KEEPALIVE)), Class::Control { at: 40 });
}

#[test]
fn a_shim6_header_is_found_behind_routing_headers() {
    let (first, mut octets) = chain(&[0, 60, 43, SHIM6]);
    let at = 40 + octets.len() - 8;
    octets.truncate(octets.len() - 8);
    octets.extend(hex(KEEPALIVE));
    assert_eq!(classify(&packet(&(first, octets))), Class::Control { at });
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-12.3
//= id=S-162
//= type=test
//# Finally, it checks that neither the IPv6 Destination field nor the IPv6 Source field is a
//# multicast address or an unspecified address.
#[test]
fn a_control_message_from_or_to_no_single_host_is_malformed() {
    for at in [SOURCE, DESTINATION] {
        for address in ["::", "ff02::1", "ff00::"] {
            let mut octets = shim6(KEEPALIVE);
            set_address(&mut octets, at, address.parse::<Ipv6Addr>().unwrap());
            assert_eq!(
                classify(&octets),
                malformed(WireError::Address { at }),
                "{address}"
            );
        }
    }
}

#[test]
fn a_control_message_past_the_packet_is_malformed_whatever_follows_the_packet() {
    let mut octets = shim6("3b014200 ce161a2b");
    let error = WireError::PastPacketEnd { need: 16, have: 8 };
    assert_eq!(classify(&octets), malformed(error));
    octets.extend_from_slice(&[0; 8]);
    assert_eq!(classify(&octets), malformed(error));
}

#[test]
fn a_broken_payload_extension_header_is_malformed() {
    let long = shim6("3b019a2b 3c4d5e6f 00000000 00000000");
    assert_eq!(
        classify(&long),
        malformed(WireError::PayloadExtLength { at: 41 })
    );
    let cut = shim6("3b009a2b 3c4d5e");
    assert_eq!(
        classify(&cut),
        malformed(WireError::Truncated {
            at: 40,
            need: 8,
            have: 7
        })
    );
    let nothing = shim6("");
    assert_eq!(
        classify(&nothing),
        malformed(WireError::Truncated {
            at: 40,
            need: 8,
            have: 0
        })
    );
}

#[test]
fn a_cut_packet_is_malformed() {
    let whole = packet(&chain(&[0, 17]));
    for have in 0..whole.len() {
        let error = if have < 40 {
            WireError::NotIpv6 { at: 0 }
        } else {
            WireError::Truncated {
                at: 0,
                need: whole.len(),
                have,
            }
        };
        assert_eq!(classify(&whole[..have]), malformed(error));
    }
}

#[test]
fn a_cut_extension_header_is_malformed() {
    let mut octets = packet(&chain(&[0, 59]));
    octets[41] = 9;
    let have = octets.len() - 40;
    assert_eq!(
        classify(&octets),
        malformed(WireError::Truncated {
            at: 40,
            need: 80,
            have
        })
    );
}

#[test]
fn a_jumbogram_is_payload() {
    let mut octets = shim6(KEEPALIVE);
    octets[4..6].fill(0);
    assert_eq!(classify(&octets), Class::Payload);
}

proptest! {
    #[test]
    fn any_octets_have_a_class(octets: Vec<u8>, first in prop::sample::select(&[0, 43, 60, 140, 58])) {
        let _ = classify(&octets);
        let _ = classify(&packet(&(first, octets)));
    }
}
