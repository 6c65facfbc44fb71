//! One search for contexts between the same locators.
//!
//! A failure that takes the pair of one context takes those of others between the same addresses. The
//! first of them explores as RFC 5534 §4.3 has it, and others that come to suspect theirs leave it to
//! that one for a while, and stay Operational. When a pair is found, each of them explores with that
//! pair first; and whoever explores meanwhile, perhaps at long intervals by now, probes it at once.
//!
//! Nothing is proven by it. A Probe belongs to its context, so each sends one of its own and moves when
//! that was answered: what is shared is where to look. Nor does anybody depend on a leader: whoever
//! leaves it to others asks for itself after [`PATIENCE`], and explores in any case when its Send Timer
//! expires.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::net::Ipv6Addr;
use std::time::Duration;

use shim6_wire::ContextTag;

use super::Context;
use crate::endpoint::Endpoint;
use crate::event::Cause;
use crate::pair::LocatorPair;
use crate::reap;
use crate::time::Instant;

/// How long others are left to find a pair: as long as they probe at full pace (RFC 5534 §7: four probes
/// half a second apart). Later, several find more than one.
const PATIENCE: Duration = Duration::from_secs(2);

/// Between which locators a context is; in order, so that contexts between the same have the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Between {
    local: BTreeSet<Ipv6Addr>,
    peer: BTreeSet<Ipv6Addr>,
}

impl Between {
    fn of(context: &Context) -> Self {
        let peer = context.peer.iter();
        Self {
            local: context.announcement.addresses().collect(),
            peer: peer.map(shim6_cga::VerifiedLocator::address).collect(),
        }
    }
}

/// Contexts that look for a pair between the same locators, by CT(local).
#[derive(Debug)]
struct Search {
    /// When the first of them began.
    since: Instant,
    /// The pair that one doubted.
    doubted: LocatorPair,
    exploring: BTreeSet<ContextTag>,
    /// Since when others have left it to them.
    waiting: BTreeMap<ContextTag, Instant>,
}

/// The searches that are under way; a context explores in one of them at the most.
#[derive(Debug, Default)]
pub(crate) struct Searches {
    under_way: BTreeMap<Between, Search>,
    /// Where each context explores.
    explorers: BTreeMap<ContextTag, Between>,
}

impl Searches {
    /// `context` explores.
    fn join(&mut self, context: &Context, now: Instant) {
        let between = Between::of(context);
        let search = self.under_way.entry(between.clone());
        let search = search.or_insert_with(|| Search {
            since: now,
            doubted: context.current.pair(),
            exploring: BTreeSet::new(),
            waiting: BTreeMap::new(),
        });
        search.waiting.remove(&context.local_tag);
        search.exploring.insert(context.local_tag);
        self.explorers.insert(context.local_tag, between);
    }

    /// Leaves it to others to find out what has become of the pair of `context`; until when, if there are
    /// any that look.
    fn wait(&mut self, context: &Context, now: Instant) -> Option<Instant> {
        let search = self.under_way.get_mut(&Between::of(context))?;
        let end = search.since + PATIENCE;
        if now >= end {
            return None;
        }
        search.waiting.entry(context.local_tag).or_insert(now);
        Some(end)
    }

    /// The context `tag` ends. Whoever waits because of it asks for itself soon.
    pub(crate) fn forget(&mut self, tag: ContextTag) {
        self.leave(tag, false);
    }

    /// `tag` explores no more. Returns the search if it is over: a pair was `found`, or nobody is left
    /// that explores.
    fn leave(&mut self, tag: ContextTag, found: bool) -> Option<Search> {
        let between = self.explorers.remove(&tag)?;
        let search = self.under_way.get_mut(&between)?;
        search.exploring.remove(&tag);
        if !found && !search.exploring.is_empty() {
            return None;
        }
        let search = self.under_way.remove(&between)?;
        for tag in &search.exploring {
            self.explorers.remove(tag);
        }
        Some(search)
    }
}

impl Endpoint {
    /// Notes that `context` began to explore, unless its peer did: then the peer searches.
    pub(super) fn join_search(&mut self, context: &Context, now: Instant) {
        let searches = |it: reap::Exploration| !it.by_peer && it.target.is_none();
        if context.reap.exploration().is_some_and(searches) {
            self.searches.join(context, now);
        }
    }

    /// Whether others look for a pair on behalf of `context`, which suspects its own. Not twice in a row:
    /// what is right for them may not be for it.
    pub(super) fn left_to_others(&mut self, context: &mut Context, now: Instant) -> bool {
        if mem::take(&mut context.relied) {
            return false;
        }
        let Some(end) = self.searches.wait(context, now) else {
            return false;
        };
        if let Some(silence) = &mut context.silence {
            silence.test_again(end);
        }
        true
    }

    /// `tag` explores no more, and has found this pair to work or none.
    ///
    /// Whoever waited for that explores with it first, and whoever explores probes it at once.
    //= https://www.rfc-editor.org/rfc/rfc5534#section-4.3
    //= type=exception
    //= reason=a pair that another context between the same addresses has just found is probed at once, once, whatever the back-off
    //= id=R-015
    //# However, all nodes MUST perform this process sequentially and with exponential back-off.
    pub(crate) fn leave_search(
        &mut self,
        tag: ContextTag,
        found: Option<LocatorPair>,
        now: Instant,
    ) {
        let Some(search) = self.searches.leave(tag, found.is_some()) else {
            return;
        };
        for tag in search.exploring {
            let context = self.table.take_by_local_tag(tag);
            if let Some((mut context, pair)) = context.zip(found) {
                self.with_reap(&mut context, now, |reap, cx| {
                    reap.probe_found(pair, cx);
                    None
                });
                self.settle(context, now);
            }
        }
        for (tag, since) in search.waiting {
            let context = self.table.take_by_local_tag(tag);
            if let Some(mut context) = context {
                let heard = context.account.last_received().is_some_and(|at| at > since);
                if !heard {
                    self.wait_no_longer(&mut context, search.doubted, found, now);
                }
                self.settle(context, now);
            }
        }
    }

    /// A context that left it to others who `doubted` another pair, or the same, hears what they `found`.
    fn wait_no_longer(
        &mut self,
        context: &mut Context,
        doubted: LocatorPair,
        found: Option<LocatorPair>,
        now: Instant,
    ) {
        match found {
            Some(works) if works == context.current.pair() => {
                context.relied = true;
                Self::note_false_alarm(context, now);
            }
            Some(other) if other != doubted => {
                if context.reap.state() == reap::State::Operational {
                    self.with_reap(context, now, |reap, cx| {
                        reap.explore(Cause::Silence, Some(other), cx)
                    });
                }
            }
            Some(_) | None => {
                context.tested_at = Instant::default();
                self.test_current_pair(context, now);
            }
        }
    }
}
