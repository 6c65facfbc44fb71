//! How long an application heard nothing, from when it last received.

use std::time::Duration;

use shimq_testbed::Moment;

/// What an application that received at `arrivals` (in order) noticed of a fault, as seen at `until`:
/// the time from the fault to the end of the longest silence after it.
///
/// Where no silence was longer than [`UNNOTICED`], the application noticed nothing, and the longest
/// one stands for it. `None` if it was silent for longer than that at the end.
pub(crate) fn recovery(arrivals: &[Moment], fault: Moment, until: Moment) -> Option<Duration> {
    // What was handed over just before the fault takes a moment to be read.
    let start = fault + BEING_READ;
    let first = arrivals.partition_point(|arrival| *arrival <= start);
    let mut last = first.checked_sub(1).map_or(fault, |index| arrivals[index]);
    let mut longest = (Duration::ZERO, fault);
    for &arrival in &arrivals[first..] {
        let silence = arrival.since(last);
        if silence > longest.0 {
            longest = (silence, arrival);
        }
        last = arrival;
    }
    if until.since(last) > UNNOTICED.max(longest.0) {
        return None;
    }
    let (silence, end) = longest;
    if silence > UNNOTICED {
        Some(end.since(fault))
    } else {
        Some(silence)
    }
}

/// Whether nothing was missed in the second before `now`.
pub(crate) fn is_steady(arrivals: &[Moment], now: Moment) -> bool {
    let mut last = now;
    for &arrival in arrivals.iter().rev() {
        if last.since(arrival) > MISSED {
            return false;
        }
        if now.since(arrival) > Duration::from_secs(1) {
            return true;
        }
        last = arrival;
    }
    false
}

/// Three sends of an application that sends each 20 ms.
pub(crate) const UNNOTICED: Duration = Duration::from_millis(60);

const BEING_READ: Duration = Duration::from_millis(2);

/// A silence that tells that an application still suffers; a retransmission takes as long.
const MISSED: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::from_micros(1_000_000_000 + ms * 1_000)
    }

    fn each_20_ms(spans: &[(u64, u64)]) -> Vec<Moment> {
        spans
            .iter()
            .flat_map(|&(from, to)| (from..to).step_by(20).map(at))
            .collect()
    }

    #[test]
    fn recovery_is_from_the_fault_to_the_end_of_the_longest_silence() {
        let arrivals = each_20_ms(&[(0, 500), (760, 2_000)]);
        assert_eq!(
            recovery(&arrivals, at(495), at(2_000)),
            Some(Duration::from_millis(265))
        );
    }

    #[test]
    fn a_second_silence_counts_if_it_is_longer() {
        let arrivals = each_20_ms(&[(0, 500), (600, 700), (1_000, 2_000)]);
        assert_eq!(
            recovery(&arrivals, at(500), at(2_000)),
            Some(Duration::from_millis(500))
        );
    }

    #[test]
    fn what_nobody_notices_is_its_longest_silence() {
        let arrivals = each_20_ms(&[(0, 2_000)]);
        assert_eq!(
            recovery(&arrivals, at(505), at(2_000)),
            Some(Duration::from_millis(20))
        );
    }

    #[test]
    fn an_end_without_arrivals_is_no_recovery() {
        let arrivals = each_20_ms(&[(0, 500)]);
        assert_eq!(recovery(&arrivals, at(495), at(9_000)), None);
        assert!(!is_steady(&arrivals, at(9_000)));
        assert!(is_steady(&each_20_ms(&[(0, 9_000)]), at(9_000)));
    }
}
