//! RSA keys, and the signature over a locator list (RFC 3972 §6, RFC 5533 §5.15.5).
//!
//! Signing is the rsa crate's, blinded; verifying is ring's, which is several times faster. Only
//! [`PeerKey`] decodes a public key, and only where the parameters say that there is one.

use std::fmt;
use std::net::Ipv6Addr;

use rand_core::CryptoRngCore;
use rsa::pkcs1::{DecodeRsaPrivateKey, RsaPublicKey as Pkcs1PublicKey, UintRef};
use rsa::pkcs8::der::asn1::{AnyRef, BitStringRef};
use rsa::pkcs8::der::{Decode, Encode};
use rsa::pkcs8::spki::SubjectPublicKeyInfoRef;
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use rsa::signature::{RandomizedSigner, SignatureEncoding};
use rsa::traits::PublicKeyParts;
use rsa::{RsaPrivateKey, pkcs1};
use sha1::Sha1;
use zeroize::Zeroizing;

use crate::CgaError;

/// The private key of this host; it signs locator lists and nothing else.
///
/// Wiped from memory on drop. `Debug` shows the public part only.
#[derive(Clone)]
pub struct SigningKey {
    private: RsaPrivateKey,
    public: Vec<u8>,
}

impl SigningKey {
    /// Makes a key whose modulus has `bits` bits, 1024 to 4096; seconds of work at the upper end.
    ///
    /// # Errors
    ///
    /// [`CgaError::KeyLength`] for other lengths, [`CgaError::KeyGeneration`].
    pub fn generate(bits: usize, rng: &mut impl CryptoRngCore) -> Result<Self, CgaError> {
        check_length(bits, MAX_OWN_BITS)?;
        let private = RsaPrivateKey::new(rng, bits).map_err(|_| CgaError::KeyGeneration)?;
        Self::new(private)
    }

    /// Reads a PEM text, PKCS#8 or PKCS#1, without encryption.
    ///
    /// # Errors
    ///
    /// [`CgaError::PrivateKey`], or [`CgaError::KeyLength`] outside 1024 to 4096 bits.
    pub fn from_pem(pem: &str) -> Result<Self, CgaError> {
        let private = RsaPrivateKey::from_pkcs8_pem(pem)
            .or_else(|_| RsaPrivateKey::from_pkcs1_pem(pem))
            .map_err(|_| CgaError::PrivateKey)?;
        Self::new(private)
    }

    /// Writes PKCS#8 in PEM; the text is wiped on drop.
    ///
    /// # Errors
    ///
    /// [`CgaError::PrivateKey`] if the encoder refuses the key.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, CgaError> {
        self.private
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|_| CgaError::PrivateKey)
    }

    /// The DER SubjectPublicKeyInfo, as it stands in a [`crate::Pds`].
    pub fn public_key(&self) -> &[u8] {
        &self.public
    }

    /// Signs a locator list; the result has as many octets as the modulus.
    ///
    /// `generation` is the Locator List Generation. `cga_locators` are the locators of the list
    /// whose method is CGA, in list order. List the ULID among them: RFC 3972 §7.4 wants the
    /// sender's address in what is signed, and Shim6 adds no other (C-035). `rng` blinds the
    /// operation against timing and does not show in the result.
    ///
    /// # Panics
    ///
    /// If the result does not verify, which for a valid key is a fault of the processor: such a
    /// signature would give the key away.
    ///
    /// Source: RFC 5533 §5.15.5.
    pub fn sign(
        &self,
        generation: u32,
        cga_locators: &[Ipv6Addr],
        rng: &mut impl CryptoRngCore,
    ) -> Vec<u8> {
        //= https://www.rfc-editor.org/rfc/rfc3972#section-6
        //= id=C-029
        //# Generate the RSA signature by using the RSASSA-PKCS1-v1_5
        //# [RFC3447] signature algorithm with the SHA-1 hash algorithm.
        rsa::pkcs1v15::SigningKey::<Sha1>::new(self.private.clone())
            .sign_with_rng(rng, &signed_octets(generation, cga_locators))
            .to_vec()
    }

    fn new(private: RsaPrivateKey) -> Result<Self, CgaError> {
        //= https://www.rfc-editor.org/rfc/rfc5533#section-16
        //= id=S-169
        //# The minimum acceptable key
        //# length for RSA keys used in the generation of CGAs MUST be at
        //# least 1024 bits.
        check_length(private.n().bits(), MAX_OWN_BITS)?;
        let public = private
            .to_public_key()
            .to_public_key_der()
            .map_err(|_| CgaError::PrivateKey)?;
        Ok(Self {
            private,
            public: public.into_vec(),
        })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("bits", &self.private.n().bits())
            .finish_non_exhaustive()
    }
}

/// The public key of a peer, fit to verify Shim6 signatures.
#[derive(Clone, Debug)]
pub(crate) struct PeerKey {
    /// DER RSAPublicKey, as ring takes it.
    pkcs1: Vec<u8>,
}

