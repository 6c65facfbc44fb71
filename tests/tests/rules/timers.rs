//! The timers and the state machine of REAP (RFC 5534 §4.1, §5.3, §6).

use std::time::Duration;

use shim6_core::{Config, Instant, ReapState, UlidPair};
use shim6_sim::{hba, prefix};
use shim6_wire::{
    Keepalive, KeepaliveTimeout, LocatorOptions, Message, Probe, ProbeNonce, ProbeReport,
    ProbeState, R2, RequestNonce, UpdateRequest,
};
use shimq_tests::secs;

use crate::bench::{Peer, Sent, Subject, only, probes, ulids};

/// Longer than a Send Timeout, its randomisation included; shorter than two.
const PAST_SEND_TIMEOUT: Duration = secs(16);

/// What may happen to a context.
#[derive(Clone, Copy, Debug)]
enum Happening {
    PayloadIn,
    PayloadOut,
    KeepaliveIn,
    UpdateIn,
    ProbeIn(ProbeState),
    SendTimeout,
}

use Happening::{KeepaliveIn, PayloadIn, PayloadOut, ProbeIn, SendTimeout, UpdateIn};
use ReapState::{Exploring, InboundOk, Operational};

/// A context that is in `state`.
fn subject_in(state: ReapState) -> (Subject, UlidPair) {
    let (mut subject, peer) = (Subject::new(), Peer::hba(2));
    let ulids = ulids(&subject, &peer);
    peer.be_asked(&mut subject, ulids);
    match state {
        Operational => {}
        Exploring => {
            subject.send_payload(ulids);
            subject.wait(PAST_SEND_TIMEOUT);
        }
        InboundOk => {
            happen(&mut subject, ulids, ProbeIn(ProbeState::Exploring));
        }
    }
    assert_eq!(reap(&subject, ulids), state);
    (subject, ulids)
}

fn reap(subject: &Subject, ulids: UlidPair) -> ReapState {
    subject.context(ulids).unwrap().reap
}

fn send_timer(subject: &Subject, ulids: UlidPair) -> Option<Instant> {
    subject.context(ulids).unwrap().account.awaiting_peer()
}

fn keepalive_timer(subject: &Subject, ulids: UlidPair) -> Option<Instant> {
    subject.context(ulids).unwrap().account.owed_to_peer()
}

fn happen(subject: &mut Subject, ulids: UlidPair, what: Happening) -> Vec<Sent> {
    let receiver_tag = subject.context(ulids).unwrap().local_tag;
    let message = match what {
        PayloadIn => return subject.receive_payload(ulids),
        PayloadOut => {
            subject.send_payload(ulids);
            return Vec::new();
        }
        SendTimeout => {
            subject.send_payload(ulids);
            return subject.wait(PAST_SEND_TIMEOUT);
        }
        KeepaliveIn => Message::Keepalive(Keepalive { receiver_tag }),
        UpdateIn => Message::UpdateRequest(UpdateRequest {
            receiver_tag,
            request_nonce: RequestNonce(1),
            locators: LocatorOptions::default(),
            keepalive_timeout: None,
        }),
        ProbeIn(state) => Message::Probe(Probe {
            receiver_tag,
            state,
            sent: vec![ProbeReport {
                source: ulids.peer,
                destination: ulids.local,
                nonce: ProbeNonce(0x0abc),
                data: 0x0def,
            }],
            received: Vec::new(),
        }),
    };
    subject.hear(ulids.into(), &message)
}

