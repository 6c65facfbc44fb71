//! The protocol as a value.
