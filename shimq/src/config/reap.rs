//! `[reap]`: how soon a pair is doubted, and how another one is looked for.

use std::time::Duration;

use serde::Deserialize;

use super::ConfigError;
use crate::control::PolicyWord;

/// Probes that may go out at once, or at the first pace: as many pairs as four addresses at each end
/// make.
const PROBES_MAX: u32 = 16;

/// A day: a pair that is better for longer than that is better.
const RETURN_INTERVAL_MAX: u64 = 86_400;

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Reap {
    /// Send Timeout; 10 to 100 are RECOMMENDED (RFC 5534 §7).
    send_timeout: u64,
    /// Probes that are sent half a second apart before the pace slows down (RFC 5534 §7).
    initial_probes: u32,
    /// Pairs that are probed at once when an exploration begins; RFC 5534 §4.3 wants one.
    initial_burst: u32,
    /// `random`, `disjoint-first`, `preference`, or `rtt`: which pairs are probed first.
    pub(super) exploration: PolicyWord,
    /// Seconds on a pair that took over before a better one is tried. Each return that does not last ten
    /// times as long doubles them, up to 64 times.
    return_interval: u64,
    /// Whether anything but the Send Timeout makes this host ask whether a pair still works.
    hints: bool,
}

impl Default for Reap {
    fn default() -> Self {
        let core = shim6_core::Config::default();
        Self {
            send_timeout: core.send_timeout.as_secs(),
            initial_probes: core.initial_probes,
            initial_burst: core.initial_burst,
            exploration: PolicyWord(core.exploration),
            return_interval: core.return_interval.as_secs(),
            hints: core.hints,
        }
    }
}

impl Reap {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |key, value: String, reason| Err(ConfigError::Value { key, value, reason });
        if !(1..=65_535).contains(&self.send_timeout) {
            let given = self.send_timeout.to_string();
            return refuse("reap.send-timeout", given, "1 to 65535 seconds");
        }
        if !(1..=RETURN_INTERVAL_MAX).contains(&self.return_interval) {
            let given = self.return_interval.to_string();
            return refuse("reap.return-interval", given, "1 to 86400 seconds");
        }
        for (key, given) in [
            ("reap.initial-probes", self.initial_probes),
            ("reap.initial-burst", self.initial_burst),
        ] {
            if !(1..=PROBES_MAX).contains(&given) {
                return refuse(key, given.to_string(), "1 to 16");
            }
        }
        Ok(())
    }

    /// Advice that the RFC gives and this does not follow.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        //= https://www.rfc-editor.org/rfc/rfc5534#section-7
        //= id=R-056,R-057
        //# As a result, it is RECOMMENDED that an alternate Send
        //# Timeout value not be under 10 seconds.
        if !(10..=100).contains(&self.send_timeout) {
            warnings.push(format!(
                "reap.send-timeout = {}: between 10 and 100 seconds are RECOMMENDED (RFC 5534 §7)",
                self.send_timeout
            ));
        }
        if self.initial_burst > 1 {
            warnings.push(format!(
                "reap.initial-burst = {}: pairs are to be probed one after the other (RFC 5534 §4.3)",
                self.initial_burst
            ));
        }
        warnings
    }

    /// Whether `other` is the same but for the order in which pairs are probed.
    pub(super) fn differs_in_order_only(&self, other: &Self) -> bool {
        self.in_the_order_of(other) == *other
    }

    /// The same with the order in which `other` probes.
    pub(super) fn in_the_order_of(&self, other: &Self) -> Self {
        Self {
            exploration: other.exploration,
            ..self.clone()
        }
    }

    pub(super) fn apply(&self, core: &mut shim6_core::Config) {
        core.send_timeout = Duration::from_secs(self.send_timeout);
        core.initial_probes = self.initial_probes;
        core.initial_burst = self.initial_burst;
        core.exploration = self.exploration.0;
        core.return_interval = Duration::from_secs(self.return_interval);
        core.hints = self.hints;
    }
}
