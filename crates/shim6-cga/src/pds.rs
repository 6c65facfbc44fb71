//! The CGA Parameter Data Structure, which CGA and HBA share (RFC 3972 §3, RFC 5535 §5).
//!
//! Decides where the fields lie; whether they hold together with an address is for `verify`, and
//! what is inside the public key is for whoever uses it as one.
//!
//! ```text
//!    0        16        24    25                      25 + key
//!    +---------+--------+-----+-----------------------+------------------------
//!    | Modifier| Subnet |Coll.| Public Key            | Extension Fields
//!    |         | Prefix |Count| SubjectPublicKeyInfo  | (type 16, length 16, data)*
//!    +---------+--------+-----+-----------------------+------------------------
//! ```

use rsa::pkcs8::der::{Reader, SliceReader, Tag};

use crate::{CgaError, MultiPrefix, multi_prefix, spki};

/// 128 bits that randomize an address and carry the search for Hash2 (RFC 3972 §3).
pub type Modifier = [u8; 16];

/// The leftmost 64 bits of an address (RFC 3972 §2).
pub type SubnetPrefix = [u8; 8];

/// A CGA Parameter Data Structure: its octets as they came, and where the fields lie.
///
/// Two structures are equal when their octets are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pds {
    octets: Vec<u8>,
    key_end: usize,
    multi_prefix: Option<MultiPrefix>,
}

/// What a structure can prove, read off its Multi-Prefix extension (RFC 5535 §2, §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No prefix set: locators need a signature.
    Cga,
    /// A prefix set and a random nonce in place of a key: locators need membership.
    Hba,
    /// A prefix set and a key: either way.
    CgaCompatibleHba,
}

impl Pds {
    /// Reads the layout of `octets`, which end with the structure.
    ///
    /// The public key is only measured: a nonce need not decode as a key. Values are not judged
    /// either; see [`crate::verify_cga`].
    ///
    /// # Errors
    ///
    /// [`CgaError::Truncated`], [`CgaError::PublicKey`], [`CgaError::Extension`],
    /// [`CgaError::MultiPrefixLength`] or [`CgaError::RepeatedMultiPrefix`].
    ///
    /// Source: RFC 3972 §3, RFC 4581 §2, RFC 5535 §5.
    pub fn parse(octets: &[u8]) -> Result<Self, CgaError> {
        let tail = octets
            .get(KEY_START..)
            .ok_or(CgaError::Truncated { have: octets.len() })?;
        let key_end = KEY_START + public_key_len(tail)?;
        let multi_prefix = multi_prefix::find(octets, key_end)?;
        Ok(Self {
            octets: octets.to_vec(),
            key_end,
            multi_prefix,
        })
    }

    /// Joins fields to a structure (RFC 3972 §4, step 9).
    ///
    /// `public_key` is one DER SubjectPublicKeyInfo, `extensions` are whole extension fields.
    ///
    /// # Errors
    ///
    /// As [`Self::parse`], and [`CgaError::PublicKey`] if `public_key` runs into `extensions`.
    pub(crate) fn from_fields(
        modifier: Modifier,
        subnet_prefix: SubnetPrefix,
        collision_count: u8,
        public_key: &[u8],
        extensions: &[u8],
    ) -> Result<Self, CgaError> {
        let octets = [
            &modifier,
            &subnet_prefix[..],
            &[collision_count],
            public_key,
            extensions,
        ]
        .concat();
        let pds = Self::parse(&octets)?;
        if pds.public_key() == public_key {
            Ok(pds)
        } else {
            Err(CgaError::PublicKey)
        }
    }

    /// The whole structure: what is sent, stored and hashed.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// The modifier.
    pub fn modifier(&self) -> Modifier {
        std::array::from_fn(|i| self.octets[i])
    }

    /// The prefix of the address that these parameters were made for.
    pub fn subnet_prefix(&self) -> SubnetPrefix {
        std::array::from_fn(|i| self.octets[PREFIX_START + i])
    }

