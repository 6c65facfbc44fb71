//! RSA keys, and the signature over a locator list (RFC 3972 §6, RFC 5533 §5.15.5).
//!
//! Signing is the rsa crate's, blinded; verifying is ring's, which is several times faster. A
//! public key is read only where the parameters say that there is one.

use std::fmt;
use std::net::Ipv6Addr;

use rand_core::CryptoRngCore;
use rsa::pkcs1::DecodeRsaPrivateKey;
use rsa::pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use rsa::signature::{RandomizedSigner, SignatureEncoding};
use rsa::traits::PublicKeyParts;
use rsa::{RsaPrivateKey, pkcs1v15};
use sha1::Sha1;
use zeroize::Zeroizing;

use crate::{CgaError, spki};

/// The private key of this host; it signs locator lists and nothing else.
///
/// Wiped from memory on drop. `Debug` shows the public part only.
//= https://www.rfc-editor.org/rfc/rfc3972#section-3
//= id=C-004
//# SEND SHOULD use an RSA public/private key pair.
//= https://www.rfc-editor.org/rfc/rfc3972#section-7.4
//= id=C-037,C-038
//# the public key MUST be used only for signing, and it MUST NOT be used for encryption.
#[derive(Clone)]
pub struct SigningKey {
    private: pkcs1v15::SigningKey<Sha1>,
    public: Vec<u8>,
}

impl SigningKey {
    /// Bits that the modulus of a host's own key has at most.
    ///
    /// Key and signature travel together with the locators in one message. With 4096 bits they can fill
    /// it by themselves, with 3072 there is room for eight locators.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-5.1
    //= id=S-004
    //# Shim6 signaling packets may not be larger than 1280 bytes, including the IPv6 header
    //# and any intermediate headers between the IPv6 header and the Shim6 header.
    pub const MAX_BITS: usize = 3072;

    /// Makes a key whose modulus has `bits` bits, 1024 to [`Self::MAX_BITS`]; seconds of work at the
    /// upper end.
    ///
    /// # Errors
    ///
    /// [`CgaError::KeyLength`] for other lengths, [`CgaError::KeyGeneration`].
    pub fn generate(bits: usize, rng: &mut impl CryptoRngCore) -> Result<Self, CgaError> {
        //= https://www.rfc-editor.org/rfc/rfc3972#section-7.1
        //= id=C-032
        //# Implementations that initially use short RSA keys SHOULD be prepared to switch to
        //# longer keys when denial-of-service attacks arising from integer factoring become a
        //# problem.
        check_length(bits, Self::MAX_BITS)?;
        let private = RsaPrivateKey::new(rng, bits).map_err(|_| CgaError::KeyGeneration)?;
        Self::new(private)
    }

    /// Reads a PEM text, PKCS#8 or PKCS#1, without encryption.
    ///
    /// # Errors
    ///
    /// [`CgaError::PrivateKey`], or [`CgaError::KeyLength`] outside 1024 to [`Self::MAX_BITS`].
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
        self.private
            .sign_with_rng(rng, &signed_octets(generation, cga_locators))
            .to_vec()
    }

    fn new(private: RsaPrivateKey) -> Result<Self, CgaError> {
        //= https://www.rfc-editor.org/rfc/rfc5533#section-16
        //= id=S-169
        //# The minimum acceptable key
        //# length for RSA keys used in the generation of CGAs MUST be at
        //# least 1024 bits.
        check_length(private.n().bits(), Self::MAX_BITS)?;
        let public = private
            .to_public_key()
            .to_public_key_der()
            .map_err(|_| CgaError::PrivateKey)?;
        Ok(Self {
            private: pkcs1v15::SigningKey::new(private),
            public: public.into_vec(),
        })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("bits", &self.private.as_ref().n().bits())
            .finish_non_exhaustive()
    }
}

/// The public key of a peer, fit to verify Shim6 signatures.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerKey<'a> {
    /// DER RSAPublicKey, as ring takes it.
    pkcs1: &'a [u8],
}

impl<'a> PeerKey<'a> {
    /// Unwraps a DER SubjectPublicKeyInfo.
    ///
    /// # Errors
    ///
    /// [`CgaError::NotRsa`], or [`CgaError::KeyLength`] outside 1024 to 8192 bits.
    pub(crate) fn from_spki(der: &'a [u8]) -> Result<Self, CgaError> {
        let (pkcs1, bits) = spki::decode(der)?;
        //= https://www.rfc-editor.org/rfc/rfc5533#section-16
        //= id=S-169
        //# The minimum acceptable key
        //# length for RSA keys used in the generation of CGAs MUST be at
        //# least 1024 bits.
        check_length(bits, MAX_PEER_BITS)?;
        Ok(Self { pkcs1 })
    }

