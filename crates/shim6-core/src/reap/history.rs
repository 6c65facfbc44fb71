//! What earlier probes told of pairs and addresses, on whichever context.
//!
//! One host's contexts meet the same failures, so what one of them learns is kept here for all: round
//! trips, and which addresses lately did not answer. It is a hint and nothing else. It decides which
//! pair is probed sooner; no pair is used because of it, for a record of another peer's context proves
//! nothing for this one, and a peer that lies about its own probes can spoil no more than the order in
//! which others are tried. So it may be shared where proofs may not.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::time::Duration;

use crate::pair::LocatorPair;
use crate::time::Instant;

/// Pairs, and addresses, that are remembered at once.
const REMEMBERED_MAX: usize = 65_536;

/// A measurement older than this tells nothing of the path as it is now.
const MEASURED_FOR: Duration = Duration::from_secs(6 * 3_600);

/// An address or a pair that did not answer is doubted for this long, or until it does.
const DOUBTED_FOR: Duration = Duration::from_secs(60);

/// What happened to a pair within this time happens to it now.
const LATELY: Duration = Duration::from_secs(5);

/// Round trips of one path, smoothed as TCP's are (RFC 6298 §2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RoundTrip {
    smoothed: Duration,
    variation: Duration,
}

impl RoundTrip {
    /// After one measurement.
    pub(crate) fn first(measured: Duration) -> Self {
        Self {
            smoothed: measured,
            variation: measured / 2,
        }
    }

    /// After one more.
    #[must_use]
    pub(crate) fn and(self, measured: Duration) -> Self {
        let deviation = self.smoothed.abs_diff(measured);
        Self {
            smoothed: (self.smoothed * 7 + measured) / 8,
            variation: (self.variation * 3 + deviation) / 4,
        }
    }

    /// What a round trip takes on average.
    pub(crate) fn smoothed(self) -> Duration {
        self.smoothed
    }

    /// Where only one answer in many is later.
    pub(crate) fn nearly_always(self) -> Duration {
        self.smoothed + self.variation * 4
    }
}

/// When something answered last, and when it last did not.
#[derive(Clone, Copy, Debug, Default)]
struct Trust {
    answered: Instant,
    failed: Instant,
}

impl Trust {
    fn is_doubted(self, now: Instant) -> bool {
        self.failed > self.answered && now.since(self.failed) < DOUBTED_FOR
    }

