//! The options of RFC 5533 §5.15 and RFC 5534 §5.3: type, length, contents, padding.
//!
//! Decides which options a message may carry, what happens to the others, and how each is laid
//! out. What an option asks of the host is not decided here.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |             Type            |C|             Length            |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                          Contents                             ~
//! ~                                               +-+-+-+-+-+-+-+-+
//! ~                                               |    Padding    |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

mod fii;
mod keepalive_timeout;
mod locator_list;
mod locator_preferences;
mod ulid_pair;

pub use keepalive_timeout::KeepaliveTimeout;
pub use locator_list::{ListedLocator, LocatorList, VerificationMethod};
pub use locator_preferences::{LocatorPreferences, Preference, PreferenceFlags};
pub use ulid_pair::Ulids;

use crate::error::WireError;
use crate::ids::{Fii, Validator};
use crate::octets::{Reader, Writer};

/// The options known here (RFC 5533 §5.15, table 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum OptionType {
    /// What the responder checks in I2 or I2bis.
    ResponderValidator = 1,
    /// All locators of the sender.
    LocatorList = 2,
    /// Flags, priorities and weights of the listed locators.
    LocatorPreferences = 3,
    /// CGA Parameter Data Structure, for CGA and HBA.
    Pds = 4,
    /// Signature over the locators that use CGA verification.
    Signature = 5,
    /// The ULIDs, when they are not the addresses of the packet.
    UlidPair = 6,
    /// Forked Instance Identifier, when it is not zero.
    Fii = 7,
    /// The Keepalive Timeout that the sender asks of the receiver (RFC 5534 §5.3).
    //= https://www.rfc-editor.org/rfc/rfc5534#section-5.3
    //= id=R-038
    //# This field identifies the option and MUST be set to 10 (Keepalive Timeout).
    KeepaliveTimeout = 10,
}

impl OptionType {
    /// The option of a 15-bit type; `None` if it is not known here.
    fn from_bits(ty: u16) -> Option<Self> {
        Some(match ty {
            1 => Self::ResponderValidator,
            2 => Self::LocatorList,
            3 => Self::LocatorPreferences,
            4 => Self::Pds,
            5 => Self::Signature,
            6 => Self::UlidPair,
            7 => Self::Fii,
            10 => Self::KeepaliveTimeout,
            _ => return None,
        })
    }
}

/// The options that describe and prove the sender's locators.
///
/// Those that are `Some` are sent, in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocatorOptions {
    /// The sender's locators.
    pub list: Option<LocatorList>,
    /// What the sender thinks of its locators.
    pub preferences: Option<LocatorPreferences>,
    /// CGA Parameter Data Structure, as RFC 3972 encodes it.
    pub pds: Option<Vec<u8>>,
    /// PKCS#1 v1.5 signature (RFC 5533 §5.15.5).
    pub signature: Option<Vec<u8>>,
}

impl LocatorOptions {
    pub(crate) fn emit(&self, out: &mut Writer) {
        if let Some(list) = &self.list {
            out.option(OptionType::LocatorList, &list.contents());
        }
        if let Some(preferences) = &self.preferences {
            out.option(OptionType::LocatorPreferences, &preferences.contents());
        }
        if let Some(pds) = &self.pds {
            out.option(OptionType::Pds, pds);
        }
        if let Some(signature) = &self.signature {
            out.option(OptionType::Signature, signature);
        }
    }
}

/// The options that R2 and Update Request may carry.
pub(crate) const LOCATORS_AND_KEEPALIVE_TIMEOUT: [OptionType; 5] = [
    OptionType::LocatorList,
    OptionType::LocatorPreferences,
    OptionType::Pds,
    OptionType::Signature,
    OptionType::KeepaliveTimeout,
];

/// The options that I2 and I2bis may carry.
pub(crate) const OF_I2: [OptionType; 8] = [
    OptionType::ResponderValidator,
    OptionType::LocatorList,
    OptionType::LocatorPreferences,
    OptionType::Pds,
    OptionType::Signature,
    OptionType::UlidPair,
    OptionType::Fii,
    OptionType::KeepaliveTimeout,
];

