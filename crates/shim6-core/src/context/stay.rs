//! When a context may leave a pair that works for a better one.
//!
//! A pair that failed a moment ago may fail again the next: so payload stays for an interval on the pair
//! that took over, whatever there is that is better. Each return that did not last, and each better pair
//! that did not answer, doubles the interval; whether it failed in silence or its address went and came
//! again makes no difference. What an operator chose is stayed on until it fails or either end says
//! something new about how gladly it is reached where; and where the peer led, it leads back.

use crate::config::Config;
use crate::event::Cause;
use crate::reap::Exploration;
use crate::time::Instant;

/// Doublings of the interval at most: from a minute to an hour and four minutes.
const DOUBLINGS_MAX: u32 = 6;

/// A return has lasted when so many intervals passed without a failure.
const LASTING: u32 = 10;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stay {
    /// When the pair took over, or a better one was asked last.
    since: Instant,
    doublings: u32,
    /// When a better pair was asked last, until a pair fails after that.
    returned: Option<Instant>,
    /// When it was last looked whether there is a better pair.
    looked: Instant,
    by_operator: bool,
    by_peer: bool,
}

impl Stay {
    /// Payload moved to what `exploration` found.
    pub(super) fn moved(&mut self, exploration: &Exploration, config: &Config, now: Instant) {
        let cause = exploration.cause;
        self.by_peer = exploration.by_peer;
        self.by_operator = cause == Cause::Operator;
        // Not counted when it was asked: an address came again, or is liked better now.
        let counted = self.returned >= Some(exploration.since);
        if cause == Cause::Preference && !counted {
            self.count(now);
        }
        if matches!(cause, Cause::Operator | Cause::Preference) {
            return;
        }
        let lasting = config.return_interval * LASTING;
        let returned = self.returned.take();
        if returned.is_some_and(|returned| now.since(returned) >= lasting) {
            self.doublings = 0;
        }
        self.since = now;
    }

    /// A better pair is asked: if that comes to nothing, or does not last, the next is asked later.
    pub(super) fn returning(&mut self, now: Instant) {
        self.since = now;
        self.count(now);
    }

    fn count(&mut self, now: Instant) {
        self.returned = Some(now);
        self.doublings = (self.doublings + 1).min(DOUBLINGS_MAX);
    }

    /// Either end said something new about how gladly it is reached where: former attempts count no more.
    pub(crate) fn heard_news(&mut self) {
        self.by_operator = false;
        self.by_peer = false;
        self.doublings = 0;
    }

    /// Whether the pair may be left for a better one.
    pub(super) fn is_over(&self, config: &Config, now: Instant) -> bool {
        let never_failed = self.since == Instant::default();
        let interval = config.return_interval * (1 << self.doublings);
        !self.by_operator && (never_failed || now.since(self.since) >= interval)
    }

    /// Whether the peer led payload here, and shall lead it back.
    pub(super) fn follows_peer(&self) -> bool {
        self.by_peer
    }

    /// Whether it is time to look for a better pair; it is not again for an interval then.
    pub(super) fn look(&mut self, config: &Config, now: Instant) -> bool {
        let due = self.is_over(config, now) && now.since(self.looked) >= config.return_interval;
        if due {
            self.looked = now;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(minutes: u64) -> Instant {
        Instant::from_micros(minutes * 60_000_000)
    }

    fn config() -> Config {
        Config {
            return_interval: MINUTE,
            ..Config::default()
        }
    }

    fn began(cause: Cause) -> Exploration {
        Exploration {
            since: at(1),
            cause,
            by_peer: false,
            target: None,
            fruitless: false,
        }
    }

    #[test]
    fn after_a_failure_payload_stays_for_an_interval() {
        let mut stay = Stay::default();
        stay.moved(&began(Cause::SendTimeout), &config(), at(100));
        assert!(!stay.is_over(&config(), at(100)));
        assert!(stay.is_over(&config(), at(101)));
    }

    #[test]
    fn each_return_that_does_not_last_doubles_the_interval_up_to_an_hour() {
        let mut stay = Stay::default();
        let mut now = at(100);
        let mut waits = Vec::new();
        for _ in 0..9 {
            stay.moved(&began(Cause::Silence), &config(), now);
            let failed = now;
            while !stay.is_over(&config(), now) {
                now = now + MINUTE;
            }
            waits.push(now.since(failed).as_secs() / 60);
            stay.returning(now);
            stay.moved(&began(Cause::Preference), &config(), now);
            now = now + MINUTE;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
        stay.moved(&began(Cause::Silence), &config(), now + MINUTE * LASTING);
        assert!(
            stay.is_over(&config(), now + MINUTE * (LASTING + 1)),
            "it lasted"
        );
    }

    #[test]
    fn a_return_lasts_only_as_long_as_the_pair_that_it_led_to() {
        let mut stay = Stay::default();
        stay.moved(&began(Cause::Silence), &config(), at(100));
        stay.returning(at(101));
        stay.moved(&began(Cause::Preference), &config(), at(101));
        stay.moved(&began(Cause::Silence), &config(), at(102));
        // The pair that took over fails in its turn.
        let later = at(102) + MINUTE * LASTING;
        stay.moved(&began(Cause::Silence), &config(), later);
        assert!(!stay.is_over(&config(), later + MINUTE));
        assert!(stay.is_over(&config(), later + MINUTE * 2));
    }

    #[test]
    fn what_an_operator_chose_is_stayed_on_until_there_is_news_or_a_failure() {
        let mut stay = Stay::default();
        stay.moved(&began(Cause::Operator), &config(), at(100));
        assert!(!stay.is_over(&config(), at(10_000)));
        stay.heard_news();
        assert!(stay.is_over(&config(), at(10_000)));
    }
}
