//! The judge: what no history may contain, whatever happens to hosts and links.
//!
//! It knows the truth that hosts do not (which address is whose, what really arrived where) and holds
//! against it what they send:
//!
//! - payload goes to addresses of its peer only, and not to one that nothing came back from;
//! - probes, keepalives and updates go to addresses of their context's peer only;
//! - no two contexts of a host share a tag;
//! - probes keep the pace of RFC 5534: one for each packet that asks for one, else at intervals that
//!   grow while nothing is heard;
//! - timers make progress;
//! - nobody sends to an address that the script forbids.
//!
//! That the upper layers get what was sent to them, and all of it right, is checked where they are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::sync::Arc;

use shim6_core::{Config, ContextId, ContextView, Endpoint, Flow, FlowUpdate, Instant, Transmit};
use shim6_wire::{Class, ContextTag, Message, Probe, ProbeState, classify};

use crate::host::HostId;
use crate::packet::{self, control_packet};

/// What made a host act.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stimulus {
    /// A packet arrived.
    Packet,
    /// A timer was due.
    Timer,
    /// Its own upper layer, its addresses, its operator.
    Local,
}

/// Why a history is wrong.
pub(crate) type Fault = String;

/// Questions that a host may ask one pair in a row.
const QUESTIONS_MAX: u32 = 8;

/// Probes of one context that nobody asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    last: Option<Instant>,
    /// Sent since the peer was last heard.
    unheard: u32,
    /// What the last one said, whoever asked for it.
    said: Option<ProbeState>,
    /// Source and destination of the last one.
    pair: Option<(Ipv6Addr, Ipv6Addr)>,
    /// Probes in a row that repeated that pair: questions, which come closer together.
    repetitions: u32,
    /// For which packet or timer the last one was sent, and how many of them.
    stimulus: (u64, u32),
}

/// Contexts of one host by their tags: where there are thousands, a look at each of them at each message
/// would take hours.
#[derive(Debug, Default)]
struct Tags {
    /// By CT(local): what demultiplexes payload.
    local: BTreeMap<ContextTag, Arc<Flow>>,
    /// By CT(peer), as it was when last asked for.
    peer: BTreeMap<ContextTag, ContextId>,
}

#[derive(Debug, Default)]
pub(crate) struct Model {
    owners: BTreeMap<Ipv6Addr, HostId>,
    /// The same the other way round.
    owned: BTreeMap<HostId, BTreeSet<Ipv6Addr>>,
    /// Where packets of a host arrived, and whether their receiver was heard after that.
    reached: BTreeMap<(HostId, Ipv6Addr), bool>,
    forbidden: BTreeSet<Ipv6Addr>,
    /// Addresses of others that a host has a proof for.
    false_claims: BTreeSet<(HostId, Ipv6Addr)>,
    /// By CT(local), which stays when the peer's changes.
    paces: BTreeMap<(HostId, ContextTag), Pace>,
    /// For which packet each host last heard anything.
    heard: BTreeMap<HostId, u64>,
    tags: BTreeMap<HostId, Tags>,
    /// Number of the packet or timer that is being handled.
    stimulus: u64,
}

impl Model {
    /// `host` has `address` from now on; nobody else ever does.
    pub(crate) fn own(&mut self, host: HostId, address: Ipv6Addr) {
        self.owners.insert(address, host);
        self.owned.entry(host).or_default().insert(address);
    }

    pub(crate) fn owner(&self, address: Ipv6Addr) -> Option<HostId> {
        self.owners.get(&address).copied()
    }

    pub(crate) fn forbid(&mut self, address: Ipv6Addr) {
        self.forbidden.insert(address);
    }

    pub(crate) fn allow_probes(&mut self, claimant: HostId, address: Ipv6Addr) {
        self.false_claims.insert((claimant, address));
    }

    pub(crate) fn stimulated(&mut self) {
        self.stimulus += 1;
    }

