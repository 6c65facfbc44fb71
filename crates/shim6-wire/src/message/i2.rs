//! I2 message (RFC 5533 §5.6).

use crate::ids::{ContextTag, Fii, InitiatorNonce, ResponderNonce, Validator};
use crate::option::{KeepaliveTimeout, LocatorOptions, Ulids};

/// Answers R1, and tells the initiator's locators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct I2 {
    /// Tag that the initiator allocated for the context.
    pub initiator_tag: ContextTag,
    /// Picked by the initiator.
    pub initiator_nonce: InitiatorNonce,
    /// From the R1.
    pub responder_nonce: ResponderNonce,
    /// From the R1, unchanged.
    pub validator: Validator,
    /// The ULIDs, when they are not the addresses of the packet.
    pub ulids: Option<Ulids>,
    /// Set when another context of the ULID pair is asked for.
    pub fii: Option<Fii>,
    /// The initiator's locators and their proof.
    pub locators: LocatorOptions,
    /// Asked of the responder.
    pub keepalive_timeout: Option<KeepaliveTimeout>,
}
