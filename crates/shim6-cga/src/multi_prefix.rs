//! The Multi-Prefix extension of a CGA Parameter Data Structure (RFC 5535 §5).
//!
//! Decides how extension fields follow each other (RFC 4581), and what is inside this one; all others are
//! skipped.

use crate::{CgaError, SubnetPrefix};

/// The Multi-Prefix extension: the prefixes of an HBA set (RFC 5535 §5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MultiPrefix {
    /// The P flag: the Public Key field holds a key, not a nonce.
    pub has_public_key: bool,
    /// Prefix\[1...n\], in order; any number, also none.
    pub prefixes: Vec<SubnetPrefix>,
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

/// Walks the extension fields from `at` to the end.
pub(crate) fn find(octets: &[u8], mut at: usize) -> Result<Option<MultiPrefix>, CgaError> {
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
    use super::*;
    use crate::Kind;
    use crate::fixture::{PREFIXES, set_of, with_extensions};

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
}
