//! Who may claim a locator: CGA (RFC 3972, 4581, 4982) and HBA (RFC 5535).
//!
//! A host proves that a locator belongs to its ULID in one of two ways. The interface identifier of
//! an HBA hashes the prefixes of the whole set, so membership is proof (RFC 5535). That of a CGA
//! hashes a public key, so a signature of that key is proof (RFC 3972, RFC 5533 §5.15.5). Both hashes
//! cover one structure, the [`Pds`], whose octets travel in Shim6 messages and are our file format.
//!
//! * [`Pds`]: the CGA Parameter Data Structure and its extensions.
//! * [`form_address`], [`Search`], [`generate_cga`], [`generate_hba`]: addresses for this host.
//! * [`SigningKey`]: the key of this host and its signatures over locator lists.
//! * [`verify_cga`], [`verify_hba`]: does an address belong to a [`Pds`]?
//! * [`PeerPds`]: does a peer's locator list belong to its ULID? The source of [`VerifiedLocator`].
//!
//! No clock, no thread, no hidden randomness. What octets a message carries them in is for the wire
//! crate; whether the ULID answers at a verified locator is for the core's probes (RFC 5533 §7.2).

mod error;
#[cfg(test)]
mod fixture;
mod generate;
mod hash;
mod key;
mod locator;
mod multi_prefix;
mod pds;
mod search;
mod spki;
mod verify;

pub use error::CgaError;
pub use generate::{
    form_address, form_hba_set, generate_cga, generate_hba, next_collision, random_modifier,
    random_nonce,
};
pub use key::SigningKey;
pub use locator::{Method, PeerPds, Refused, VerifiedLocator};
pub use multi_prefix::MultiPrefix;
pub use pds::{Kind, Modifier, Pds, SubnetPrefix};
pub use search::{Backend, Search};
pub use verify::{verify_cga, verify_hba};
