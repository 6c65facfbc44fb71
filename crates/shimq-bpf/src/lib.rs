//! Mapping of Shim6 payload inside the kernel: tc programs behind a device pair.
//!
//! A [`Rewriter`] does for the packets of mapped contexts what the queue path does in this program:
//! it puts locators in the place of ULIDs and the payload extension header behind them (RFC 5533
//! §11.1), and takes both back on receipt (§12.2). The kernel can neither segment nor merge packets
//! with next header 140, and a rewriter in the way of its offloads costs TCP most of its rate. So
//! packets are changed where they are small anyway, behind a veth pair:
//!
//! ```text
//! send:     stack ── shim0 ══ shim1: grow, tag, locators ── interface of the local locator
//!                 segments here
//! receive:  interface of a locator: untag, ULIDs ── shim1 ══ shim0 ── stack
//!                                                         merges here
//! ```
//!
//! Only packets between the two ULIDs of an inserted [`MappedFlow`] are led to shim0, by a routing
//! table and a rule of their own; everything else keeps its route, its interface and its offloads.
//! Connection tracking, firewalls and counters see ULIDs on shim0, both ways.
//!
//! What this leaves to others: all decisions. Control messages, tags that no flow has and ICMPv6
//! errors pass as if nothing were here. Nothing in it is needed: where the kernel or the
//! configuration does not allow it, [`Rewriter::attach`] says why, and the queue path does the work.
//! When the rewriter is dropped its devices, programs, routes, rules and addresses are gone. A killed
//! process takes its programs with it (from kernel 6.6 on) and leaves devices and rules behind: what
//! it had mapped is lost until [`LEASE`] has passed, then takes the route of everything else; the next
//! [`Rewriter::attach`], or [`release`], removes the rest.

mod device;
mod error;
mod ethtool;
mod layout;
mod netlink;
mod path;
mod programs;
mod rewriter;
mod routes;

pub use device::PAIR_MACS;
pub use error::BpfError;
pub use layout::{Drops, Tally};
pub use rewriter::{Config, FlowCounters, MappedFlow, Rewriter, Totals, release};
pub use routes::LEASE;
