//! R1 message (RFC 5533 §5.5).

use crate::ids::{InitiatorNonce, ResponderNonce, Validator};

/// Answers I1; the responder kept nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct R1 {
    /// From the I1.
    pub initiator_nonce: InitiatorNonce,
    /// Picked by the responder.
    pub responder_nonce: ResponderNonce,
    /// Comes back in I2.
    pub validator: Validator,
}
