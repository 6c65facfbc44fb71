//! How much work strangers may cause, and how much of the table they may hold.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use crate::config::Config;
use crate::event::DropReason;
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

/// A /48, which is what one site is given at the most (RFC 6177 §2): whoever has it has all of its
/// addresses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Site(u128);

impl Site {
    /// The site of an address at which somebody answered. A ULID will not do: the prefix of an HBA's
    /// ULID may be anybody's.
    pub(crate) fn of(answered_at: Ipv6Addr) -> Self {
        Self(answered_at.to_bits() >> (128 - 48))
    }
}

/// Contexts that peers began, by the site from which they did.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    held: BTreeMap<Site, usize>,
    total: usize,
}

impl Shares {
    /// Whether `site` may begin one context more. A quarter of the table is kept for what this host
    /// begins.
    pub(crate) fn check(&self, site: Site, config: &Config) -> Result<(), DropReason> {
        let held = self.held.get(&site).copied().unwrap_or(0);
        if self.total >= config.contexts_max - config.contexts_max / 4 {
            Err(DropReason::TableFull)
        } else if held >= config.contexts_per_site_max {
            Err(DropReason::SiteFull)
        } else {
            Ok(())
        }
    }

    pub(crate) fn take(&mut self, site: Site) {
        self.total += 1;
        *self.held.entry(site).or_insert(0) += 1;
    }

    pub(crate) fn give_back(&mut self, site: Site) {
        let Some(held) = self.held.get_mut(&site) else {
            return;
        };
        self.total -= 1;
        *held -= 1;
        if *held == 0 {
            self.held.remove(&site);
        }
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
