//! Which pairs are probed, how fast, and what it takes to move payload (RFC 5534 §4.3, §5.2, §6).

use std::collections::BTreeSet;
use std::time::Duration;

use shim6_core::{Event, Instant, LocatorPair, ReapState, UlidPair};
use shim6_wire::{Message, Probe, ProbeNonce, ProbeReport, ProbeState};
use shimq_tests::secs;

use crate::bench::{Line, Peer, Sent, Subject, left_on, probes, tagged, ulids};

/// A context whose peer has fallen silent, and the probes sent so far.
fn exploring() -> (Subject, UlidPair, Vec<Sent>) {
    let (mut subject, peer) = (Subject::new(), Peer::hba(2));
    let ulids = ulids(&subject, &peer);
    peer.be_asked(&mut subject, ulids);
    subject.send_payload(ulids);
    let sent = subject.wait(secs(16));
    assert_eq!(subject.context(ulids).unwrap().reap, ReapState::Exploring);
    (subject, ulids, sent)
}

/// The probes that explore. Those before ask the current pair whether there is a need to.
fn explored(sent: &[Sent], current: LocatorPair) -> Vec<(Instant, LocatorPair, Probe)> {
    let asked = |(_, pair, _): &(Instant, LocatorPair, Probe)| *pair == current;
    probes(sent).into_iter().skip_while(asked).collect()
}

/// A Probe of the peer's, which saw those of `received`.
fn probe(subject: &Subject, state: ProbeState, received: Vec<ProbeReport>) -> Message {
    let context = &subject.contexts()[0];
    Message::Probe(Probe {
        receiver_tag: context.local_tag,
        state,
        sent: vec![ProbeReport {
            source: context.ulids.peer,
            destination: context.ulids.local,
            nonce: ProbeNonce(0x77),
            data: 0x1234_5678,
        }],
        received,
    })
}

/// A context whose first round trip took this long.
fn established(trip: Duration) -> (Subject, UlidPair) {
    let (mut subject, peer) = (Subject::new(), Peer::hba(2));
    let ulids = ulids(&subject, &peer);
    let i1 = subject.begin(ulids);
    let i2 = subject.hear_r1(ulids.into(), i1.initiator_nonce);
    subject.wait(trip);
    let r2 = peer.r2(i2.initiator_nonce, peer.options());
    subject.hear(ulids.into(), &r2);
    (subject, ulids)
}

/// Longer makes every recovery longer, and what comes later is told of in the answer to the next probe.
#[test]
fn a_pair_that_was_silent_for_a_send_timeout_is_asked_for_one_round_trip() {
    let trip = Duration::from_millis(200);
    let (mut subject, ulids) = established(trip);
    subject.send_payload(ulids);
    let sent = subject.wait(secs(16));
    let (first, _, _) = probes(&sent)[0];
    let (elsewhere, _, _) = explored(&sent, ulids.into())[0];
    assert_eq!(elsewhere.since(first), trip);
    let asked = probes(&sent).len() - explored(&sent, ulids.into()).len();
    assert_eq!(asked, 8);
}

#[test]
fn silence_of_which_only_a_counter_tells_has_the_pair_tested_once_an_answer_would_have_come() {
    let (mut subject, ulids) = established(Duration::from_millis(30));
    for answered in [true, false] {
        subject.receive_payload(ulids);
        subject.wait(Duration::from_millis(60));
        subject.send_payload(ulids);
        assert_eq!(subject.note_silence(ulids), [], "it may be under way");
        subject.wait(Duration::from_millis(10));
        if answered {
            subject.receive_payload(ulids);
        }
        let sent = subject.wait(Duration::from_millis(20));
        let tested = probes(&sent)
            .iter()
            .any(|&(_, pair, _)| pair == ulids.into());
        assert_eq!(tested, !answered);
    }
}

#[test]
fn a_counter_that_knows_nothing_of_tagged_payload_tells_of_no_silence() {
    let (mut subject, ulids) = established(Duration::from_millis(10));
    let pair = LocatorPair {
        local: subject.address(1),
        peer: ulids.peer,
    };
    let tag = subject.context(ulids).unwrap().local_tag;
    for (wait, silent) in [(59, false), (60, true)] {
        assert!(subject.receive(tagged(pair, tag)).0.is_some());
        subject.wait(Duration::from_millis(wait));
        subject.send_payload(ulids);
        assert_eq!(!subject.note_silence(ulids).is_empty(), silent);
    }
}

