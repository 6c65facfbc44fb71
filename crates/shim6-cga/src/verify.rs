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
    let sec = sec(iid);
    if sec > 0 && !hash2_suffices(hash2_leading_zeros(pds.modifier(), tail), sec) {
        return Err(CgaError::Hash2 { sec });
    }
    Ok(())
}
