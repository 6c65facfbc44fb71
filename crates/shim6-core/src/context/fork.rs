//! Forked contexts: some packets between two ULIDs go another way than the rest (RFC 5533 §4.2).
//!
//! Which packets is said by their mark, since no API of the kernel passes a Forked Instance Identifier
//! down; the mark is the identifier. A fork is an exchange of its own, made on the pair that it is to use:
//! that the exchange ends there proves the pair. Then it is a context like any other, with its own tags,
//! REAP and current pair, but for three things: its packets always carry the payload header, for only the
//! tag tells the peer which context they belong to; it stays until it is taken back, as whoever asked for
//! it is known to use it (§9); and of preferences only BROKEN moves it, for its pair was chosen.

use std::sync::Arc;

use shim6_wire::Fii;

use super::{State, Step};
use crate::endpoint::Endpoint;
use crate::event::{Cause, DropReason};
use crate::pair::{LocatorPair, UlidPair};
use crate::time::Instant;

/// Most forks between two ULIDs, at either end and whoever began them: a pair of addresses for each, of
/// hosts with four each. Identifiers are cheap, contexts are not.
pub(super) const FORKS_MAX: usize = 16;

/// Why there is no fork.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ForkRefusal {
    /// Zero is the default context.
    #[error("a fork needs a mark other than 0")]
    ZeroMark,
    /// There is nothing to fork.
    #[error("no established context between these ULIDs: `shimq contexts` lists them")]
    NoContext,
    /// An end of the pair is no locator of its host.
    #[error("not a pair of the context's locators: `shimq contexts --json` lists them")]
    ForeignPair,
    /// It is there already, or being made.
    #[error("there is a fork for this mark: `shimq fork --remove` ends it")]
    Exists,
    /// As many forks between these ULIDs as there may be.
    #[error("there are 16 forks between these ULIDs: `shimq fork --remove` ends one")]
    TooMany,
    /// As many contexts as there may be.
    #[error("no room for another context: see limits.contexts")]
    NoRoom,
}

impl Endpoint {
    /// Forks the context between `ulids` for packets with `mark`, on `pair` or on the ULIDs themselves.
    ///
    /// [`crate::Event::Established`] or [`crate::Event::Declined`] tells how it ends. Until then, and
    /// when the fork is gone, packets with `mark` go the way of all others.
    ///
    /// # Errors
    ///
    /// [`ForkRefusal`].
    pub fn fork(
        &mut self,
        now: Instant,
        ulids: UlidPair,
        mark: u32,
        pair: Option<LocatorPair>,
    ) -> Result<(), ForkRefusal> {
        let fii = Fii(mark);
        if fii == Fii::DEFAULT {
            return Err(ForkRefusal::ZeroMark);
        }
        let origin = self.table.by_ulids(ulids, Fii::DEFAULT);
        let origin = origin
            .and_then(|id| self.table.get(id))
            .filter(|context| context.state == State::Established)
            .ok_or(ForkRefusal::NoContext)?;
        let pair = pair.unwrap_or(ulids.into());
        if !origin.announcement.contains(pair.local) || !origin.peer.contains(pair.peer) {
            return Err(ForkRefusal::ForeignPair);
        }
        let (peer, acknowledged) = (origin.peer.clone(), Arc::clone(&origin.acknowledged));
        if let Some(mut known) = self
            .table
            .by_ulids(ulids, fii)
            .and_then(|id| self.table.take(id))
        {
            let is_ours = known.mark.is_some();
            if known.state.is_held_down() {
                // Declined a while ago; whoever asks again wants it tried again.
                self.discard(known, Cause::Operator);
            } else {
                // The peer may have begun it: then this end uses it as well.
                known.mark = Some(mark);
                self.settle(known, now);
                return if is_ours {
                    Err(ForkRefusal::Exists)
                } else {
                    Ok(())
                };
            }
        }
        if self.table.forks(ulids) >= FORKS_MAX {
            self.counters.drop(DropReason::TooManyForks);
            return Err(ForkRefusal::TooMany);
        }
        let mut context = self
            .new_context(ulids, fii, None, now)
            .ok_or(ForkRefusal::NoRoom)?;
        context.mark = Some(mark);
        context.peer = peer;
        context.acknowledged = acknowledged;
        self.start_exchange(&mut context, Step::I1, pair, now);
        self.settle(context, now);
        Ok(())
    }

    /// Takes a fork back; `false` if this host made none for `mark`. Its peer forgets it in time.
    pub fn end_fork(&mut self, ulids: UlidPair, mark: u32) -> bool {
        let found = self.table.by_ulids(ulids, Fii(mark)).filter(|&id| {
            let context = self.table.get(id);
            context.is_some_and(|context| context.mark.is_some())
        });
        let Some(context) = found.and_then(|id| self.table.take(id)) else {
            return false;
        };
        self.discard(context, Cause::Operator);
        true
    }
}
