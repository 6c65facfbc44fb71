//! I1 message (RFC 5533 §5.4).

use crate::ids::{ContextTag, Fii, InitiatorNonce};
use crate::option::Ulids;

/// Asks for a context; the first message of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct I1 {
    /// Tag that the initiator allocated for the context.
    pub initiator_tag: ContextTag,
    /// Picked by the initiator.
    pub initiator_nonce: InitiatorNonce,
    /// The ULIDs, when they are not the addresses of the packet.
    pub ulids: Option<Ulids>,
    /// Set when another context of the ULID pair is asked for.
    pub fii: Option<Fii>,
}
