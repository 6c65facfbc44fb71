//! In which order pairs are probed (RFC 5534 §4.3).
//!
//! A policy ranks the pairs and decides nothing else: at which pace they are probed, and that only a
//! pair that answers is used, is the same under all of them. A host on which several links failed at
//! once waits as long as it takes to get past the dead pairs, so the order is what recovery time
//! hangs on where there are many.

use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;

use super::history::History;
use super::policy::ExplorationPolicy;
use crate::context::Standing;
use crate::pair::LocatorPair;
use crate::time::Instant;

/// A pair that can be probed, and what both ends think of its addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) pair: LocatorPair,
    pub(super) standing: Standing,
    /// Share among pairs of the same standing.
    pub(super) weight: u32,
}

/// What is known when an exploration, or another round of it, begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    pub(super) now: Instant,
    /// The pair in doubt.
    pub(super) failed: LocatorPair,
    /// A pair on which the peer was just heard: what works one way often works the other.
    pub(super) heard: Option<LocatorPair>,
    pub(super) history: &'a History,
}

impl ExplorationPolicy {
    fn policy(self) -> &'static dyn Policy {
        match self {
            Self::Random => &Random,
            Self::DisjointFirst => &DisjointFirst,
            Self::Preference => &ByPreference,
            Self::MeasuredRtt => &ByRtt,
        }
    }
}

/// What a pair is worth: the lowest is probed first.
type Rank = (u8, u64);

trait Policy {
    fn rank(&self, candidate: &Candidate, known: &Known<'_>) -> Rank;

    /// Whether what both ends think of a pair counts for more than its rank. What is broken, kept in
    /// reserve or paid for is only probed after all else then.
    fn heeds_standing(&self) -> bool {
        true
    }

    /// Whether the weights of both ends decide between equals, instead of chance alone.
    fn heeds_weight(&self) -> bool {
        false
    }
}

struct Random;

impl Policy for Random {
    /// The pair in doubt has had its turn already, or is what the peer does not hear.
    fn rank(&self, candidate: &Candidate, known: &Known<'_>) -> Rank {
        (u8::from(candidate.pair == known.failed), 0)
    }

    fn heeds_standing(&self) -> bool {
        false
    }
}

struct DisjointFirst;

impl Policy for DisjointFirst {
    /// One dead link takes every pair that uses it: so first the pairs that share no address with the
    /// failed one, then those that share one; the failed pair last, for it may have come back. Within
    /// a class, what lately failed elsewhere comes later. What answered a moment ago, on whichever
    /// context, comes first.
    fn rank(&self, candidate: &Candidate, known: &Known<'_>) -> Rank {
        let class = match candidate.pair {
            pair if Some(pair) == known.heard => 0,
            pair if pair == known.failed => 3,
            pair if known.history.answered_lately(pair, known.now) => 0,
            pair if pair.is_disjoint(known.failed) => 1,
            _ => 2,
        };
        (
            class,
            known.history.doubts(candidate.pair, known.now).into(),
        )
    }
}

struct ByPreference;

impl Policy for ByPreference {
    fn rank(&self, candidate: &Candidate, known: &Known<'_>) -> Rank {
        let class = match candidate.pair {
            pair if pair == known.failed => 2,
            pair if Some(pair) == known.heard => 0,
            pair if known.history.answered_lately(pair, known.now) => 0,
            _ => 1,
        };
        (class, 0)
    }

