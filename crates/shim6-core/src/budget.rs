//! How much work strangers may cause.

use crate::time::Instant;

/// A token bucket: `rate` units a second, at most `rate` saved up.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Units a second, and the most that can be saved.
    rate: u32,
    /// Millionths of a unit in hand.
    micro_units: u64,
    filled_at: Instant,
}

impl Budget {
    pub(crate) fn new(rate: u32) -> Self {
        Self {
            rate,
            micro_units: u64::from(rate) * 1_000_000,
            filled_at: Instant::default(),
        }
    }

    /// Takes one unit; `false` when there is none and the work has to be left undone.
    pub(crate) fn spend(&mut self, now: Instant) -> bool {
        let full = u64::from(self.rate) * 1_000_000;
        let elapsed = u64::try_from(now.since(self.filled_at).as_micros()).unwrap_or(u64::MAX);
        // `rate` units a second are `rate` micro-units a microsecond.
        let gained = elapsed.saturating_mul(u64::from(self.rate));
        self.micro_units = full.min(self.micro_units.saturating_add(gained));
        self.filled_at = now;
        if self.micro_units < 1_000_000 {
            return false;
        }
        self.micro_units -= 1_000_000;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_budget_lets_its_rate_pass_and_no_more() {
        let mut budget = Budget::new(10);
        let start = Instant::from_micros(1_000_000);
        assert_eq!((0..100).filter(|_| budget.spend(start)).count(), 10);
        let later = start + Duration::from_millis(500);
        assert_eq!((0..100).filter(|_| budget.spend(later)).count(), 5);
    }
}
