//! One context: the state between two ULIDs (RFC 5533 §6).
//!
//! The STATEs' handlers are methods of [`crate::Endpoint`], because nearly each of them looks at
//! other contexts or answers without one; they are grouped here by what they are for:
//!
//! - to have a context: [`creation`], [`initiate`] and [`respond`] (I1, R1, I2, R2), [`establish`]
//!   (what both ends do alike), [`exchange`] (repetition), [`recover`] (R1bis, I2bis), [`fork`];
//! - to know the peer's locators and tell ours: [`locators`] (what a peer claims and proves),
//!   [`update`], [`preference`] (what it likes);
//! - to be on a pair that works: [`liveness`] (what REAP finds out), [`silence`] (suspecting a pair
//!   before REAP does), [`search`] (one search for many contexts), [`stay`] (when a pair may be left
//!   for a better one), [`switch`] (because somebody wants it).

mod creation;
mod establish;
mod exchange;
mod fork;
mod initiate;
mod liveness;
mod locators;
mod preference;
mod recover;
mod respond;
mod search;
mod silence;
mod stay;
mod switch;
mod update;

use std::net::Ipv6Addr;
use std::sync::Arc;

use shim6_wire::{ContextTag, Fii, InitiatorNonce, RequestNonce, ResponderNonce, Validator};

use crate::account::Account;
use crate::budget::Site;
use crate::event::Cause;
use crate::flow::{Exploring, Flow, Path, Tagged};
use crate::locator::{Announcement, PeerLocators, ProbedLocator};
use crate::pair::{LocatorPair, UlidPair};
use crate::reap::{self, Reap};
use crate::time::Instant;
pub use fork::ForkRefusal;
pub(crate) use preference::{Standing, Wish, weight};
pub(crate) use search::Searches;
pub(crate) use silence::Silence;
pub use switch::SwitchRefusal;

/// STATEs of RFC 5533 §6.2. IDLE is the absence of a context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// An I1 has been sent.
    I1Sent,
    /// R1 came, an I2 has been sent.
    I2Sent,
    /// R1bis came, an I2bis has been sent to recover the context.
    I2bisSent,
    /// Both ends have the context.
    Established,
    /// The peer did not answer: no I1 for a while.
    EFailed,
    /// The peer's host does not know Shim6: no I1 for a long while.
    NoSupport,
}

impl State {
    /// The RFC's name for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::I1Sent => "I1-SENT",
            Self::I2Sent => "I2-SENT",
            Self::I2bisSent => "I2BIS-SENT",
            Self::Established => "ESTABLISHED",
            Self::EFailed => "E-FAILED",
            Self::NoSupport => "NO-SUPPORT",
        }
    }

    /// Whether CT(peer) and Ls(peer) are set.
    ///
    //= https://www.rfc-editor.org/rfc/rfc5533#section-11
    //= id=S-156
    //# Only in the
    //# ESTABLISHED and I2BIS-SENT STATEs does the host have CT(peer) and
    //# Ls(peer) set.
    pub(crate) fn has_peer(self) -> bool {
        match self {
            Self::Established | Self::I2bisSent => true,
            Self::I1Sent | Self::I2Sent | Self::EFailed | Self::NoSupport => false,
        }
    }

    /// Whether this is the negative cache: nothing is sent until it ends, or the peer comes forward.
    pub(crate) fn is_held_down(self) -> bool {
        match self {
            Self::EFailed | Self::NoSupport => true,
            Self::I1Sent | Self::I2Sent | Self::I2bisSent | Self::Established => false,
        }
    }
}

/// What is being retransmitted until the peer answers (RFC 5533 §7.8, §7.12, §7.19).
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) step: Step,
    /// Where it is sent, and where the answer has to come from.
    pub(crate) pair: LocatorPair,
    /// Ls(local) as the first of the messages told it, or where that tells none as it was taken over last.
    pub(crate) offered: Arc<Announcement>,
    /// When it was last sent.
    pub(crate) sent: Instant,
    /// When to send it again, or give up.
    pub(crate) due: Instant,
    /// How often it has been sent again.
    pub(crate) retries: u32,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    I1,
    I2 {
        responder_nonce: ResponderNonce,
        validator: Validator,
    },
    I2bis {
        packet_tag: ContextTag,
        responder_nonce: ResponderNonce,
        validator: Validator,
    },
    /// Nothing is sent: the negative cache (E-FAILED, NO-SUPPORT) until `due`.
    HoldDown,
}

/// An Update Request that has not been acknowledged (RFC 5533 §10.3: at most one).
#[derive(Clone, Debug)]
pub(crate) struct PendingUpdate {
    pub(crate) nonce: RequestNonce,
    /// When it was last sent, or will be for the first time.
    pub(crate) sent: Instant,
    pub(crate) due: Instant,
    pub(crate) retries: u32,
}

/// Lp(local) and Lp(peer). Payload goes there, so the far end has to have answered.
//= https://www.rfc-editor.org/rfc/rfc5534#section-3.5
//= id=R-006
//# Shim6 does not attempt to employ multiple paths simultaneously.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CurrentPair {
    pub(crate) local: Ipv6Addr,
    pub(crate) peer: ProbedLocator,
}

