//! In which order pairs are probed (RFC 5534 §4.3).

use std::net::Ipv6Addr;

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;

use crate::pair::LocatorPair;

/// All pairs, most promising first.
///
/// `hint` is a pair on which the peer was just heard: what works one way often works the other.
/// Then pairs that share no address with the failed one, since one dead link takes every pair that
/// uses it; then those that share one; the failed pair last, for it may have come back. Within a
/// class the order is random, so that hosts behind the same failure do not all probe alike.
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
    local: impl Iterator<Item = Ipv6Addr>,
    peer: &[Ipv6Addr],
    failed: LocatorPair,
    hint: Option<LocatorPair>,
    rng: &mut ChaCha20Rng,
) -> Vec<LocatorPair> {
    let mut ranked: Vec<(u8, u32, LocatorPair)> = local
        .flat_map(|local| peer.iter().map(move |&peer| LocatorPair { local, peer }))
        .map(|pair| {
            let class = match pair {
                _ if Some(pair) == hint => 0,
                _ if pair == failed => 3,
                _ if pair.is_disjoint(failed) => 1,
                _ => 2,
            };
            (class, rng.next_u32(), pair)
        })
        .collect();
    ranked.sort_unstable();
    ranked.into_iter().map(|(_, _, pair)| pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::SeedableRng;

    fn address(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    #[test]
    fn disjoint_pairs_come_first_and_the_failed_pair_last() {
        let local = [address("2001:db8:a1::1"), address("2001:db8:a2::1")];
        let peer = [address("2001:db8:b1::1"), address("2001:db8:b2::1")];
        let failed = LocatorPair {
            local: local[0],
            peer: peer[0],
        };
        for seed in 0..32 {
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            let order = order(local.iter().copied(), &peer, failed, None, &mut rng);
            assert_eq!(order.len(), 4);
            assert_eq!(
                order[0],
                LocatorPair {
                    local: local[1],
                    peer: peer[1]
                }
            );
            assert_eq!(order[3], failed);
        }
    }

    #[test]
    fn a_pair_on_which_the_peer_was_heard_is_tried_before_all_others() {
        let local = [address("2001:db8:a1::1"), address("2001:db8:a2::1")];
        let peer = [address("2001:db8:b1::1"), address("2001:db8:b2::1")];
        let failed = LocatorPair {
            local: local[0],
            peer: peer[0],
        };
        let heard = LocatorPair {
            local: local[0],
            peer: peer[1],
        };
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let order = order(local.iter().copied(), &peer, failed, Some(heard), &mut rng);
        assert_eq!(order[0], heard);
    }
}
