//! Hosts, links and faults on a virtual clock: one seed, one history.
//!
//! A [`World`] holds hosts, the one-way links between their addresses and a queue of what happens
//! next. Every packet is real octets, mapped and unmapped by the very [`shim6_core::FlowTable`] that
//! the daemon's queue threads run, and carries a checksum over its ULIDs that the far end's upper
//! layer checks. A judge looks on ([`model`]): whatever no history may contain ends the run with the
//! seed and the trace.
//!
//! Nothing here asks the operating system for time, randomness or packets: the same calls on a
//! `World` of the same seed give the same trace, octet for octet.
//!
//! ```text
//!   upper layers --> FlowTable --> links (delay, loss, cuts, filters) --> FlowTable --> upper layers
//!                        ^  |                                              ^  |
//!                     Endpoint          model: looks at all of it          Endpoint
//! ```

mod adversary;
mod host;
mod identity;
mod model;
mod net;
mod packet;
mod trace;
mod traffic;
mod world;

pub use adversary::{Received, message_of, send_message};
pub use host::{HostId, HostSpec, Kind};
pub use identity::{cga, hba, prefix, sign, signing_key};
pub use net::{Link, Pair};
pub use packet::{control_packet, is_payload, unrecognized_next_header};
pub use traffic::{FlowId, FlowStats, Pattern};
pub use world::World;
