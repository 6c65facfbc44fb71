//! Does an address belong to parameters? (RFC 3972 §5, RFC 5535 §7)
//!
//! All Sec values are checked by the SHA-1 rule of RFC 3972, which asks that of a verifier; RFC 4982
//! has registered none but 0 to 2, and no other rule for the rest. Sec never decides policy (C-023).

use std::net::Ipv6Addr;

use crate::generate::MAX_COLLISION_COUNT;
use crate::hash::{hash1, hash1_matches, hash2_leading_zeros, hash2_suffices, sec, split};
use crate::{CgaError, Pds, SubnetPrefix};

/// Checks that `address` is the CGA of `pds`.
///
/// # Errors
///
/// The first step that fails: [`CgaError::CollisionCount`], [`CgaError::SubnetPrefix`],
/// [`CgaError::Hash1`] or [`CgaError::Hash2`].
///
/// Source: RFC 3972 §5.
//= https://www.rfc-editor.org/rfc/rfc3972#section-5
//= id=C-020
//# The CGA MUST be verified with the following steps:
//= https://www.rfc-editor.org/rfc/rfc3972#section-5
//= id=C-021
//# If the verification fails at any step, the execution of the algorithm
//# MUST be stopped immediately.
//= https://www.rfc-editor.org/rfc/rfc3972#section-5
//= id=C-022,C-023
//# the verifier SHOULD process all CGAs in the same way regardless of the Sec, modifier, and
//# collision count values. In particular, the verifier in the SEND protocol SHOULD NOT have any
//# security policy that differentiates between addresses based on the value of Sec.
pub fn verify_cga(address: Ipv6Addr, pds: &Pds) -> Result<(), CgaError> {
    check_collision_count(pds)?;
    let (prefix, iid) = split(address);
    if prefix != pds.subnet_prefix() {
        return Err(CgaError::SubnetPrefix);
    }
    check_hashes(pds, prefix, iid)
}

/// Checks that `address` is in the HBA set of `pds`, which may be that of another member.
///
/// # Errors
///
/// [`CgaError::NoMultiPrefix`] or [`CgaError::NotInSet`], then as [`verify_cga`].
///
/// Source: RFC 5535 §7.2.
//= https://www.rfc-editor.org/rfc/rfc5535#section-7
//= id=H-014
//# The following procedure is only valid for Sec values of 0, 1, and 2.
pub fn verify_hba(address: Ipv6Addr, pds: &Pds) -> Result<(), CgaError> {
    let set = pds.multi_prefix().ok_or(CgaError::NoMultiPrefix)?;
    let (prefix, iid) = split(address);
    //= https://www.rfc-editor.org/rfc/rfc5535#section-7.2
    //= id=H-015
    //# 1. Verify that the 64-bit HBA prefix is included in the prefix set of
    //# the Multi-Prefix extension.  If it is not included, the
    //# verification fails.
    if !set.prefixes.contains(&prefix) {
        return Err(CgaError::NotInSet);
    }
    check_collision_count(pds)?;
    check_hashes(pds, prefix, iid)
}

/// Step 1.
//= https://www.rfc-editor.org/rfc/rfc3972#section-3
//= id=C-002
//# This is an eight-bit unsigned integer that MUST be 0, 1, or 2.
fn check_collision_count(pds: &Pds) -> Result<(), CgaError> {
    match pds.collision_count() {
        0..=MAX_COLLISION_COUNT => Ok(()),
        count => Err(CgaError::CollisionCount(count)),
    }
}

