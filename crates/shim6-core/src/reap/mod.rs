//! Failure detection and exploration for one context (RFC 5534 §6).
//!
//! While a context is Operational its two timers are not kept here: [`Account`] holds when each was
//! started, written by those who see the packets, and [`Reap::handle_timeout`] looks there whenever
//! it is due. Once there is a doubt, everything is here: what was probed, what came back, and which
//! pair the answers prove.
//!
//! Invariant: in Operational the Send and Keepalive Timers never run at the same time.

mod history;
mod keepalive;
mod order;
mod policy;
mod probing;
mod reception;
mod reports;

use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;
use shim6_wire::{ContextTag, Message, ProbeState};

use crate::account::Account;
use crate::budget::Budget;
use crate::config::Config;
use crate::event::Cause;
use crate::locator::{Announcement, PeerLocators};
use crate::pair::LocatorPair;
use crate::time::Instant;
pub(crate) use history::{History, RoundTrip};
pub use policy::{ExplorationPolicy, UnknownPolicy};
use probing::Questions;
use reports::Reports;

/// Conceptual states of RFC 5534 §6.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// The current pair is assumed to work.
    Operational,
    /// Nothing was heard from the peer for more than a Send Timeout.
    Exploring,
    /// The peer is heard, but may not hear us.
    InboundOk,
}

impl From<State> for ProbeState {
    fn from(state: State) -> Self {
        match state {
            State::Operational => Self::Operational,
            State::Exploring => Self::Exploring,
            State::InboundOk => Self::InboundOk,
        }
    }
}

/// What the state machine may look at and use while it handles something.
pub(crate) struct Surroundings<'a> {
    pub(crate) now: Instant,
    pub(crate) config: &'a Config,
    pub(crate) rng: &'a mut ChaCha20Rng,
    pub(crate) account: &'a Account,
    /// What all contexts of this host learned of pairs.
    pub(crate) history: &'a mut History,
    /// Probes that nobody asked for, of all contexts.
    pub(crate) probe_budget: &'a mut Budget,
    /// Ls(local).
    pub(crate) announced: &'a Announcement,
    /// Ls(local) as the peer has it: from elsewhere it takes no probe (RFC 5533 §12.4).
    pub(crate) acknowledged: &'a Announcement,
    /// Ls(peer): verified, so fit to be probed.
    pub(crate) peer: &'a PeerLocators,
    /// Lp(local), Lp(peer).
    pub(crate) current: LocatorPair,
    pub(crate) peer_tag: ContextTag,
    /// Doubts about this context that lately proved unfounded.
    pub(crate) false_alarms: u32,
    /// Messages to send, each on its pair.
    pub(crate) outbox: &'a mut Vec<(LocatorPair, Message)>,
}

impl Surroundings<'_> {
    /// Whether `pair` joins an address of ours that is in use to one that the peer proved its own.
    fn may_probe(&self, pair: LocatorPair) -> bool {
        self.announced.contains(pair.local) && self.peer.contains(pair.peer)
    }
}

/// How an exploration began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exploration {
    pub(crate) since: Instant,
    pub(crate) cause: Cause,
    /// Whether the peer began it.
    pub(crate) by_peer: bool,
    /// The pair that payload moves to if it answers: then the current one is in no doubt.
    pub(crate) target: Option<LocatorPair>,
    /// Whether each pair was probed, and none answered.
    pub(crate) fruitless: bool,
}

/// A change of state that the context has to act upon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// Exploration began; payload had been unanswered for so long.
    Began { silence: Duration },
    /// Exploration ended. `proven` is a pair on which a probe of ours arrived, if any was reported.
    Ended {
        proven: Option<LocatorPair>,
        /// The pair, seen from this host, on which the peer answered.
        answered_on: LocatorPair,
    },
}

