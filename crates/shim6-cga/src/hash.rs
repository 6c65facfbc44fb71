//! Hash1 and Hash2, and the five bits of an address that Hash1 does not fill (RFC 3972 §2, §3).

use std::net::Ipv6Addr;

use sha1::{Digest, Sha1};

use crate::{Modifier, SubnetPrefix};

//= https://www.rfc-editor.org/rfc/rfc3972#section-3
//= id=C-009
//# The SHA-1 hash algorithm [FIPS.180-1.1995] is applied to the CGA Parameters. When Hash1 is
//# computed, the input to the SHA-1 algorithm is the CGA Parameters data structure.
//= https://www.rfc-editor.org/rfc/rfc3972#section-5
//= id=C-028
//# However, implementations MUST include any such unrecognized data in the hash input when
//# computing Hash1 in step 3 and Hash2 in step 6 of the CGA verification algorithm.

/// The leftmost 64 bits of the SHA-1 of a whole structure; `tail` is key and extension fields.
pub(crate) fn hash1(
    modifier: Modifier,
    subnet_prefix: SubnetPrefix,
    collision_count: u8,
    tail: &[u8],
) -> u64 {
    let digest = Sha1::new()
        .chain_update(modifier)
        .chain_update(subnet_prefix)
        .chain_update([collision_count])
        .chain_update(tail)
        .finalize();
    (leftmost_128(&digest.into()) >> 64) as u64
}

/// How many leading bits of Hash2 are zero; at least 112 when all of Hash2 is.
//= https://www.rfc-editor.org/rfc/rfc3972#section-3
//= id=C-009
//# When Hash2 is
//# computed, the input is the same CGA Parameters data structure except
//# that the subnet prefix and collision count are set to zero.
pub(crate) fn hash2_leading_zeros(modifier: Modifier, tail: &[u8]) -> u32 {
    let digest = Sha1::new()
        .chain_update(modifier)
        .chain_update([0; 9])
        .chain_update(tail)
        .finalize();
    leftmost_128(&digest.into()).leading_zeros()
}

/// Whether so many leading zeros of Hash2 suffice for `sec`.
pub(crate) fn hash2_suffices(leading_zeros: u32, sec: u8) -> bool {
    leading_zeros >= 16 * u32::from(sec)
}

/// Whether `iid` is `hash1`, but for Sec and the u and g bits.
//= https://www.rfc-editor.org/rfc/rfc3972#section-2
//= id=C-001
//# Bits 0, 1, 2, 6, and 7 (i.e., the bits that encode
//# the security parameter Sec and the "u" and "g" bits from the
//# standard IPv6 address architecture format of interface identifiers
//# [RFC3513]) are ignored in the comparison.
pub(crate) fn hash1_matches(hash1: u64, iid: u64) -> bool {
    (hash1 ^ iid) & MASK1 == 0
}

/// Forms the interface identifier of Hash1 and `sec`, u and g zero (RFC 3972 §4, step 6).
pub(crate) fn interface_identifier(hash1: u64, sec: u8) -> u64 {
    hash1 & MASK1 | u64::from(sec) << SEC_SHIFT
}

/// Sec as an address states it, 0 to 7.
pub(crate) fn sec(iid: u64) -> u8 {
    (iid >> SEC_SHIFT) as u8
}

/// Subnet prefix and interface identifier of an address.
pub(crate) fn split(address: Ipv6Addr) -> (SubnetPrefix, u64) {
    let bits = address.to_bits();
    (((bits >> 64) as u64).to_be_bytes(), bits as u64)
}

/// The address with this subnet prefix and interface identifier.
pub(crate) fn join(prefix: SubnetPrefix, iid: u64) -> Ipv6Addr {
    Ipv6Addr::from_bits(u128::from(u64::from_be_bytes(prefix)) << 64 | u128::from(iid))
}

/// Enough of a digest for Hash1 (64 bits) and Hash2 (112 bits).
fn leftmost_128(digest: &[u8; 20]) -> u128 {
    u128::from_be_bytes(std::array::from_fn(|i| digest[i]))
}

/// Mask1 of RFC 3972 §2.
const MASK1: u64 = 0x1cff_ffff_ffff_ffff;
/// Sec is bits 0 to 2, counted from the left.
const SEC_SHIFT: u32 = 61;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sec_asks_for_sixteen_more_zero_bits() {
        for sec in 0..=7 {
            let needed = 16 * u32::from(sec);
            assert!(hash2_suffices(needed, sec));
            assert!(needed == 0 || !hash2_suffices(needed - 1, sec), "Sec {sec}");
        }
    }

    #[test]
    fn the_comparison_ignores_exactly_sec_u_and_g() {
        //= https://www.rfc-editor.org/rfc/rfc3972#section-2
        //= type=test
        //= id=C-001
        //# Bits 0, 1, 2, 6, and 7 (i.e., the bits that encode
        //# the security parameter Sec and the "u" and "g" bits from the
        //# standard IPv6 address architecture format of interface identifiers
        //# [RFC3513]) are ignored in the comparison.
        let ignored: Vec<u32> = (0..64)
            .filter(|bit| hash1_matches(0, 1 << (63 - bit)))
            .collect();
        assert_eq!(ignored, [0, 1, 2, 6, 7]);
    }

    #[test]
    fn an_interface_identifier_holds_sec_and_clears_u_and_g() {
        assert_eq!(interface_identifier(u64::MAX, 0), 0x1cff_ffff_ffff_ffff);
        assert_eq!(interface_identifier(0, 5), 0xa000_0000_0000_0000);
        assert_eq!(sec(interface_identifier(u64::MAX, 2)), 2);
    }

    #[test]
    fn an_address_splits_where_it_was_joined() {
        let address: Ipv6Addr = "2001:db8:1:2:3:4:5:6".parse().unwrap();
        let (prefix, iid) = split(address);
        assert_eq!(
            (prefix, iid),
            ([0x20, 1, 0x0d, 0xb8, 0, 1, 0, 2], 0x0003_0004_0005_0006)
        );
        assert_eq!(join(prefix, iid), address);
    }
}
