//! Where this host and its peers can be reached, and how well each address is proven.
//!
//! Three grades, and no way to skip one: an address is octets from a message until HBA or CGA ties
//! it to the ULID ([`VerifiedLocator`]), and payload goes to it only after something that was sent
//! there came back ([`ProbedLocator`]).

mod local;
mod peer;

pub use local::LocalLocator;
pub(crate) use local::{Announcement, LocalLocators};
pub use peer::ProbedLocator;
pub(crate) use peer::{Answer, PeerLocators};
