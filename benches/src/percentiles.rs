//! Percentiles of runs, of which some may never have come to an end.

/// The smallest of the sorted `values` that at least `percent` per cent of them do not exceed
/// (nearest rank); `None` of nothing.
///
/// A run without an end is [`f64::INFINITY`], and so is a percentile that falls on one.
pub fn percentile(sorted: &[f64], percent: u32) -> Option<f64> {
    let rank = (sorted.len() * percent as usize).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// Sorts in ascending order, runs without an end last.
pub fn sort(values: &mut [f64]) {
    values.sort_by(f64::total_cmp);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_rank_is_a_value_that_was_measured() {
        let mut values = [4.0, 1.0, f64::INFINITY, 3.0, 2.0];
        sort(&mut values);
        assert_eq!(percentile(&values, 5), Some(1.0));
        assert_eq!(percentile(&values, 50), Some(3.0));
        assert_eq!(percentile(&values, 80), Some(4.0));
        assert_eq!(percentile(&values, 95), Some(f64::INFINITY));
        assert_eq!(percentile(&[], 50), None);
    }
}
