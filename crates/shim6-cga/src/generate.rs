//! Addresses for this host: the modifier search, CGAs and HBA sets (RFC 3972 §4, RFC 5535 §6).
//!
//! The costly part is [`Search`], about `2^(16 * Sec)` hashes. It is a value that a caller steps, so
//! it can be spread over threads, watched and stopped. Duplicate address detection is the caller's;
//! after a collision it asks for [`next_collision`].

use std::net::Ipv6Addr;

use rand_core::CryptoRngCore;

use crate::hash::{self, hash1, hash2_leading_zeros, hash2_suffices, interface_identifier, join};
use crate::{CgaError, Modifier, MultiPrefix, Pds, SigningKey, SubnetPrefix, key, verify_cga};

/// The highest Sec value that has a registered generation procedure (RFC 4982 §6).
const MAX_GENERATED_SEC: u8 = 2;
/// The highest Collision Count (RFC 3972 §3).
pub(crate) const MAX_COLLISION_COUNT: u8 = 2;

/// A search for a modifier whose Hash2 has `16 * Sec` leading zeros (RFC 3972 §4, steps 2 and 3).
#[derive(Clone, Debug)]
pub struct Search {
    next: u128,
    tail: Vec<u8>,
    sec: u8,
    tries: u64,
}

impl Search {
    /// Starts at modifier `start`, which should be random, and different for each thread.
    ///
    /// `public_key` is a DER SubjectPublicKeyInfo, or the nonce of [`random_nonce`]; `extensions`
    /// are whole extension fields.
    ///
    /// # Errors
    ///
    /// [`CgaError::Sec`] if `sec` is above 2.
    pub fn new(
        public_key: &[u8],
        extensions: &[u8],
        sec: u8,
        start: Modifier,
    ) -> Result<Self, CgaError> {
        //= https://www.rfc-editor.org/rfc/rfc4982#section-5
        //= id=C-040
        //# Each of
        //# these entries points to an RFC that defines the CGA generation
        //# procedure that MUST be used when generating CGAs with the associated
        //# Sec value.
        if sec > MAX_GENERATED_SEC {
            return Err(CgaError::Sec(sec));
        }
        let tail = [public_key, extensions].concat();
        Ok(Self {
            next: u128::from_be_bytes(start),
            tail,
            sec,
            tries: 0,
        })
    }

    /// Tries up to `tries` modifiers and returns the first that is good.
    ///
    /// Each call continues after the last modifier tried, also when that one was good.
    pub fn step(&mut self, tries: u64) -> Option<Modifier> {
        for _ in 0..tries {
            let modifier = self.next.to_be_bytes();
            self.next = self.next.wrapping_add(1);
            self.tries += 1;
            if hash2_suffices(hash2_leading_zeros(modifier, &self.tail), self.sec) {
                return Some(modifier);
            }
        }
        None
    }

    /// How many modifiers were tried so far.
    pub fn tries(&self) -> u64 {
        self.tries
    }
}

/// A random modifier to start a [`Search`] at.
//= https://www.rfc-editor.org/rfc/rfc3972#section-4
//= id=C-011
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
pub fn random_nonce(rng: &mut impl CryptoRngCore) -> Vec<u8> {
    let mut nonce = [0; 48];
    rng.fill_bytes(&mut nonce);
    nonce[0] |= 0x80;
    key::encode_nonce(&nonce)
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
    //# 6. Form an interface identifier from Hash1 by writing the value of
    //# Sec into the three leftmost bits and by setting bits 6 and 7
    //# (i.e., the "u" and "g" bits) to zero.
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
    //= id=H-011
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