    /// Checks the signature of a list, as [`SigningKey::sign`] makes it.
    ///
    /// # Errors
    ///
    /// [`CgaError::Signature`].
    pub(crate) fn verify(
        self,
        generation: u32,
        cga_locators: &[Ipv6Addr],
        signature: &[u8],
    ) -> Result<(), CgaError> {
        //= https://www.rfc-editor.org/rfc/rfc3972#section-6
        //= id=C-029
        //# Verify the RSA signature by using the RSASSA-PKCS1-v1_5 [RFC3447]
        //# algorithm with the SHA-1 hash algorithm.
        let algorithm = &ring::signature::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY;
        ring::signature::UnparsedPublicKey::new(algorithm, self.pkcs1)
            .verify(&signed_octets(generation, cga_locators), signature)
            .map_err(|_| CgaError::Signature)
    }
}

/// What a signature covers.
//= https://www.rfc-editor.org/rfc/rfc5533#section-5.15.5
//= id=S-055
//# 3.  The subset of locators included in the
//# correspondent Locator List option whose
//# verification method is set to CGA.  The locators
//# MUST be included in the order in which they are
//# listed in the Locator List Option.
//= https://www.rfc-editor.org/rfc/rfc3972#section-6
//= id=C-029
//# Concatenate the 128-bit type tag (in network byte order) and the message with the type tag to
//# the left and the message to the right.
//= https://www.rfc-editor.org/rfc/rfc3972#section-7.4
//= type=exception
//= reason=RFC 5533 section 5.15.5 says what is signed: the tag is there, the sender only where it
//= is a listed locator
//= id=C-035
//# First, the other protocols MUST include a type tag and the sender address in all signed
//# messages in the same way that SEND does.
fn signed_octets(generation: u32, cga_locators: &[Ipv6Addr]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(SHIM6_TAG.len() + 4 + 16 * cga_locators.len());
    octets.extend(SHIM6_TAG);
    octets.extend(generation.to_be_bytes());
    octets.extend(cga_locators.iter().flat_map(Ipv6Addr::octets));
    octets
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
//= https://www.rfc-editor.org/rfc/rfc3972#section-3
//= id=C-007
//# The RSA key length SHOULD be at least 384 bits.
//= https://www.rfc-editor.org/rfc/rfc3972#section-5
//= type=exception
//= reason=RFC 5533 section 16 forbids keys of less than 1024 bits in Shim6, which is what these
//= verify for
//= id=C-025
//# Nodes that implement CGA verification for SEND SHOULD be able to process RSA public keys that
//# have the algorithm identifier rsaEncryption and, key length between 384 and 2,048 bits.
const MIN_BITS: usize = 1024;
/// The longest modulus that ring verifies with, in bits.
//= https://www.rfc-editor.org/rfc/rfc3972#section-5
//= id=C-026
//# Implementations MAY support longer keys.
const MAX_PEER_BITS: usize = 8192;

#[cfg(test)]
mod tests {
    use rsa::pkcs1::EncodeRsaPrivateKey;
    use rsa::pkcs8::DecodePublicKey;
    use rsa::signature::Verifier;
    use rsa::{BigUint, RsaPublicKey};

    use super::*;
    use crate::fixture::{key, rng};

    fn locators() -> Vec<Ipv6Addr> {
        ["2001:db8::1", "2001:db8::2", "2001:db8::3"]
            .map(|text| text.parse().unwrap())
            .to_vec()
    }

    fn peer() -> PeerKey<'static> {
        PeerKey::from_spki(key().public_key()).unwrap()
    }

    #[test]
    fn a_signature_covers_tag_generation_and_locators_in_order() {
        //= https://www.rfc-editor.org/rfc/rfc5533#section-5.15.5
        //= type=test
        //= id=C-029,C-036,S-055
        //# The locators
        //# MUST be included in the order in which they are
        //# listed in the Locator List Option.
        let signature = key().sign(0x0102_0304, &locators(), &mut rng(30));
        let mut octets = b"J0VbHXWK6UAoPjmH\x01\x02\x03\x04".to_vec();
        for last in 1..=3 {
            octets.extend([
                0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last,
            ]);
        }
        let public = RsaPublicKey::from_public_key_der(key().public_key()).unwrap();
        let judge = pkcs1v15::VerifyingKey::<Sha1>::new(public);
        assert!(
            judge
                .verify(&octets, &signature.as_slice().try_into().unwrap())
                .is_ok()
        );
    }

    #[test]
    fn a_signature_verifies_for_its_own_list_only() {
        let list = locators();
        let signature = key().sign(7, &list, &mut rng(31));
        let reversed: Vec<_> = list.iter().rev().copied().collect();
        let mut changed = signature.clone();
        changed[64] ^= 1;
        assert_eq!(peer().verify(7, &list, &signature), Ok(()));
        for (generation, list, signature) in [
            (8, &list[..], &signature[..]),
            (7, &list[..2], &signature),
            (7, &reversed, &signature),
            (7, &list, &changed),
            (7, &list, &signature[..127]),
            (7, &list, &[&signature[..], &[0]].concat()),
            (7, &list, &[]),
        ] {
            assert_eq!(
                peer().verify(generation, list, signature),
                Err(CgaError::Signature)
            );
        }
    }

    #[test]
    fn keys_too_short_to_trust_are_neither_made_nor_read_nor_accepted() {
        //= https://www.rfc-editor.org/rfc/rfc5533#section-16
        //= type=test
        //= id=C-007,S-169
        //# The minimum acceptable key
        //# length for RSA keys used in the generation of CGAs MUST be at
        //# least 1024 bits.
        for bits in [512, 1023] {
            let own = CgaError::KeyLength {
                bits,
                most: SigningKey::MAX_BITS,
            };
            assert_eq!(SigningKey::generate(bits, &mut rng(32)).unwrap_err(), own);

            let short = RsaPrivateKey::new(&mut rng(32), bits).unwrap();
            let pem = short.to_pkcs8_pem(LineEnding::LF).unwrap();
            assert_eq!(SigningKey::from_pem(&pem).unwrap_err(), own);

            let spki = short.to_public_key().to_public_key_der().unwrap();
            let peer = CgaError::KeyLength {
                bits,
                most: MAX_PEER_BITS,
            };
            assert_eq!(PeerKey::from_spki(spki.as_bytes()).unwrap_err(), peer);
        }
    }

    //= https://www.rfc-editor.org/rfc/rfc3972#section-5
    //= type=test
    //= id=C-026
    //# Implementations MAY support longer keys.
    #[test]
    fn keys_longer_than_a_message_or_the_tools_take_are_refused() {
        let own = CgaError::KeyLength {
            bits: 3073,
            most: SigningKey::MAX_BITS,
        };
        assert_eq!(SigningKey::generate(3073, &mut rng(33)).unwrap_err(), own);
        let modulus = (BigUint::from(1_u8) << 8192) + 1_u8;
        let long = RsaPublicKey::new_with_max_size(modulus, 65537_u32.into(), 8200).unwrap();
        let spki = long.to_public_key_der().unwrap();
        let peer = CgaError::KeyLength {
            bits: 8193,
            most: MAX_PEER_BITS,
        };
        assert_eq!(PeerKey::from_spki(spki.as_bytes()).unwrap_err(), peer);
    }

    #[test]
    fn a_key_survives_its_pem_text_in_both_forms() {
        let pkcs8 = key().to_pem().unwrap();
        assert!(pkcs8.starts_with("-----BEGIN PRIVATE KEY-----\n"));
        let pkcs1 = key().private.as_ref().to_pkcs1_pem(LineEnding::LF).unwrap();
        assert!(pkcs1.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"));
        for pem in [pkcs8, pkcs1] {
            let read = SigningKey::from_pem(&pem).unwrap();
            assert_eq!(read.public_key(), key().public_key());
            let signature = read.sign(1, &locators(), &mut rng(34));
            assert_eq!(peer().verify(1, &locators(), &signature), Ok(()));
        }
        assert_eq!(
            SigningKey::from_pem("-----BEGIN").unwrap_err(),
            CgaError::PrivateKey
        );
    }

    #[test]
    fn debug_output_shows_the_length_only() {
        assert_eq!(format!("{:?}", key()), "SigningKey { bits: 1024, .. }");
    }
}
