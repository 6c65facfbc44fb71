//! The daemon's clock: CLOCK_BOOTTIME, so that a host which was suspended ages its timers.

use rustix::time::{ClockId, clock_gettime};
use shim6_core::Instant;

/// Microseconds since boot.
pub(crate) fn now() -> Instant {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    Instant::from_micros(seconds * 1_000_000 + nanos / 1_000)
}
