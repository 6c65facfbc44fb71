//! When a flow is worth a context (RFC 5533 §4, "heuristic"; §9 is the other end of its life).
//!
//! A [`Heuristic`] judges counts. One that can say its rule in octets and age lets the kernel judge
//! ([`KernelRule`]): then no packet of a small flow is ever seen by this program.

use std::time::Duration;

use shim6_wire::Fii;

use crate::dispatch::is_unicast;
use crate::endpoint::Endpoint;
use crate::event::DropReason;
use crate::pair::UlidPair;
use crate::time::Instant;

/// What is known of the packets between two ULIDs that have no context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Between whom.
    pub ulids: UlidPair,
    /// Packets that this host sent.
    pub packets_sent: u64,
    /// Packets that it received.
    pub packets_received: u64,
    /// Octets both ways, IPv6 headers included.
    pub bytes: u64,
    /// Time since the first packet that this host sent.
    pub age: Duration,
}

/// A heuristic's answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Send I1 now.
    Initiate,
    /// Ask again at the next packet.
    Wait,
}

/// A rule that the kernel can apply by itself: whichever comes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KernelRule {
    /// Octets that this host sent, IPv6 headers included.
    pub bytes: u64,
    /// Age of a flow that is still in use.
    pub age: Duration,
}

/// When to start a context. Implement this to try an idea of your own.
pub trait Heuristic: std::fmt::Debug + Send {
    /// Judges a pair after another packet of it was seen.
    fn decide(&mut self, seen: &Seen) -> Decision;

    /// The same rule in the kernel's words, where it has some: then [`Self::decide`] is asked only in
    /// the mode that queues every packet.
    fn kernel_rule(&self) -> Option<KernelRule> {
        None
    }

    /// Whether this host starts contexts at all; if not, no packet is observed for the trigger's sake.
    fn initiates(&self) -> bool {
        true
    }
}

/// The default: enough octets, or old enough (LinShim6: 2 KB or 60 s).
#[derive(Clone, Copy, Debug)]
pub struct VolumeOrAge {
    /// Octets both ways.
    pub bytes: u64,
    /// Age of the flow.
    pub age: Duration,
}

impl Default for VolumeOrAge {
    fn default() -> Self {
        Self {
            bytes: 2048,
            age: Duration::from_secs(60),
        }
    }
}

impl Heuristic for VolumeOrAge {
    fn decide(&mut self, seen: &Seen) -> Decision {
        if seen.bytes > self.bytes || seen.age >= self.age {
            Decision::Initiate
        } else {
            Decision::Wait
        }
    }

    fn kernel_rule(&self) -> Option<KernelRule> {
        Some(KernelRule {
            bytes: self.bytes,
            age: self.age,
        })
    }
}

/// L3SHIM's: so many packets received (there: 50).
#[derive(Clone, Copy, Debug)]
pub struct PacketCount {
    /// Packets received from the peer.
    pub packets: u64,
}

impl Default for PacketCount {
    fn default() -> Self {
        Self { packets: 50 }
    }
}

impl Heuristic for PacketCount {
    fn decide(&mut self, seen: &Seen) -> Decision {
        if seen.packets_received >= self.packets {
            Decision::Initiate
        } else {
            Decision::Wait
        }
    }
}

/// Answers peers and never starts: what a busy server may prefer.
#[derive(Clone, Copy, Debug, Default)]
pub struct RespondOnly;

impl Heuristic for RespondOnly {
    fn decide(&mut self, _: &Seen) -> Decision {
        Decision::Wait
    }

    fn initiates(&self) -> bool {
        false
    }
}

/// How long the counts of a quiet candidate are kept (LinShim6: 60 s).
const CANDIDATE_LIFETIME: Duration = Duration::from_secs(60);

/// Packets between two ULIDs that have no context yet.
#[derive(Debug)]
pub(crate) struct Candidate {
    since: Instant,
    last: Instant,
    packets_sent: u64,
    packets_received: u64,
    bytes: u64,
}

impl Endpoint {
    /// Notes a packet between ULIDs that have no context, and asks the heuristic about it.
    pub fn handle_candidate(&mut self, now: Instant, ulids: UlidPair, sent: bool, octets: usize) {
        if !self.may_initiate(ulids) {
            return;
        }
        // Only what this host sends makes an entry: no stranger makes it negotiate.
        if !sent && !self.candidates.contains_key(&ulids) {
            return;
        }
        if self.candidates.len() >= self.config.candidates_max {
            self.candidates
                .retain(|_, candidate| now.since(candidate.last) < CANDIDATE_LIFETIME);
            if self.candidates.len() >= self.config.candidates_max {
                self.counters.drop(DropReason::TableFull);
                return;
            }
        }
        let fresh = Candidate {
            since: now,
            last: now,
            packets_sent: 0,
            packets_received: 0,
            bytes: 0,
        };
        let candidate = self.candidates.entry(ulids).or_insert(fresh);
        if now.since(candidate.last) >= CANDIDATE_LIFETIME {
            *candidate = Candidate {
                since: now,
                packets_sent: 0,
                packets_received: 0,
                bytes: 0,
                last: now,
            };
        }
        candidate.last = now;
        candidate.packets_sent += u64::from(sent);
        candidate.packets_received += u64::from(!sent);
        candidate.bytes += octets as u64;
        let seen = Seen {
            ulids,
            packets_sent: candidate.packets_sent,
            packets_received: candidate.packets_received,
            bytes: candidate.bytes,
            age: now.since(candidate.since),
        };
        match self.heuristic.decide(&seen) {
            Decision::Initiate => {
                self.handle_trigger(now, ulids);
            }
            Decision::Wait => {}
        }
    }

    /// Begins a context: the kernel applied the heuristic's rule, or an operator asks for it.
    ///
    /// `false` if there is none and none can be begun: asking again soon would not help.
    pub fn handle_trigger(&mut self, now: Instant, ulids: UlidPair) -> bool {
        self.candidates.remove(&ulids);
        let known = self.table.by_ulids(ulids, Fii::DEFAULT).is_some();
        known || (self.may_initiate(ulids) && self.initiate(ulids, now))
    }

    fn may_initiate(&self, ulids: UlidPair) -> bool {
        self.heuristic.initiates()
            && self.local.contains(ulids.local)
            && is_unicast(ulids.peer)
            && !ulids.peer.is_unicast_link_local()
            && !self.local.contains(ulids.peer)
            && self.table.by_ulids(ulids, Fii::DEFAULT).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    fn seen(packets_received: u64, bytes: u64, age: u64) -> Seen {
        let ulids = UlidPair {
            local: Ipv6Addr::LOCALHOST,
            peer: Ipv6Addr::LOCALHOST,
        };
        let age = Duration::from_secs(age);
        Seen {
            ulids,
            packets_sent: 1,
            packets_received,
            bytes,
            age,
        }
    }

    #[test]
    fn two_kilobytes_or_sixty_seconds_are_worth_a_context() {
        let mut heuristic = VolumeOrAge::default();
        assert_eq!(heuristic.decide(&seen(0, 2048, 59)), Decision::Wait);
        assert_eq!(heuristic.decide(&seen(0, 2049, 0)), Decision::Initiate);
        assert_eq!(heuristic.decide(&seen(0, 1, 60)), Decision::Initiate);
    }

    #[test]
    fn fifty_packets_received_are_worth_a_context_to_l3shim() {
        let mut heuristic = PacketCount::default();
        assert_eq!(heuristic.decide(&seen(49, 1 << 30, 3600)), Decision::Wait);
        assert_eq!(heuristic.decide(&seen(50, 0, 0)), Decision::Initiate);
    }
}
