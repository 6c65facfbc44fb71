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

use crate::{CgaError, key};

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

/// The Multi-Prefix extension: the prefixes of an HBA set (RFC 5535 §5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiPrefix {
    /// The P flag: the Public Key field holds a key, not a nonce.
    pub has_public_key: bool,
    /// Prefix\[1...n\], in order; any number, also none.
    pub prefixes: Vec<SubnetPrefix>,
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
        let multi_prefix = find_multi_prefix(octets, key_end)?;
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
                key::decode(self.public_key()).ok().map(|(_, bits)| bits)
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

impl MultiPrefix {
    /// The extension field with its 4-octet header, ready to follow a public key.
    ///
    /// # Errors
    ///
    /// [`CgaError::PrefixCount`] if the prefixes do not fit a 16-bit length, or there are none.
    ///
    /// Source: RFC 5535 §5, §6 step 1.
    pub fn to_extension(&self) -> Result<Vec<u8>, CgaError> {
        let count = self.prefixes.len();
        let data_len = u16::try_from(FLAGS_LEN + PREFIX_LEN * count)
            .ok()
            .filter(|_| count > 0)
            .ok_or(CgaError::PrefixCount(count))?;
        let mut field = Vec::with_capacity(HEADER_LEN + usize::from(data_len));
        //= https://www.rfc-editor.org/rfc/rfc5535#section-5
        //= id=H-001
        //# Ext Type: 16-bit type identifier of the Multi-Prefix extension (see the "IANA
        //# Considerations" section).
        field.extend(MULTI_PREFIX_TYPE.to_be_bytes());
        field.extend(data_len.to_be_bytes());
        //= https://www.rfc-editor.org/rfc/rfc5535#section-5
        //= id=H-002
        //# Reserved:  31-bit reserved field.  MUST be initialized to zero, and
        //# ignored upon receipt.
        field.extend([if self.has_public_key { P_FLAG } else { 0 }, 0, 0, 0]);
        field.extend(self.prefixes.as_flattened());
        Ok(field)
    }

