//! Addresses for this host: CGAs and HBA sets (RFC 3972 §4, RFC 5535 §6).
//!
//! The modifier comes from a [`Search`]. Duplicate address detection is the caller's; after a
//! collision it asks for [`next_collision`].

use std::net::Ipv6Addr;

use rand_core::CryptoRngCore;

use crate::hash::{self, hash1, interface_identifier, join};
use crate::search::MAX_GENERATED_SEC;
use crate::{
    CgaError, Modifier, MultiPrefix, Pds, Search, SigningKey, SubnetPrefix, spki, verify_cga,
};

/// The highest Collision Count (RFC 3972 §3).
pub(crate) const MAX_COLLISION_COUNT: u8 = 2;

/// A random modifier to start a [`Search`] at.
//= https://www.rfc-editor.org/rfc/rfc3972#section-4
//= id=C-011,C-034
//# The initial value of the modifier in step 1 SHOULD be chosen randomly
//# to make addresses generated from the same public key unlinkable,
//# which enhances privacy (see Section 7.3).
pub fn random_modifier(rng: &mut impl CryptoRngCore) -> Modifier {
    let mut modifier = Modifier::default();
    rng.fill_bytes(&mut modifier);
    modifier
}

/// A random 384-bit nonce in the form of a public key, for an HBA set without a key.
///
/// The result is a DER SubjectPublicKeyInfo. Its topmost bit is set, so that the modulus has
/// 384 bits for whoever decodes it, and the exponent is 65537: the RFC leaves both open.
///
/// Source: RFC 5535 §6.
//= https://www.rfc-editor.org/rfc/rfc5535#section-6
//= id=H-005
//# For backwards compatibility issues with pure CGAs, the random nonce MUST be encoded as a
//# public key as defined in [2].
pub fn random_nonce(rng: &mut impl CryptoRngCore) -> Vec<u8> {
    let mut nonce = [0; 48];
    rng.fill_bytes(&mut nonce);
    nonce[0] |= 0x80;
    spki::encode_nonce(&nonce)
}

/// Forms the address of a modifier under a prefix, and its parameters.
///
/// The modifier comes from a [`Search`] with the same `public_key`, `extensions` and `sec`, or from
/// earlier parameters: only the prefix has changed. `collision_count` is 0 at first.
///
/// # Errors
///
/// [`CgaError::Sec`] above 2, [`CgaError::CollisionCount`] above 2, and those of [`Pds::parse`] if
/// `public_key` or `extensions` are malformed.
///
/// Source: RFC 3972 §4, steps 5 to 7 and 9.
//= https://www.rfc-editor.org/rfc/rfc3972#section-4
//= id=C-017,C-018
//# the old modifier value MAY be reused. If it is reused, the algorithm SHOULD be started from
//# step 4.
pub fn form_address(
    modifier: Modifier,
    subnet_prefix: SubnetPrefix,
    collision_count: u8,
    public_key: &[u8],
    extensions: &[u8],
    sec: u8,
) -> Result<(Ipv6Addr, Pds), CgaError> {
    if sec > MAX_GENERATED_SEC {
        return Err(CgaError::Sec(sec));
    }
    if collision_count > MAX_COLLISION_COUNT {
        return Err(CgaError::CollisionCount(collision_count));
    }
    let pds = Pds::from_fields(
        modifier,
        subnet_prefix,
        collision_count,
        public_key,
        extensions,
    )?;
    let hash1 = hash1(modifier, subnet_prefix, collision_count, pds.hashed_tail());
    //= https://www.rfc-editor.org/rfc/rfc3972#section-4
    //= id=C-010
    //# A CGA and associated parameters SHOULD be generated as follows:
    //= https://www.rfc-editor.org/rfc/rfc3972#section-4
    //= id=C-015
    //# First, the resulting CGA and CGA Parameters data structure MUST be formatted as specified
    //# in Sections 2 - 3.
    Ok((join(subnet_prefix, interface_identifier(hash1, sec)), pds))
}

/// Forms the addresses of an HBA set, one per prefix and in their order.
///
/// # Errors
///
/// As [`form_address`], and [`CgaError::PrefixCount`].
///
/// Source: RFC 5535 §6, step 6.
pub fn form_hba_set(
    modifier: Modifier,
    set: &MultiPrefix,
    collision_count: u8,
    public_key: &[u8],
    sec: u8,
) -> Result<Vec<(Ipv6Addr, Pds)>, CgaError> {
    let extension = set.to_extension()?;
    //= https://www.rfc-editor.org/rfc/rfc5535#section-6
    //= id=H-011,H-013
    //# 6.1.  Concatenate from left to right the final Modifier value,
    //# Prefix[i], the collision count, the encoded public key or the
    //# encoded Extended Modifier (if no public key was provided), and
    //# the Multi-Prefix extension.
    set.prefixes
        .iter()
        .map(|&prefix| {
            form_address(
                modifier,
                prefix,
                collision_count,
                public_key,
                &extension,
                sec,
            )
        })
        .collect()
}

