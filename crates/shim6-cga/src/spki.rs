//! Public keys as they travel: DER SubjectPublicKeyInfo, around an RSA key or a nonce that looks like one
//! (RFC 3972 §3, RFC 5535 §6).

use rsa::pkcs1;
use rsa::pkcs1::{RsaPublicKey as Pkcs1PublicKey, UintRef};
use rsa::pkcs8::der::asn1::{AnyRef, BitStringRef};
use rsa::pkcs8::der::{Decode, Encode};
use rsa::pkcs8::spki::SubjectPublicKeyInfoRef;

use crate::CgaError;

/// Unwraps a DER SubjectPublicKeyInfo: the DER RSAPublicKey in it, and the bits of its modulus.
///
/// # Errors
///
/// [`CgaError::NotRsa`].
pub(crate) fn decode(spki: &[u8]) -> Result<(&[u8], usize), CgaError> {
    let spki = SubjectPublicKeyInfoRef::from_der(spki).map_err(|_| CgaError::NotRsa)?;
    //= https://www.rfc-editor.org/rfc/rfc3972#section-3
    //= id=C-005,C-006
    //# When RSA is used, the
    //# algorithm identifier MUST be rsaEncryption, which is
    //# 1.2.840.113549.1.1.1, and the RSA public key MUST be formatted by
    //# using the RSAPublicKey type as specified in Section 2.3.1 of RFC
    //# 3279 [RFC3279].
    if spki.algorithm.oid != pkcs1::ALGORITHM_OID || spki.algorithm.parameters != Some(AnyRef::NULL)
    {
        return Err(CgaError::NotRsa);
    }
    let pkcs1 = spki.subject_public_key.as_bytes().ok_or(CgaError::NotRsa)?;
    let key = Pkcs1PublicKey::from_der(pkcs1).map_err(|_| CgaError::NotRsa)?;
    Ok((pkcs1, bits(key.modulus)))
}

/// Wraps a nonce as a DER SubjectPublicKeyInfo with exponent 65537 (RFC 5535 §6).
//= https://www.rfc-editor.org/rfc/rfc5535#section-6
//= id=H-006,H-007,H-008,H-009
//# the random nonce MUST be formatted as a DER-encoded ASN.1 structure of the type
//# SubjectPublicKeyInfo, defined in the Internet X.509 certificate profile [5]. The algorithm
//# identifier MUST be rsaEncryption, which is 1.2.840.113549.1.1.1, and the random nonce MUST be
//# formatted by using the RSAPublicKey type as specified in Section 2.3.1 of RFC 3279 [4].
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

/// The bits of a modulus without leading zeros.
fn bits(modulus: UintRef<'_>) -> usize {
    match modulus.as_bytes() {
        [first, rest @ ..] => 8 * (1 + rest.len()) - first.leading_zeros() as usize,
        [] => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{key, rng};
    use crate::random_nonce;

    #[test]
    fn a_nonce_is_a_384_bit_rsa_public_key() {
        //= https://www.rfc-editor.org/rfc/rfc5535#section-6
        //= type=test
        //= id=H-005,H-006,H-007,H-008,H-009
        //# The algorithm identifier MUST be
        //# rsaEncryption, which is 1.2.840.113549.1.1.1, and the random nonce
        //# MUST be formatted by using the RSAPublicKey type as specified in
        //# Section 2.3.1 of RFC 3279 [4].  The random nonce length is 384 bits.
        for seed in 0..16 {
            let der = random_nonce(&mut rng(seed));
            let spki = SubjectPublicKeyInfoRef::from_der(&der).unwrap();
            assert_eq!(spki.algorithm, pkcs1::ALGORITHM_ID);
            let pkcs1 = spki.subject_public_key.as_bytes().unwrap();
            assert_eq!(bits(Pkcs1PublicKey::from_der(pkcs1).unwrap().modulus), 384);
        }
        assert_ne!(random_nonce(&mut rng(0)), random_nonce(&mut rng(1)));
    }

    //= https://www.rfc-editor.org/rfc/rfc3972#section-3
    //= type=test
    //= id=C-004
    //# Other public key types are undesirable in SEND, as they may result in incompatibilities
    //# between implementations.
    #[test]
    fn only_rsa_encryption_with_null_parameters_is_a_key() {
        //= https://www.rfc-editor.org/rfc/rfc3972#section-3
        //= type=test
        //= id=C-005,C-006
        //# When RSA is used, the
        //# algorithm identifier MUST be rsaEncryption, which is
        //# 1.2.840.113549.1.1.1
        let sound = SubjectPublicKeyInfoRef::from_der(key().public_key()).unwrap();
        let mut other_algorithm = sound.clone();
        other_algorithm.algorithm.oid = pkcs1::ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.7");
        let mut no_parameters = sound.clone();
        no_parameters.algorithm.parameters = None;
        let mut raw_octets = sound;
        raw_octets.subject_public_key = BitStringRef::from_bytes(&[0x55; 128]).unwrap();
        for spki in [other_algorithm, no_parameters, raw_octets] {
            let der = spki.to_der().unwrap();
            let refused = decode(&der).unwrap_err();
            assert_eq!(refused, CgaError::NotRsa);
        }
        assert!(decode(key().public_key()).is_ok());
    }
}