    fn heeds_weight(&self) -> bool {
        true
    }
}

struct ByRtt;

impl Policy for ByRtt {
    /// What was never measured, or long ago, comes first: a few explorations know every pair then. It
    /// is not better to keep to what is known, for of two pairs the second best would be the only one
    /// ever measured.
    fn rank(&self, candidate: &Candidate, known: &Known<'_>) -> Rank {
        let doubts = known.history.doubts(candidate.pair, known.now);
        let class = match candidate.pair {
            pair if Some(pair) == known.heard => 0,
            pair if pair == known.failed => 4,
            _ => 1 + u8::from(doubts > 0) + u8::from(doubts > 2),
        };
        let trip = known.history.round_trip(candidate.pair, known.now);
        let trip = trip.map_or(Duration::ZERO, super::history::RoundTrip::smoothed);
        (class, u64::try_from(trip.as_micros()).unwrap_or(u64::MAX))
    }
}

/// All of `candidates`, the one to probe first at the end.
///
/// Where the policy does not care, the order is random, so that hosts behind the same failure do not
/// all probe alike.
//= https://www.rfc-editor.org/rfc/rfc5534#section-4.3
//= id=R-014
//# nodes SHOULD attempt to test through all of them until an operational pair is found, and retry
//# the process as necessary.
//= https://www.rfc-editor.org/rfc/rfc5534#section-4.3
//= type=exception
//= reason=what is listed is of global scope, so nothing has to be left out; and RFC 3484 does not
//= know which pair failed, which says more than its order
//= id=R-016
//# Nodes first consult the RFC 3484 default address selection rules [RFC3484] to determine what
//# combinations of addresses are allowed from a local point of view, as this reduces the search
//# space.
pub(super) fn order(
    candidates: Vec<Candidate>,
    policy: ExplorationPolicy,
    known: &Known<'_>,
    rng: &mut ChaCha20Rng,
) -> Vec<LocatorPair> {
    let policy = policy.policy();
    let mut ranked: Vec<_> = candidates
        .into_iter()
        .map(|candidate| {
            let standing = policy.heeds_standing().then_some(candidate.standing);
            let rank = (standing, policy.rank(&candidate, known));
            (rank, rng.next_u32(), candidate)
        })
        .collect();
    ranked.sort_unstable_by_key(|&(rank, chance, candidate)| (rank, chance, candidate.pair));
    if policy.heeds_weight() {
        for equals in ranked.chunk_by_mut(|one, other| one.0 == other.0) {
            draw_by_weight(equals, rng);
        }
    }
    let pairs = ranked.into_iter().map(|(_, _, candidate)| candidate.pair);
    let mut pairs: Vec<_> = pairs.collect();
    pairs.reverse();
    pairs
}

/// Orders equals as DNS SRV orders targets: each next one drawn with the share of its weight.
fn draw_by_weight<R, C>(equals: &mut [(R, C, Candidate)], rng: &mut ChaCha20Rng) {
    for first in 0..equals.len() {
        let rest = &mut equals[first..];
        let total: u32 = rest.iter().map(|(_, _, candidate)| candidate.weight).sum();
        let mut drawn = rng.next_u32() % total.max(1);
        let index = rest.iter().position(|(_, _, candidate)| {
            let weight = candidate.weight;
            let hit = drawn < weight;
            drawn = drawn.saturating_sub(weight);
            hit
        });
        rest.swap(0, index.unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::weight;
    use rand_core::SeedableRng;
    use shim6_wire::{Preference, PreferenceFlags};
    use std::net::Ipv6Addr;

    const NOW: Instant = Instant::from_micros(100_000_000);

    fn pair(local: u16, peer: u16) -> LocatorPair {
        let address = |side: u16, host: u16| Ipv6Addr::new(0x2001, 0xdb8, side, host, 0, 0, 0, 1);
        LocatorPair {
            local: address(1, local),
            peer: address(2, peer),
        }
    }

    fn candidate(pair: LocatorPair, peer: Preference) -> Candidate {
        Candidate {
            pair,
            standing: Standing::of(Preference::default(), peer),
            weight: weight(Preference::default(), peer),
        }
    }

    /// All pairs of `n` addresses at each end.
    fn candidates(n: u16) -> Vec<Candidate> {
        let pairs = (1..=n).flat_map(|local| (1..=n).map(move |peer| pair(local, peer)));
        let told = Preference::default();
        pairs.map(|pair| candidate(pair, told)).collect()
    }

    /// The first pair to probe first, after a failure of 1, 1.
    fn ordered(
        policy: ExplorationPolicy,
        candidates: Vec<Candidate>,
        heard: Option<LocatorPair>,
        history: &History,
        seed: u64,
    ) -> Vec<LocatorPair> {
        let known = Known {
            now: NOW,
            failed: pair(1, 1),
            heard,
            history,
        };
        let mut order = order(
            candidates,
            policy,
            &known,
            &mut ChaCha20Rng::seed_from_u64(seed),
        );
        order.reverse();
        order
    }

    #[test]
    fn every_policy_probes_every_pair_once_and_the_same_seed_alike() {
        let history = History::default();
        for policy in ExplorationPolicy::ALL {
            let order = ordered(policy, candidates(4), Some(pair(2, 1)), &history, 7);
            let again = ordered(policy, candidates(4), Some(pair(2, 1)), &history, 7);
            assert_eq!(order, again, "{policy}");
            let mut sorted = order;
            sorted.sort_unstable();
            let mut all: Vec<_> = candidates(4).iter().map(|it| it.pair).collect();
            all.sort_unstable();
            assert_eq!(sorted, all, "{policy}");
        }
    }

    #[test]
    fn in_random_order_the_failed_pair_comes_last_and_any_other_first() {
        let history = History::default();
        let mut firsts = std::collections::BTreeSet::new();
        for seed in 0..64 {
            let order = ordered(
                ExplorationPolicy::Random,
                candidates(2),
                None,
                &history,
                seed,
            );
            assert_eq!(order.last(), Some(&pair(1, 1)));
            firsts.insert(order[0]);
        }
        assert_eq!(firsts.len(), 3);
    }

    #[test]
    fn disjoint_pairs_come_first_and_the_failed_pair_last() {
        let history = History::default();
        for seed in 0..32 {
            let order = ordered(
                ExplorationPolicy::DisjointFirst,
                candidates(2),
                None,
                &history,
                seed,
            );
            assert_eq!((order[0], order[3]), (pair(2, 2), pair(1, 1)));
        }
    }

    #[test]
    fn a_pair_on_which_the_peer_was_heard_is_tried_before_all_others() {
        for policy in [
            ExplorationPolicy::DisjointFirst,
            ExplorationPolicy::Preference,
            ExplorationPolicy::MeasuredRtt,
        ] {
            let heard = Some(pair(1, 2));
            let order = ordered(policy, candidates(3), heard, &History::default(), 3);
            assert_eq!(order[0], pair(1, 2), "{policy}");
        }
    }

    #[test]
    fn what_failed_with_other_peers_is_tried_later() {
        let mut history = History::default();
        history.note_failure(pair(2, 9), NOW);
        for seed in 0..32 {
            let order = ordered(
                ExplorationPolicy::DisjointFirst,
                candidates(3),
                None,
                &history,
                seed,
            );
            assert!(
                order[..2]
                    .iter()
                    .all(|pair| pair.local == self::pair(3, 1).local)
            );
        }
    }

    #[test]
    fn the_unmeasured_come_first_then_the_shortest_round_trip() {
        let mut history = History::default();
        for (index, candidate) in candidates(3).iter().enumerate() {
            let trip = Duration::from_millis(90 - 10 * index as u64);
            if index != 4 {
                history.note_answer(candidate.pair, trip, NOW);
            }
        }
        let order = ordered(
            ExplorationPolicy::MeasuredRtt,
            candidates(3),
            None,
            &history,
            1,
        );
        assert_eq!(order[..3], [pair(2, 2), pair(3, 3), pair(3, 2)]);
        assert_eq!(order[8], pair(1, 1));
    }

    #[test]
    fn what_is_kept_in_reserve_is_tried_after_all_else_even_where_the_peer_is_heard() {
        let reserve = Preference {
            priority: 200,
            ..Preference::default()
        };
        let mut candidates = candidates(3);
        candidates[8] = candidate(pair(3, 3), reserve);
        for policy in [
            ExplorationPolicy::DisjointFirst,
            ExplorationPolicy::Preference,
            ExplorationPolicy::MeasuredRtt,
        ] {
            let heard = Some(pair(3, 3));
            let order = ordered(policy, candidates.clone(), heard, &History::default(), 3);
            assert_eq!(order[8], pair(3, 3), "{policy}");
        }
    }

    #[test]
    fn a_lower_priority_is_tried_first_weights_share_and_broken_comes_last() {
        let told = |flags: PreferenceFlags, priority, weight| Preference {
            flags,
            priority,
            weight,
        };
        let plain = PreferenceFlags::default();
        let candidates = vec![
            candidate(pair(1, 1), told(plain, 9, 0)),
            candidate(pair(1, 2), told(PreferenceFlags::BROKEN, 0, 0)),
            candidate(pair(1, 3), told(plain, 3, 30)),
            candidate(pair(1, 4), told(plain, 3, 10)),
        ];
        let mut first = 0;
        for seed in 0..1_000 {
            let order = ordered(
                ExplorationPolicy::Preference,
                candidates.clone(),
                None,
                &History::default(),
                seed,
            );
            first += u32::from(order[0] == pair(1, 3));
            assert_eq!(order[2..], [pair(1, 1), pair(1, 2)]);
        }
        assert!((700..800).contains(&first), "three in four: {first}");
    }
}
