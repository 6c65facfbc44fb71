//! Shim6 (RFC 5533) and REAP (RFC 5534) octets as values, and back.
//!
//! Decides what octets mean and which octets may be sent. Keeps no state, does no input or output,
//! and leaves what a message *does* to others.
//!
//! - [`classify()`] says what an IPv6 packet is to Shim6.
//! - [`Message`] is a control message: [`Message::parse`], [`Message::emit`].
//! - [`Packet`] adds the payload extension header to a packet in place, and takes it off again.
//! - [`Fragments`] are what becomes of a packet that does not fit its path with that header.
//! - [`icmp`] reads and translates ICMPv6 errors about packets that carried a Shim6 header.
//!
//! Lengths and offsets are in octets. Offsets into a message count from the first octet of its
//! Shim6 header.

mod checksum;
mod classify;
mod error;
mod fragment;
pub mod icmp;
mod ids;
mod ipv6;
mod message;
mod octets;
mod option;
#[cfg(test)]
mod test_data;

pub use classify::{Class, classify};
pub use error::WireError;
pub use fragment::Fragments;
pub use icmp::{IcmpError, IcmpKind};
pub use ids::{
    ContextTag, Fii, Generation, InitiatorNonce, ProbeNonce, RequestNonce, ResponderNonce,
    Validator,
};
pub use ipv6::{NO_NEXT_HEADER, Packet, SHIM6};
pub use message::{
    Error, ErrorCode, I1, I2, I2bis, Keepalive, MAX_CONTROL_PACKET, Message, MessageType, Probe,
    ProbeReport, ProbeState, R1, R1bis, R2, UpdateAck, UpdateRequest, receiver_tag,
};
pub use option::{
    KeepaliveTimeout, ListedLocator, LocatorList, LocatorOptions, LocatorPreferences, OptionType,
    Preference, PreferenceFlags, Ulids, VerificationMethod, option_offset,
};
