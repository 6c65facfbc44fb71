//! R2 message (RFC 5533 §5.7).

use crate::ids::{ContextTag, InitiatorNonce};
use crate::option::{KeepaliveTimeout, LocatorOptions};

/// Answers I2 or I2bis, and tells the responder's locators: the context stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct R2 {
    /// Tag that the responder allocated for the context.
    pub responder_tag: ContextTag,
    /// From the I2 or I2bis.
    pub initiator_nonce: InitiatorNonce,
    /// The responder's locators and their proof.
    pub locators: LocatorOptions,
    /// Asked of the initiator.
    pub keepalive_timeout: Option<KeepaliveTimeout>,
}