//= https://www.rfc-editor.org/rfc/rfc5534#section-6
//= type=test
//= id=R-041,R-042,R-044,R-046,R-048,R-049,R-050,R-051,R-052,R-053
//# The externally observable behavior of an implementation MUST conform to this state machine
//= https://www.rfc-editor.org/rfc/rfc5534#section-6.1
//= type=test
//= id=R-043
//# When sending a Probe message, the State field MUST be set to a value that matches the conceptual
//# state of the sender after sending the Probe.
#[test]
fn every_happening_in_every_state_has_the_effect_of_the_table() {
    let [any_in, any_out] = [ProbeState::InboundOk, ProbeState::Operational].map(Some);
    for (what, effects) in [
        (
            PayloadIn,
            [(None, Operational), (any_in, InboundOk), (None, InboundOk)],
        ),
        (
            UpdateIn,
            [(None, Operational), (any_in, InboundOk), (None, InboundOk)],
        ),
        (
            PayloadOut,
            [(None, Operational), (None, Exploring), (None, InboundOk)],
        ),
        (
            KeepaliveIn,
            [(None, Operational), (any_in, InboundOk), (None, InboundOk)],
        ),
        (ProbeIn(ProbeState::Exploring), [(any_in, InboundOk); 3]),
        (ProbeIn(ProbeState::InboundOk), [(any_out, Operational); 3]),
        (ProbeIn(ProbeState::Operational), [(None, Operational); 3]),
        (SendTimeout, [(Some(ProbeState::Exploring), Exploring); 3]),
    ] {
        for (from, (probe, to)) in [Operational, Exploring, InboundOk].into_iter().zip(effects) {
            let (mut subject, ulids) = subject_in(from);
            let sent = happen(&mut subject, ulids, what);
            let last = probes(&sent).last().map(|(_, _, probe)| probe.state);
            assert_eq!(
                (last, reap(&subject, ulids)),
                (probe, to),
                "{what:?} in {from:?}"
            );
        }
    }
}

//= https://www.rfc-editor.org/rfc/rfc5534#section-6
//= type=test
//= id=R-011,R-041,R-042,R-046,R-050,R-051,R-052,R-053
//# That is, either the Keepalive Timer or the Send Timer is running, or neither of them is running.
#[test]
fn every_happening_in_operational_starts_and_stops_the_timers_of_the_table() {
    for before in [None, Some(PayloadIn), Some(PayloadOut)] {
        for (what, send, keepalive) in [
            (PayloadIn, false, true),
            (PayloadOut, true, false),
            (ProbeIn(ProbeState::Exploring), true, false),
            (ProbeIn(ProbeState::InboundOk), true, false),
            (ProbeIn(ProbeState::Operational), false, true),
        ] {
            let (mut subject, ulids) = subject_in(Operational);
            if let Some(before) = before {
                happen(&mut subject, ulids, before);
            }
            let begun = subject.now;
            subject.wait(secs(1));
            happen(&mut subject, ulids, what);
            let timers = (
                send_timer(&subject, ulids).is_some(),
                keepalive_timer(&subject, ulids).is_some(),
            );
            assert_eq!(timers, (send, keepalive), "{what:?} after {before:?}");
            // A second packet does not start the timer anew, a probe does.
            match (before, what) {
                (Some(PayloadOut), PayloadOut) => {
                    assert_eq!(send_timer(&subject, ulids), Some(begun));
                }
                (Some(PayloadIn), PayloadIn) => {
                    assert_eq!(keepalive_timer(&subject, ulids), Some(begun));
                }
                (_, ProbeIn(ProbeState::Exploring | ProbeState::InboundOk)) => {
                    assert_eq!(send_timer(&subject, ulids), Some(subject.now));
                }
                _ => {}
            }
        }
        let (mut subject, ulids) = subject_in(Operational);
        happen(&mut subject, ulids, PayloadOut);
        happen(&mut subject, ulids, KeepaliveIn);
        assert_eq!(
            send_timer(&subject, ulids),
            None,
            "a keepalive is an answer"
        );
    }
}

