//! UpdateAck message (RFC 5533 §5.11).

use crate::ids::{ContextTag, RequestNonce};

/// Says that an Update Request arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpdateAck {
    /// Tag that the receiver allocated for the context.
    pub receiver_tag: ContextTag,
    /// From the request.
    pub request_nonce: RequestNonce,
}
