//! Which contexts are heard so often that their counters tell soon enough when they no longer are.
//!
//! Beside counting, the kernel notes for each packet that the peer was heard, and looks for each that is sent
//! whether it was, so that a packet that is sent after 60 ms of silence is shown. For a context that is heard a
//! thousand times a second that is a quarter of what the rules cost its packets, and two readings of its counter
//! tell of a silence within 100 ms: it is *busy*, and its packets are counted and nothing else, until it is heard
//! less.

use std::collections::HashMap;
use std::time::Duration;

use shim6_core::{Instant, UlidPair};

/// Packets a second that make a context busy as they arrive, and fewer than which end that.
const FROM: u128 = 1_000;
const TO: u128 = 250;

/// Over less time than this a rate says little: readings do not come on the dot.
const RATED: Duration = Duration::from_millis(45);

/// Octets of a packet without data, at most: an acknowledgement of TCP's with all its options. Nobody answers those.
const BARE: u64 = 128;

/// The busy contexts.
#[derive(Debug, Default)]
pub(super) struct BusyContexts(HashMap<UlidPair, Heard>);

/// What a busy context received since when, and whether it sent data.
#[derive(Clone, Copy, Debug)]
struct Heard {
    packets: u64,
    data_sent: bool,
    since: Instant,
}

impl Heard {
    fn nothing_since(now: Instant) -> Self {
        Self {
            packets: 0,
            data_sent: false,
            since: now,
        }
    }
}

/// A context that is no longer busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dismissed {
    pub(super) ulids: UlidPair,
    /// Whether it sent data and was not heard at all.
    pub(super) is_unanswered: bool,
}

impl BusyContexts {
    /// Whether this one is busy.
    pub(super) fn contains(&self, ulids: UlidPair) -> bool {
        self.0.contains_key(&ulids)
    }

    /// Forgets one.
    pub(super) fn remove(&mut self, ulids: UlidPair) {
        self.0.remove(&ulids);
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Some context received so many packets; whether it is busy.
    pub(super) fn note_received(&mut self, ulids: UlidPair, packets: u64) -> bool {
        let heard = self.0.get_mut(&ulids);
        heard.map(|heard| heard.packets += packets).is_some()
    }

    /// Some context sent so many packets, and octets in them.
    pub(super) fn note_sent(&mut self, ulids: UlidPair, packets: u64, octets: u64) {
        if let Some(heard) = self.0.get_mut(&ulids) {
            heard.data_sent |= octets > packets * BARE;
        }
    }

    /// A context that is not busy received so many packets in the time that ends `now`; whether it becomes busy.
    pub(super) fn admit(
        &mut self,
        ulids: UlidPair,
        packets: u64,
        time: Duration,
        now: Instant,
    ) -> bool {
        let is_busy = time >= RATED && rate(packets, time) >= FROM;
        if is_busy {
            self.0.insert(ulids, Heard::nothing_since(now));
        }
        is_busy
    }

    /// Ends it for those that are heard too little, or for all if there is not `room`.
    pub(super) fn dismiss(&mut self, room: bool, now: Instant) -> Vec<Dismissed> {
        let mut dismissed = Vec::new();
        self.0.retain(|&ulids, heard| {
            let time = now.since(heard.since);
            if room && time < RATED {
                return true;
            }
            let last = std::mem::replace(heard, Heard::nothing_since(now));
            let stays = room && rate(last.packets, time) >= TO;
            if !stays {
                let is_unanswered = last.packets == 0 && last.data_sent && time >= RATED;
                dismissed.push(Dismissed {
                    ulids,
                    is_unanswered,
                });
            }
            stays
        });
        dismissed
    }
}

/// Packets a second.
fn rate(packets: u64, time: Duration) -> u128 {
    u128::from(packets) * 1_000_000 / time.as_micros().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_millis(50);

    fn ulids() -> UlidPair {
        UlidPair {
            local: "2001:db8:1::a".parse().unwrap(),
            peer: "2001:db8:2::b".parse().unwrap(),
        }
    }

    fn at(milliseconds: u64) -> Instant {
        Instant::default() + Duration::from_millis(milliseconds)
    }

    fn dismissed(is_unanswered: bool) -> Dismissed {
        Dismissed {
            ulids: ulids(),
            is_unanswered,
        }
    }

    fn busy() -> BusyContexts {
        let mut contexts = BusyContexts::default();
        assert!(contexts.admit(ulids(), 50, TIME, at(0)));
        contexts
    }

    #[test]
    fn a_thousand_packets_a_second_begin_it_and_a_quarter_keeps_it() {
        let mut contexts = BusyContexts::default();
        assert!(!contexts.note_received(ulids(), 9_999));
        assert!(!contexts.admit(ulids(), 49, TIME, at(0)));
        assert!(contexts.admit(ulids(), 50, TIME, at(0)));
        assert!(contexts.note_received(ulids(), 13) && contexts.contains(ulids()));
        assert_eq!(contexts.dismiss(true, at(50)), []);
        assert!(contexts.note_received(ulids(), 12));
        assert_eq!(contexts.dismiss(true, at(100)), [dismissed(false)]);
        assert!(!contexts.contains(ulids()));
    }

    #[test]
    fn a_reading_that_comes_early_changes_nothing_and_is_not_lost() {
        let mut contexts = BusyContexts::default();
        assert!(!contexts.admit(ulids(), 9_999, Duration::from_millis(5), at(0)));
        assert!(contexts.admit(ulids(), 50, TIME, at(0)));
        assert_eq!(contexts.dismiss(true, at(5)), []);
        assert!(contexts.note_received(ulids(), 13));
        assert_eq!(contexts.dismiss(true, at(10)), []);
        assert_eq!(contexts.dismiss(true, at(50)), []);
        assert_eq!(contexts.dismiss(true, at(100)), [dismissed(false)]);
    }

    #[test]
    fn data_that_nothing_answers_is_told_from_what_needs_no_answer() {
        for (packets, octets, is_unanswered) in
            [(20, 20 * 104, false), (1, 1500, true), (0, 0, false)]
        {
            let mut contexts = busy();
            contexts.note_sent(ulids(), 1, 1500);
            assert!(contexts.note_received(ulids(), 50));
            assert_eq!(contexts.dismiss(true, at(50)), []);
            contexts.note_sent(ulids(), packets, octets);
            assert_eq!(contexts.dismiss(true, at(100)), [dismissed(is_unanswered)]);
        }
    }

    #[test]
    fn without_room_none_is_busy() {
        let mut contexts = busy();
        assert!(contexts.note_received(ulids(), 5_000));
        assert_eq!(contexts.dismiss(false, at(50)), [dismissed(false)]);
        let mut contexts = busy();
        contexts.note_sent(ulids(), 1, 1500);
        assert_eq!(contexts.dismiss(false, at(5)), [dismissed(false)]);
    }
}
