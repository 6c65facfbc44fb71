//! Who shall map a flow: whom the configuration says, or whom the operator chose for its ULIDs.
//!
//! A choice belongs to the ULID pair and outlives the context, which may be lost and agreed upon anew.
//! Of pairs that have no context only the latest choices are kept, so the operator can go on choosing
//! for as long as the daemon runs.

use std::collections::{BTreeMap, BTreeSet};

use shim6_core::UlidPair;

use crate::control::DatapathChoice;

/// Choices kept of ULID pairs that have no context.
const KEPT_WITHOUT_CONTEXT: usize = 256;

/// What the configuration says, and what the operator chose.
#[derive(Debug)]
pub(super) struct Choices {
    /// By the configuration the kernel maps.
    kernel_by_default: bool,
    /// ULID pairs for which the operator chose otherwise, and when: counted in choices.
    exceptions: BTreeMap<UlidPair, u64>,
    made: u64,
}

impl Choices {
    pub(super) fn new(kernel_by_default: bool) -> Self {
        Self {
            kernel_by_default,
            exceptions: BTreeMap::new(),
            made: 0,
        }
    }

    /// Whether the kernel shall map packets between these ULIDs.
    pub(super) fn kernel_shall_map(&self, ulids: UlidPair) -> bool {
        self.kernel_by_default != self.is_exception(ulids)
    }

    /// Whether the operator chose otherwise than the configuration says.
    fn is_exception(&self, ulids: UlidPair) -> bool {
        self.exceptions.contains_key(&ulids)
    }

    /// How many ULID pairs are exceptions.
    pub(super) fn exceptions(&self) -> usize {
        self.exceptions.len()
    }

    /// Whether the kernel shall map anything, now or when there is something to map.
    pub(super) fn kernel_is_wanted(&self) -> bool {
        self.kernel_by_default || !self.exceptions.is_empty()
    }

    /// The data path that the operator chose for these ULIDs, if not the configured one.
    pub(super) fn chosen(&self, ulids: UlidPair) -> Option<&'static str> {
        self.is_exception(ulids).then(|| self.other_datapath())
    }

    /// What holds for exceptions.
    pub(super) fn other_datapath(&self) -> &'static str {
        datapath(!self.kernel_by_default)
    }

    /// Notes what the operator chose.
    pub(super) fn choose(&mut self, ulids: UlidPair, choice: DatapathChoice) {
        let is_exception = match choice {
            DatapathChoice::Bpf => !self.kernel_by_default,
            DatapathChoice::Queue => self.kernel_by_default,
            DatapathChoice::Default => false,
        };
        if is_exception {
            self.made += 1;
            self.exceptions.insert(ulids, self.made);
        } else {
            self.exceptions.remove(&ulids);
        }
    }

    /// Forgets the oldest choices of pairs that have no context, where these are too many. Nothing but a
    /// choice adds to them, so it is enough to do this after one.
    pub(super) fn forget_oldest(&mut self, with_context: &BTreeSet<UlidPair>) {
        let exceptions = self.exceptions.iter();
        let without = exceptions.filter(|(ulids, _)| !with_context.contains(ulids));
        let mut without: Vec<_> = without.map(|(&ulids, &made)| (made, ulids)).collect();
        without.sort_unstable_by_key(|&(made, _)| made);
        let too_many = without.len().saturating_sub(KEPT_WITHOUT_CONTEXT);
        for (_, ulids) in without.drain(..too_many) {
            self.exceptions.remove(&ulids);
        }
    }
}

/// A data path as the configuration names it.
pub(super) fn datapath(kernel_maps: bool) -> &'static str {
    if kernel_maps { "bpf" } else { "queue" }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    fn ulids(number: u16) -> UlidPair {
        UlidPair {
            local: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xa),
            peer: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 1, number),
        }
    }

    #[test]
    fn a_choice_is_for_its_pair_until_it_is_taken_back() {
        for (kernel_by_default, other) in
            [(false, DatapathChoice::Bpf), (true, DatapathChoice::Queue)]
        {
            for back in [
                DatapathChoice::Default,
                DatapathChoice::Bpf,
                DatapathChoice::Queue,
            ] {
                let mut choices = Choices::new(kernel_by_default);
                assert_eq!(choices.kernel_is_wanted(), kernel_by_default);
                choices.choose(ulids(1), other);
                assert_eq!(choices.kernel_shall_map(ulids(1)), !kernel_by_default);
                assert_eq!(choices.kernel_shall_map(ulids(2)), kernel_by_default);
                assert!(choices.kernel_is_wanted());
                choices.choose(ulids(1), back);
                assert_eq!(choices.is_exception(ulids(1)), back == other);
            }
        }
    }

    #[test]
    fn of_pairs_without_context_the_latest_choices_are_kept() {
        let mut choices = Choices::new(false);
        let with_context = BTreeSet::from([ulids(0), ulids(1)]);
        let last = 2 * KEPT_WITHOUT_CONTEXT as u16;
        // One of the oldest is made again.
        for number in (0..last).chain([2]) {
            choices.choose(ulids(number), DatapathChoice::Bpf);
            choices.forget_oldest(&with_context);
        }
        let kept = KEPT_WITHOUT_CONTEXT + with_context.len();
        assert_eq!(choices.exceptions(), kept);
        for number in [0, 1, 2, last - 1] {
            assert!(choices.is_exception(ulids(number)), "{number}");
        }
        assert!(!choices.is_exception(ulids(3)));
    }
}
