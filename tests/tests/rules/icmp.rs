//! ICMPv6 errors about mapped packets: acted upon or delivered, and never believed (RFC 5533 §8).

use std::net::Ipv6Addr;

use shim6_core::{Config, Event, LocatorPair, ReapState, UlidPair};
use shim6_wire::{Message, Probe, ProbeNonce, ProbeReport, ProbeState};

use shimq_tests::secs;

use crate::bench::{Line, Peer, Subject, left_on, only, probes, ulids};

/// A subject whose payload is mapped, its ULIDs and a packet that it sent.
fn subject_with_mapped_packet(config: Config) -> (Subject, UlidPair, LocatorPair, Vec<u8>) {
    let locators = shim6_sim::hba(0, &[0, 1].map(|provider| shim6_sim::prefix(0, provider)));
    let (mut subject, peer) = (Subject::with(config, locators), Peer::hba(2));
    let ulids = ulids(&subject, &peer);
    let pair = LocatorPair {
        local: ulids.local,
        peer: peer.address(1),
    };
    let line = Line {
        pair,
        ..Line::on_ulids(ulids)
    };
    peer.begin(&mut subject, line);
    // Tests of a pair keep a distance from each other and from the beginning.
    subject.wait(secs(2));
    let packet = subject.send_payload(ulids);
    assert_eq!(left_on(&packet), (pair, Some(peer.tag)));
    (subject, ulids, pair, packet)
}

/// The peer's answer on `pair`, where it heard `question`.
fn answer(subject: &Subject, ulids: UlidPair, pair: LocatorPair, question: &Probe) -> Message {
    Message::Probe(Probe {
        receiver_tag: subject.context(ulids).unwrap().local_tag,
        state: ProbeState::InboundOk,
        sent: vec![ProbeReport {
            source: pair.peer,
            destination: pair.local,
            nonce: ProbeNonce(1),
            data: 0,
        }],
        received: vec![question.sent[0]],
    })
}