/// Generates a CGA of `key`; returns when it is found, for Sec 2 after about `2^32` hashes.
///
/// # Errors
///
/// [`CgaError::Sec`] if `sec` is above 2.
///
/// Source: RFC 3972 §4.
pub fn generate_cga(
    key: &SigningKey,
    subnet_prefix: SubnetPrefix,
    sec: u8,
    rng: &mut impl CryptoRngCore,
) -> Result<(Ipv6Addr, Pds), CgaError> {
    let modifier = find_modifier(key.public_key(), &[], sec, rng)?;
    //= https://www.rfc-editor.org/rfc/rfc3972#section-4
    //= id=C-016
    //# Second, the CGA verification procedure defined in Section 5 MUST succeed when invoked on
    //# the output of the CGA generation algorithm.
    form_address(modifier, subnet_prefix, 0, key.public_key(), &[], sec)
}

/// Generates an HBA set over `prefixes`; returns when it is found, as [`generate_cga`].
///
/// With a `key` the set is CGA-compatible, without one it stands on a random nonce.
///
/// # Errors
///
/// [`CgaError::Sec`] if `sec` is above 2, [`CgaError::PrefixCount`] if there are no prefixes or more
/// than the extension can hold.
///
/// Source: RFC 5535 §6.
pub fn generate_hba(
    prefixes: &[SubnetPrefix],
    key: Option<&SigningKey>,
    sec: u8,
    rng: &mut impl CryptoRngCore,
) -> Result<Vec<(Ipv6Addr, Pds)>, CgaError> {
    //= https://www.rfc-editor.org/rfc/rfc5535#section-6
    //= id=H-004
    //# If a public key is provided, then
    //# the P flag is set to one.  Otherwise, the P flag is set to zero.
    let set = MultiPrefix {
        has_public_key: key.is_some(),
        prefixes: prefixes.to_vec(),
    };
    let public_key = key.map_or_else(|| random_nonce(rng), |key| key.public_key().to_vec());
    //= https://www.rfc-editor.org/rfc/rfc5535#section-6
    //= id=H-010
    //# Concatenate from left to right the Modifier, 9 zero octets, the encoded public key or the
    //# encoded Extended Modifier (if no public key was provided), and the Multi-Prefix extension.
    let modifier = find_modifier(&public_key, &set.to_extension()?, sec, rng)?;
    form_hba_set(modifier, &set, 0, &public_key, sec)
}

/// The address to try after `address` was found to be in use, with its parameters.
///
/// The addresses of an HBA set share their collision count: call this for each of them.
///
/// # Errors
///
/// [`CgaError::ThreeCollisions`] if this was the third: stop and tell the operator. Those of
/// [`verify_cga`] if `address` and `pds` are no pair, [`CgaError::Sec`] if its Sec is above 2.
///
/// Source: RFC 3972 §4, step 8; RFC 5535 §6, step 6.4.
pub fn next_collision(address: Ipv6Addr, pds: &Pds) -> Result<(Ipv6Addr, Pds), CgaError> {
    verify_cga(address, pds)?;
    //= https://www.rfc-editor.org/rfc/rfc3972#section-4
    //= id=C-019
    //# If an address collision is detected, increment the collision count
    //# by one and go back to step 5.  However, after three collisions,
    //# stop and report the error.
    //= https://www.rfc-editor.org/rfc/rfc5535#section-6
    //= id=H-012
    //# If an address collision is detected, increment the collision count by one and go back to
    //# step (6).
    if pds.collision_count() == MAX_COLLISION_COUNT {
        return Err(CgaError::ThreeCollisions);
    }
    let (_, iid) = hash::split(address);
    form_address(
        pds.modifier(),
        pds.subnet_prefix(),
        pds.collision_count() + 1,
        pds.public_key(),
        pds.extensions(),
        hash::sec(iid),
    )
}