    /// A packet of `from` arrived at `to`.
    pub(crate) fn arrived(&mut self, from: HostId, to: HostId, destination: Ipv6Addr) {
        self.reached.entry((from, destination)).or_insert(false);
        for &address in self.owned.get(&from).into_iter().flatten() {
            if let Some(answered) = self.reached.get_mut(&(to, address)) {
                *answered = true;
            }
        }
        self.heard.insert(to, self.stimulus);
    }

    /// `host` sends `wire`, which its upper layer handed over as `given`.
    pub(crate) fn check_payload(
        &self,
        host: HostId,
        given: &[u8],
        wire: &[u8],
    ) -> Result<(), Fault> {
        let (ulid, destination) = (packet::destination(given), packet::destination(wire));
        if self.forbidden.contains(&destination) {
            return Err(format!("{host} sends payload to forbidden {destination}"));
        }
        if packet::tag_of(wire).is_none() {
            return (given == wire)
                .then_some(())
                .ok_or_else(|| format!("{host} changes a packet without tagging it"));
        }
        if self.owner(destination) != self.owner(ulid) {
            return Err(format!("{host} sends payload for {ulid} to {destination}"));
        }
        if destination != ulid && self.reached.get(&(host, destination)) != Some(&true) {
            return Err(format!(
                "{host} sends payload to {destination}, which never answered"
            ));
        }
        Ok(())
    }

    /// `host` sends a control message.
    pub(crate) fn check_control(
        &mut self,
        host: HostId,
        endpoint: &Endpoint,
        transmit: &Transmit,
        stimulus: Stimulus,
        now: Instant,
        config: &Config,
    ) -> Result<(), Fault> {
        let destination = transmit.destination;
        if self.forbidden.contains(&destination) {
            return Err(format!("{host} sends to forbidden {destination}"));
        }
        let octets = control_packet(transmit);
        if octets.len() > shim6_wire::MAX_CONTROL_PACKET {
            return Err(format!("{host} sends a message of {} octets", octets.len()));
        }
        let Class::Control { at } = classify(&octets) else {
            return Err(format!("{host} sends a message that is none"));
        };
        let Some(tag) = shim6_wire::receiver_tag(&octets[at..]) else {
            return Ok(());
        };
        let tags = self.tags.entry(host).or_default();
        let Some(context) = tags.find(tag, endpoint) else {
            return Err(format!("{host} sends on {tag:?}, which no context has"));
        };
        let peer = self.owner(context.ulids.peer);
        let claimed = peer.is_some_and(|peer| self.false_claims.contains(&(peer, destination)));
        if self.owner(destination) != peer && !claimed {
            return Err(format!(
                "{host} sends to {destination} in the context of {}",
                context.ulids
            ));
        }
        match Message::parse(&octets[at..]) {
            Ok(Message::Probe(probe)) => {
                let key = (host, context.local_tag);
                self.check_pace(key, transmit, &probe, stimulus, now, config)
            }
            Ok(_) => Ok(()),
            Err(error) => Err(format!("{host} sends what nobody can read: {error:?}")),
        }
    }

