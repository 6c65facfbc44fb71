//! What the tests of several modules need.

use std::sync::LazyLock;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

use crate::{CgaError, MultiPrefix, Pds, SigningKey, SubnetPrefix, random_nonce};

pub(crate) const PREFIXES: [SubnetPrefix; 3] = [
    [0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 1],
    [0x20, 0x01, 0x0d, 0xb8, 0, 2, 0, 2],
    [0x20, 0x01, 0x0d, 0xb8, 0, 3, 0, 3],
];

pub(crate) fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// A 1024-bit key, the same in every test.
pub(crate) fn key() -> &'static SigningKey {
    static KEY: LazyLock<SigningKey> =
        LazyLock::new(|| SigningKey::generate(1024, &mut rng(1)).unwrap());
    &KEY
}

/// A structure with the given extension fields after a nonce.
pub(crate) fn with_extensions(extensions: &[u8]) -> Result<Pds, CgaError> {
    Pds::from_fields(
        [7; 16],
        PREFIXES[0],
        1,
        &random_nonce(&mut rng(2)),
        extensions,
    )
}

pub(crate) fn set_of(prefixes: &[SubnetPrefix]) -> MultiPrefix {
    MultiPrefix {
        has_public_key: false,
        prefixes: prefixes.to_vec(),
    }
}
