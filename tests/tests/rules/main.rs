//! What one endpoint answers to each message in each STATE, rule by rule.
//!
//! The peers are played by hand, so that they can do what no peer of ours does.

#![allow(
    clippy::unwrap_used,
    reason = "test files as a whole; clippy.toml covers test functions"
)]

mod bench;
mod confusion;
mod establishment;
mod exploring;
mod forks;
mod icmp;
mod limits;
mod lookup;
mod preferences;
mod responding;
mod timers;
mod transitions;
mod updates;
