//! Moments on the clock of the daemons' events, so that what they say and what is measured here can be
//! laid side by side.

use std::ops::Add;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// A moment on `CLOCK_BOOTTIME`, as the time since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// This moment.
    #[must_use]
    pub fn now() -> Self {
        // It fails for negative times only.
        Self(Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default())
    }

    /// The moment so many microseconds after boot.
    #[must_use]
    pub fn from_micros(since_boot: u64) -> Self {
        Self(Duration::from_micros(since_boot))
    }

    /// The time from `earlier` to this moment; zero if it was not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Milliseconds from `other` to this moment, negative if this one is earlier.
    #[must_use]
    pub fn ms_after(self, other: Self) -> f64 {
        (self.0.as_secs_f64() - other.0.as_secs_f64()) * 1_000.0
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, later: Duration) -> Self {
        Self(self.0 + later)
    }
}