impl PeerKey {
    /// Unwraps a DER SubjectPublicKeyInfo.
    ///
    /// # Errors
    ///
    /// [`CgaError::NotRsa`], or [`CgaError::KeyLength`] outside 1024 to 8192 bits.
    pub(crate) fn from_spki(der: &[u8]) -> Result<Self, CgaError> {
        let spki = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| CgaError::NotRsa)?;
        //= https://www.rfc-editor.org/rfc/rfc3972#section-3
        //= id=C-005
        //# When RSA is used, the
        //# algorithm identifier MUST be rsaEncryption, which is
        //# 1.2.840.113549.1.1.1, and the RSA public key MUST be formatted by
        //# using the RSAPublicKey type as specified in Section 2.3.1 of RFC
        //# 3279 [RFC3279].
        if spki.algorithm.oid != pkcs1::ALGORITHM_OID
            || spki.algorithm.parameters != Some(AnyRef::NULL)
        {
            return Err(CgaError::NotRsa);
        }
        let pkcs1 = spki.subject_public_key.as_bytes().ok_or(CgaError::NotRsa)?;
        let key = Pkcs1PublicKey::from_der(pkcs1).map_err(|_| CgaError::NotRsa)?;
        //= https://www.rfc-editor.org/rfc/rfc5533#section-16
        //= id=S-169
        //# The minimum acceptable key
        //# length for RSA keys used in the generation of CGAs MUST be at
        //# least 1024 bits.
        check_length(bits(key.modulus), MAX_PEER_BITS)?;
        Ok(Self {
            pkcs1: pkcs1.to_vec(),
        })
    }

    /// Checks the signature of a list, as [`SigningKey::sign`] makes it.
    ///
    /// # Errors
    ///
    /// [`CgaError::Signature`].
    pub(crate) fn verify(
        &self,
        generation: u32,
        cga_locators: &[Ipv6Addr],
        signature: &[u8],
    ) -> Result<(), CgaError> {
        //= https://www.rfc-editor.org/rfc/rfc3972#section-6
        //= id=C-029
        //# Verify the RSA signature by using the RSASSA-PKCS1-v1_5 [RFC3447]
        //# algorithm with the SHA-1 hash algorithm.
        let algorithm = &ring::signature::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY;
        ring::signature::UnparsedPublicKey::new(algorithm, &self.pkcs1)
            .verify(&signed_octets(generation, cga_locators), signature)
            .map_err(|_| CgaError::Signature)
    }
}

/// Wraps a nonce as a DER SubjectPublicKeyInfo with exponent 65537 (RFC 5535 §6).
//= https://www.rfc-editor.org/rfc/rfc5535#section-6
//= id=H-008
//# The algorithm identifier MUST be
//# rsaEncryption, which is 1.2.840.113549.1.1.1, and the random nonce
//# MUST be formatted by using the RSAPublicKey type as specified in
//# Section 2.3.1 of RFC 3279 [4].
pub(crate) fn encode_nonce(nonce: &[u8; 48]) -> Vec<u8> {
    let encode = || {
        let modulus = UintRef::new(nonce)?;
        let public_exponent = UintRef::new(&[1, 0, 1])?;
        let pkcs1 = Pkcs1PublicKey {
            modulus,
            public_exponent,
        }
        .to_der()?;
        let subject_public_key = BitStringRef::from_bytes(&pkcs1)?;
        SubjectPublicKeyInfoRef {
            algorithm: pkcs1::ALGORITHM_ID,
            subject_public_key,
        }
        .to_der()
    };
    encode().expect("48 octets fit every length that DER has")
}

/// What a signature covers.
//= https://www.rfc-editor.org/rfc/rfc5533#section-5.15.5
//= id=S-055
//# 3.  The subset of locators included in the
//# correspondent Locator List option whose
//# verification method is set to CGA.  The locators
//# MUST be included in the order in which they are
//# listed in the Locator List Option.
fn signed_octets(generation: u32, cga_locators: &[Ipv6Addr]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(SHIM6_TAG.len() + 4 + 16 * cga_locators.len());
    octets.extend(SHIM6_TAG);
    octets.extend(generation.to_be_bytes());
    octets.extend(cga_locators.iter().flat_map(Ipv6Addr::octets));
    octets
}

/// The bits of a modulus without leading zeros.
fn bits(modulus: UintRef<'_>) -> usize {
    match modulus.as_bytes() {
        [first, rest @ ..] => 8 * (1 + rest.len()) - first.leading_zeros() as usize,
        [] => 0,
    }
}

fn check_length(bits: usize, most: usize) -> Result<(), CgaError> {
    if (MIN_BITS..=most).contains(&bits) {
        Ok(())
    } else {
        Err(CgaError::KeyLength { bits, most })
    }
}

/// The CGA Message Type of Shim6.
//= https://www.rfc-editor.org/rfc/rfc5533#section-5.15.5
//= id=C-036
//# 1.  The 128-bit CGA Message Type tag [CGA] value for
//# Shim6: 0x4A 30 5662 4858 574B 3655 416F 506A 6D48.
const SHIM6_TAG: [u8; 16] = 0x4A30_5662_4858_574B_3655_416F_506A_6D48_u128.to_be_bytes();

/// The shortest modulus that Shim6 allows, in bits (RFC 5533 §16).
const MIN_BITS: usize = 1024;
/// The longest modulus that the rsa crate reads back, in bits.
const MAX_OWN_BITS: usize = 4096;
/// The longest modulus that ring verifies with, in bits.
const MAX_PEER_BITS: usize = 8192;
