//! Reading and writing the fields of a control message, from the Checksum field on.

use std::net::Ipv6Addr;

use crate::checksum::checksum;
use crate::error::WireError;
use crate::ids::ContextTag;
use crate::ipv6::NO_NEXT_HEADER;
use crate::message::MessageType;
use crate::option::{OptionType, total_len};

/// Octets of the largest Shim6 header: Hdr Ext Len 255.
pub(crate) const MAX_HEADER: usize = 8 + 255 * 8;

/// Octets before the type-specific fields: up to and with the Checksum.
const COMMON: usize = 6;

/// Takes the fields of one message in order.
pub(crate) struct Reader<'a> {
    /// The type of the message, to name it in errors.
    pub(crate) ty: MessageType,
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts after the Checksum of `message`, which ends where its Hdr Ext Len says.
    ///
    /// # Errors
    ///
    /// [`WireError::MessageTooShort`] if it does not hold the fixed fields of its type.
    pub(crate) fn new(ty: MessageType, message: &'a [u8]) -> Result<Self, WireError> {
        let reader = Self {
            ty,
            message,
            at: COMMON,
        };
        if message.len() < ty.min_len() {
            return Err(reader.too_short(ty.min_len()));
        }
        Ok(reader)
    }

    /// The next `N` octets.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let need = self.at + N;
        let field = self.rest().first_chunk().ok_or(self.too_short(need))?;
        self.at = need;
        Ok(*field)
    }

    fn too_short(&self, need: usize) -> WireError {
        WireError::MessageTooShort {
            ty: self.ty,
            need,
            have: self.message.len(),
        }
    }

    /// Passes over `N` octets that are ignored on receipt.
    pub(crate) fn reserved<const N: usize>(&mut self) -> Result<(), WireError> {
        self.array::<N>().map(|_| ())
    }

    /// The next 32 bits.
    pub(crate) fn word(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    /// The next 48 bits: a reserved one, which is ignored, and a context tag.
    pub(crate) fn tag(&mut self) -> Result<ContextTag, WireError> {
        self.array().map(ContextTag::from_octets)
    }

    /// The next 128 bits.
    pub(crate) fn address(&mut self) -> Result<Ipv6Addr, WireError> {
        self.array::<16>().map(Ipv6Addr::from)
    }

    /// Octet offset of the next field.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// All that is left.
    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.message[self.at..]
    }
}

/// Puts down the fields of one message in order.
pub(crate) struct Writer {
    octets: Vec<u8>,
    needed: usize,
}

impl Writer {
    /// Starts a message; `type_specific` is its fourth octet.
    pub(crate) fn new(ty: MessageType, type_specific: u8) -> Self {
        //= https://www.rfc-editor.org/rfc/rfc5533#section-5.3
        //= id=S-007
        //# Next Header: 8-bit selector.  Normally set to NO_NXT_HDR (59).
        let octets = vec![NO_NEXT_HEADER, 0, ty as u8, type_specific, 0, 0];
        Self {
            octets,
            needed: COMMON,
        }
    }

    /// The octets of a field.
    pub(crate) fn put(&mut self, field: &[u8]) -> &mut Self {
        self.octets.extend_from_slice(field);
        self.needed += field.len();
        self
    }

    /// `N` octets that are zero on transmit.
    pub(crate) fn reserved<const N: usize>(&mut self) -> &mut Self {
        self.put(&[0; N])
    }

    /// A reserved bit and 47 bits of tag.
    pub(crate) fn tag(&mut self, tag: ContextTag) -> &mut Self {
        self.put(&tag.bits().to_be_bytes()[2..])
    }

    /// 32 bits.
    pub(crate) fn word(&mut self, word: u32) -> &mut Self {
        self.put(&word.to_be_bytes())
    }

    /// An option with C = 0, padded; left out if Hdr Ext Len could not count it any more.
    pub(crate) fn option(&mut self, ty: OptionType, contents: &[u8]) -> &mut Self {
        let total = total_len(contents.len());
        self.needed += total;
        if self.octets.len() + total <= MAX_HEADER {
            let end = self.octets.len() + total;
            self.octets
                .extend_from_slice(&((ty as u16) << 1).to_be_bytes());
            self.octets
                .extend_from_slice(&(contents.len() as u16).to_be_bytes());
            self.octets.extend_from_slice(contents);
            //= https://www.rfc-editor.org/rfc/rfc5533#section-5.15
            //= id=S-046
            //# Any added padding bytes MUST be zeroed by the sender
            self.octets.resize(end, 0);
        }
        self
    }

    /// Octets that the message takes, options that were left out included.
    pub(crate) fn needed(&self) -> usize {
        self.needed
    }

    /// The message, with Hdr Ext Len and Checksum filled in.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        debug_assert!(
            self.octets.len().is_multiple_of(8),
            "fields end on 8 octets"
        );
        self.octets[1] = (self.octets.len() / 8 - 1) as u8;
        let checksum = checksum(&self.octets);
        self.octets[4..COMMON].copy_from_slice(&checksum.to_be_bytes());
        self.octets
    }
}