/// Steps 1 to 3 without a limit on tries.
fn find_modifier(
    public_key: &[u8],
    extensions: &[u8],
    sec: u8,
    rng: &mut impl CryptoRngCore,
) -> Result<Modifier, CgaError> {
    let mut search = Search::new(public_key, extensions, sec, random_modifier(rng))?;
    loop {
        if let Some(modifier) = search.step(u64::MAX) {
            return Ok(modifier);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::{PREFIXES, key, rng};
    use crate::verify_hba;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        /// Both requirements on any generator: the format parses, the verification succeeds.
        //= https://www.rfc-editor.org/rfc/rfc3972#section-4
        //= type=test
        //= id=C-015,C-016
        //# Second, the CGA
        //# verification procedure defined in Section 5 MUST succeed when invoked
        //# on the output of the CGA generation algorithm.
        #[test]
        fn a_generated_cga_verifies(seed: u64, prefix: SubnetPrefix, sec in 0..=1_u8) {
            let (address, pds) = generate_cga(key(), prefix, sec, &mut rng(seed)).unwrap();
            prop_assert_eq!(verify_cga(address, &pds), Ok(()));
            prop_assert_eq!(&Pds::parse(pds.octets()).unwrap(), &pds);
            let (subnet, iid) = hash::split(address);
            prop_assert_eq!((subnet, hash::sec(iid), iid >> 56 & 3), (prefix, sec, 0));
        }

        //= https://www.rfc-editor.org/rfc/rfc5535#section-6
        //= type=test
        //= id=H-010,H-011
        //# 6.1. Concatenate from left to right the final Modifier value, Prefix[i], the collision
        //# count, the encoded public key or the encoded Extended Modifier (if no public key was
        //# provided), and the Multi-Prefix extension.
        #[test]
        fn every_address_of_a_generated_set_verifies_under_every_members_parameters(
            seed: u64,
            count in 1..6_usize,
            sec in 0..=1_u8,
            with_key: bool,
        ) {
            let mut rng = rng(seed);
            let mut prefixes = vec![SubnetPrefix::default(); count];
            for prefix in &mut prefixes {
                rand_core::RngCore::fill_bytes(&mut rng, prefix);
            }
            let set = generate_hba(&prefixes, with_key.then(key), sec, &mut rng).unwrap();
            prop_assert_eq!(set.len(), count);
            for ((address, pds), prefix) in set.iter().zip(prefixes) {
                prop_assert_eq!(hash::split(*address).0, prefix);
                prop_assert_eq!(verify_cga(*address, pds), Ok(()));
                for (_, other) in &set {
                    prop_assert_eq!(verify_hba(*address, other), Ok(()));
                }
            }
        }
    }

    #[test]
    fn addresses_of_one_key_under_one_prefix_cannot_be_linked() {
        //= https://www.rfc-editor.org/rfc/rfc3972#section-4
        //= type=test
        //= id=C-011,C-034
        //# The initial value of the modifier in step 1 SHOULD be chosen randomly
        //# to make addresses generated from the same public key unlinkable,
        //# which enhances privacy (see Section 7.3).
        let mut rng = rng(5);
        let (a, a_pds) = generate_cga(key(), PREFIXES[0], 0, &mut rng).unwrap();
        let (b, b_pds) = generate_cga(key(), PREFIXES[0], 0, &mut rng).unwrap();
        assert_ne!(a, b);
        assert_ne!(a_pds.modifier(), b_pds.modifier());
        assert_ne!(a_pds.modifier(), [0; 16]);
    }

    #[test]
    fn a_modifier_serves_a_new_prefix_without_a_new_search() {
        //= https://www.rfc-editor.org/rfc/rfc3972#section-4
        //= type=test
        //= id=C-017,C-018
        //# the old modifier value MAY be reused. If it is reused, the algorithm SHOULD be started
        //# from step 4.
        let (_, old) = generate_cga(key(), PREFIXES[0], 1, &mut rng(6)).unwrap();
        let (address, pds) =
            form_address(old.modifier(), PREFIXES[1], 0, key().public_key(), &[], 1).unwrap();
        assert_eq!(verify_cga(address, &pds), Ok(()));
    }

    #[test]
    fn parameters_in_a_set_differ_only_in_the_prefix_field() {
        //= https://www.rfc-editor.org/rfc/rfc5535#section-6
        //= type=test
        //= id=H-013
        //# 6.5.  Form the CGA Parameter Data Structure that corresponds to
        //# HBA[i] by concatenating from left to right the final Modifier
        //# value, Prefix[i], the final collision count value, the encoded
        //# public key or the encoded Extended Modifier, and the Multi-
        //# Prefix extension.
        let set = generate_hba(&PREFIXES, None, 0, &mut rng(7)).unwrap();
        for ((_, pds), prefix) in set.iter().zip(PREFIXES) {
            assert_eq!(pds.subnet_prefix(), prefix);
            assert_eq!(pds.modifier(), set[0].1.modifier());
            assert_eq!(pds.octets()[24..], set[0].1.octets()[24..]);
        }
    }

    #[test]
    fn the_p_flag_tells_whether_there_is_a_key() {
        //= https://www.rfc-editor.org/rfc/rfc5535#section-6
        //= type=test
        //= id=H-004
        //# If a public key is provided, then
        //# the P flag is set to one.  Otherwise, the P flag is set to zero.
        for signer in [None, Some(key())] {
            let set = generate_hba(&PREFIXES, signer, 0, &mut rng(8)).unwrap();
            let (_, pds) = &set[0];
            assert_eq!(pds.multi_prefix().unwrap().has_public_key, signer.is_some());
            assert_eq!(pds.public_key() == key().public_key(), signer.is_some());
        }
    }

    #[test]
    fn a_third_collision_is_an_error() {
        //= https://www.rfc-editor.org/rfc/rfc3972#section-4
        //= type=test
        //= id=C-019
        //# However, after three collisions,
        //# stop and report the error.
        let first = generate_cga(key(), PREFIXES[0], 1, &mut rng(9)).unwrap();
        let second = next_collision(first.0, &first.1).unwrap();
        let third = next_collision(second.0, &second.1).unwrap();
        assert_eq!(
            next_collision(third.0, &third.1),
            Err(CgaError::ThreeCollisions)
        );
        for (count, (address, pds)) in (0..).zip([&first, &second, &third]) {
            assert_eq!(pds.collision_count(), count);
            assert_eq!(verify_cga(*address, pds), Ok(()));
            assert_eq!(hash::sec(hash::split(*address).1), 1);
        }
        assert!(first.0 != second.0 && second.0 != third.0 && first.0 != third.0);
    }

    //= https://www.rfc-editor.org/rfc/rfc5535#section-6
    //= type=test
    //= id=H-012
    //# If an address collision is detected, increment the collision count by one and go back to
    //# step (6).
    #[test]
    fn a_set_redone_after_a_collision_is_a_set() {
        let set = generate_hba(&PREFIXES, None, 0, &mut rng(10)).unwrap();
        let redone: Vec<_> = set
            .iter()
            .map(|(address, pds)| next_collision(*address, pds).unwrap())
            .collect();
        for (address, _) in &redone {
            assert!(
                redone
                    .iter()
                    .all(|(_, pds)| verify_hba(*address, pds).is_ok())
            );
            assert!(set.iter().all(|(old, _)| old != address));
        }
    }

    #[test]
    fn a_collision_of_someone_elses_address_is_refused() {
        let set = generate_hba(&PREFIXES, None, 0, &mut rng(11)).unwrap();
        assert_eq!(
            next_collision(set[0].0, &set[1].1),
            Err(CgaError::SubnetPrefix)
        );
    }

    #[test]
    fn only_registered_sec_values_are_generated() {
        //= https://www.rfc-editor.org/rfc/rfc4982#section-5
        //= type=test
        //= id=C-040
        //# Each of
        //# these entries points to an RFC that defines the CGA generation
        //# procedure that MUST be used when generating CGAs with the associated
        //# Sec value.
        for sec in 3..=8 {
            let error = CgaError::Sec(sec);
            assert_eq!(
                generate_cga(key(), PREFIXES[0], sec, &mut rng(0)).unwrap_err(),
                error
            );
            assert_eq!(
                generate_hba(&PREFIXES, None, sec, &mut rng(0)).unwrap_err(),
                error
            );
            let formed = form_address([0; 16], PREFIXES[0], 0, key().public_key(), &[], sec);
            assert_eq!(formed.unwrap_err(), error);
        }
    }

    #[test]
    fn inputs_that_could_never_verify_are_refused() {
        let form = |count, public_key: &[u8]| {
            form_address([0; 16], PREFIXES[0], count, public_key, &[], 0).unwrap_err()
        };
        assert_eq!(form(3, key().public_key()), CgaError::CollisionCount(3));
        assert_eq!(form(0, b"key"), CgaError::PublicKey);
        let no_prefixes = generate_hba(&[], None, 0, &mut rng(0));
        assert_eq!(no_prefixes.unwrap_err(), CgaError::PrefixCount(0));
    }
}
