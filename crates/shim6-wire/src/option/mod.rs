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

mod keepalive_timeout;
mod locator_list;
mod locator_preferences;
mod ulid_pair;

pub use keepalive_timeout::KeepaliveTimeout;
pub use locator_list::{ListedLocator, LocatorList, VerificationMethod};
pub use locator_preferences::{LocatorPreferences, Preference, PreferenceFlags};
pub use ulid_pair::Ulids;

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
    KeepaliveTimeout = 10,
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

/// Offset, from the start of the Shim6 header, of the Type field of the first option `ty`.
///
/// `shim` is a control message that [`crate::Message::parse`] accepted; in octets that are not,
/// nothing is found. For the Pointer of an Error message: the Length field is 2 octets further on,
/// the Contents are 4.
pub fn option_offset(shim: &[u8], ty: OptionType) -> Option<usize> {
    todo!("{shim:?} {ty:?}")
}
