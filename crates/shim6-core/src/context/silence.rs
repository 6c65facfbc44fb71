//! Suspecting the current pair before REAP's Send Timeout does, and resuming after a change of pair.
//!
//! A flow that was answered until now and suddenly is not, is worth a question: a Probe on the
//! current pair, which costs three small messages if all is well. Only if that finds no answer
//! either are other pairs probed, and only a probe that came back moves payload: silence alone never
//! does. A context whose silence turns out to mean nothing (it sends one way, its peer thinks before
//! it answers) is asked less and less.
//!
//! Packets sent into silence are kept, the last few of them. When payload moves to another pair they
//! are sent again there at once: TCP learns from the answer what was lost and need not sit out its
//! back-off, and a datagram that died with the old pair gets its second chance.

use std::collections::VecDeque;
use std::net::Ipv6Addr;
use std::time::Duration;

use pnet_packet::Packet as _;
use pnet_packet::ip::IpNextHeaderProtocols;
use pnet_packet::ipv6::Ipv6Packet;
use pnet_packet::tcp::{TcpFlags, TcpPacket};
use shim6_wire::{Class, ContextTag, Packet, classify};

use super::Context;
use crate::dispatch::addresses;
use crate::endpoint::Endpoint;
use crate::event::{Cause, Resend};
use crate::flow::Path;
use crate::pair::{LocatorPair, UlidPair};
use crate::reap;
use crate::time::Instant;

/// Packets kept for each context: as many as TCP's initial window.
const KEPT_MAX: usize = 10;

/// How old a packet may be when it is sent again: older ones are of no use to anybody.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// A context that received something this short ago was in the middle of a conversation.
const CONVERSATION: Duration = Duration::from_secs(1);

/// How long the Probe that tells the peer of the new pair goes ahead of what is sent again: the answer
/// to that shall find the peer on its new pair.
const PROBE_LEAD: Duration = Duration::from_millis(3);

/// How long a false alarm is held against suspicion.
const FORGIVENESS: Duration = Duration::from_secs(60);

/// What a failure took.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lost {
    /// What this host sent.
    Packet,
    /// What the peer answered, so that ours may have arrived: only TCP may get it twice.
    Answer,
}

#[derive(Debug)]
struct Kept {
    at: Instant,
    packet: Vec<u8>,
}

/// What is sent without an answer.
#[derive(Debug)]
pub(crate) struct Silence {
    since: Instant,
    /// As the local stack sent them.
    kept: VecDeque<Kept>,
    /// When to test the pair if nothing was heard by then: whoever sent may wait for an answer before it
    /// sends again, as TCP does when its window is full.
    test_due: Option<Instant>,
    /// When to send them again, once it is known where to.
    resend_due: Option<Instant>,
}

impl Endpoint {
    /// Notes a payload packet that was sent into silence ([`crate::Notice::Unanswered`]); `packet` is
    /// as it left the flow table.
    ///
    /// The account of the flow has to be up to date: what was heard since ends the silence.
    pub fn handle_unanswered(&mut self, now: Instant, tag: ContextTag, packet: &[u8]) {
        let found = self.table.take_by_local_tag(tag);
        let Some(mut context) = found else { return };
        let original = unmapped(packet, context.ulids);
        if context.state.has_peer() {
            let silent = self.unheard(&context, now) >= self.config.suspicious_silence;
            if left_on(packet) != Some(context.current.pair()) {
                // It left while payload moved: on the dead pair, and perhaps the peer waits for it.
                let path = context.flow().path;
                self.resends
                    .extend(original.and_then(|original| on_path(original, path)));
            } else if silent {
                let wants_answer = original.as_deref().is_none_or(draws_answer);
                context.keep(now, original);
                if wants_answer {
                    self.suspect(&mut context, now);
                }
            }
            // Where each packet is shown, each puts the next timeout off.
            self.return_if_better(&mut context, now);
        }
        self.settle(context, now);
    }

    /// Notes that payload was sent into silence of which no packet can be shown: a counter told, which knows
    /// nothing of what arrives tagged.
    ///
    /// The account of the flow has to be up to date, as for [`Self::handle_unanswered`].
    pub fn handle_silence(&mut self, now: Instant, tag: ContextTag) {
        let found = self.table.take_by_local_tag(tag);
        let Some(mut context) = found else { return };
        let silent = context.account.seen_since(now) >= self.config.suspicious_silence;
        if context.state.has_peer() && silent {
            context.keep(now, None);
            self.suspect(&mut context, now);
        }
        self.settle(context, now);
    }

