//! Moving a context because somebody outside wants it: an operator, or a program that knows more of the
//! paths than the ends do.
//!
//! The wish is no proof. The pair is probed, and payload moves when it answers; the answer, or that
//! there was none, comes as an event.

use shim6_wire::ContextTag;

use super::{Context, State};
use crate::endpoint::Endpoint;
use crate::event::Cause;
use crate::pair::LocatorPair;
use crate::reap;
use crate::time::Instant;

/// Why a context is not moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SwitchRefusal {
    /// No context has this tag.
    #[error("no such context")]
    NoContext,
    /// There is no peer to ask yet.
    #[error("the context is not established")]
    NotEstablished,
    /// The outcome of the present exploration comes first.
    #[error("a pair is being looked for already: wait until that has ended")]
    Exploring,
    /// An address of the pair belongs to neither end of this context.
    #[error("not a pair of this context: see its locators in `shimq contexts --json`")]
    NotItsPair,
    /// Payload goes there already.
    #[error("the context is on that pair already")]
    AlreadyThere,
    /// There is only one pair.
    #[error("there is no other pair")]
    NoOtherPair,
}

impl Endpoint {
    /// Probes `to`, or the pair that exploration would probe first, and moves the context of CT(local)
    /// `tag` there when it answers. Returns the pair that is probed.
    ///
    /// [`crate::Event::PairChanged`] with [`Cause::Operator`] tells of success,
    /// [`crate::Event::PairDeclined`] that the pair did not answer.
    ///
    /// # Errors
    ///
    /// [`SwitchRefusal`]; nothing is probed then.
    pub fn switch(
        &mut self,
        now: Instant,
        tag: ContextTag,
        to: Option<LocatorPair>,
    ) -> Result<LocatorPair, SwitchRefusal> {
        let found = self.table.take_by_local_tag(tag);
        let mut context = found.ok_or(SwitchRefusal::NoContext)?;
        let target = self.target_of(&mut context, to, now);
        if let Ok(target) = target {
            self.with_reap(&mut context, now, |reap, cx| {
                reap.try_pair(target, Cause::Operator, cx)
            });
        }
        self.settle(context, now);
        target
    }

    fn target_of(
        &mut self,
        context: &mut Context,
        to: Option<LocatorPair>,
        now: Instant,
    ) -> Result<LocatorPair, SwitchRefusal> {
        if context.state != State::Established {
            return Err(SwitchRefusal::NotEstablished);
        }
        if context.reap.state() != reap::State::Operational {
            return Err(SwitchRefusal::Exploring);
        }
        let current = context.current.pair();
        let Some(target) = to else {
            let mut other = None;
            self.with_reap(context, now, |_, cx| {
                other = cx.most_promising_other();
                None
            });
            return other.ok_or(SwitchRefusal::NoOtherPair);
        };
        let is_its =
            context.announcement.contains(target.local) && context.peer.contains(target.peer);
        if !is_its {
            Err(SwitchRefusal::NotItsPair)
        } else if target == current {
            Err(SwitchRefusal::AlreadyThere)
        } else {
            Ok(target)
        }
    }
}
