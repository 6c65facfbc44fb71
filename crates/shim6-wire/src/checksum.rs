//! The checksum of a control message, which has no pseudo-header (RFC 5533 §5.3).

use pnet_packet::util;

/// The 16-bit word of a control header that holds the checksum.
const CHECKSUM_WORD: usize = 2;

/// A word that no message is long enough to have, so that none is left out of the sum.
const NO_WORD: usize = usize::MAX;

/// The value of the Checksum field of `message`; what the field holds does not matter.
///
/// `message` is the Shim6 header from Next Header to where Hdr Ext Len ends it.
pub(crate) fn checksum(message: &[u8]) -> u16 {
    //= https://www.rfc-editor.org/rfc/rfc5533#section-5.3
    //= id=S-008
    //# Note that, unlike protocols like ICMPv6, there is no pseudo-header checksum part of the
    //# checksum; this provides locator agility without having to change the checksum.
    util::checksum(message, CHECKSUM_WORD)
}

/// Whether the Checksum field of `message` is right.
pub(crate) fn is_valid(message: &[u8]) -> bool {
    util::checksum(message, NO_WORD) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Next Header 59, Hdr Ext Len 1, Keepalive, tag 0x010203040506:
    /// 3b01 + 4200 + 0001 + 0203 + 0405 + 0506 = 8810, whose complement is 77ef.
    const KEEPALIVE: [u8; 16] = [59, 1, 66, 0, 0, 0, 0, 1, 2, 3, 4, 5, 5, 6, 0, 0];

    #[test]
    fn the_checksum_is_the_complement_of_the_sum_of_words() {
        assert_eq!(checksum(&KEEPALIVE), 0x77ef);
    }

    #[test]
    fn the_checksum_ignores_what_its_field_holds() {
        let mut message = KEEPALIVE;
        message[4..6].copy_from_slice(&[0xab, 0xcd]);
        assert_eq!(checksum(&message), 0x77ef);
    }

    #[test]
    fn any_changed_octet_makes_the_checksum_wrong() {
        let mut message = KEEPALIVE;
        message[4..6].copy_from_slice(&0x77ef_u16.to_be_bytes());
        assert!(is_valid(&message));
        for at in 0..message.len() {
            let mut changed = message;
            changed[at] ^= 0x10;
            assert!(!is_valid(&changed), "octet {at}");
        }
    }
}