    /// Tests the pairs in use that leave from `local`: something about the way out of this host has
    /// become doubtful there, such as a default router that answers no Neighbor Solicitation. That is a
    /// hint, and moves nothing by itself. Contexts that nobody has used lately find out when they are.
    //= https://www.rfc-editor.org/rfc/rfc5534#section-3.2
    //= id=R-003
    //# Shim6 implementations MUST be able to employ information provided from Neighbor Unreachability
    //# Detection [RFC4861].
    pub fn handle_doubtful_locator(&mut self, now: Instant, local: Ipv6Addr) {
        for id in self.table.ids() {
            let leaves_there = self.table.get(id).is_some_and(|context| {
                let in_use = now.since(context.last_used()) < self.config.send_timeout;
                in_use && context.state.has_peer() && context.current.pair().local == local
            });
            if let Some(mut context) = leaves_there.then(|| self.table.take(id)).flatten() {
                self.test_current_pair(&mut context, now);
                self.settle(context, now);
            }
        }
    }

    /// How long nothing has been heard, at the least, when a packet sent into silence is shown.
    ///
    /// Packets of a context that is not mapped are counted by the kernel. Its counters are read now and
    /// then, so that the account has a packet heard up to a whole interval late; but what the kernel
    /// shows was silent when it was sent.
    fn unheard(&self, context: &Context, now: Instant) -> Duration {
        let heard = context.account.last_received();
        let counted = heard.map_or(Duration::MAX, |heard| now.since(heard));
        match context.flow().path {
            Path::Mapped { .. } => counted,
            Path::Untouched => counted.max(self.config.suspicious_silence),
        }
    }

    /// Tests the current pair if the silence has lasted too long for this context, or sees to it that
    /// this is looked at again when it will have.
    fn suspect(&mut self, context: &mut Context, now: Instant) {
        let Some(silence) = &context.silence else {
            return;
        };
        let unanswered = now.since(silence.since);
        let unheard = self.unheard(context, now);
        let answer = context.reap.round_trip().nearly_always();
        let count = context.false_alarms.0;
        // In the middle of a conversation something comes back all the time: what is missing there is
        // missing as soon as it should have been here.
        let missing = if count == 0 && unheard < CONVERSATION {
            answer.saturating_sub(unheard)
        } else {
            let least = self.config.test_timeout.max(answer);
            let doublings = count.saturating_sub(1).min(16);
            let patience = (least * (1 << doublings)).min(self.config.send_timeout);
            patience.saturating_sub(unanswered)
        };
        if missing.is_zero() {
            self.test_current_pair(context, now);
        } else if let Some(silence) = &mut context.silence {
            silence.test_due.get_or_insert(now + missing);
        }
    }

    /// Asks the peer on the current pair whether it is heard, unless that was asked lately or hints
    /// count for nothing.
    pub(crate) fn test_current_pair(&mut self, context: &mut Context, now: Instant) {
        let idle = context.reap.state() == reap::State::Operational;
        if self.config.hints && idle && now.since(context.tested_at) >= self.config.test_interval {
            context.tested_at = now;
            if !self.left_to_others(context, now) {
                self.explore(context, Cause::Silence, now);
            }
        }
    }

    /// The doubt was unfounded: the next one comes later.
    pub(super) fn note_false_alarm(context: &mut Context, now: Instant) {
        let (count, last) = context.false_alarms;
        let count = if now.since(last) > FORGIVENESS {
            count / 2
        } else {
            count
        };
        context.false_alarms = (count + 1, now);
        context.silence = None;
    }

    /// Has what was kept sent again, shortly: both ends know by now where to.
    pub(super) fn schedule_resend(context: &mut Context, now: Instant, lost: Lost) {
        context.false_alarms.0 /= 2;
        let heard = context.account.last_received().unwrap_or_default();
        if let Some(silence) = &mut context.silence {
            let answered = heard > silence.since;
            silence.kept.retain(|kept| {
                let fresh = now.since(kept.at) <= KEPT_FOR;
                fresh && !answered && (lost == Lost::Packet || is_tcp(&kept.packet))
            });
            silence.resend_due = Some(now + PROBE_LEAD);
        }
    }

    /// Tests the pair or sends what was kept, if that is due.
    pub(crate) fn handle_silence_timeout(&mut self, context: &mut Context, now: Instant) {
        let heard = context.account.last_received();
        let is_due = |silence: &mut Box<Silence>| {
            let due = silence.test_due.take_if(|due| now >= *due);
            due.is_some() && heard.is_none_or(|heard| heard <= silence.since)
        };
        if context.silence.as_mut().is_some_and(is_due) {
            self.test_current_pair(context, now);
        }
        let path = context.flow().path;
        let outdated = |silence: &mut Box<Silence>| {
            let of_use = |kept: &Kept| now.since(kept.at) <= KEPT_FOR;
            silence.due().is_none() && !silence.kept.back().is_some_and(of_use)
        };
        context.silence.take_if(outdated);
        let due = |silence: &mut Box<Silence>| silence.resend_due.is_some_and(|due| now >= due);
        if let Some(silence) = context.silence.take_if(due) {
            let kept = silence.kept.into_iter();
            self.resends
                .extend(kept.filter_map(|kept| on_path(kept.packet, path)));
        }
    }
}