#[test]
fn a_test_that_waits_for_an_answer_outlasts_the_keepalives_that_go_out_meanwhile() {
    let (mut subject, ulids) = established(secs(10));
    subject.receive_payload(ulids);
    subject.wait(Duration::from_millis(60));
    assert_eq!(
        subject.note_silence(ulids),
        [],
        "an answer may be under way"
    );
    let sent = subject.wait(secs(31));
    let keepalive = |sent: &Sent| matches!(sent.message, Message::Keepalive(_));
    let first_probe = sent.iter().position(|sent| !keepalive(sent)).unwrap();
    assert!(first_probe > 0);
    assert_eq!(probes(&sent)[0].1, ulids.into());
}

//= https://www.rfc-editor.org/rfc/rfc5534#section-4.3
//= type=test
//= id=R-014
//# nodes SHOULD attempt to test through all of them until an operational pair is found, and retry
//# the process as necessary.
//= https://www.rfc-editor.org/rfc/rfc5534#section-4.3
//= type=test
//= id=R-015,R-049,R-055
//# However, all nodes MUST perform this process sequentially and with exponential back-off.
#[test]
fn all_pairs_are_probed_one_after_the_other_more_and_more_slowly_and_again() {
    let (mut subject, ulids, mut sent) = exploring();
    sent.extend(subject.wait(secs(500)));
    let sent = explored(&sent, ulids.into());
    assert!(
        sent.iter()
            .all(|(_, _, probe)| probe.state == ProbeState::Exploring)
    );
    // The current pair was the first of the first round.
    let (first, others) = sent.split_at(3);
    for round in [first].into_iter().chain(others.chunks_exact(4)) {
        let pairs: BTreeSet<_> = round.iter().map(|(_, pair, _)| *pair).collect();
        assert_eq!(pairs.len(), round.len(), "a round tests every pair");
    }
    let gaps: Vec<_> = sent
        .windows(2)
        .map(|two| two[1].0.since(two[0].0))
        .collect();
    assert!(gaps.len() > 12, "{gaps:?}");
    for (gap, number) in gaps.iter().zip(0_u32..) {
        let doublings = number.saturating_sub(3).min(10);
        let nominal = (Duration::from_millis(500) * (1 << doublings)).min(secs(60));
        let range = nominal * 4 / 5..=nominal * 6 / 5;
        assert!(
            range.contains(gap),
            "gap {number}: {gap:?}, nominally {nominal:?}"
        );
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-7.2
//= type=test
//= id=S-063,S-064
//# In addition, it MUST verify that the ULID is indeed present at that locator.
//= https://www.rfc-editor.org/rfc/rfc5534#section-6.8
//= type=test
//= id=R-052
//# A new current address pair is chosen for the connection, based on the reports of received probes
//# in the message that we just received.
//= https://www.rfc-editor.org/rfc/rfc5534#section-6.9
//= type=test
//= id=R-054
//# The reachability detection and exploration process has no effect on payload communications until
//# a new operational address pair has actually been confirmed.
//= https://www.rfc-editor.org/rfc/rfc5534#section-3.5
//= type=test
//= id=R-006
//# Shim6 does not attempt to employ multiple paths simultaneously.
//= https://www.rfc-editor.org/rfc/rfc5534#section-3.3
//= type=test
//= id=R-005
//# Shim6 implementations MUST support the discovery of operational address pairs through the use of
//# explicit reachability tests and Forced Bidirectional Communication (FBD), described later in this
//# specification.
//= https://www.rfc-editor.org/rfc/rfc5534#section-9
//= type=test
//= id=R-060
//# it is RECOMMENDED that detected failures and failover events are reported via asynchronous
//# notifications to the management system.
#[test]
fn payload_moves_to_a_pair_when_the_nonce_that_was_sent_there_comes_back_and_not_before() {
    let (mut subject, ulids, sent) = exploring();
    let (_, pair, probed) = explored(&sent, ulids.into())[0].clone();
    assert_ne!(pair, ulids.into());
    let true_report = probed.sent[0];
    let guessed = ProbeReport {
        nonce: ProbeNonce(true_report.nonce.0 ^ 1),
        ..true_report
    };
    let hear = |subject: &mut Subject, report| {
        let message = probe(subject, ProbeState::InboundOk, vec![report]);
        subject.hear(pair, &message);
        left_on(&subject.send_payload(ulids)).0
    };
    assert_eq!(left_on(&subject.send_payload(ulids)), (ulids.into(), None));
    assert_eq!(hear(&mut subject, guessed), ulids.into());
    // The same again, nonces and all, but for the answer.
    let (mut subject, ..) = exploring();
    assert_eq!(hear(&mut subject, true_report), pair);
    let is_change = |event: &Event| matches!(event, Event::PairChanged { .. });
    assert!(subject.events.iter().any(is_change));
    let is_doubt = |event: &Event| matches!(event, Event::Exploring { .. });
    assert!(subject.events.iter().any(is_doubt));
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-11.1
//= type=test
//= id=S-158
//# If there has been a failure causing a switch, and later the context switches back to sending
//# things using the ULID pair as the locator pair, then there is no longer a need to do any packet
//# transformation by the sender; hence, there is no need to include the 8-octet Extension header.
#[test]
fn back_on_the_ulids_payload_is_left_alone() {
    let (mut subject, peer) = (Subject::new(), Peer::hba(2));
    let ulids = ulids(&subject, &peer);
    let line = Line {
        pair: LocatorPair {
            local: ulids.local,
            peer: peer.address(1),
        },
        ..Line::on_ulids(ulids)
    };
    peer.begin(&mut subject, line);
    let left = left_on(&subject.send_payload(ulids));
    assert_eq!(left, (line.pair, Some(peer.tag)));
    let sent = subject.wait(secs(40));
    let on_ulids = probes(&sent)
        .into_iter()
        .find(|(_, pair, _)| *pair == ulids.into());
    let (_, pair, probed) = on_ulids.unwrap();
    let message = probe(&subject, ProbeState::InboundOk, vec![probed.sent[0]]);
    subject.hear(pair, &message);
    assert_eq!(left_on(&subject.send_payload(ulids)), (ulids.into(), None));
}

/// Each packet that is shown has the pair tested later than the one before, and puts all timeouts off.
#[test]
fn a_better_pair_is_looked_for_in_the_midst_of_a_conversation_that_is_shown() {
    let (mut subject, ulids) = established(secs(10));
    subject.send_payload(ulids);
    let sent = subject.wait(secs(30));
    let (_, pair, probed) = explored(&sent, ulids.into())[0].clone();
    let found = probe(&subject, ProbeState::InboundOk, vec![probed.sent[0]]);
    subject.hear(pair, &found);
    let tag = subject.context(ulids).unwrap().local_tag;
    let mut sent = Vec::new();
    for _ in 0..700 {
        subject.receive(tagged(pair, tag));
        sent.extend(subject.wait(Duration::from_millis(100)));
        let packet = subject.send_payload(ulids);
        assert_eq!(left_on(&packet).0, pair);
        sent.extend(subject.note_unanswered(ulids, &packet));
    }
    let asked: Vec<_> = probes(&sent).iter().map(|&(_, pair, _)| pair).collect();
    assert!(asked.contains(&ulids.into()), "{asked:?}");
}

//= https://www.rfc-editor.org/rfc/rfc5534#section-5.2
//= type=test
//= id=R-027,R-028
//# When a sender is in state InboundOk it MUST include copies of the fields of at least one of the
//# inbound probes.
#[test]
fn in_inbound_ok_the_peers_probes_are_copied_back() {
    let (mut subject, ulids, _) = exploring();
    let Message::Probe(heard) = probe(&subject, ProbeState::Exploring, Vec::new()) else {
        unreachable!("it is made so")
    };
    let mut sent = subject.hear(ulids.into(), &Message::Probe(heard.clone()));
    sent.extend(subject.wait(secs(5)));
    let sent = probes(&sent);
    assert!(sent.len() > 3);
    for (_, _, probe) in sent {
        assert_eq!(probe.state, ProbeState::InboundOk);
        assert_eq!(probe.received, heard.sent);
    }
}

//= https://www.rfc-editor.org/rfc/rfc5534#section-5.2
//= type=test
//= id=R-026
//# The first set of Probe fields pertains to the current message and MUST be present, so the minimum
//# value for this field is 1.
//= https://www.rfc-editor.org/rfc/rfc5534#section-5.2
//= type=test
//= id=R-031,R-032
//# This value SHOULD be generated using a random number generator that is known to have good
//# randomness properties as outlined in RFC 4086 [RFC4086].
#[test]
fn each_probe_describes_itself_and_has_a_nonce_that_no_other_tells() {
    let (mut subject, ulids, mut sent) = exploring();
    // The upper layers go on, so the context stays.
    for _ in 0..2_000 {
        subject.send_payload(ulids);
        sent.extend(subject.wait(secs(60)));
    }
    let mut nonces = Vec::new();
    for (_, pair, probe) in probes(&sent) {
        let own = probe.sent[0];
        assert_eq!((own.source, own.destination), (pair.local, pair.peer));
        nonces.push(own.nonce.0);
    }
    let count = nonces.len();
    assert!(count > 1_500);
    let half = count * 2 / 5..count * 3 / 5;
    for bit in 0..32 {
        let ones = nonces.iter().filter(|&nonce| nonce >> bit & 1 == 1).count();
        let flips = nonces
            .windows(2)
            .filter(|two| (two[0] ^ two[1]) >> bit & 1 == 1);
        assert!(
            half.contains(&ones) && half.contains(&flips.count()),
            "bit {bit}"
        );
    }
}

//= https://www.rfc-editor.org/rfc/rfc5534#section-6.1
//= type=test
//= id=R-042
//# If the node is in the Exploring state, it transitions to the InboundOK state, sends a Probe
//# message, and starts the Send Timer.
#[test]
fn payload_is_a_sign_of_life_unless_the_address_that_it_came_to_is_gone() {
    let (mut subject, ulids, _) = exploring();
    let sent = subject.receive_payload(ulids);
    assert_eq!(probes(&sent)[0].2.state, ProbeState::InboundOk);

    let (mut subject, peer) = (Subject::new(), Peer::hba(2));
    peer.be_asked(&mut subject, ulids);
    subject.set_usable(0, false);
    assert_eq!(subject.receive_payload(ulids), []);
    assert_eq!(subject.context(ulids).unwrap().reap, ReapState::Exploring);
}

#[test]
fn a_peer_that_asks_elsewhere_is_answered_there_at_once() {
    let (mut subject, peer) = (Subject::new(), Peer::hba(2));
    let ulids = ulids(&subject, &peer);
    peer.be_asked(&mut subject, ulids);
    subject.send_payload(ulids);
    let waits = || probes(&subject.wait(Duration::from_millis(10)));
    let mut asked = std::iter::repeat_with(waits).take(2_000);
    let asked = asked.find(|asked| !asked.is_empty()).unwrap();
    // The current pair is being asked, and will be some more times.
    assert_eq!(asked[0].1, ulids.into());
    let elsewhere = LocatorPair {
        local: subject.address(1),
        peer: peer.address(1),
    };
    let question = probe(&subject, ProbeState::Exploring, Vec::new());
    let answer = probes(&subject.hear(elsewhere, &question));
    assert_eq!(answer[0].1, elsewhere);
    assert_eq!(answer[0].2.state, ProbeState::InboundOk);
}

#[test]
fn a_peer_that_may_not_hear_us_is_told_where_payload_goes_and_then_where_it_asked() {
    let (mut subject, peer) = (Subject::new(), Peer::hba(2));
    let ulids = ulids(&subject, &peer);
    peer.be_asked(&mut subject, ulids);
    let elsewhere = LocatorPair {
        local: subject.address(1),
        peer: peer.address(1),
    };
    let question = probe(&subject, ProbeState::InboundOk, Vec::new());
    let answered_on: Vec<LocatorPair> = (0..4)
        .map(|_| probes(&subject.hear(elsewhere, &question))[0].1)
        .collect();
    let current = ulids.into();
    assert_eq!(answered_on, [current, elsewhere, current, elsewhere]);
    assert_eq!(left_on(&subject.send_payload(ulids)).0, current);
}
