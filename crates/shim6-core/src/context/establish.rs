//! What both ends of the four-way exchange do alike: take over the peer's half of a context, enter
//! ESTABLISHED, end what is confused with it (RFC 5533 §7.6, §7.15).

use std::collections::BTreeSet;
use std::time::Duration;

use shim6_wire::{ContextTag, KeepaliveTimeout, Ulids};

use super::{Context, CurrentPair, State};
use crate::dispatch::Arrived;
use crate::endpoint::Endpoint;
use crate::event::{Cause, DropReason, Event};
use crate::locator::PeerLocators;
use crate::pair::UlidPair;
use crate::reap::Reap;
use crate::table::{ContextId, Taken};
use crate::time::Instant;

/// What I2, I2bis and R2 alike bring: the peer's half of a context.
pub(super) struct PeerHalf {
    pub(super) tag: ContextTag,
    pub(super) locators: PeerLocators,
    pub(super) keepalive_timeout: Option<KeepaliveTimeout>,
}

impl Endpoint {
    /// Enters ESTABLISHED from a STATE in which nothing was known of the peer.
    ///
    /// What passed before was not watched, so it leaves no timer running.
    pub(super) fn begin_life(&mut self, context: &mut Context, current: CurrentPair, now: Instant) {
        self.leave_search(context.local_tag, None, now);
        context.state = State::Established;
        context.exchange = None;
        context.update = None;
        context.fell_back = false;
        context.current = current;
        context.inbound = current.pair();
        context.silence = None;
        context.wish = None;
        context.reap = Reap::new(&self.config, &mut self.rng);
        context.account.stop_send_timer();
        context.account.stop_keepalive_timer();
    }

    /// Looks for another pair if the peer no longer lists where payload goes, or likes another better.
    pub(super) fn doubt_stale_pair(&mut self, context: &mut Context, now: Instant) {
        if !context.state.has_peer() {
            return;
        }
        if !context.peer.contains(context.current.peer.address()) {
            self.explore(context, Cause::PeerLocatorLost, now);
        }
        context.stay.heard_news();
        self.heed_preferences(context, now);
    }

    /// Takes over CT(peer) and Ls(peer); ends contexts that the peer must have forgotten.
    pub(super) fn adopt(&mut self, context: &mut Taken, half: PeerHalf) {
        context.peer_tag = Some(half.tag);
        context.peer = half.locators;
        if let Some(KeepaliveTimeout(seconds)) = half.keepalive_timeout {
            context
                .reap
                .set_keepalive_timeout(Duration::from_secs(u64::from(seconds.max(1))));
        }
        self.end_confused(context);
    }

    /// Ends the contexts that the peer must have forgotten: it uses their tag for `context`.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.15
    //= id=S-068,S-102,S-104,S-105,S-106,S-108,S-113
    //# In
    //# any case, once that this situation is detected, the host MUST NOT
    //# keep two contexts with overlapping Ls(peer) locator sets and the
    //# same Context Tag in ESTABLISHED STATE
    pub(super) fn end_confused(&mut self, context: &Taken) {
        let locators = context
            .peer
            .iter()
            .zip(context.peer_tag.into_iter().cycle());
        let confused: BTreeSet<ContextId> = locators
            .filter_map(|(locator, tag)| self.table.by_peer(tag, locator.address()))
            .collect();
        for id in confused {
            // It is taken itself, so it is not found.
            if let Some(other) = self.table.take(id) {
                self.discard(other, Cause::Confusion);
            }
        }
    }

    pub(super) fn tell_established(&mut self, context: &Context) {
        self.events.push_back(Event::Established {
            ulids: context.ulids,
            fii: context.fii,
            local_tag: context.local_tag,
            initiated: context.site.is_none(),
            peer_locators: context.peer.len(),
        });
    }

    //= https://www.rfc-editor.org/rfc/rfc5534#section-5.3
    //= id=R-034,R-035
    //# If the node is using a non-default Send Timeout value, it MUST communicate this value as a
    //# Keepalive Timeout value to the peer in the below option.
    //= https://www.rfc-editor.org/rfc/rfc5534#section-5.3
    //= id=R-036
    //# The option SHOULD only need to be sent once in a given Shim6 association.
    pub(super) fn keepalive_option(&self) -> Option<KeepaliveTimeout> {
        let default = crate::Config::default().send_timeout;
        let seconds = self.config.send_timeout.as_secs().max(1);
        (self.config.send_timeout != default)
            .then(|| KeepaliveTimeout(u16::try_from(seconds).unwrap_or(u16::MAX)))
    }

    /// The ULIDs that a message conveys, in this host's order; `None` (counted) if `local` is no ULID
    /// of this host.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.9
    //# If there is no
    //# ULID-pair option, then the ULID pair is taken from the Source and
    //# Destination fields in the IPv6 header.
    pub(super) fn ulids_of(
        &mut self,
        option: Option<Ulids>,
        arrived: &Arrived<'_>,
    ) -> Option<UlidPair> {
        let pair = arrived.reversed();
        let ulids = option.map_or(
            UlidPair {
                local: pair.local,
                peer: pair.peer,
            },
            |ulids| UlidPair {
                local: ulids.receiver,
                peer: ulids.sender,
            },
        );
        if self.local.contains(ulids.local) {
            return Some(ulids);
        }
        self.counters.drop(DropReason::NotOurs);
        None
    }
}