    fn last(self) -> Instant {
        self.answered.max(self.failed)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Path {
    trust: Trust,
    round_trip: Option<RoundTrip>,
}

/// What is remembered of pairs and addresses.
#[derive(Debug, Default)]
pub(crate) struct History {
    paths: BTreeMap<LocatorPair, Path>,
    /// This host's and peers': an address that fails with many is at fault itself.
    addresses: BTreeMap<Ipv6Addr, Trust>,
}

impl History {
    /// A probe on `pair` was answered after `round_trip`.
    pub(crate) fn note_answer(&mut self, pair: LocatorPair, round_trip: Duration, now: Instant) {
        if let Some(path) = self.path(pair, now) {
            path.round_trip = Some(
                path.round_trip
                    .map_or(RoundTrip::first(round_trip), |known| known.and(round_trip)),
            );
        }
        self.note_working(pair, now);
    }

    /// A probe on `pair` arrived.
    pub(crate) fn note_working(&mut self, pair: LocatorPair, now: Instant) {
        if let Some(path) = self.path(pair, now) {
            path.trust.answered = now;
        }
        for address in [pair.local, pair.peer] {
            if let Some(trust) = self.address(address, now) {
                trust.answered = now;
            }
        }
    }

    /// `pair` did not answer.
    pub(crate) fn note_failure(&mut self, pair: LocatorPair, now: Instant) {
        if let Some(path) = self.path(pair, now) {
            path.trust.failed = now;
        }
        for address in [pair.local, pair.peer] {
            if let Some(trust) = self.address(address, now) {
                trust.failed = now;
            }
        }
    }

    /// What a round trip on `pair` took lately.
    pub(crate) fn round_trip(&self, pair: LocatorPair, now: Instant) -> Option<RoundTrip> {
        let path = self.paths.get(&pair)?;
        let fresh = now.since(path.trust.answered) < MEASURED_FOR;
        path.round_trip.filter(|_| fresh)
    }

    /// How much speaks against `pair`: one each for itself, its local and its peer address.
    pub(crate) fn doubts(&self, pair: LocatorPair, now: Instant) -> u8 {
        let path = self.paths.get(&pair).map(|path| path.trust);
        let addresses = [pair.local, pair.peer].map(|address| self.addresses.get(&address));
        let all = path
            .into_iter()
            .chain(addresses.into_iter().flatten().copied());
        all.map(|trust| u8::from(trust.is_doubted(now))).sum()
    }

    /// Whether `pair` answered a moment ago, on whichever context, and has not failed since.
    pub(crate) fn answered_lately(&self, pair: LocatorPair, now: Instant) -> bool {
        let trust = self.paths.get(&pair).map(|path| path.trust);
        trust.is_some_and(|trust| {
            trust.answered >= trust.failed && now.since(trust.answered) < LATELY
        })
    }

    /// Whether `pair` itself failed a moment ago, on whichever context, and has not answered since.
    pub(crate) fn failed_lately(&self, pair: LocatorPair, now: Instant) -> bool {
        let trust = self.paths.get(&pair).map(|path| path.trust);
        trust.is_some_and(|trust| trust.failed > trust.answered && now.since(trust.failed) < LATELY)
    }

    /// The record of `pair`; `None` if all room is taken by younger ones.
    fn path(&mut self, pair: LocatorPair, now: Instant) -> Option<&mut Path> {
        if self.paths.len() >= REMEMBERED_MAX && !self.paths.contains_key(&pair) {
            self.paths
                .retain(|_, path| now.since(path.trust.last()) < MEASURED_FOR);
        }
        let room = self.paths.len() < REMEMBERED_MAX || self.paths.contains_key(&pair);
        room.then(|| self.paths.entry(pair).or_default())
    }

    fn address(&mut self, address: Ipv6Addr, now: Instant) -> Option<&mut Trust> {
        if self.addresses.len() >= REMEMBERED_MAX && !self.addresses.contains_key(&address) {
            self.addresses
                .retain(|_, trust| now.since(trust.last()) < DOUBTED_FOR);
        }
        let room = self.addresses.len() < REMEMBERED_MAX || self.addresses.contains_key(&address);
        room.then(|| self.addresses.entry(address).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(local: u16, peer: u16) -> LocatorPair {
        let address = |side: u16, host: u16| Ipv6Addr::new(0x2001, 0xdb8, side, host, 0, 0, 0, 1);
        LocatorPair {
            local: address(1, local),
            peer: address(2, peer),
        }
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    const MILLIS: Duration = Duration::from_millis(1);

    #[test]
    fn an_address_that_failed_with_one_peer_is_doubted_with_another_until_it_answers() {
        let mut history = History::default();
        history.note_failure(pair(1, 1), at(10));
        assert_eq!(history.doubts(pair(1, 1), at(11)), 3);
        assert_eq!(history.doubts(pair(1, 2), at(11)), 1);
        assert_eq!(history.doubts(pair(2, 2), at(11)), 0);
        history.note_answer(pair(1, 3), MILLIS, at(12));
        assert_eq!(history.doubts(pair(1, 2), at(13)), 0);
        assert_eq!(history.doubts(pair(1, 1), at(10 + 61)), 0, "long ago");
    }

    #[test]
    fn a_round_trip_is_smoothed_and_forgotten_when_it_is_old() {
        let mut history = History::default();
        assert_eq!(history.round_trip(pair(1, 1), at(1)), None);
        history.note_answer(pair(1, 1), MILLIS * 80, at(1));
        history.note_answer(pair(1, 1), MILLIS * 160, at(2));
        let known = history.round_trip(pair(1, 1), at(3)).unwrap();
        assert_eq!(known.smoothed(), MILLIS * 90);
        assert_eq!(known.nearly_always(), MILLIS * (90 + 4 * 50));
        assert_eq!(history.round_trip(pair(1, 1), at(3 + 6 * 3_600)), None);
    }

    #[test]
    fn a_steady_path_needs_no_more_patience_than_its_round_trip() {
        let mut trip = RoundTrip::first(MILLIS * 20);
        for _ in 0..40 {
            trip = trip.and(MILLIS * 20);
        }
        assert!(trip.nearly_always() < MILLIS * 21);
    }

    #[test]
    fn what_strangers_make_it_remember_is_bounded() {
        let mut history = History::default();
        for index in 0..=u16::MAX {
            history.note_failure(pair(1, index), at(1));
        }
        history.note_failure(pair(2, 9), at(2));
        assert_eq!(history.paths.len(), REMEMBERED_MAX);
        assert!(history.addresses.len() <= REMEMBERED_MAX);
        history.note_failure(pair(2, 9), at(30_000));
        assert_eq!(history.paths.len(), 1);
    }
}
