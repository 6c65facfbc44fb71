//! What can be wrong with parameters, keys, addresses and proofs.

use crate::Method;

/// Why parameters, a key or a claimed locator are refused. Each variant names the rule it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CgaError {
    /// The fixed part of a Parameter Data Structure is 25 octets long.
    #[error("parameters end after {have} of 25 fixed octets (RFC 3972 section 3)")]
    Truncated {
        /// Octets present.
        have: usize,
    },
    /// The Public Key field is not one whole DER SEQUENCE.
    #[error("public key is not a DER SubjectPublicKeyInfo (RFC 3972 section 3)")]
    PublicKey,
    /// The Public Key field is not an RSA key where one is needed.
    #[error("public key is not rsaEncryption with an RSAPublicKey (RFC 3972 section 3)")]
    NotRsa,
    /// The octets after the key are not a sequence of extension fields.
    #[error("extension field at octet {at} is not type, length and data (RFC 4581 section 2)")]
    Extension {
        /// Octet offset of the field in the structure.
        at: usize,
    },
    /// A Multi-Prefix extension does not hold 4 octets and whole prefixes.
    #[error("multi-prefix extension of {len} octets is not 4 + 8n long (RFC 5535 section 5)")]
    MultiPrefixLength {
        /// Its Extension Data Length, in octets.
        len: usize,
    },
    /// Two Multi-Prefix extensions: which set is meant, and is there a key?
    #[error("more than one multi-prefix extension (RFC 5535 section 5)")]
    RepeatedMultiPrefix,
    /// The collision count is out of range.
    #[error("collision count {0} is above 2 (RFC 3972 section 3)")]
    CollisionCount(u8),
    /// Duplicate address detection failed three times: stop, and report it to the operator.
    #[error("three address collisions, an error or an attack (RFC 3972 section 4)")]
    ThreeCollisions,
    /// The address has another prefix than the parameters.
    #[error("subnet prefix differs from the address (RFC 3972 section 5)")]
    SubnetPrefix,
    /// The interface identifier is not the hash of the parameters.
    #[error("interface identifier is not Hash1 of the parameters (RFC 3972 section 5)")]
    Hash1,
    /// Too few leading zeros for the Sec value of the address.
    #[error("Hash2 has fewer than 16 * {sec} leading zero bits (RFC 3972 section 5)")]
    Hash2 {
        /// The security parameter in the address.
        sec: u8,
    },
    /// The parameters define no HBA set.
    #[error("no multi-prefix extension, so no HBA set (RFC 5535 section 7.2)")]
    NoMultiPrefix,
    /// The prefix of the address is not one of the set.
    #[error("prefix is not in the multi-prefix extension (RFC 5535 section 7.2)")]
    NotInSet,
    /// No generation procedure is registered for this security parameter.
    #[error("no generation procedure for Sec {0}, only for 0, 1 and 2 (RFC 4982 section 6)")]
    Sec(u8),
    /// An HBA set cannot have this many prefixes.
    #[error("an HBA set has 1 to 8191 prefixes, not {0} (RFC 5535 section 5)")]
    PrefixCount(usize),
    /// The RSA modulus is too short to trust, or too long to use.
    #[error("RSA key of {bits} bits: at least 1024 (RFC 5533 section 16), at most {most}")]
    KeyLength {
        /// Bits of the modulus.
        bits: usize,
        /// The longest modulus that this use supports.
        most: usize,
    },
    /// The text is not a private key that can sign.
    #[error("not an RSA private key in PEM (PKCS#8 or PKCS#1)")]
    PrivateKey,
    /// The operating system or the arithmetic failed while a key was made.
    #[error("RSA key generation failed")]
    KeyGeneration,
    /// The parameters cannot back the verification method: the list and its message are ignored.
    #[error("parameters cannot back method {method:?} (RFC 5533 section 7.2)")]
    Method {
        /// The method that was asked for.
        method: Method,
    },
    /// A CGA-verified locator came without a signature.
    #[error("locators with method CGA need a CGA Signature option (RFC 5533 section 5.15.5)")]
    SignatureMissing,
    /// The signature does not cover this list under this key.
    #[error("signature does not match the key, generation and locators (RFC 5533 section 5.15.5)")]
    Signature,
}