impl CurrentPair {
    pub(crate) fn of_ulids(ulids: UlidPair) -> Self {
        Self {
            local: ulids.local,
            peer: ProbedLocator::ulid(ulids.peer),
        }
    }

    pub(crate) fn pair(self) -> LocatorPair {
        LocatorPair {
            local: self.local,
            peer: self.peer.address(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) ulids: UlidPair,
    pub(crate) fii: Fii,
    pub(crate) state: State,
    /// CT(local).
    pub(crate) local_tag: ContextTag,
    /// CT(peer).
    pub(crate) peer_tag: Option<ContextTag>,
    /// Init Nonce: by which R1 and R2 are recognised.
    pub(crate) initiator_nonce: InitiatorNonce,
    /// Ls(local) as the peer is told.
    pub(crate) announcement: Arc<Announcement>,
    /// Ls(local) as the peer is known to have taken it over.
    pub(crate) acknowledged: Arc<Announcement>,
    /// When the peer was last told of Ls(local).
    pub(crate) told: Instant,
    /// Until when an older Ls(local) may be under way to the peer.
    pub(crate) strays_until: Instant,
    /// Ls(peer).
    pub(crate) peer: PeerLocators,
    /// Lp(local), Lp(peer).
    pub(crate) current: CurrentPair,
    /// The pair on which the peer ended the last exploration, seen from this host: where it sends.
    pub(crate) inbound: LocatorPair,
    /// While an answer is awaited.
    pub(crate) exchange: Option<Box<Exchange>>,
    /// Whether I2 or I2bis found no answer and I1 was tried anew: that happens once.
    pub(crate) fell_back: bool,
    pub(crate) update: Option<PendingUpdate>,
    pub(crate) reap: Reap,
    /// The mark of packets that are sent on it: this host forked it for them.
    pub(crate) mark: Option<u32>,
    /// While both ends like another pair better than the current one.
    pub(crate) wish: Option<Wish>,
    /// What is sent without an answer, while that is so.
    pub(crate) silence: Option<Box<Silence>>,
    /// Doubts that turned out to be unfounded, and when the last one did.
    pub(crate) false_alarms: (u32, Instant),
    /// When the current pair may be left for a better one.
    pub(crate) stay: stay::Stay,
    /// When the current pair was last tested for a silence.
    pub(crate) tested_at: Instant,
    /// Whether its last doubt was laid to rest by what another context found out.
    pub(crate) relied: bool,
    pub(crate) account: Arc<Account>,
    /// Whose share of the table it counts to; `None` if this host began it.
    pub(crate) site: Option<Site>,
    pub(crate) created: Instant,
    /// Set when the context has to go: by whoever decides it, carried out by the table.
    pub(crate) end: Option<Cause>,
}

impl Context {
    /// CT(peer), or zero before there is one: nothing is sent by it then.
    pub(crate) fn peer_tag(&self) -> ContextTag {
        self.peer_tag.unwrap_or(ContextTag::from_bits(0))
    }

    /// What the data plane has to know of this context.
    pub(crate) fn flow(&self) -> Flow {
        let pair = self.current.pair();
        let path = match self.peer_tag {
            Some(peer_tag)
                if self.state.has_peer()
                    && (pair != self.ulids.into() || self.fii != Fii::DEFAULT) =>
            {
                Path::Mapped {
                    locators: pair,
                    peer_tag,
                }
            }
            Some(_) | None => Path::Untouched,
        };
        let tagged = match self.state {
            State::Established => Tagged::Delivered,
            State::I2Sent | State::I2bisSent => Tagged::DeliveredAndTold,
            State::I1Sent | State::EFailed | State::NoSupport => Tagged::Refused,
        };
        let exploring = match self.reap.state() {
            reap::State::Operational => Exploring::No,
            reap::State::Exploring | reap::State::InboundOk if self.reap.is_fruitless() => {
                Exploring::Fruitless
            }
            reap::State::Exploring | reap::State::InboundOk => Exploring::Yes,
        };
        Flow {
            ulids: self.ulids,
            is_default: self.fii == Fii::DEFAULT,
            mark: self.mark,
            local_tag: self.local_tag,
            path,
            tagged,
            exploring,
            kernel_maps: false,
            account: Arc::clone(&self.account),
        }
    }

    /// When something of this context is next due.
    pub(crate) fn deadline(&self, now: Instant) -> Instant {
        let reap_due = self
            .state
            .has_peer()
            .then(|| self.reap.poll_timeout(now, &self.account));
        let exchange_due = self.exchange.as_ref().map(|exchange| exchange.due);
        let update_due = self.update.as_ref().map(|update| update.due);
        let silence_due = self.silence.as_ref().and_then(|silence| silence.due());
        let wish_due = self.wish.map(Wish::due).filter(|_| self.state.has_peer());
        [reap_due, exchange_due, update_due, silence_due, wish_due]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(now)
    }

    /// The last sign that somebody uses this context.
    pub(crate) fn last_used(&self) -> Instant {
        self.account
            .last_used()
            .unwrap_or(self.created)
            .max(self.created)
    }
}
