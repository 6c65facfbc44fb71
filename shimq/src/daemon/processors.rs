//! Which processors a queue thread runs on.
//!
//! Of several queues of a kind a packet enters the one that its processor's number, modulo that of the
//! queues, tells (`fanout`). A thread that keeps to these processors finds its packets in their caches,
//! and is woken by no other. On two processors that two hosts shared, two such queues took a quarter off
//! a mapped round trip and a sixth off the processor time of a packet, against threads that ran where
//! the kernel put them; bulk was as fast. The price is paid by a single flow of datagrams, whose sender
//! then shares a processor with the thread: it had 0.7 of the rate. The default is one queue, whose
//! thread runs anywhere.

use std::io;
use std::ops::Range;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// One queue of several that share packets by processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// From 0.
    index: usize,
    /// At least 1.
    queues: usize,
}

impl Share {
    /// That of the queue `number`, which is one of `numbers`.
    pub(super) fn of(number: u16, numbers: &Range<u16>) -> Self {
        Self {
            index: usize::from(number - numbers.start),
            queues: numbers.len(),
        }
    }

    /// Keeps the calling thread to the share's processors, as far as it may run there at all.
    ///
    /// # Errors
    ///
    /// What the kernel says; the thread then runs anywhere, as before.
    pub(super) fn keep(self) -> io::Result<()> {
        match self.among(&sched_getaffinity(None)?) {
            Some(processors) => Ok(sched_setaffinity(None, &processors)?),
            None => Ok(()),
        }
    }

    /// The share's processors among those allowed; `None` if there is none, or nothing to share.
    fn among(self, allowed: &CpuSet) -> Option<CpuSet> {
        if self.queues < 2 {
            return None;
        }
        let mut processors = CpuSet::new();
        for number in (self.index..CpuSet::MAX_CPU).step_by(self.queues) {
            if allowed.is_set(number) {
                processors.set(number);
            }
        }
        (processors.count() > 0).then_some(processors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(numbers: &[usize]) -> CpuSet {
        let mut set = CpuSet::new();
        for &number in numbers {
            set.set(number);
        }
        set
    }

    #[test]
    fn queues_part_the_processors_as_the_kernel_parts_packets() {
        let allowed = set(&[0, 1, 2, 5, 6]);
        let among = |number| Share::of(number, &(5534..5537)).among(&allowed);
        assert_eq!(among(5534), Some(set(&[0, 6])));
        assert_eq!(among(5535), Some(set(&[1])));
        assert_eq!(among(5536), Some(set(&[2, 5])));
    }

    #[test]
    fn a_thread_without_processors_of_its_own_runs_anywhere() {
        assert_eq!(Share::of(5534, &(5534..5535)).among(&set(&[0, 1])), None);
        assert_eq!(Share::of(5535, &(5534..5536)).among(&set(&[0, 2])), None);
    }
}
