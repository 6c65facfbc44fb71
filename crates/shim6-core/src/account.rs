//! What passed on one context, for whoever must tell whether its peer still answers.
//!
//! A few atomics that REAP reads when a deadline comes due: the Send and Keepalive Timers of RFC 5534 §6
//! are moments noted here, so that they cost two stores a packet, and no timer a packet.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::time::Instant;

/// What passed on one context, and since when each side waits for the other.
///
/// Written by queue threads (or by whoever polls the kernel's counters), read by the endpoint.
///
/// What is received and what is sent each write cells that lie together, the timers in between: with
/// many contexts a cell is rarely in the processor's caches, but then its neighbours come along.
//= https://www.rfc-editor.org/rfc/rfc5534#section-3.3
//= id=R-005
//# Shim6 implementations MUST support the discovery of operational address pairs through the use
//# of explicit reachability tests and Forced Bidirectional Communication (FBD), described later
//# in this specification.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Account {
    packets_received: AtomicU64,
    bytes_received: AtomicU64,
    last_received: AtomicU64,
    /// When a table last saw something arrive itself, in microseconds.
    last_seen: AtomicU64,
    /// When the Keepalive Timer was started (RFC 5534 §6.1), in microseconds; 0 while it is stopped.
    owed_to_peer: AtomicU64,
    /// When the Send Timer was started (RFC 5534 §6.2), in microseconds; 0 while it is stopped.
    awaiting_peer: AtomicU64,
    packets_sent: AtomicU64,
    bytes_sent: AtomicU64,
    last_sent: AtomicU64,
    /// When a packet was last copied for sending it again.
    last_copied: AtomicU64,
}

impl Account {
    /// Reads either end of the account, so that both are in the processor's caches.
    pub(crate) fn fetch(&self) {
        std::hint::black_box(self.last_received.load(Relaxed) | self.last_sent.load(Relaxed));
    }

    /// Notes payload packets that left on this context.
    ///
    //= https://www.rfc-editor.org/rfc/rfc5534#section-6.2
    //= id=R-046
    //# Upon sending a payload packet in the Operational state, the node
    //# stops the Keepalive Timer if it was running and starts the Send Timer
    //# if it was not running.
    //= https://www.rfc-editor.org/rfc/rfc5534#section-4.1
    //= id=R-011
    //# These two timers are mutually exclusive.
    pub fn sent(&self, now: Instant, packets: u64, bytes: u64) {
        self.packets_sent.fetch_add(packets, Relaxed);
        self.bytes_sent.fetch_add(bytes, Relaxed);
        self.last_sent.store(now.as_micros(), Relaxed);
        self.control_sent(now);
    }

    /// The same for a control message that is neither Keepalive nor Probe: it moves the timers, but
    /// does not show that anybody uses the context.
    pub(crate) fn control_sent(&self, now: Instant) {
        if self.owed_to_peer.load(Relaxed) != 0 {
            self.owed_to_peer.store(0, Relaxed);
        }
        if self.awaiting_peer.load(Relaxed) == 0 {
            self.awaiting_peer.store(now.as_micros(), Relaxed);
        }
    }

    /// Notes payload packets that arrived on this context.
    ///
    //= https://www.rfc-editor.org/rfc/rfc5534#section-6.1
    //= id=R-042
    //# Upon the reception of a payload packet in the Operational state, the
    //# node starts the Keepalive Timer if it was not yet running, and stops
    //# the Send Timer if it was running.
    pub fn received(&self, now: Instant, packets: u64, bytes: u64) {
        self.packets_received.fetch_add(packets, Relaxed);
        self.bytes_received.fetch_add(bytes, Relaxed);
        self.last_received.store(now.as_micros(), Relaxed);
        self.control_received(now);
    }

    /// The same for a control message that is neither Keepalive nor Probe.
    pub(crate) fn control_received(&self, now: Instant) {
        if self.awaiting_peer.load(Relaxed) != 0 {
            self.awaiting_peer.store(0, Relaxed);
        }
        if self.owed_to_peer.load(Relaxed) == 0 {
            self.owed_to_peer.store(now.as_micros(), Relaxed);
        }
    }

    /// Since when payload has gone unanswered: START of the Send Timer.
    #[must_use]
    pub fn awaiting_peer(&self) -> Option<Instant> {
        some_instant(&self.awaiting_peer)
    }

    /// Since when the peer waits for us: START of the Keepalive Timer.
    #[must_use]
    pub fn owed_to_peer(&self) -> Option<Instant> {
        some_instant(&self.owed_to_peer)
    }

    /// The last moment at which anything passed, either way.
    #[must_use]
    pub fn last_used(&self) -> Option<Instant> {
        some_instant(&self.last_sent).max(some_instant(&self.last_received))
    }

    /// Packets sent and received.
    #[must_use]
    pub fn packets(&self) -> (u64, u64) {
        (
            self.packets_sent.load(Relaxed),
            self.packets_received.load(Relaxed),
        )
    }

