//! A rewriter that was lost, and when to try to have it back.
//!
//! Somebody removed the device pair: perhaps by mistake, perhaps a program that removes what it does
//! not know, each time. So it is built again, but not for ever: the pauses double, and after some
//! losses and refusals within ten minutes the queues keep the flows until the daemon is restarted.

/// Losses and refused attempts, one after the other, after which nothing more is tried.
const SETBACKS_MAX: u32 = 8;

/// How long a rewriter has to last before earlier setbacks are forgotten, in looks.
const LASTS: u32 = 600;

/// Counts looks at the rewriter, a second apart.
#[derive(Debug, Default)]
pub(super) struct Retry {
    setbacks: u32,
    /// Looks until the next attempt while there is no rewriter; looks that it has lasted, while there is.
    looks: u32,
}

impl Retry {
    /// Notes that the rewriter is lost, or could not be had again; false if that was once too often.
    pub(super) fn note_setback(&mut self) -> bool {
        self.looks = 1 << self.setbacks;
        self.setbacks += 1;
        self.setbacks < SETBACKS_MAX
    }

    /// Notes that there is a rewriter again.
    pub(super) fn note_success(&mut self) {
        self.looks = 0;
    }

    /// A look at a rewriter that is there.
    pub(super) fn note_in_force(&mut self) {
        self.looks += 1;
        if self.looks >= LASTS {
            *self = Self::default();
        }
    }

    /// A look while there is none; true if it is time for an attempt.
    pub(super) fn is_due(&mut self) -> bool {
        self.looks = self.looks.saturating_sub(1);
        self.looks == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks until an attempt is due.
    fn pause(retry: &mut Retry) -> u32 {
        (1..1000).find(|_| retry.is_due()).unwrap()
    }

    #[test]
    fn pauses_double_and_end() {
        let mut retry = Retry::default();
        let mut pauses = Vec::new();
        while retry.note_setback() {
            pauses.push(pause(&mut retry));
            retry.note_success();
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64]);
    }

    #[test]
    fn what_lasts_for_ten_minutes_is_lost_for_the_first_time_again() {
        let mut retry = Retry::default();
        for looks in [599, 600] {
            assert!(retry.note_setback());
            pause(&mut retry);
            retry.note_success();
            (0..looks).for_each(|_| retry.note_in_force());
        }
        assert!(retry.note_setback());
        assert_eq!(pause(&mut retry), 1);
    }
}
