//! Keepalive message (RFC 5534 §5.1).

use crate::ids::ContextTag;

/// Says that packets arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Tag that the receiver allocated for the context.
    pub receiver_tag: ContextTag,
}
