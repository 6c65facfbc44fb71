//! Error message (RFC 5533 §5.14).

/// Says that a packet held something critical that could not be processed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What was wrong.
    pub code: ErrorCode,
    /// Where: octets from the start of the packet in error.
    pub pointer: u16,
    /// The packet in error from its IPv6 header on, as much of it as fits. What is emitted is a
    /// multiple of 8 octets, at least 8: zero octets fill it up.
    pub packet: Vec<u8>,
}

/// What was wrong with a packet (RFC 5533 §5.14, table 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorCode {
    /// Unknown Shim6 message type.
    UnknownMessageType,
    /// Critical option not recognized.
    CriticalOption,
    /// Locator verification method failed; the pointer is at the method.
    VerificationMethod,
    /// Locator List Generation number out of sync.
    Generation,
    /// Error in the number of locators in a Locator Preference option.
    LocatorCount,
    /// A code not known here; 120 to 127 are for debugging.
    Other(u8),
}
