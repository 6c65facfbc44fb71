//! Which options are taken, skipped and refused, and the forms that single options may have.

use super::*;
use crate::ids::Generation;
use crate::message::{ErrorCode, Message, MessageType};
use crate::test_data::{hex, with_options};

/// A Keepalive, which has no options of its own.
const KEEPALIVE: &str = "3b014200 00001a2b 3c4d5e6f 00000000";
/// An Update Request.
const UPDATE: &str = "3b014000 00001a2b 3c4d5e6f 0a0b0c0d";
/// An I1.
const I1: &str = "3b010100 00001a2b 3c4d5e6f 01020304";

fn parse(message: &str, options: &str) -> Result<Message, WireError> {
    Message::parse(&with_options(hex(message), &hex(options)))
}

/// The locator options of an Update Request with `options`.
fn locators(options: &str) -> LocatorOptions {
    let Ok(Message::UpdateRequest(update)) = parse(UPDATE, options) else {
        panic!("no Update Request: {options}");
    };
    update.locators
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-5.15
//= id=S-044
//= type=test
//# Total Length = 11 + Length - (Length + 3) mod 8;
#[test]
fn the_total_length_is_that_of_the_formula() {
    for length in 0..=0xffff {
        assert_eq!(
            total_len(length),
            11 + length - (length + 3) % 8,
            "{length}"
        );
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-5.15
//= id=S-049
//= type=test
//# If C=0, then the option is silently ignored, and the rest of the message is processed.
//= https://www.rfc-editor.org/rfc/rfc5534#section-5.1
//= id=R-021
//= type=test
//# However, there are currently no defined options that are useful in a Keepalive message.
#[test]
fn an_option_that_is_unknown_or_out_of_place_is_skipped() {
    let unknown = "00160004 00000000"; // Type 11
    let fii = "000e0004 00000007"; // Type 7
    assert_eq!(parse(KEEPALIVE, unknown), parse(KEEPALIVE, ""));
    assert_eq!(parse(KEEPALIVE, fii), parse(KEEPALIVE, ""));
    assert_eq!(parse(I1, &[unknown, fii].concat()), parse(I1, fii));
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-5.15
//= id=S-050
//= type=test
//# If C=1, then the host SHOULD send back a Shim6 Error message with Error Code=1, with the Pointer
//# field referencing the first octet in the Option Type field.
//= https://www.rfc-editor.org/rfc/rfc5533#section-12.3
//= id=S-164
//= type=test
//# If there is any option in the message with C=1 that isn't known to the host, then the host MUST
//# send a Shim6 Error message with Error Code=1 with the Pointer field referencing the first octet
//# of the Option Type.
//= https://www.rfc-editor.org/rfc/rfc5533#section-5.15
//= id=S-051
//= type=test
//# When C=1, the rest of the message MUST NOT be processed.
#[test]
fn a_critical_option_that_is_unknown_or_out_of_place_is_reported_at_its_type() {
    let skipped = "00160004 00000000"; // Type 11, C = 0
    for (critical, ty) in [("00170004 00000000", 11), ("000f0004 00000007", 7)] {
        for first in ["", skipped] {
            let error = parse(KEEPALIVE, &[first, critical].concat()).unwrap_err();
            let at = if first.is_empty() { 16 } else { 24 };
            assert_eq!(error, WireError::CriticalOption { ty, at });
            assert_eq!(error.report(), Some((ErrorCode::CriticalOption, at as u16)));
        }
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-5.15
//= id=S-048
//= type=test
//# C:             Critical.  One, if this parameter is critical and MUST be recognized by the
//# recipient; zero otherwise.
#[test]
fn a_known_option_may_be_critical() {
    assert_eq!(
        parse(I1, "000f0004 00000007"),
        parse(I1, "000e0004 00000007")
    );
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-5.15
//= id=S-047
//= type=test
//# Any added padding bytes MUST be zeroed by the sender, and their values SHOULD NOT be checked by
//# the receiver.
#[test]
fn padding_is_not_looked_at() {
    assert_eq!(
        locators("00080003 c1c2c3ff").pds,
        Some(vec![0xc1, 0xc2, 0xc3])
    );
    let list = "0004001c 0000002a 01010000 00000000 20010db8 00000000 00000000 00000001";
    let padded = "0004001c 0000002a 0101ffff ffffffff 20010db8 00000000 00000000 00000001";
    assert_eq!(locators(padded), locators(list));
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-5.15.6
//= id=S-058
//= type=test
//# Reserved2:     32-bit field.  Reserved for future use.  Zero on transmit.  MUST be ignored on
//# receipt.
#[test]
fn the_reserved_octets_of_the_ulid_pair_option_are_ignored() {
    let ulids = "20010db8 00000000 00000000 0000000a 20010db8 00000000 00000000 0000000b";
    let zero = ["000c0024 00000000", ulids].concat();
    let other = ["000c0024 ffffffff", ulids].concat();
    assert_eq!(parse(I1, &other), parse(I1, &zero));
}

//= https://www.rfc-editor.org/rfc/rfc5534#section-5.3
//= id=R-040
//= type=test
//# Reserved A 16-bit field reserved for future use.  It is set to zero upon transmit and MUST be
//# ignored upon receipt.
#[test]
fn the_reserved_octets_of_the_keepalive_timeout_option_are_ignored() {
    assert_eq!(
        parse(UPDATE, "00140004 ffff001e"),
        parse(UPDATE, "00140004 0000001e")
    );
}

#[test]
fn an_option_past_the_end_of_the_message_is_refused() {
    let error = WireError::OptionPastEnd {
        at: 16,
        need: 16,
        have: 8,
    };
    assert_eq!(parse(KEEPALIVE, "00160005 00000000"), Err(error));
    assert_eq!(error.report(), None);
}

//= https://www.rfc-editor.org/rfc/rfc5534#section-5.3
//= id=R-039
//= type=test
//# Length This field MUST be set as specified in Section 5.1 of the Shim6 protocol description
//# [RFC5533] -- that is, set to 4.
#[test]
fn an_option_of_a_wrong_length_is_refused() {
    let ulids = "20010db8 00000000 00000000 0000000a 20010db8 00000000 00000000 0000000b";
    for (message, options, ty) in [
        (I1, "000e0003 00000000", OptionType::Fii),
        (I1, "000e0005 00000000 00000000 00000000", OptionType::Fii),
        (
            I1,
            &["000c0023 00000000", ulids].concat(),
            OptionType::UlidPair,
        ),
        (UPDATE, "00140002 001e0000", OptionType::KeepaliveTimeout),
        // No room for the number of locators.
        (UPDATE, "00040004 0000002a", OptionType::LocatorList),
        // One locator announced, none there.
        (
            UPDATE,
            "0004000c 0000002a 01010000 00000000",
            OptionType::LocatorList,
        ),
        // None announced, one there.
        (
            UPDATE,
            "0004001c 0000002a 00000000 00000000 20010db8 00000000 00000000 00000001",
            OptionType::LocatorList,
        ),
        // Element Len 0; elements that are not a multiple of Element Len.
        (
            UPDATE,
            "00060006 0000002a 00010000 00000000",
            OptionType::LocatorPreferences,
        ),
        (
            UPDATE,
            "00060008 0000002a 02010101 00000000",
            OptionType::LocatorPreferences,
        ),
    ] {
        let error = WireError::OptionLength { ty, at: 16 };
        assert_eq!(parse(message, options), Err(error), "{options}");
        assert_eq!(error.report(), None);
    }
}

#[test]
fn a_second_option_of_a_kind_is_refused() {
    let error = WireError::DuplicateOption {
        ty: OptionType::Pds,
        at: 24,
    };
    assert_eq!(
        parse(UPDATE, "00080003 c1c2c300 00080003 c1c2c300"),
        Err(error)
    );
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-5.15.2
//= id=S-052
//= type=test
//# Padding:       Padding, 0-7 bytes, added if needed so that the Locators start on a
//# multiple-of-8-octet boundary.
#[test]
fn locators_start_on_8_octets_for_any_number_of_them() {
    for count in 0..=60_u8 {
        let locator = ListedLocator {
            address: "2001:db8::1".parse().unwrap(),
            method: VerificationMethod::Other(0xee),
        };
        let list = LocatorList {
            generation: Generation(0x0a0b_0c0d),
            locators: vec![locator; usize::from(count)],
        };
        let contents = list.contents();
        let first = (4 + 5 + usize::from(count)).div_ceil(8) * 8 - 4;
        assert_eq!(contents.len(), first + 16 * usize::from(count));
        assert_eq!(contents[4], count);
        let methods_end = 5 + usize::from(count);
        assert!(contents[5..methods_end].iter().all(|&octet| octet == 0xee));
        assert!(contents[methods_end..first].iter().all(|&octet| octet == 0));
        assert_eq!(LocatorList::parse(&contents), Some(list));
    }
}

/// A1 of the ambiguities: table 4, not the IANA text.
#[test]
fn verification_methods_have_the_numbers_of_table_4() {
    assert_eq!(VerificationMethod::from_octet(1), VerificationMethod::Hba);
    assert_eq!(VerificationMethod::from_octet(2), VerificationMethod::Cga);
    for octet in 0..=0xff {
        assert_eq!(VerificationMethod::from_octet(octet).octet(), octet);
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-5.15.3
//= id=S-053
//= type=test
//# This specification defines the cases when the length is 1, 2, or 3.
//= https://www.rfc-editor.org/rfc/rfc5533#section-5.15.3
//= id=S-054
//= type=test
//# This document doesn't specify the format when the Element length is more than three, except that
//# any such formats MUST be defined so that the first three octets are the same as in the above
//# case, that is, a one-octet Flags field followed by a one-octet Priority field, and a one-octet
//# Weight field.
#[test]
fn preference_elements_of_every_length_are_read() {
    for (option, elements) in [
        (
            "00060007 0000002a 01010200 00000000",
            [[1, 0, 0], [2, 0, 0]],
        ),
        (
            "00060009 0000002a 02010a02 14000000",
            [[1, 10, 0], [2, 20, 0]],
        ),
        (
            "0006000b 0000002a 03010a05 02140900",
            [[1, 10, 5], [2, 20, 9]],
        ),
        (
            "0006000f 0000002a 05010a05 eeee0214 09eeee00 00000000",
            [[1, 10, 5], [2, 20, 9]],
        ),
    ] {
        let elements = elements.map(|[flags, priority, weight]| Preference {
            flags: PreferenceFlags(flags),
            priority,
            weight,
        });
        let preferences = LocatorPreferences {
            generation: Generation(42),
            elements: elements.to_vec(),
        };
        assert_eq!(locators(option).preferences, Some(preferences), "{option}");
    }
}

#[test]
fn preference_elements_are_no_longer_than_they_need_to_be() {
    let contents = |priority, weight| {
        let flags = PreferenceFlags::BROKEN.union(PreferenceFlags::TRANSIENT);
        assert!(flags.contains(PreferenceFlags::TRANSIENT));
        let elements = vec![Preference {
            flags,
            priority,
            weight,
        }];
        LocatorPreferences {
            generation: Generation(42),
            elements,
        }
        .contents()
    };
    assert_eq!(contents(0, 0), hex("0000002a 01 03"));
    assert_eq!(contents(9, 0), hex("0000002a 02 03 09"));
    assert_eq!(contents(0, 9), hex("0000002a 03 03 00 09"));
}

#[test]
fn every_message_takes_exactly_its_options() {
    for (ty, fixed, types) in [
        (MessageType::I1, 16, vec![6, 7]),
        (MessageType::R1, 16, vec![1]),
        (MessageType::I2, 24, vec![1, 2, 3, 4, 5, 6, 7, 10]),
        (MessageType::R2, 16, vec![2, 3, 4, 5, 10]),
        (MessageType::R1bis, 16, vec![1]),
        (MessageType::I2bis, 32, vec![1, 2, 3, 4, 5, 6, 7, 10]),
        (MessageType::UpdateRequest, 16, vec![2, 3, 4, 5, 10]),
        (MessageType::UpdateAck, 16, vec![]),
        (MessageType::Keepalive, 16, vec![]),
    ] {
        let mut message = vec![0; fixed];
        message[2] = ty as u8;
        // C = 1 and no Contents: refused as critical where it has no place.
        for option in [1_u8, 2, 3, 4, 5, 6, 7, 10] {
            let octets = with_options(message.clone(), &[0, option << 1 | 1, 0, 0, 0, 0, 0, 0]);
            let critical = WireError::CriticalOption {
                ty: option.into(),
                at: fixed,
            };
            let refused = Message::parse(&octets) == Err(critical);
            assert_eq!(refused, !types.contains(&option), "{ty:?} {option}");
        }
    }
}