    /// The collision count as received; above 2 no address verifies.
    pub fn collision_count(&self) -> u8 {
        self.octets[KEY_START - 1]
    }

    /// The DER SubjectPublicKeyInfo, or for [`Kind::Hba`] the nonce in its place.
    pub fn public_key(&self) -> &[u8] {
        &self.octets[KEY_START..self.key_end]
    }

    /// The bits of the RSA modulus; `None` if there is a nonce in its place, or no RSA key.
    pub fn rsa_bits(&self) -> Option<usize> {
        match self.kind() {
            // Nobody has promised that it decodes, or means anything if it does.
            Kind::Hba => None,
            Kind::Cga | Kind::CgaCompatibleHba => {
                spki::decode(self.public_key()).ok().map(|(_, bits)| bits)
            }
        }
    }

    /// The extension fields, known and unknown.
    pub fn extensions(&self) -> &[u8] {
        &self.octets[self.key_end..]
    }

    /// The Multi-Prefix extension, if there is one.
    pub fn multi_prefix(&self) -> Option<&MultiPrefix> {
        self.multi_prefix.as_ref()
    }

    /// What this structure can prove.
    pub fn kind(&self) -> Kind {
        match &self.multi_prefix {
            None => Kind::Cga,
            Some(MultiPrefix {
                has_public_key: false,
                ..
            }) => Kind::Hba,
            Some(MultiPrefix {
                has_public_key: true,
                ..
            }) => Kind::CgaCompatibleHba,
        }
    }

    /// Public key and extension fields, which both hashes cover unchanged.
    pub(crate) fn hashed_tail(&self) -> &[u8] {
        &self.octets[KEY_START..]
    }
}

/// Octets of the DER SEQUENCE that `tail` begins with.
//= https://www.rfc-editor.org/rfc/rfc3972#section-3
//= id=C-003
//# The public key MUST be formatted as a DER-encoded [ITU.X690.2002] ASN.1 structure of the type
//# SubjectPublicKeyInfo, defined in the Internet X.509 certificate profile [RFC3280].
fn public_key_len(tail: &[u8]) -> Result<usize, CgaError> {
    let mut reader = SliceReader::new(tail).map_err(|_| CgaError::PublicKey)?;
    match (reader.peek_tag(), reader.tlv_bytes()) {
        (Ok(Tag::Sequence), Ok(key)) => Ok(key.len()),
        _ => Err(CgaError::PublicKey),
    }
}