impl Silence {
    /// Has the pair tested not before `at`.
    pub(super) fn test_again(&mut self, at: Instant) {
        self.test_due = Some(at);
    }

    /// When the pair is to be tested or what was kept is to be sent again.
    pub(super) fn due(&self) -> Option<Instant> {
        [self.test_due, self.resend_due].into_iter().flatten().min()
    }
}

impl Context {
    /// Keeps a packet, unless the silence ended and began anew: then only this one. A part of a packet
    /// counts, but cannot be kept.
    fn keep(&mut self, now: Instant, packet: Option<Vec<u8>>) {
        let heard = self.account.last_received().unwrap_or_default();
        let over = |silence: &Silence| heard > silence.since && silence.resend_due.is_none();
        if self.silence.as_deref().is_some_and(over) {
            self.silence = None;
        }
        let fresh = || {
            Box::new(Silence {
                since: now,
                test_due: None,
                resend_due: None,
                kept: VecDeque::new(),
            })
        };
        let silence = self.silence.get_or_insert_with(fresh);
        let Some(packet) = packet else { return };
        if silence.kept.len() == KEPT_MAX {
            silence.kept.pop_front();
        }
        silence.kept.push_back(Kept { at: now, packet });
    }
}

fn is_tcp(packet: &[u8]) -> bool {
    Ipv6Packet::new(packet)
        .is_some_and(|header| header.get_next_header() == IpNextHeaderProtocols::Tcp)
}

/// Whether silence after `packet` means anything. A bare acknowledgement, with which many a transfer
/// ends, is never answered.
fn draws_answer(packet: &[u8]) -> bool {
    if !is_tcp(packet) {
        return true;
    }
    Ipv6Packet::new(packet).is_some_and(|header| {
        TcpPacket::new(header.payload()).is_some_and(|segment| {
            segment.get_flags() & (TcpFlags::SYN | TcpFlags::FIN) != 0
                || !segment.payload().is_empty()
        })
    })
}

/// The pair that `packet` carries in its header.
fn left_on(packet: &[u8]) -> Option<LocatorPair> {
    let (local, peer) = addresses(packet)?;
    Some(LocatorPair { local, peer })
}

/// `packet` as the local stack sent it; `None` for a part of one.
fn unmapped(packet: &[u8], ulids: UlidPair) -> Option<Vec<u8>> {
    let mut octets = packet.to_vec();
    let tagged = matches!(classify(&octets), Class::PayloadExt { .. });
    let end = octets.len();
    let mut view = Packet::new(&mut octets, 0, end).ok()?;
    if tagged {
        view.remove_payload_ext(ulids.local, ulids.peer).ok()?;
    }
    Some(view.octets().to_vec())
}

/// `original` and how it goes on `path`; `None` if it does not fit.
fn on_path(original: Vec<u8>, path: Path) -> Option<Resend> {
    let Path::Mapped { locators, peer_tag } = path else {
        return Some(Resend {
            packet: original.clone(),
            original,
        });
    };
    let mut buffer = vec![0; Packet::HEADROOM];
    buffer.extend_from_slice(&original);
    let end = buffer.len();
    let mut view = Packet::new(&mut buffer, Packet::HEADROOM, end).ok()?;
    view.insert_payload_ext(peer_tag, locators.local, locators.peer)
        .ok()?;
    Some(Resend {
        packet: view.octets().to_vec(),
        original,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A TCP segment with twelve octets of options.
    fn segment(flags: u8, data: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, 6, 64];
        packet.resize(40, 0);
        let mut header = [0; 32];
        (header[12], header[13]) = (8 << 4, flags);
        packet.extend(header);
        packet.extend(data);
        packet[5] = 32 + data.len() as u8;
        packet
    }

    #[test]
    fn silence_after_a_bare_acknowledgement_means_nothing() {
        assert!(!draws_answer(&segment(TcpFlags::ACK, b"")));
        assert!(draws_answer(&segment(TcpFlags::ACK, b"x")));
        assert!(draws_answer(&segment(TcpFlags::ACK | TcpFlags::FIN, b"")));
        assert!(draws_answer(&segment(TcpFlags::SYN, b"")));
        let mut datagram = segment(TcpFlags::ACK, b"");
        datagram[6] = 17;
        assert!(draws_answer(&datagram));
    }
}
