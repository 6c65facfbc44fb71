//! Queues and rules against the running kernel, in network namespaces that the tests make.
//!
//! Needs root or `unshare -rn`, and `ip`, `nft`, `nsenter`, `ping`; a test that cannot run says SKIPPED.

#[cfg(test)]
mod queue;
#[cfg(test)]
mod rules;
#[cfg(test)]
mod support;
