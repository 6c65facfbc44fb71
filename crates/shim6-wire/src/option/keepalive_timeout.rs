//! Keepalive Timeout option (RFC 5534 §5.3).

/// The Keepalive Timeout that the sender asks of the receiver, in seconds: its own Send Timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeepaliveTimeout(pub u16);
