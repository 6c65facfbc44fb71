//! The program as its users meet it: daemons on two hosts, real packets, real TCP.
//!
//! Each test builds a network of its own out of namespaces, so they run side by side, as root or as
//! anyone who may make user namespaces. Where neither is possible they say so and pass.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

mod addresses;
mod advertisements;
mod bad_input;
mod busy;
mod coexistence;
mod crossing;
mod cuts;
mod endings;
mod exclusions;
mod forgery;
mod forgetting;
mod forks;
mod kernel_mapping;
mod kinds;
mod local_loss;
mod messages;
mod narrow_paths;
mod odd_traffic;
mod operating;
mod plain_peers;
mod preferences;
mod refusals;
mod reload;
mod renumbering;
mod stateful_firewalls;
mod triggers;
mod ways_out;
