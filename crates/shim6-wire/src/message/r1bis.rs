//! R1bis message (RFC 5533 §5.8).

use crate::ids::{ContextTag, ResponderNonce, Validator};

/// Says that there is no context for a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct R1bis {
    /// The tag of the packet that had no context.
    pub packet_tag: ContextTag,
    /// Picked by the responder.
    pub responder_nonce: ResponderNonce,
    /// Comes back in I2bis.
    pub validator: Validator,
}