//= https://www.rfc-editor.org/rfc/rfc5534#section-6
//= id=R-041
//# The externally observable behavior of an implementation MUST conform to this state machine,
//# but there is no requirement that the implementation actually employ a state machine.
#[derive(Debug)]
pub(crate) struct Reap {
    state: State,
    /// Set while the state is not Operational.
    exploration: Option<Box<Exploration>>,
    /// This context's Send Timeout: the nominal one, randomised (RFC 5534 §4.1).
    send_timeout: Duration,
    /// The peer's Send Timeout, by which it wants to hear from us.
    keepalive_timeout: Duration,
    /// Keepalives sent since the Keepalive Timer was started at the given moment.
    keepalives: (Instant, u32),
    probe_due: Option<Instant>,
    /// What is asked first, while it is.
    questions: Option<Box<Questions>>,
    /// Round trips of probes, and of the exchange that made the context.
    round_trip: Option<RoundTrip>,
    /// Probes of the present exploration.
    probes: u32,
    probe_interval: Duration,
    /// Pairs still to be probed in this round; the next one is the last.
    queue: Vec<LocatorPair>,
    reports: Reports,
}

impl Reap {
    pub(crate) fn new(config: &Config, rng: &mut ChaCha20Rng) -> Self {
        Self {
            state: State::Operational,
            exploration: None,
            send_timeout: lengthened(config.send_timeout, rng),
            keepalive_timeout: config.send_timeout,
            keepalives: (Instant::default(), 0),
            probe_due: None,
            questions: None,
            round_trip: None,
            probes: 0,
            probe_interval: config.initial_probe_timeout,
            queue: Vec::new(),
            reports: Reports::default(),
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// How long a round trip takes that is not lost: measured, or a guess that suits most of the
    /// Internet.
    pub(crate) fn round_trip(&self) -> RoundTrip {
        self.round_trip
            .unwrap_or(RoundTrip::first(Duration::from_millis(100)))
    }

    /// Notes a round trip.
    pub(crate) fn note_round_trip(&mut self, measured: Duration) {
        self.round_trip = Some(
            self.round_trip
                .map_or(RoundTrip::first(measured), |known| known.and(measured)),
        );
    }

    pub(crate) fn exploration(&self) -> Option<Exploration> {
        self.exploration.as_deref().copied()
    }

    /// Whether a whole round of probes, or more, has had no answer.
    pub(crate) fn is_fruitless(&self) -> bool {
        self.exploration.as_ref().is_some_and(|it| it.fruitless)
    }

    /// Adopts the Send Timeout that the peer announced.
    //= https://www.rfc-editor.org/rfc/rfc5534#section-5.3
    //= id=R-037
    //# If a node receives this option, it SHOULD update its Keepalive Timeout value for the peer.
    pub(crate) fn set_keepalive_timeout(&mut self, timeout: Duration) {
        self.keepalive_timeout = timeout;
    }

    /// Looks again at the timers; due not later than [`Self::poll_timeout`] said.
    pub(crate) fn handle_timeout(&mut self, cx: &mut Surroundings<'_>) -> Option<Outcome> {
        //= https://www.rfc-editor.org/rfc/rfc5534#section-6.4
        //= id=R-048
        //# Upon a timeout on the Send Timer, the node enters the Exploring state
        //# and sends a Probe message.
        let awaiting = cx.account.awaiting_peer();
        if let Some(started) = awaiting.filter(|_| self.state != State::Exploring)
            && cx.now >= started + self.send_timeout
        {
            return self.explore(Cause::SendTimeout, None, cx);
        }
        if self.state == State::Operational {
            self.keep_alive(cx);
            return None;
        }
        //= https://www.rfc-editor.org/rfc/rfc5534#section-6.5
        //= id=R-049
        //# While in the Exploring state, the node keeps retransmitting its Probe
        //# messages to different (or the same) addresses as defined in
        //# Section 4.3.
        if self.probe_due.is_some_and(|due| cx.now >= due) {
            if self.state == State::InboundOk {
                cx.account.start_send_timer(cx.now);
            }
            self.probe_if_affordable(cx);
        }
        None
    }

    /// When [`Self::handle_timeout`] is next due.
    ///
    /// An idle context is looked at once in a Keepalive Interval: the account tells when a timer was
    /// really started, so nothing fires late for it.
    pub(crate) fn poll_timeout(&self, now: Instant, account: &Account) -> Instant {
        let interval = Config::keepalive_interval(self.keepalive_timeout).min(self.send_timeout);
        let mut due = now + interval;
        if let Some(probe_due) = self.probe_due {
            due = due.min(probe_due);
        }
        if let Some(started) = account
            .awaiting_peer()
            .filter(|_| self.state != State::Exploring)
        {
            due = due.min(started + self.send_timeout);
        }
        if let Some(started) = account
            .owed_to_peer()
            .filter(|_| self.state == State::Operational)
        {
            due = due.min(self.next_keepalive(started));
        }
        due
    }

    /// Doubts the current pair: sends a Probe Exploring and goes on with the others.
    ///
    /// `heard` is a pair, seen from this host, on which the peer was just heard, if only by another
    /// context.
    pub(crate) fn explore(
        &mut self,
        cause: Cause,
        heard: Option<LocatorPair>,
        cx: &mut Surroundings<'_>,
    ) -> Option<Outcome> {
        if self.exploration.is_none() {
            self.reports.clear();
        }
        self.explore_on(cause, heard, cx)
    }

    /// The same right after an exploration that left the context on a pair that is gone: probes of
    /// that one still count. Their answers are on the way, and if each of them proved nothing and
    /// began anew in its turn, there were no end to it.
    pub(crate) fn explore_on(
        &mut self,
        cause: Cause,
        heard: Option<LocatorPair>,
        cx: &mut Surroundings<'_>,
    ) -> Option<Outcome> {
        let silence = cx
            .account
            .awaiting_peer()
            .map_or(Duration::ZERO, |at| cx.now.since(at));
        self.state = State::Exploring;
        cx.account.stop_send_timer();
        cx.account.stop_keepalive_timer();
        // Where only silence speaks against the current pair, it is asked first, and others are asked
        // only if it stays silent: a few keepalives get lost more often than a pair fails. Unless that
        // was asked on another context a moment ago.
        let test = self.exploration.is_none()
            && matches!(cause, Cause::Silence | Cause::SendTimeout)
            && cx.may_probe(cx.current)
            && !cx.history.failed_lately(cx.current, cx.now);
        let began = self.begin(cause, heard, cx);
        if test && began {
            self.ask_first(cx.current, cause, cx);
            if heard.is_some() {
                self.insist_no_more();
            }
        }
        self.probe_if_affordable(cx);
        began.then_some(Outcome::Began { silence })
    }

    /// Asks `target` whether it works, to move there; payload stays where it is until it answers.
    ///
    /// Nothing happens unless the state is Operational and `target` may be probed.
    pub(crate) fn try_pair(
        &mut self,
        target: LocatorPair,
        cause: Cause,
        cx: &mut Surroundings<'_>,
    ) -> Option<Outcome> {
        if self.state != State::Operational || !cx.may_probe(target) {
            return None;
        }
        self.reports.clear();
        self.state = State::Exploring;
        cx.account.stop_send_timer();
        cx.account.stop_keepalive_timer();
        self.begin(cause, None, cx);
        if let Some(exploration) = &mut self.exploration {
            exploration.target = Some(target);
        }
        self.ask_for_move(target, cx);
        self.probe_if_affordable(cx);
        Some(Outcome::Began {
            silence: Duration::ZERO,
        })
    }
}

/// The Send Timeout, 2 to 5 % longer. Never shorter: the peer was told the nominal value, and the last
/// keepalive that it owes is sent when that is over and takes its time to arrive.
fn lengthened(nominal: Duration, rng: &mut ChaCha20Rng) -> Duration {
    let spread = u64::try_from(nominal.as_micros() * 3 / 100).unwrap_or(u64::MAX);
    nominal + nominal / 50 + Duration::from_micros(rng.next_u64() % spread.max(1))
}