    /// Octets sent and received, IPv6 headers included.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        (
            self.bytes_sent.load(Relaxed),
            self.bytes_received.load(Relaxed),
        )
    }

    /// Notes a packet that a table saw arrive, `octets` long.
    pub(crate) fn saw(&self, now: Instant, octets: usize) {
        self.last_seen.store(now.as_micros(), Relaxed);
        self.received(now, 1, octets as u64);
    }

    /// How long ago a table saw something arrive.
    pub(crate) fn seen_since(&self, now: Instant) -> Duration {
        now.since(Instant::from_micros(self.last_seen.load(Relaxed)))
    }

    /// Whether another unanswered packet may be copied: a flood of them must not cost a copy each.
    pub(crate) fn may_copy(&self, now: Instant) -> bool {
        let due = self.last_copied.load(Relaxed).saturating_add(COPY_SPACING) <= now.as_micros();
        if due {
            self.last_copied.store(now.as_micros(), Relaxed);
        }
        due
    }

    /// The last moment at which something came from the peer.
    #[must_use]
    pub fn last_received(&self) -> Option<Instant> {
        some_instant(&self.last_received)
    }

    pub(crate) fn restart_send_timer(&self, now: Instant) {
        self.awaiting_peer.store(now.as_micros(), Relaxed);
    }

    pub(crate) fn start_send_timer(&self, now: Instant) {
        if self.awaiting_peer.load(Relaxed) == 0 {
            self.restart_send_timer(now);
        }
    }

    pub(crate) fn stop_send_timer(&self) {
        self.awaiting_peer.store(0, Relaxed);
    }

    pub(crate) fn start_keepalive_timer(&self, now: Instant) {
        if self.owed_to_peer.load(Relaxed) == 0 {
            self.owed_to_peer.store(now.as_micros(), Relaxed);
        }
    }

    pub(crate) fn stop_keepalive_timer(&self) {
        self.owed_to_peer.store(0, Relaxed);
    }
}

fn some_instant(cell: &AtomicU64) -> Option<Instant> {
    match cell.load(Relaxed) {
        0 => None,
        micros => Some(Instant::from_micros(micros)),
    }
}

/// Least time between two copies of unanswered packets of one flow.
const COPY_SPACING: u64 = 1_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Microseconds between two readings of counters.
    const INTERVAL: u64 = 50_000;

    /// A packet: its moment, in microseconds, and whether it was sent.
    type Passed = (u64, bool);

    /// The account of somebody who sees each packet.
    fn seen(packets: &[Passed]) -> Account {
        let account = Account::default();
        for &(at, sent) in packets {
            note(&account, at, 1, sent);
        }
        account
    }

    /// That of somebody who reads every [`INTERVAL`] how many there were, until `end`.
    fn read(packets: &[Passed], end: u64) -> Account {
        let account = Account::default();
        for at in (INTERVAL..=end).step_by(INTERVAL as usize) {
            for sent in [true, false] {
                let counted = |packet: &&Passed| interval(packet.0) == at && packet.1 == sent;
                let count = packets.iter().filter(counted).count() as u64;
                if count > 0 {
                    note(&account, at, count, sent);
                }
            }
        }
        account
    }

    /// When what passes at this moment is read.
    fn interval(at: u64) -> u64 {
        at.next_multiple_of(INTERVAL)
    }

    fn note(account: &Account, at: u64, packets: u64, sent: bool) {
        let at = Instant::from_micros(at);
        if sent {
            account.sent(at, packets, 100 * packets);
        } else {
            account.received(at, packets, 100 * packets);
        }
    }

    fn history() -> impl Strategy<Value = Vec<Passed>> {
        let packets = prop::collection::vec((1..20 * INTERVAL, any::<bool>()), 1..40);
        packets.prop_map(|mut packets| {
            packets.sort_unstable();
            packets
        })
    }

    proptest! {
        /// Reading counters finds silence only where there is silence.
        #[test]
        fn counted_packets_start_the_send_timer_no_sooner_than_seen_ones(packets in history()) {
            if let Some(counted) = read(&packets, 20 * INTERVAL).awaiting_peer() {
                let seen = seen(&packets).awaiting_peer();
                prop_assert!(seen.is_some_and(|seen| seen <= counted), "{seen:?} {counted:?}");
            }
        }

        /// And it finds that at most an interval after the first packet that was sent when all that
        /// arrived had been read.
        #[test]
        fn counted_packets_start_the_send_timer_an_interval_late_at_most(packets in history()) {
            let received = packets.iter().filter(|(_, sent)| !sent);
            let read_last = received.map(|&(at, _)| interval(at)).max().unwrap_or(0);
            let unanswered = packets.iter().find(|&&(at, sent)| sent && at > read_last);
            if let Some(&(sent_at, _)) = unanswered {
                let counted = read(&packets, 20 * INTERVAL).awaiting_peer().map(Instant::as_micros);
                prop_assert!(
                    counted.is_some_and(|counted| counted >= sent_at && counted - sent_at < INTERVAL),
                    "sent at {sent_at}, counted {counted:?}"
                );
            }
        }
    }
}