//= https://www.rfc-editor.org/rfc/rfc5534#section-6.1
//= type=test
//= id=R-042
//# If the node is in the Exploring state, it transitions to the
//# InboundOK state, sends a Probe message, and starts the Send Timer.
#[test]
fn a_sign_of_life_starts_the_send_timer_in_exploring_and_stops_it_in_inbound_ok() {
    for what in [PayloadIn, KeepaliveIn] {
        let (mut subject, ulids) = subject_in(Exploring);
        assert_eq!(send_timer(&subject, ulids), None);
        happen(&mut subject, ulids, what);
        assert_eq!(send_timer(&subject, ulids), Some(subject.now), "{what:?}");

        let (mut subject, ulids) = subject_in(InboundOk);
        assert!(send_timer(&subject, ulids).is_some());
        happen(&mut subject, ulids, what);
        assert_eq!(send_timer(&subject, ulids), None, "{what:?}");
    }
}

//= https://www.rfc-editor.org/rfc/rfc5534#section-6.5
//= type=test
//= id=R-049
//# A similar process is employed in the InboundOk state, except that upon such retransmission, the
//# Send Timer is started if it was not running already.
#[test]
fn a_repeated_probe_starts_the_send_timer() {
    let (mut subject, ulids) = subject_in(InboundOk);
    happen(&mut subject, ulids, PayloadIn);
    assert_eq!(send_timer(&subject, ulids), None);
    let sent = subject.wait(Duration::from_millis(700));
    let repeated = &sent[0];
    assert!(matches!(repeated.message, Message::Probe(_)));
    assert_eq!(send_timer(&subject, ulids), Some(repeated.at));
}

/// When keepalives were sent, in seconds after `start`.
fn keepalives(sent: &[Sent], start: Instant) -> Vec<u64> {
    let is_keepalive = |sent: &&Sent| matches!(sent.message, Message::Keepalive(_));
    let of = |sent: &Sent| sent.at.since(start).as_secs();
    sent.iter().filter(is_keepalive).map(of).collect()
}

//= https://www.rfc-editor.org/rfc/rfc5534#section-4.1
//= type=test
//= id=R-008
//# The RECOMMENDED approach for the Keepalive Interval is to send keepalives at one-half to
//# one-third of the Keepalive Timeout interval, so that multiple keepalives are generated and have
//# time to reach the peer before it times out.
//= https://www.rfc-editor.org/rfc/rfc5534#section-6.1
//= type=test
//= id=R-009,R-045
//# While the Keepalive Timer is running, the node SHOULD send Keepalive messages to the peer with an
//# interval of Keepalive Interval seconds.
//= https://www.rfc-editor.org/rfc/rfc5534#section-6.3
//= type=test
//= id=R-047
//# Upon a timeout on the Keepalive Timer, the node sends one last Keepalive message.
#[test]
fn whoever_only_receives_sends_keepalives_for_a_keepalive_timeout() {
    let (mut subject, ulids) = subject_in(Operational);
    let start = subject.now;
    subject.receive_payload(ulids);
    let sent = subject.wait(secs(60));
    assert_eq!(keepalives(&sent, start), [5, 10, 15]);
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|sent| sent.pair == ulids.into()));
}

#[test]
fn a_host_that_slept_through_two_keepalives_sends_one_for_both() {
    let (mut subject, ulids) = subject_in(Operational);
    let start = subject.now;
    subject.receive_payload(ulids);
    subject.now = start + secs(12);
    let sent = subject.wait(secs(8));
    assert_eq!(keepalives(&sent, start), [12, 15]);
}

//= https://www.rfc-editor.org/rfc/rfc5534#section-4.1
//= type=test
//= id=R-010
//# Keepalives are not sent at all if one or more payload packets were sent within the Keepalive
//# Interval.
#[test]
fn whoever_answers_sends_no_keepalives() {
    let (mut subject, ulids) = subject_in(Operational);
    for _ in 0..60 {
        subject.receive_payload(ulids);
        assert_eq!(subject.wait(secs(1)), []);
        subject.send_payload(ulids);
        assert_eq!(subject.wait(secs(2)), []);
    }
}

