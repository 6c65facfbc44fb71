//! I2bis message (RFC 5533 §5.9).

use crate::ids::{ContextTag, Fii, InitiatorNonce, ResponderNonce, Validator};
use crate::option::{KeepaliveTimeout, LocatorOptions, Ulids};

/// Answers R1bis: sets the lost context up again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct I2bis {
    /// Tag that the initiator allocated for the context.
    pub initiator_tag: ContextTag,
    /// Picked by the initiator.
    pub initiator_nonce: InitiatorNonce,
    /// From the R1bis.
    pub responder_nonce: ResponderNonce,
    /// From the R1bis.
    pub packet_tag: ContextTag,
    /// From the R1bis, unchanged.
    pub validator: Validator,
    /// The ULIDs, when they are not the addresses of the packet.
    pub ulids: Option<Ulids>,
    /// Set when the context is not the default one of its ULID pair.
    pub fii: Option<Fii>,
    /// The initiator's locators and their proof.
    pub locators: LocatorOptions,
    /// Asked of the responder.
    pub keepalive_timeout: Option<KeepaliveTimeout>,
}
