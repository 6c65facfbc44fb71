//! How long an address lives, in the kernel's seconds and as moments of this program's clock.

use std::time::{Duration, Instant};

/// Lifetimes closer than this are the same one: the kernel counts them in whole seconds.
const LIFETIME_TOLERANCE: Duration = Duration::from_secs(3);

/// What the kernel writes for a lifetime without end (RFC 4861 §4.6.2).
const INFINITE: u32 = u32::MAX;

/// When a lifetime ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lifetime {
    /// Then, or earlier if it is past.
    Until(Instant),
    /// Never.
    Forever,
}

impl Lifetime {
    /// From seconds that remain at `now`, as the kernel writes them.
    pub(super) fn from_seconds(seconds: u32, now: Instant) -> Self {
        if seconds == INFINITE {
            Self::Forever
        } else {
            Self::Until(now + Duration::from_secs(seconds.into()))
        }
    }

    /// Seconds that remain at `now`, rounded up, as the kernel wants them.
    pub(super) fn seconds(self, now: Instant) -> u32 {
        match self {
            Self::Forever => INFINITE,
            Self::Until(end) => {
                let left = end
                    .saturating_duration_since(now)
                    .as_millis()
                    .div_ceil(1000);
                u32::try_from(left).unwrap_or(INFINITE - 1)
            }
        }
    }

    /// Whether both end at the same time, as far as the kernel's seconds can tell.
    fn agrees_with(self, other: Self, now: Instant) -> bool {
        match (self, other) {
            (Self::Forever, Self::Forever) => true,
            (Self::Until(a), Self::Until(b)) => {
                let (a, b) = (a.max(now), b.max(now));
                a.max(b) - a.min(b) <= LIFETIME_TOLERANCE
            }
            (Self::Forever, Self::Until(_)) | (Self::Until(_), Self::Forever) => false,
        }
    }
}

/// How long an address is valid, and how long new connections may prefer it (RFC 4862 §5.5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lifetimes {
    /// Afterwards the address is gone.
    pub(super) valid: Lifetime,
    /// Afterwards the address is deprecated. Not longer than `valid`.
    pub(super) preferred: Lifetime,
}

impl Lifetimes {
    /// The longer of each.
    pub(super) fn max(self, other: Self) -> Self {
        Self {
            valid: self.valid.max(other.valid),
            preferred: self.preferred.max(other.preferred),
        }
    }

    /// Whether both are the same, as far as the kernel's seconds can tell.
    pub(super) fn agree_with(self, other: Self, now: Instant) -> bool {
        self.valid.agrees_with(other.valid, now) && self.preferred.agrees_with(other.preferred, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_survive_the_kernel_s_seconds() {
        let now = Instant::now();
        for seconds in [0, 1, 86_400, INFINITE] {
            assert_eq!(Lifetime::from_seconds(seconds, now).seconds(now), seconds);
        }
        let later = now + Duration::from_millis(1500);
        assert_eq!(Lifetime::from_seconds(10, now).seconds(later), 9);
    }

    #[test]
    fn lifetimes_agree_up_to_the_kernel_s_rounding() {
        let now = Instant::now();
        let lifetime = |seconds| Lifetime::from_seconds(seconds, now);
        assert!(lifetime(100).agrees_with(lifetime(102), now));
        assert!(!lifetime(100).agrees_with(lifetime(110), now));
        assert!(!lifetime(100).agrees_with(Lifetime::Forever, now));
        assert!(
            lifetime(1).agrees_with(lifetime(9), now + Duration::from_secs(20)),
            "both past"
        );
    }
}