    /// Reads Extension Data.
    fn parse(data: &[u8]) -> Result<Self, CgaError> {
        let wrong_length = CgaError::MultiPrefixLength { len: data.len() };
        let (flags, vector) = data.split_first_chunk::<FLAGS_LEN>().ok_or(wrong_length)?;
        let (prefixes, []) = vector.as_chunks::<PREFIX_LEN>() else {
            return Err(wrong_length);
        };
        //= https://www.rfc-editor.org/rfc/rfc5535#section-5
        //= id=H-003
        //# Reserved:  31-bit reserved field.  MUST be initialized to zero, and
        //# ignored upon receipt.
        Ok(Self {
            has_public_key: flags[0] & P_FLAG != 0,
            prefixes: prefixes.to_vec(),
        })
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

/// Walks the extension fields from `at` to the end.
fn find_multi_prefix(octets: &[u8], mut at: usize) -> Result<Option<MultiPrefix>, CgaError> {
    let mut found = None;
    //= https://www.rfc-editor.org/rfc/rfc4581#section-2
    //= id=C-039
    //# Data items to be included in Extension Fields of the CGA Parameter
    //# Data Structure MUST be encoded using the following Type-Length-Value
    //# (TLV) format:
    while at < octets.len() {
        let malformed = CgaError::Extension { at };
        let (&[t0, t1, l0, l1], rest) = octets[at..]
            .split_first_chunk::<HEADER_LEN>()
            .ok_or(malformed)?;
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        let data = rest.get(..len).ok_or(malformed)?;
        //= https://www.rfc-editor.org/rfc/rfc3972#section-3
        //= id=C-008,C-027
        //# Implementations MUST ignore the value of any unrecognized
        //# extension fields.
        if u16::from_be_bytes([t0, t1]) == MULTI_PREFIX_TYPE
            && found.replace(MultiPrefix::parse(data)?).is_some()
        {
            return Err(CgaError::RepeatedMultiPrefix);
        }
        at += HEADER_LEN + len;
    }
    Ok(found)
}

/// Octet offset of the Subnet Prefix.
const PREFIX_START: usize = 16;
/// Octet offset of the Public Key, which follows the Collision Count.
const KEY_START: usize = 25;
/// Octets of Extension Type and Extension Data Length.
const HEADER_LEN: usize = 4;
/// Octets of the P flag and the reserved bits.
const FLAGS_LEN: usize = 4;
const PREFIX_LEN: usize = 8;
/// Extension Type of the Multi-Prefix extension (RFC 5535 §10).
const MULTI_PREFIX_TYPE: u16 = 0x0012;
/// The first bit of the extension data.
const P_FLAG: u8 = 0x80;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixture::{PREFIXES, key, rng};
    use crate::random_nonce;

    /// A structure with the given extension fields after a nonce.
    fn with_extensions(extensions: &[u8]) -> Result<Pds, CgaError> {
        Pds::from_fields(
            [7; 16],
            PREFIXES[0],
            1,
            &random_nonce(&mut rng(2)),
            extensions,
        )
    }

    /// A structure with the given octets where the key belongs.
    fn with_key(key: &[u8]) -> Result<Pds, CgaError> {
        Pds::parse(&[&[0; KEY_START], key].concat())
    }

    fn set_of(prefixes: &[SubnetPrefix]) -> MultiPrefix {
        MultiPrefix {
            has_public_key: false,
            prefixes: prefixes.to_vec(),
        }
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

    //= https://www.rfc-editor.org/rfc/rfc5535#section-5
    //= type=test
    //= id=H-001
    //# Ext Len: 16-bit unsigned integer. Length of the Extension in octets, not including the
    //# first 4 octets.
    #[test]
    fn the_p_flag_is_the_first_bit_and_reserved_bits_are_zero() {
        //= https://www.rfc-editor.org/rfc/rfc5535#section-5
        //= type=test
        //= id=H-002
        //# Reserved:  31-bit reserved field.  MUST be initialized to zero, and
        //# ignored upon receipt.
        let with_key = MultiPrefix {
            has_public_key: true,
            ..set_of(&PREFIXES[..2])
        };
        let field = with_key.to_extension().unwrap();
        assert_eq!(field[..8], [0, 0x12, 0, 20, 0x80, 0, 0, 0]);
        assert_eq!(field[8..], *PREFIXES[..2].as_flattened());
        assert_eq!(set_of(&PREFIXES).to_extension().unwrap()[4..8], [0; 4]);
    }

    #[test]
    fn reserved_bits_are_ignored_but_kept() {
        //= https://www.rfc-editor.org/rfc/rfc5535#section-5
        //= type=test
        //= id=H-003
        //# Reserved:  31-bit reserved field.  MUST be initialized to zero, and
        //# ignored upon receipt.
        let mut field = set_of(&PREFIXES).to_extension().unwrap();
        field[4..8].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff]);
        let pds = with_extensions(&field).unwrap();
        assert_eq!(pds.kind(), Kind::Hba);
        assert_eq!(pds.extensions(), field);
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
    fn unknown_extensions_are_ignored_before_and_after_the_known_one() {
        //= https://www.rfc-editor.org/rfc/rfc3972#section-3
        //= type=test
        //= id=C-008,C-027
        //# Implementations MUST ignore the value of any unrecognized
        //# extension fields.
        let unknown = [0xff, 0xfd, 0, 3, 1, 2, 3];
        let empty = [0xff, 0xfe, 0, 0];
        let known = set_of(&PREFIXES).to_extension().unwrap();
        for extensions in [
            [&unknown, &known[..], &empty].concat(),
            [&empty, &known[..], &unknown].concat(),
        ] {
            let pds = with_extensions(&extensions).unwrap();
            assert_eq!(pds.multi_prefix(), Some(&set_of(&PREFIXES)));
            assert_eq!(pds.extensions(), extensions);
        }
        assert_eq!(with_extensions(&unknown).unwrap().kind(), Kind::Cga);
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

    //= https://www.rfc-editor.org/rfc/rfc4581#section-2
    //= type=test
    //= id=C-039
    //# Data items to be included in Extension Fields of the CGA Parameter Data Structure MUST be
    //# encoded using the following Type-Length-Value (TLV) format:
    #[test]
    fn trailing_octets_that_are_no_extension_are_refused() {
        let at = with_extensions(&[]).unwrap().octets().len();
        for garbage in [&[0][..], &[0; 3], &[0xff, 0xfd, 0, 2, 1]] {
            assert_eq!(with_extensions(garbage), Err(CgaError::Extension { at }));
        }
    }

    #[test]
    fn a_multi_prefix_extension_holds_whole_prefixes() {
        for len in 0..=36_u8 {
            let field = [&[0, 0x12, 0, len][..], &vec![0; len.into()]].concat();
            let whole = len >= 4 && (len - 4) % 8 == 0;
            let expected = if whole {
                Ok(usize::from(len - 4) / 8)
            } else {
                Err(CgaError::MultiPrefixLength { len: len.into() })
            };
            let parsed = with_extensions(&field);
            assert_eq!(
                parsed.map(|pds| pds.multi_prefix().unwrap().prefixes.len()),
                expected
            );
        }
    }

    #[test]
    fn two_sets_in_one_structure_are_refused() {
        let field = set_of(&PREFIXES).to_extension().unwrap();
        assert_eq!(
            with_extensions(&field.repeat(2)),
            Err(CgaError::RepeatedMultiPrefix)
        );
    }

    #[test]
    fn a_set_has_at_least_one_prefix_and_fits_its_length_field() {
        let count = |n: usize| set_of(&vec![PREFIXES[0]; n]).to_extension().map(|_| ());
        assert_eq!(count(0), Err(CgaError::PrefixCount(0)));
        assert_eq!(count(8191), Ok(()));
        assert_eq!(count(8192), Err(CgaError::PrefixCount(8192)));
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