/// Steps 3 to 7, with `prefix` in the Subnet Prefix field.
//= https://www.rfc-editor.org/rfc/rfc5535#section-7.2
//= id=H-016
//# If it is included, replace the prefix
//# contained in the Subnet Prefix field of the CGA Parameter Data
//# Structure by the 64-bit HBA prefix.
fn check_hashes(pds: &Pds, prefix: SubnetPrefix, iid: u64) -> Result<(), CgaError> {
    let tail = pds.hashed_tail();
    if !hash1_matches(
        hash1(pds.modifier(), prefix, pds.collision_count(), tail),
        iid,
    ) {
        return Err(CgaError::Hash1);
    }
    //= https://www.rfc-editor.org/rfc/rfc3972#section-5
    //= id=C-024
    //# All nodes that implement CGA verification MUST be able to process all
    //# security parameter values Sec = 0, 1, 2, 3, 4, 5, 6, 7.
    //= https://www.rfc-editor.org/rfc/rfc4982#section-4
    //= id=C-041
    //# In any case, an implementation must not simultaneously support two different meanings of a
    //# Sec value.
    let sec = sec(iid);
    if sec > 0 && !hash2_suffices(hash2_leading_zeros(pds.modifier(), tail), sec) {
        return Err(CgaError::Hash2 { sec });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::{PREFIXES, key, rng};
    use crate::hash::join;
    use crate::{form_address, generate_cga, generate_hba};

    proptest! {
        #[test]
        fn a_changed_bit_of_the_parameters_fails(seed: u64, at: prop::sample::Index) {
            let set = generate_hba(&PREFIXES, Some(key()), 0, &mut rng(seed)).unwrap();
            let (address, pds) = &set[0];
            let mut octets = pds.octets().to_vec();
            let bit = at.index(8 * octets.len());
            octets[bit / 8] ^= 0x80 >> (bit % 8);
            let changed = Pds::parse(&octets).and_then(|pds| verify_cga(*address, &pds));
            prop_assert!(changed.is_err(), "bit {}", bit);
        }

        #[test]
        fn a_changed_bit_of_the_address_fails_unless_it_is_sec_u_or_g(seed: u64, bit in 0..128_u32) {
            let (address, pds) = generate_cga(key(), PREFIXES[0], 0, &mut rng(seed)).unwrap();
            let changed = Ipv6Addr::from_bits(address.to_bits() ^ 1 << (127 - bit));
            let verified = verify_cga(changed, &pds);
            match bit {
                0..64 => prop_assert_eq!(verified, Err(CgaError::SubnetPrefix)),
                // One set of random parameters in 65536 happens to be good for Sec 1 too.
                64..67 => {
                    let refused = verified == Err(CgaError::Hash2 { sec: 4 >> (bit - 64) });
                    let zeros = hash2_leading_zeros(pds.modifier(), pds.hashed_tail());
                    prop_assert!(refused || zeros >= 16);
                }
                70 | 71 => prop_assert_eq!(verified, Ok(())),
                _ => prop_assert_eq!(verified, Err(CgaError::Hash1)),
            }
        }
    }

    //= https://www.rfc-editor.org/rfc/rfc5535#section-7
    //= type=test
    //= id=H-014
    //# The following procedure is only valid for Sec values of 0, 1, and 2.
    #[test]
    fn all_of_an_hba_but_sec_u_and_g_is_checked_in_its_set() {
        let set = generate_hba(&PREFIXES, None, 0, &mut rng(20)).unwrap();
        let (address, pds) = (&set[1].0, &set[0].1);
        for bit in 0..128 {
            let changed = Ipv6Addr::from_bits(address.to_bits() ^ 1 << (127 - bit));
            let expected = match bit {
                0..64 => Err(CgaError::NotInSet),
                64..67 => Err(CgaError::Hash2 {
                    sec: 4 >> (bit - 64),
                }),
                70 | 71 => Ok(()),
                _ => Err(CgaError::Hash1),
            };
            assert_eq!(verify_hba(changed, pds), expected, "bit {bit}");
        }
    }

    //= https://www.rfc-editor.org/rfc/rfc4982#section-4
    //= type=test
    //= id=C-041
    //# In any case, an implementation must not simultaneously support two different meanings of a
    //# Sec value.
    #[test]
    fn a_higher_sec_than_the_parameters_earn_fails_and_a_lower_one_passes() {
        //= https://www.rfc-editor.org/rfc/rfc3972#section-5
        //= type=test
        //= id=C-024
        //# All nodes that implement CGA verification MUST be able to process all
        //# security parameter values Sec = 0, 1, 2, 3, 4, 5, 6, 7.
        let (address, pds) = generate_cga(key(), PREFIXES[0], 1, &mut rng(21)).unwrap();
        let (prefix, iid) = split(address);
        for sec in 0..=7 {
            let claimed = join(prefix, iid & !(7 << 61) | u64::from(sec) << 61);
            let expected = if sec <= 1 {
                Ok(())
            } else {
                Err(CgaError::Hash2 { sec })
            };
            assert_eq!(verify_cga(claimed, &pds), expected);
        }
    }

    #[test]
    fn a_collision_count_above_two_fails_although_the_hash_fits() {
        //= https://www.rfc-editor.org/rfc/rfc3972#section-5
        //= type=test
        //= id=C-020
        //# 1. Check that the collision count in the CGA Parameters data
        //# structure is 0, 1, or 2.  The CGA verification fails if the
        //# collision count is out of the valid range.
        let (_, sound) = generate_cga(key(), PREFIXES[0], 0, &mut rng(22)).unwrap();
        for count in 3..=u8::MAX {
            let mut octets = sound.octets().to_vec();
            octets[24] = count;
            let pds = Pds::parse(&octets).unwrap();
            let iid = hash1(pds.modifier(), PREFIXES[0], count, pds.hashed_tail()) & !(7 << 61);
            let verified = verify_cga(join(PREFIXES[0], iid), &pds);
            assert_eq!(verified, Err(CgaError::CollisionCount(count)));
        }
    }

    //= https://www.rfc-editor.org/rfc/rfc3972#section-3
    //= type=test
    //= id=C-002
    //# This is an eight-bit unsigned integer that MUST be 0, 1, or 2.
    #[test]
    fn a_collision_count_above_two_fails_in_a_set_too() {
        let set = generate_hba(&PREFIXES, None, 0, &mut rng(26)).unwrap();
        let mut octets = set[0].1.octets().to_vec();
        octets[24] = 3;
        let pds = Pds::parse(&octets).unwrap();
        let iid = hash1(pds.modifier(), PREFIXES[1], 3, pds.hashed_tail()) & !(7 << 61);
        let verified = verify_hba(join(PREFIXES[1], iid), &pds);
        assert_eq!(verified, Err(CgaError::CollisionCount(3)));
    }

    #[test]
    fn a_cga_under_the_same_key_is_not_in_a_set_that_does_not_exist() {
        let (address, pds) = generate_cga(key(), PREFIXES[0], 0, &mut rng(23)).unwrap();
        assert_eq!(verify_cga(address, &pds), Ok(()));
        assert_eq!(verify_hba(address, &pds), Err(CgaError::NoMultiPrefix));
    }

    #[test]
    fn a_hash_under_a_prefix_outside_the_set_is_no_member() {
        //= https://www.rfc-editor.org/rfc/rfc5535#section-7.2
        //= type=test
        //= id=H-015
        //# 1. Verify that the 64-bit HBA prefix is included in the prefix set of
        //# the Multi-Prefix extension.  If it is not included, the
        //# verification fails.
        let set = generate_hba(&PREFIXES[..2], None, 0, &mut rng(24)).unwrap();
        let (_, pds) = &set[0];
        let (outsider, own) = form_address(
            pds.modifier(),
            PREFIXES[2],
            0,
            pds.public_key(),
            pds.extensions(),
            0,
        )
        .unwrap();
        assert_eq!(verify_cga(outsider, &own), Ok(()));
        assert_eq!(verify_hba(outsider, &own), Err(CgaError::NotInSet));
    }

    #[test]
    fn a_member_verifies_by_its_siblings_parameters_in_the_set_only() {
        //= https://www.rfc-editor.org/rfc/rfc5535#section-7.2
        //= type=test
        //= id=H-016
        //# If it is included, replace the prefix
        //# contained in the Subnet Prefix field of the CGA Parameter Data
        //# Structure by the 64-bit HBA prefix.
        let set = generate_hba(&PREFIXES, None, 1, &mut rng(25)).unwrap();
        assert_eq!(verify_hba(set[2].0, &set[0].1), Ok(()));
        assert_eq!(verify_cga(set[2].0, &set[0].1), Err(CgaError::SubnetPrefix));
    }

    //= https://www.rfc-editor.org/rfc/rfc3972#section-5
    //= type=test
    //= id=C-021
    //# If the verification fails at any step, the execution of the algorithm MUST be stopped
    //# immediately.
    #[test]
    fn the_first_step_that_fails_is_the_verdict() {
        let (address, sound) = generate_cga(key(), PREFIXES[0], 0, &mut rng(27)).unwrap();
        let foreign = Ipv6Addr::from_bits(address.to_bits() ^ (1 << 127) ^ 1);
        let wrong_hash = Ipv6Addr::from_bits(address.to_bits() ^ (7 << 61) ^ 1);
        let mut octets = sound.octets().to_vec();
        octets[24] = 3;
        let wrong_count = Pds::parse(&octets).unwrap();
        for (address, pds, verdict) in [
            (foreign, &wrong_count, CgaError::CollisionCount(3)),
            (foreign, &sound, CgaError::SubnetPrefix),
            (wrong_hash, &sound, CgaError::Hash1),
        ] {
            assert_eq!(verify_cga(address, pds), Err(verdict));
        }
    }

    #[test]
    fn unknown_extensions_are_hashed() {
        //= https://www.rfc-editor.org/rfc/rfc3972#section-5
        //= type=test
        //= id=C-028
        //# However, implementations MUST include any
        //# such unrecognized data in the hash input when computing Hash1 in step
        //# 3 and Hash2 in step 6 of the CGA verification algorithm.
        let unknown = [0xff, 0xfd, 0, 1, 42];
        let (address, pds) =
            form_address([3; 16], PREFIXES[0], 0, key().public_key(), &unknown, 0).unwrap();
        assert_eq!(verify_cga(address, &pds), Ok(()));
        let (octets, last) = (pds.octets(), pds.octets().len() - 1);
        for changed in [&octets[..last - 4], &[&octets[..last], &[43]].concat()] {
            let changed = Pds::parse(changed).unwrap();
            assert_eq!(verify_cga(address, &changed), Err(CgaError::Hash1));
        }
        let (zeros_with, zeros_without) = (
            hash2_leading_zeros([3; 16], pds.hashed_tail()),
            hash2_leading_zeros([3; 16], pds.public_key()),
        );
        assert_ne!(
            zeros_with, zeros_without,
            "pick another modifier: these agree by chance"
        );
    }
}