//= https://www.rfc-editor.org/rfc/rfc5534#section-5.3
//= type=test
//= id=R-037
//# If a node receives this option, it SHOULD update its Keepalive Timeout value for the peer.
//= https://www.rfc-editor.org/rfc/rfc5534#section-5.3
//= type=test
//= id=R-036
//# The option SHOULD only need to be sent once in a given Shim6 association.
#[test]
fn a_peers_send_timeout_stays_known_once_it_was_said() {
    let (mut subject, peer) = (Subject::new(), Peer::hba(2));
    let ulids = ulids(&subject, &peer);
    let i1 = subject.begin(ulids);
    subject.hear_r1(ulids.into(), i1.initiator_nonce);
    let r2 = Message::R2(R2 {
        responder_tag: peer.tag,
        initiator_nonce: i1.initiator_nonce,
        locators: peer.options(),
        keepalive_timeout: Some(KeepaliveTimeout(30)),
    });
    subject.hear(ulids.into(), &r2);
    for _ in 0..2 {
        let start = subject.now;
        subject.receive_payload(ulids);
        let sent = subject.wait(secs(100));
        assert_eq!(keepalives(&sent, start), [10, 20, 30]);
        // Nothing is said about it the second time.
        happen(&mut subject, ulids, UpdateIn);
        subject.send_payload(ulids);
        happen(&mut subject, ulids, KeepaliveIn);
    }
}

//= https://www.rfc-editor.org/rfc/rfc5534#section-5.3
//= type=test
//= id=R-034,R-035
//# If the node is using a non-default Send Timeout value, it MUST communicate this value as a
//# Keepalive Timeout value to the peer in the below option.
#[test]
fn a_send_timeout_of_ones_own_is_told_and_the_default_is_not() {
    let peer = Peer::hba(2);
    for (seconds, told) in [(15, None), (40, Some(KeepaliveTimeout(40)))] {
        let config = Config {
            send_timeout: secs(seconds),
            ..Config::default()
        };
        let locators = hba(0, &[prefix(0, 0), prefix(0, 1)]);
        let mut subject = Subject::with(config, locators);
        let ulids = ulids(&subject, &peer);
        let (_, i2) = peer.be_asked(&mut subject, ulids);
        let sent = only(subject.set_usable(1, false));
        let Message::UpdateRequest(update) = sent.message else {
            panic!("{sent:?}")
        };
        let again = peer.i1(crate::bench::Line::on_ulids(ulids));
        let sent = only(subject.hear(ulids.into(), &again));
        let Message::R2(r2) = sent.message else {
            panic!("{sent:?}")
        };
        let i2bis = subject.hear_r1bis(ulids.into(), peer.tag);
        let all = [
            i2.keepalive_timeout,
            update.keepalive_timeout,
            r2.keepalive_timeout,
            i2bis.keepalive_timeout,
        ];
        assert_eq!(all, [told; 4]);
    }
}

//= https://www.rfc-editor.org/rfc/rfc5534#section-4.1
//= type=test
//= id=R-012
//# The actual value SHOULD be randomized in order to prevent synchronization.
#[test]
fn two_hosts_lose_patience_at_different_times() {
    let peer = Peer::hba(2);
    let mut waits = Vec::new();
    for seed in 0..20 {
        let locators = hba(0, &[prefix(0, 0), prefix(0, 1)]);
        let mut subject = Subject::seeded(Config::default(), locators, seed);
        let ulids = ulids(&subject, &peer);
        peer.be_asked(&mut subject, ulids);
        let start = subject.now;
        subject.send_payload(ulids);
        let sent = subject.wait(PAST_SEND_TIMEOUT);
        waits.push(sent[0].at.since(start));
    }
    let around = Duration::from_millis(14_250)..Duration::from_millis(15_750);
    assert!(waits.iter().all(|wait| around.contains(wait)), "{waits:?}");
    waits.sort_unstable();
    waits.dedup();
    assert_eq!(waits.len(), 20);
}
