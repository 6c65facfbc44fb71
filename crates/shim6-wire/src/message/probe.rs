//! Probe message (RFC 5534 §5.2).

use std::net::Ipv6Addr;

use crate::ids::{ContextTag, ProbeNonce};

/// Tries an address pair, and reports which probes were sent and received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Tag that the receiver allocated for the context.
    pub receiver_tag: ContextTag,
    /// State of the sender, after sending.
    pub state: ProbeState,
    /// Probes sent: the first describes this probe. 1 to 15.
    pub sent: Vec<ProbeReport>,
    /// Probes received. At most 15.
    pub received: Vec<ProbeReport>,
}

/// State of the sender of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeState {
    /// Nothing is wrong in either direction.
    Operational,
    /// Nothing has arrived although something should have.
    Exploring,
    /// Packets arrive, but the peer may not know or may not hear.
    InboundOk,
}

/// One probe, as its sender described it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProbeReport {
    /// Address that the probe was sent from.
    pub source: Ipv6Addr,
    /// Address that the probe was sent to.
    pub destination: Ipv6Addr,
    /// Tells the probe from others.
    pub nonce: ProbeNonce,
    /// Without meaning yet; copied back unchanged.
    pub data: u32,
}