/// What a router at 2001:db8:f::1 tells `host` about `packet`.
fn error(host: Ipv6Addr, ty: u8, code: u8, word: u32, packet: &[u8]) -> Vec<u8> {
    let router: Ipv6Addr = "2001:db8:f::1".parse().unwrap();
    let length = u16::try_from(8 + packet.len()).unwrap();
    let mut error = vec![0x60, 0, 0, 0];
    error.extend(length.to_be_bytes());
    error.extend([58, 64]);
    error.extend(router.octets());
    error.extend(host.octets());
    error.extend([ty, code, 0, 0]);
    error.extend(word.to_be_bytes());
    error.extend(packet);
    // RFC 4443 §2.3: addresses, length and Next Header count along.
    let words = error[8..].chunks(2);
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from);
    let sum = words.map(word).sum::<u32>() + u32::from(length) + 58;
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
    error[42..44].copy_from_slice(&checksum.to_be_bytes());
    error
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-8
//= type=test
//= id=S-131,S-133,S-134
//# All ICMP messages MUST be delivered to the ULP in all cases, except when Shim6 successfully acts
//# on the message (e.g., selects a new path).
#[test]
fn an_error_is_acted_upon_or_delivered() {
    // Where a Parameter Problem points: behind the payload extension header.
    let behind_shim6 = 48;
    for (ty, code, word, is_acted_upon) in [
        (1, 0, 0, true),
        (1, 1, 0, true),
        (1, 2, 0, true),
        (1, 3, 0, true),
        (1, 4, 0, false),
        (1, 5, 0, true),
        (1, 6, 0, true),
        (2, 0, 1400, false),
        (3, 0, 0, true),
        (4, 0, behind_shim6, false),
    ] {
        let (mut subject, ulids, pair, packet) = subject_with_mapped_packet(Config::default());
        let error = error(pair.local, ty, code, word, &packet);
        let (delivered, sent) = subject.receive(error);
        if is_acted_upon {
            assert_eq!(delivered, None, "type {ty}, code {code}");
            let asked: Vec<_> = probes(&sent).into_iter().map(|(_, pair, _)| pair).collect();
            assert_eq!(asked, [pair], "type {ty}, code {code}: the pair is tested");
        } else {
            let quoted = delivered.unwrap()[48..].to_vec();
            assert_eq!(
                left_on(&quoted),
                (ulids.into(), None),
                "type {ty}, code {code}"
            );
            assert_eq!(sent, []);
        }
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-8
//= type=test
//= id=S-132
//# There SHOULD be a configuration option to unconditionally deliver all ICMP messages (including
//# ones acted on by shim6) to the ULP.
#[test]
fn an_error_is_acted_upon_and_delivered_where_that_is_configured() {
    let config = Config {
        deliver_icmp_errors: true,
        ..Config::default()
    };
    let (mut subject, ulids, pair, packet) = subject_with_mapped_packet(config);
    let (delivered, sent) = subject.receive(error(pair.local, 1, 0, 0, &packet));
    let quoted = delivered.unwrap()[48..].to_vec();
    assert_eq!(left_on(&quoted), (ulids.into(), None));
    assert_eq!(probes(&sent).len(), 1, "{sent:?}");
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-8
//= type=test
//= id=S-131
//# All ICMP messages MUST be delivered to the ULP in all cases, except when Shim6 successfully acts
//# on the message (e.g., selects a new path).
#[test]
fn an_error_about_the_pair_just_left_is_delivered_unless_leaving_was_the_answer_to_it() {
    for (ty, code, word, is_answered) in [
        (1, 0, 0, true),
        (3, 0, 0, true),
        (1, 4, 0, false),
        (2, 0, 1280, false),
    ] {
        let (mut subject, ulids, pair, packet) = subject_with_mapped_packet(Config::default());
        let sent = subject.wait(secs(40));
        let mut asked = probes(&sent).into_iter();
        let (_, elsewhere, question) = asked.find(|(_, asked, _)| *asked != pair).unwrap();
        subject.hear(elsewhere, &answer(&subject, ulids, elsewhere, &question));
        assert_eq!(left_on(&subject.send_payload(ulids)).0, elsewhere);

        let (delivered, sent) = subject.receive(error(pair.local, ty, code, word, &packet));
        assert_eq!(sent, [], "the pair in use is not doubted");
        let quoted = delivered.map(|error| left_on(&error[48..]));
        let expected = (!is_answered).then(|| (ulids.into(), None));
        assert_eq!(quoted, expected, "type {ty}, code {code}");
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-8
//= type=test
//= id=S-131
//# All ICMP messages MUST be delivered to the ULP in all cases, except when Shim6 successfully acts
//# on the message (e.g., selects a new path).
#[test]
fn an_error_is_delivered_once_no_pair_has_answered_and_until_one_does() {
    let (mut subject, ulids, pair, packet) = subject_with_mapped_packet(Config::default());
    let swallowed = |subject: &mut Subject| {
        let (delivered, _) = subject.receive(error(pair.local, 1, 0, 0, &packet));
        delivered.map(|error| left_on(&error[48..]))
    };
    assert_eq!(swallowed(&mut subject), None, "there is a pair to move to");
    let mut question = None;
    let told = loop {
        let sent = subject.wait(secs(1));
        question = probes(&sent).pop().or(question);
        let unreachable = |event: &Event| matches!(event, Event::Unreachable { .. });
        if subject.events.iter().any(unreachable) {
            break swallowed(&mut subject);
        }
        assert_eq!(swallowed(&mut subject), None, "pairs are left to probe");
    };
    assert_eq!(told, Some((ulids.into(), None)));

    let (_, elsewhere, question) = question.unwrap();
    subject.hear(elsewhere, &answer(&subject, ulids, elsewhere, &question));
    assert_eq!(swallowed(&mut subject), None, "a pair was found");
}

#[test]
fn an_error_about_plain_ipv6_is_delivered_as_it_came() {
    let mut subject = Subject::new();
    let ulids = ulids(&subject, &Peer::hba(1));
    let packet = subject.send_payload(ulids);
    for (ty, code) in [(1, 0), (1, 4), (2, 0), (3, 0), (4, 1)] {
        let error = error(ulids.local, ty, code, 0, &packet);
        assert_eq!(subject.receive(error.clone()), (Some(error), vec![]));
    }
}

//= https://www.rfc-editor.org/rfc/rfc5534#section-8
//= type=test
//= id=R-058
//# Unprotected indications SHOULD NOT be taken as a proof of connectivity problems.
#[test]
fn a_forged_error_moves_nothing() {
    let (mut subject, ulids, pair, packet) = subject_with_mapped_packet(Config::default());
    let (_, sent) = subject.receive(error(pair.local, 1, 0, 0, &packet));
    assert_eq!(left_on(&subject.send_payload(ulids)).0, pair);
    let Message::Probe(question) = only(sent).message else {
        panic!("no Probe")
    };
    // The peer is there and answers.
    let answer = answer(&subject, ulids, pair, &question);
    subject.hear(pair, &answer);
    let context = subject.context(ulids).unwrap();
    assert_eq!(
        (context.reap, context.current),
        (ReapState::Operational, pair)
    );
}