    fn check_pace(
        &mut self,
        (host, tag): (HostId, ContextTag),
        transmit: &Transmit,
        probe: &Probe,
        stimulus: Stimulus,
        now: Instant,
        config: &Config,
    ) -> Result<(), Fault> {
        let pace = self.paces.entry((host, tag)).or_default();
        if self.heard.get(&host) > Some(&pace.stimulus.0) {
            (pace.unheard, pace.repetitions) = (0, 0);
        }
        let said = pace.said.replace(probe.state);
        let pair = (transmit.source, transmit.destination);
        let repeated =
            pace.pair.replace(pair) == Some(pair) && pace.repetitions < 2 * QUESTIONS_MAX;
        // Other pairs are probed as soon as a question has had its time.
        let follows_questions = repeated || pace.repetitions > 0;
        pace.repetitions = if repeated { pace.repetitions + 1 } else { 0 };
        let (last_stimulus, count) = pace.stimulus;
        let count = if last_stimulus == self.stimulus {
            count + 1
        } else {
            1
        };
        pace.stimulus = (self.stimulus, count);
        if (2..=config.initial_burst).contains(&count) {
            return Ok(());
        }
        // An exploration that ended on a pair that is gone meanwhile; and the Send Timeout in InboundOK,
        // which asks for a Probe at once (RFC 5534 §6.4).
        let begins_again =
            said == Some(ProbeState::Operational) && probe.state == ProbeState::Exploring;
        let gives_up_hearing =
            said == Some(ProbeState::InboundOk) && probe.state == ProbeState::Exploring;
        match stimulus {
            Stimulus::Packet if count > 1 && !begins_again => {
                return Err(format!("{host} sends two probes for one packet"));
            }
            Stimulus::Packet => return Ok(()),
            Stimulus::Local => {
                // Other addresses, or a suspicion: this begins anew.
                pace.unheard = 1;
                pace.last = Some(now);
                return Ok(());
            }
            Stimulus::Timer => {}
        }
        if let Some(last) = pace.last
            && pace.unheard > 0
            && !gives_up_hearing
        {
            // One more than the core counts: its questions to one pair are no part of a round.
            let doublings = pace
                .unheard
                .saturating_sub(config.initial_probes + 2)
                .min(16);
            let nominal = config.initial_probe_timeout * (1 << doublings);
            let least = if follows_questions {
                config.test_timeout / QUESTIONS_MAX
            } else if pace.unheard == 1 {
                // A pair that others have reason to doubt is asked once, for as long.
                config.test_timeout
            } else {
                // A fifth less is within the randomisation.
                nominal.min(config.max_probe_timeout) * 4 / 5
            };
            if now.since(last) < least {
                return Err(format!(
                    "{host} sends probe {} after {:?}, not {least:?}",
                    pace.unheard,
                    now.since(last)
                ));
            }
        }
        pace.last = Some(now);
        pace.unheard += u32::from(!repeated);
        Ok(())
    }

    /// `host` forgot its contexts.
    pub(crate) fn restarted(&mut self, host: HostId) {
        self.tags.remove(&host);
    }

    /// A flow of `host` changes.
    pub(crate) fn check_update(&mut self, host: HostId, update: &FlowUpdate) -> Result<(), Fault> {
        let tags = &mut self.tags.entry(host).or_default().local;
        match update {
            FlowUpdate::Set(flow) => {
                let other = tags.insert(flow.local_tag, Arc::clone(flow));
                if other.is_some_and(|other| !Arc::ptr_eq(&other.account, &flow.account)) {
                    return Err(format!("{host} has two contexts with one tag"));
                }
            }
            FlowUpdate::Remove(flow) => {
                tags.remove(&flow.local_tag);
            }
        }
        Ok(())
    }

    /// After a timer was handled at `now`, the next one is due at `next`.
    pub(crate) fn check_progress(
        host: HostId,
        now: Instant,
        next: Option<Instant>,
    ) -> Result<(), Fault> {
        match next {
            Some(next) if next <= now => Err(format!("{host} waits for a time that is past")),
            Some(_) | None => Ok(()),
        }
    }
}

impl Tags {
    /// The context that has `tag` as its peer's.
    fn find(&mut self, tag: ContextTag, endpoint: &Endpoint) -> Option<ContextView> {
        let view = |id| endpoint.context(id).filter(|it| it.peer_tag == Some(tag));
        if let Some(found) = self.peer.get(&tag).and_then(|&id| view(id)) {
            return Some(found);
        }
        // Most likely one that has just begun: those are last.
        let mut ids = endpoint.context_ids().into_iter().rev();
        let (id, found) = ids.find_map(|id| Some((id, view(id)?)))?;
        self.peer.insert(tag, id);
        Some(found)
    }
}