/// The options of one message. Each kind of message takes out what it may have.
#[derive(Debug, Default)]
pub(crate) struct Options {
    validator: Option<Validator>,
    pub(crate) locators: LocatorOptions,
    pub(crate) ulids: Option<Ulids>,
    pub(crate) fii: Option<Fii>,
    pub(crate) keepalive_timeout: Option<KeepaliveTimeout>,
}

impl Options {
    /// Reads to the end of the message; only options in `valid` have a place in it.
    ///
    /// # Errors
    ///
    /// [`WireError::CriticalOption`] if another one has C = 1; [`WireError::OptionPastEnd`],
    /// [`WireError::OptionLength`] and [`WireError::DuplicateOption`] if one is badly formed.
    ///
    /// Source: RFC 5533 §5.15.
    pub(crate) fn read(reader: &Reader<'_>, valid: &[OptionType]) -> Result<Self, WireError> {
        let mut options = Self::default();
        for tlv in Tlvs::new(reader.rest(), reader.at()) {
            let tlv = tlv?;
            match OptionType::from_bits(tlv.ty).filter(|ty| valid.contains(ty)) {
                //= https://www.rfc-editor.org/rfc/rfc5533#section-5.15
                //= id=S-048
                //# C:             Critical.  One, if this parameter is critical and MUST be
                //# recognized by the recipient; zero otherwise.
                Some(ty) => options.take(ty, &tlv)?,
                //= https://www.rfc-editor.org/rfc/rfc5533#section-5.15
                //= id=S-050
                //# If C=1, then the host SHOULD send back a Shim6 Error message with Error Code=1
                //= https://www.rfc-editor.org/rfc/rfc5533#section-5.15
                //= id=S-051
                //# When C=1, the rest of the message MUST NOT be processed.
                None if tlv.critical => {
                    return Err(WireError::CriticalOption {
                        ty: tlv.ty,
                        at: tlv.at,
                    });
                }
                //= https://www.rfc-editor.org/rfc/rfc5533#section-5.15
                //= id=S-049
                //# If C=0, then the option is silently ignored, and the rest of the message is
                //# processed.
                None => {}
            }
        }
        Ok(options)
    }

    /// The validator of a message that is nothing without one.
    pub(crate) fn validator(&mut self, reader: &Reader<'_>) -> Result<Validator, WireError> {
        let at = reader.at() + reader.rest().len();
        self.validator
            .take()
            .ok_or(WireError::NoValidator { ty: reader.ty, at })
    }

    fn take(&mut self, ty: OptionType, tlv: &Tlv<'_>) -> Result<(), WireError> {
        let octets = tlv.contents;
        match ty {
            OptionType::ResponderValidator => set(
                &mut self.validator,
                Some(Validator(octets.to_vec())),
                ty,
                tlv.at,
            ),
            OptionType::LocatorList => set(
                &mut self.locators.list,
                LocatorList::parse(octets),
                ty,
                tlv.at,
            ),
            OptionType::LocatorPreferences => set(
                &mut self.locators.preferences,
                LocatorPreferences::parse(octets),
                ty,
                tlv.at,
            ),
            OptionType::Pds => set(&mut self.locators.pds, Some(octets.to_vec()), ty, tlv.at),
            OptionType::Signature => set(
                &mut self.locators.signature,
                Some(octets.to_vec()),
                ty,
                tlv.at,
            ),
            OptionType::UlidPair => set(&mut self.ulids, Ulids::parse(octets), ty, tlv.at),
            OptionType::Fii => set(&mut self.fii, fii::parse(octets), ty, tlv.at),
            OptionType::KeepaliveTimeout => set(
                &mut self.keepalive_timeout,
                KeepaliveTimeout::parse(octets),
                ty,
                tlv.at,
            ),
        }
    }
}

