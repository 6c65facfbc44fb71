//! What the rewriter promises, tried with real packets between two hosts.
//!
//! Needs root: in a user namespace the kernel loads no programs, and each test says that it was
//! skipped.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod beside;
mod changes;
mod endings;
mod passage;
mod refusals;
mod support;
