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

use crate::CgaError;

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
//# The length of this field is determined by the ASN.1 encoding.
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
        //= id=C-008
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
