//! Leaving a pair that works for one that both ends like better (RFC 5533 §5.15.3, §10.4).
//!
//! Each end says of its own locators how gladly it is reached there. Nothing is moved by that alone: the
//! better pair is probed, payload goes on where it goes, and only an answer moves it. A better pair that
//! does not answer, asked a few times, is let be until either end says something new.
//!
//! One exploration moves both directions, and two at a time disturb each other: so the end that was told
//! begins at once, and the one that told only if nothing came of it.

use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;
use shim6_wire::{Fii, Preference, PreferenceFlags};

use super::Context;
use crate::endpoint::Endpoint;
use crate::event::Cause;
use crate::pair::LocatorPair;
use crate::reap;
use crate::time::Instant;

/// How often a better pair is asked.
const TRIES: u32 = 3;

/// How long the end that told waits for the other one to move.
const PEER_FIRST: Duration = Duration::from_secs(2);

/// Least time between two tries, and half to three halves of it come on top, so that the ends do not
/// meet again.
const SPACING: Duration = Duration::from_millis(1500);

/// A wish for a better pair.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    due: Instant,
    tries_left: u32,
}

impl Wish {
    /// When to look for the better pair.
    pub(super) fn due(self) -> Instant {
        self.due
    }
}

/// How gladly both ends use a pair together: the lower, the better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Standing {
    /// Whether an end knows that its address does not work.
    broken: bool,
    /// Ends whose address is less stable than others.
    transient: u8,
    /// Both priorities together.
    priority: u16,
}

/// How often a pair is chosen among its equals.
pub(crate) fn weight(local: Preference, peer: Preference) -> u32 {
    u32::from(local.weight.max(1)) * u32::from(peer.weight.max(1))
}

impl Standing {
    pub(crate) fn of(local: Preference, peer: Preference) -> Self {
        let says = |flag| [local, peer].map(|end| end.flags.contains(flag));
        Self {
            broken: says(PreferenceFlags::BROKEN).contains(&true),
            transient: says(PreferenceFlags::TRANSIENT).map(u8::from).iter().sum(),
            priority: u16::from(local.priority) + u16::from(peer.priority),
        }
    }
}

impl Context {
    /// How gladly both ends use `pair`.
    pub(super) fn standing(&self, pair: LocatorPair) -> Standing {
        let local = self.announcement.preference(pair.local);
        Standing::of(local, self.peer.preference(pair.peer))
    }

    /// A pair that both ends like best, if it ranks before the current one. Of equals one is drawn
    /// by their weights, as SRV records are (RFC 2782).
    fn better_pair<R: Ord>(
        &self,
        rank: impl Fn(LocatorPair) -> R,
        rng: &mut ChaCha20Rng,
    ) -> Option<LocatorPair> {
        let standing = self.standing(self.current.pair());
        if self.fii != Fii::DEFAULT && !standing.broken {
            return None;
        }
        let weight = |pair: &LocatorPair| {
            let local = self.announcement.preference(pair.local);
            weight(local, self.peer.preference(pair.peer))
        };
        let pairs: Vec<LocatorPair> = self
            .announcement
            .addresses()
            .filter(|&local| self.acknowledged.contains(local))
            .flat_map(|local| {
                let to = move |peer: shim6_cga::VerifiedLocator| LocatorPair {
                    local,
                    peer: peer.address(),
                };
                self.peer.iter().map(to)
            })
            .collect();
        let best = pairs.iter().map(|&pair| rank(pair)).min()?;
        if best >= rank(self.current.pair()) {
            return None;
        }
        let equals = || pairs.iter().filter(|&&pair| rank(pair) == best);
        let total: u32 = equals().map(weight).sum();
        let mut drawn = rng.next_u32() % total.max(1);
        let chosen = equals().find(|pair| {
            let hit = drawn < weight(pair);
            drawn = drawn.saturating_sub(weight(pair));
            hit
        });
        chosen.copied()
    }
}

impl Endpoint {
    /// The peer said where it is reached, and how gladly: acted upon at once.
    pub(super) fn heed_preferences(&mut self, context: &mut Context, now: Instant) {
        context.wish = Some(Wish {
            due: now,
            tries_left: TRIES,
        });
        self.handle_wish_timeout(context, now);
    }

    /// This host says so: its peer may act upon it first.
    pub(crate) fn expect_heed(context: &mut Context, now: Instant) {
        context.wish = Some(Wish {
            due: now + PEER_FIRST,
            tries_left: TRIES,
        });
    }

    /// Probes a pair that both ends like better than the current one, if that is due and there is one.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-10.4
    //= id=S-151
    //# The host uses the reachability
    //# exploration procedure described in [4] to verify that the new locator
    //# is reachable before changing Lp(peer).
    pub(crate) fn handle_wish_timeout(&mut self, context: &mut Context, now: Instant) {
        let Some(wish) = context.wish.take_if(|wish| now >= wish.due) else {
            return;
        };
        if !context.stay.is_over(&self.config, now) {
            // The present pair took over from one that just failed.
            return;
        }
        let Some(better) = context.better_pair(|pair| context.standing(pair), &mut self.rng) else {
            return;
        };
        // An exploration that is under way has its own end; then is the time to look again.
        let asks = context.reap.state() == reap::State::Operational;
        let tries_left = wish.tries_left - u32::from(asks);
        context.wish = (tries_left > 0).then(|| Wish {
            due: now + SPACING + self.half_to_three_halves(SPACING),
            tries_left,
        });
        if asks {
            self.with_reap(context, now, |reap, cx| {
                reap.try_pair(better, Cause::Preference, cx)
            });
        }
    }

    /// Looks now and then whether a context that is used can return to a better pair: one that both ends
    /// like better, or of two that they like alike the ULIDs themselves, which need no mapping.
    pub(crate) fn return_if_better(&mut self, context: &mut Context, now: Instant) {
        let used = now.since(context.last_used()) < self.config.return_interval;
        let operational = context.reap.state() == reap::State::Operational;
        if !used || !operational || !context.stay.look(&self.config, now) {
            return;
        }
        let ulids = LocatorPair::from(context.ulids);
        let rank = |pair| (context.standing(pair), pair != ulids);
        let better = context.better_pair(rank, &mut self.rng);
        let follows = context.stay.follows_peer();
        let better = better.filter(|&pair| !follows || pair == context.inbound);
        if let Some(better) = better {
            context.stay.returning(now);
            self.with_reap(context, now, |reap, cx| {
                reap.try_pair(better, Cause::Preference, cx)
            });
        }
    }
}