/// Octet offset of the Subnet Prefix.
const PREFIX_START: usize = 16;
/// Octet offset of the Public Key, which follows the Collision Count.
const KEY_START: usize = 25;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::{PREFIXES, key, rng, set_of, with_extensions};
    use crate::random_nonce;

    /// A structure with the given octets where the key belongs.
    fn with_key(key: &[u8]) -> Result<Pds, CgaError> {
        Pds::parse(&[&[0; KEY_START], key].concat())
    }

    #[test]
    fn fields_are_read_back_as_they_were_joined() {
        let extension = set_of(&PREFIXES).to_extension().unwrap();
        let pds =
            Pds::from_fields([7; 16], PREFIXES[1], 2, key().public_key(), &extension).unwrap();
        assert_eq!(pds.modifier(), [7; 16]);
        assert_eq!(pds.subnet_prefix(), PREFIXES[1]);
        assert_eq!(pds.collision_count(), 2);
        assert_eq!(pds.public_key(), key().public_key());
        assert_eq!(pds.extensions(), extension);
        assert_eq!(pds.multi_prefix(), Some(&set_of(&PREFIXES)));
    }

    #[test]
    fn only_a_key_has_bits_and_a_nonce_has_none() {
        let with = |has_public_key, public_key: &[u8]| {
            let set = MultiPrefix {
                has_public_key,
                ..set_of(&PREFIXES)
            };
            let extension = set.to_extension().unwrap();
            Pds::from_fields([7; 16], PREFIXES[0], 0, public_key, &extension).unwrap()
        };
        assert_eq!(with(true, key().public_key()).rsa_bits(), Some(1024));
        assert_eq!(with(false, &random_nonce(&mut rng(3))).rsa_bits(), None);
        assert_eq!(with(true, &[0x30, 0]).rsa_bits(), None);
    }

    #[test]
    fn the_kind_follows_extension_and_p_flag() {
        let kind = |extensions: &[u8]| with_extensions(extensions).unwrap().kind();
        let with_key = MultiPrefix {
            has_public_key: true,
            ..set_of(&PREFIXES)
        };
        assert_eq!(kind(&[]), Kind::Cga);
        assert_eq!(kind(&set_of(&PREFIXES).to_extension().unwrap()), Kind::Hba);
        assert_eq!(
            kind(&with_key.to_extension().unwrap()),
            Kind::CgaCompatibleHba
        );
    }

    #[test]
    fn a_structure_cut_inside_a_field_is_refused() {
        let whole = with_extensions(&set_of(&PREFIXES).to_extension().unwrap()).unwrap();
        let octets = whole.octets();
        for len in 0..octets.len() {
            let cut = Pds::parse(&octets[..len]);
            // At the end of the key the structure is whole, but has lost its extension.
            assert_eq!(cut.is_ok(), len == whole.key_end, "{len} octets");
        }
    }

    //= https://www.rfc-editor.org/rfc/rfc3972#section-3
    //= type=test
    //= id=C-003
    //# The public key MUST be formatted as a DER-encoded [ITU.X690.2002] ASN.1 structure of the
    //# type SubjectPublicKeyInfo, defined in the Internet X.509 certificate profile [RFC3280].
    #[test]
    fn wrong_der_lengths_are_refused_not_clamped() {
        let indefinite = [0x30, 0x80, 0, 0];
        let not_minimal = [0x30, 0x81, 2, 5, 0];
        let beyond_the_end = [0x30, 3, 5, 0];
        let four_octet_length = [0x30, 0x84, 0xff, 0xff, 0xff, 0xff];
        let not_a_sequence = [0x04, 2, 5, 0];
        for key in [
            &indefinite[..],
            &not_minimal,
            &beyond_the_end,
            &four_octet_length,
            &not_a_sequence,
            &[],
        ] {
            assert_eq!(with_key(key), Err(CgaError::PublicKey), "{key:x?}");
        }
        assert!(with_key(&[0x30, 2, 5, 0]).is_ok());
    }

    #[test]
    fn a_key_that_runs_into_the_extensions_is_refused() {
        let joined = Pds::from_fields([0; 16], PREFIXES[0], 0, &[0x30, 2], &[5, 0]);
        assert_eq!(joined, Err(CgaError::PublicKey));
    }

    proptest! {
        /// Hostile octets yield a structure or an error; a structure is the sum of its fields.
        #[test]
        fn parse_accepts_only_what_its_fields_add_up_to(
            fixed in prop::array::uniform25(any::<u8>()),
            key in prop::collection::vec(any::<u8>(), 0..130),
            tail in prop::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(0x12)], 0..40),
        ) {
            let der_len = key.len() as u8;
            let header: &[u8] = if der_len < 128 { &[0x30, der_len] } else { &[0x30, 0x81, der_len] };
            let octets = [&fixed, header, &key, &tail].concat();
            if let Ok(pds) = Pds::parse(&octets) {
                let count = [pds.collision_count()];
                let sum = [
                    &pds.modifier(),
                    &pds.subnet_prefix()[..],
                    &count,
                    pds.public_key(),
                    pds.extensions(),
                ];
                prop_assert_eq!(sum.concat(), &octets[..]);
                prop_assert_eq!(pds.octets(), octets);
            }
        }

        #[test]
        fn parse_never_panics(octets: Vec<u8>) {
            let _ = Pds::parse(&octets);
        }
    }
}