/// Puts an option into its place; `value` is `None` if the contents have a wrong length.
fn set<T>(
    slot: &mut Option<T>,
    value: Option<T>,
    ty: OptionType,
    at: usize,
) -> Result<(), WireError> {
    let value = value.ok_or(WireError::OptionLength { ty, at })?;
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(WireError::DuplicateOption { ty, at }),
    }
}

/// Writes the options that say which context I1, I2 and I2bis ask for.
pub(crate) fn emit_context(ulids: Option<&Ulids>, fii: Option<Fii>, out: &mut Writer) {
    if let Some(ulids) = ulids {
        out.option(OptionType::UlidPair, &ulids.contents());
    }
    if let Some(fii) = fii {
        out.option(OptionType::Fii, &fii::contents(fii));
    }
}

/// Writes the Keepalive Timeout option, if there is one.
pub(crate) fn emit_keepalive_timeout(timeout: Option<KeepaliveTimeout>, out: &mut Writer) {
    if let Some(timeout) = timeout {
        out.option(OptionType::KeepaliveTimeout, &timeout.contents());
    }
}

/// Offset, from the start of the Shim6 header, of the Type field of the first option `ty`.
///
/// `shim` is a control message that [`crate::Message::parse`] accepted; in octets that are not,
/// nothing is found. For the Pointer of an Error message: the Length field is 2 octets further on,
/// the Contents are 4.
pub fn option_offset(shim: &[u8], ty: OptionType) -> Option<usize> {
    let (message, first) = crate::message::options(shim)?;
    Tlvs::new(&message[first..], first)
        .map_while(Result::ok)
        .find(|tlv| tlv.ty == ty as u16)
        .map(|tlv| tlv.at)
}

/// The octets that an option takes in all, from the value of its Length field.
pub(crate) fn total_len(contents: usize) -> usize {
    //= https://www.rfc-editor.org/rfc/rfc5533#section-5.15
    //= id=S-044
    //# The total length of the option is the smallest multiple of 8 bytes that allows for the 4
    //# bytes of the Option header and option, itself.
    (TYPE_AND_LENGTH + contents).next_multiple_of(8)
}

/// Octets before the Contents of an option.
const TYPE_AND_LENGTH: usize = 4;

/// One option as it stands in a message.
struct Tlv<'a> {
    ty: u16,
    critical: bool,
    /// Offset of the Type field from the start of the Shim6 header.
    at: usize,
    contents: &'a [u8],
}

/// Walks the options of a message; ends after the first error.
struct Tlvs<'a> {
    octets: &'a [u8],
    at: usize,
}

impl<'a> Tlvs<'a> {
    /// `octets` are the options, `at` is the offset of the first one.
    fn new(octets: &'a [u8], at: usize) -> Self {
        Self { octets, at }
    }

    fn take(&mut self) -> Result<Tlv<'a>, WireError> {
        let at = self.at;
        let have = self.octets.len();
        let past_end = |need| WireError::OptionPastEnd { at, need, have };
        let [ty, c, high, low] = *self.octets.first_chunk().ok_or(past_end(TYPE_AND_LENGTH))?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        //= https://www.rfc-editor.org/rfc/rfc5533#section-5.15
        //= id=S-045
        //# If padding is added, the Length field MUST NOT include the padding.
        let total = total_len(length);
        let (option, rest) = self.octets.split_at_checked(total).ok_or(past_end(total))?;
        (self.octets, self.at) = (rest, at + total);
        let ty_and_c = u16::from_be_bytes([ty, c]);
        Ok(Tlv {
            ty: ty_and_c >> 1,
            critical: ty_and_c & 1 == 1,
            at,
            //= https://www.rfc-editor.org/rfc/rfc5533#section-5.15
            //= id=S-047
            //# their values SHOULD NOT be checked by the receiver.
            contents: &option[TYPE_AND_LENGTH..TYPE_AND_LENGTH + length],
        })
    }
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = Result<Tlv<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.octets.is_empty() {
            return None;
        }
        let tlv = self.take();
        if tlv.is_err() {
            self.octets = &[];
        }
        Some(tlv)
    }
}

#[cfg(test)]
mod tests;
