//! UpdateRequest message (RFC 5533 §5.10).

use crate::ids::{ContextTag, RequestNonce};
use crate::option::{KeepaliveTimeout, LocatorOptions};

/// Replaces the sender's locator list, its preferences, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateRequest {
    /// Tag that the receiver allocated for the context.
    pub receiver_tag: ContextTag,
    /// Comes back in the acknowledgement.
    pub request_nonce: RequestNonce,
    /// The new locators and their proof.
    pub locators: LocatorOptions,
    /// Asked of the receiver.
    pub keepalive_timeout: Option<KeepaliveTimeout>,
}
