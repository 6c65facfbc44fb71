//! Locator updates, both ways (RFC 5533 §10).

use shim6_core::{Config, DropReason, ReapState, State};
use shim6_wire::{
    ContextTag, ErrorCode, Generation, LocatorOptions, LocatorPreferences, Message, Preference,
    PreferenceFlags, RequestNonce, UpdateAck, UpdateRequest,
};
use shimq_tests::secs;

use crate::bench::{Line, Peer, Sent, Subject, only, ulids};

/// The Update Requests among what was sent.
fn requests(sent: Vec<Sent>) -> Vec<(shim6_core::Instant, UpdateRequest)> {
    let request = |sent: Sent| {
        let Message::UpdateRequest(request) = sent.message else {
            panic!("{sent:?}")
        };
        (sent.at, request)
    };
    sent.into_iter().map(request).collect()
}

fn generation(request: &UpdateRequest) -> Generation {
    request.locators.list.as_ref().unwrap().generation
}

fn ack(tag: ContextTag, request_nonce: RequestNonce) -> Message {
    Message::UpdateAck(UpdateAck {
        receiver_tag: tag,
        request_nonce,
    })
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-10.2
//= type=test
//= id=S-141
//# Should there be no response, the retransmissions continue forever.  The binary exponential
//# backoff stops at MAX_UPDATE_TIMEOUT.
#[test]
fn an_update_is_repeated_until_it_is_acknowledged() {
    let (mut subject, peer) = (Subject::new(), Peer::hba(2));
    let ulids = ulids(&subject, &peer);
    peer.be_asked(&mut subject, ulids);
    let mut sent = subject.set_usable(1, false);
    // The upper layers go on, so the context stays.
    for _ in 0..40 {
        sent.extend(
            subject
                .wait(secs(60))
                .into_iter()
                .filter(|sent| matches!(sent.message, Message::UpdateRequest(_))),
        );
        subject.receive_payload(ulids);
    }
    let sent = requests(sent);
    assert!(sent.len() > 15, "{}", sent.len());
    assert!(sent.iter().all(|(_, request)| *request == sent[0].1));
    for (two, retries) in sent.windows(2).zip(0..) {
        let nominal = (secs(4) * (1 << retries.min(10))).min(secs(120));
        let gap = two[1].0.since(two[0].0);
        assert!(gap >= nominal / 2 && gap <= nominal * 3 / 2, "{gap:?}");
    }
    let tag = subject.context(ulids).unwrap().local_tag;
    subject.hear(ulids.into(), &ack(tag, sent[0].1.request_nonce));
    let later = subject.wait(secs(300));
    assert!(
        later
            .iter()
            .all(|sent| !matches!(sent.message, Message::UpdateRequest(_)))
    );
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-10.3
//= type=test
//= id=S-142
//# the host can, instead of waiting for an acknowledgement, abandon the previous update and
//# construct a new Update Request (with a new Request Nonce)
//= https://www.rfc-editor.org/rfc/rfc5533#section-10.1
//= type=test
//= id=S-139
//# Should the host send a new Locator List, the host picks a new random, local generation number,
//# records this in the context, and puts it in the Locator List option.
//= https://www.rfc-editor.org/rfc/rfc5533#section-10.5
//= type=test
//= id=S-155
//# If the Request Nonce doesn't match the nonce for the last sent Update Request for the context,
//# then the Update Acknowledgement is silently ignored.
#[test]
fn newer_information_takes_the_place_of_what_is_under_way() {
    let prefixes = [0, 1, 2].map(|provider| shim6_sim::prefix(0, provider));
    let mut subject = Subject::with(Config::default(), shim6_sim::hba(0, &prefixes));
    let peer = Peer::hba(2);
    let ulids = ulids(&subject, &peer);
    peer.be_asked(&mut subject, ulids);
    let tag = subject.context(ulids).unwrap().local_tag;
    let (_, old) = requests(subject.set_usable(2, false)).remove(0);
    let (_, new) = requests(subject.set_usable(1, false)).remove(0);
    assert_ne!(old.request_nonce, new.request_nonce);
    assert_ne!(generation(&old), generation(&new));
    assert_ne!(generation(&old).0 + 1, generation(&new).0, "not counted");

    subject.hear(ulids.into(), &ack(tag, old.request_nonce));
    let again = requests(subject.wait(secs(7)));
    assert_eq!(again.len(), 1, "the old acknowledgement was ignored");
    assert_eq!(again[0].1, new, "one update is under way, with one nonce");
    subject.hear(ulids.into(), &ack(tag, new.request_nonce));
    let later = subject.wait(secs(30));
    let is_request = |sent: &Sent| matches!(sent.message, Message::UpdateRequest(_));
    assert!(!later.iter().any(is_request), "{later:?}");
}

/// Generations have no order: whichever list comes last is the one that stays with the peer.
#[test]
fn a_list_that_may_have_overtaken_another_is_told_again_when_that_must_have_arrived() {
    let mut subject = Subject::new();
    let peer = Peer::hba(2);
    let ulids = ulids(&subject, &peer);
    peer.be_asked(&mut subject, ulids);
    subject.wait(secs(10));
    let tag = subject.context(ulids).unwrap().local_tag;
    let (alone, first) = requests(subject.set_usable(1, false)).remove(0);
    subject.hear(ulids.into(), &ack(tag, first.request_nonce));
    subject.wait(secs(2));
    let (_, second) = requests(subject.set_usable(1, true)).remove(0);
    subject.hear(ulids.into(), &ack(tag, second.request_nonce));

    let later = subject.wait(secs(4));
    let (again, third) = requests(later).remove(0);
    assert_eq!(again.since(alone), secs(5));
    assert_eq!(third.locators, second.locators);
    assert_ne!(third.request_nonce, second.request_nonce, "not a copy");
    subject.hear(ulids.into(), &ack(tag, third.request_nonce));
    let later = subject.wait(secs(30));
    let is_request = |sent: &Sent| matches!(sent.message, Message::UpdateRequest(_));
    assert!(!later.iter().any(is_request), "{later:?}");
}

#[test]
fn a_recovery_that_may_have_overtaken_an_update_is_followed_by_another_one() {
    let mut subject = Subject::new();
    let peer = Peer::hba(2);
    let ulids = ulids(&subject, &peer);
    peer.be_asked(&mut subject, ulids);
    subject.wait(secs(10));
    let (first, _) = requests(subject.set_usable(1, false)).remove(0);
    subject.wait(secs(1));
    subject.set_usable(1, true);
    let i2bis = subject.hear_r1bis(ulids.into(), peer.tag);
    let r2 = peer.r2(i2bis.initiator_nonce, peer.options());
    let sent = subject.hear(ulids.into(), &r2);
    assert_eq!(sent, [], "it told the list");
    let (again, update) = requests(subject.wait(secs(5))).remove(0);
    assert_eq!(again.since(first), secs(5));
    assert_eq!(update.locators, i2bis.locators);
}

#[test]
fn a_list_that_changes_while_an_answer_is_awaited_is_in_what_is_repeated_and_told_again() {
    let mut subject = Subject::new();
    let peer = Peer::hba(2);
    let ulids = ulids(&subject, &peer);
    let nonce = subject.begin(ulids).initiator_nonce;
    let old = subject.hear_r1(ulids.into(), nonce);
    assert_eq!(subject.set_usable(1, false), [], "no context yet");
    let sent = only(subject.wait(secs(6))).message;
    let Message::I2(new) = sent else {
        panic!("{sent:?}")
    };
    assert_ne!(new.locators, old.locators);
    // Nobody knows which of the two it answers.
    let r2 = peer.r2(nonce, peer.options());
    let (_, update) = requests(subject.hear(ulids.into(), &r2)).remove(0);
    assert_eq!(update.locators, new.locators);
}

/// The peer took over the I2 whose answers were lost.
#[test]
fn a_list_that_changed_since_the_last_i2_is_told_when_an_i1_is_answered_with_r2() {
    let mut subject = Subject::new();
    let peer = Peer::hba(2);
    let ulids = ulids(&subject, &peer);
    let nonce = subject.begin(ulids).initiator_nonce;
    subject.hear_r1(ulids.into(), nonce);
    let mut repeated = 0;
    while repeated < Config::default().i2_retries_max as usize {
        repeated += subject.wait(secs(1)).len();
        assert_eq!(subject.state(ulids), Some(State::I2Sent));
    }
    subject.set_usable(1, false);
    subject.wait_for(ulids, State::I1Sent);
    let r2 = peer.r2(nonce, peer.options());
    let (_, update) = requests(subject.hear(ulids.into(), &r2)).remove(0);
    let list = update.locators.list.unwrap();
    assert_eq!(list.locators.len(), 1, "what is left");
}

fn request(subject: &Subject, peer: &Peer, locators: LocatorOptions) -> Message {
    let context = subject.context(ulids(subject, peer)).unwrap();
    Message::UpdateRequest(UpdateRequest {
        receiver_tag: context.local_tag,
        request_nonce: RequestNonce(0x5151),
        locators,
        keepalive_timeout: None,
    })
}

fn established(peer: &Peer) -> Subject {
    let mut subject = Subject::new();
    let ulids = ulids(&subject, peer);
    peer.be_asked(&mut subject, ulids);
    subject
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-10.4
//= type=test
//= id=S-040,S-151
//# the host sends an Update Acknowledgement message, copying the nonce from the request and using
//# the CT(peer) as the Receiver Context Tag.
#[test]
fn an_update_replaces_the_list_and_is_acknowledged() {
    let peer = Peer::hba(3);
    let mut subject = established(&peer);
    let ulids = ulids(&subject, &peer);
    let list = [peer.address(0), peer.address(2)];
    let next = Peer {
        generation: Generation(78),
        ..Peer::hba(3)
    };
    let message = request(&subject, &peer, next.listing(&list));
    let sent = only(subject.hear(ulids.into(), &message));
    assert_eq!(sent.message, ack(peer.tag, RequestNonce(0x5151)));
    assert_eq!(subject.context(ulids).unwrap().peer_locators, list);
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-10.4
//= type=test
//= id=S-151
//# The host uses the reachability exploration procedure described in [4] to verify that the new
//# locator is reachable before changing Lp(peer).
#[test]
fn the_current_locator_is_left_only_for_one_that_answers() {
    let peer = Peer::hba(2);
    let mut subject = established(&peer);
    let ulids = ulids(&subject, &peer);
    let next = Peer {
        generation: Generation(78),
        ..Peer::hba(2)
    };
    let message = request(&subject, &peer, next.listing(&[peer.address(1)]));
    let sent = subject.hear(ulids.into(), &message);
    assert_eq!(sent[0].message, ack(peer.tag, RequestNonce(0x5151)));
    assert!(matches!(sent[1].message, Message::Probe(_)), "{sent:?}");
    let context = subject.context(ulids).unwrap();
    assert_eq!(context.reap, ReapState::Exploring);
    assert_eq!(context.current, ulids.into());
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-10.4
//= type=test
//= id=S-148
//# If I2BIS-SENT, send I2bis and proceed to process the message.
#[test]
fn an_update_that_meets_a_recovery_is_taken_in_and_the_peer_asked_again() {
    let peer = Peer::hba(2);
    let mut subject = established(&peer);
    let ulids = ulids(&subject, &peer);
    let i2bis = subject.hear_r1bis(ulids.into(), peer.tag);
    assert_eq!(subject.wait(secs(1)), []);
    let next = Peer {
        generation: Generation(78),
        ..Peer::hba(2)
    };
    let message = request(&subject, &peer, next.listing(&[peer.address(0)]));
    let sent = subject.hear(ulids.into(), &message);
    let sent: Vec<_> = sent.into_iter().map(|sent| sent.message).collect();
    let acknowledged = ack(peer.tag, RequestNonce(0x5151));
    assert_eq!(sent, [Message::I2bis(i2bis), acknowledged]);
    let context = subject.context(ulids).unwrap();
    assert_eq!(context.peer_locators, [peer.address(0)]);
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-10.4
//= type=test
//= id=S-148
//# If I1-SENT, discard the message and stay in I1-SENT.
#[test]
fn an_update_that_meets_an_i1_is_discarded() {
    let (mut subject, peer) = (Subject::new(), Peer::hba(2));
    let ulids = ulids(&subject, &peer);
    subject.begin(ulids);
    let message = request(&subject, &peer, peer.options());
    assert_eq!(subject.hear(ulids.into(), &message), []);
    assert_eq!(subject.state(ulids), Some(State::I1Sent));
    assert_eq!(subject.dropped(DropReason::WrongState), 1);
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-10.4
//= type=test
//= id=S-148
//# If I2-SENT, send I2 and proceed to process the message.
#[test]
fn an_update_that_overtakes_the_r2_is_taken_in_and_acknowledged_when_the_tag_is_known() {
    let (mut subject, peer) = (Subject::new(), Peer::hba(2));
    let ulids = ulids(&subject, &peer);
    let i1 = subject.begin(ulids);
    let i2 = subject.hear_r1(ulids.into(), i1.initiator_nonce);
    assert_eq!(subject.wait(secs(1)), []);
    let next = Peer::hba(2);
    let message = request(&subject, &peer, next.options());
    let sent = only(subject.hear(ulids.into(), &message));
    assert_eq!(sent.message, Message::I2(i2));
    let context = subject.context(ulids).unwrap();
    assert_eq!(context.state, State::I2Sent);
    assert_eq!(context.peer_locators.len(), 2, "{context:?}");

    // The peer begins as well: its I2 brings the tag, and leaves the state as it is.
    let line = Line::on_ulids(ulids);
    let r1 = subject.hear_unknown_tag(ulids.into(), ContextTag::from_bits(9));
    let i2bis = next.i2bis(line, &r1, next.options());
    assert!(matches!(
        only(subject.hear(ulids.into(), &i2bis)).message,
        Message::R2(_)
    ));
    assert_eq!(subject.state(ulids), Some(State::I2Sent));
    let newer = Peer {
        generation: Generation(79),
        ..Peer::hba(2)
    };
    let message = request(&subject, &peer, newer.listing(&[peer.address(0)]));
    let sent = subject.hear(ulids.into(), &message);
    let acknowledged = ack(peer.tag, RequestNonce(0x5151));
    assert!(
        sent.iter().any(|sent| sent.message == acknowledged),
        "{sent:?}"
    );
    let context = subject.context(ulids).unwrap();
    assert_eq!(context.peer_locators, [peer.address(0)]);
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-10.4
//= type=test
//= id=S-147
//# If a CGA Parameter Data Structure (PDS) is included in the message, then the host MUST verify if
//# the actual PDS contained in the packet corresponds to the ULID(peer).  If this verification
//# fails, the message is silently discarded.
//= https://www.rfc-editor.org/rfc/rfc5533#section-10.4
//= type=test
//= id=S-062,S-149
//# If the locator list cannot be verified, this procedure should send a Shim6 Error message with
//# Error Code=2.  In any case, if it cannot be verified, there is no further processing of the
//# Update Request.
#[test]
fn an_update_that_proves_nothing_changes_nothing() {
    let peer = Peer::hba(2);
    let next = Peer {
        generation: Generation(78),
        ..Peer::hba(2)
    };
    let stranger = "2001:db8:bad::1".parse().unwrap();
    let foreign = LocatorOptions {
        pds: Peer::cga(1).options().pds,
        ..next.options()
    };
    let forged = next.listing(&[peer.address(0), stranger]);
    for (options, reason) in [
        (foreign, DropReason::BadPds),
        (forged, DropReason::BadLocators),
    ] {
        let mut subject = established(&peer);
        let ulids = ulids(&subject, &peer);
        let before = subject.context(ulids).unwrap();
        let message = request(&subject, &peer, options);
        let sent = subject.hear(ulids.into(), &message);
        if reason == DropReason::BadPds {
            assert_eq!(sent, []);
        } else {
            let Message::Error(error) = only(sent).message else {
                panic!("no Error")
            };
            assert_eq!(error.code, ErrorCode::VerificationMethod);
        }
        assert_eq!(subject.dropped(reason), 1);
        let after = subject.context(ulids).unwrap();
        assert_eq!(after.peer_locators, before.peer_locators);
        assert_eq!(after.state, State::Established);
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-10.4
//= type=test
//= id=S-150
//# If they do not match, then the host generates a Shim6 Error message with Error Code=3 and with
//# the Pointer field referring to the first octet in the Locator List Generation number in the
//# Locator Preference option.
#[test]
fn preferences_must_fit_the_list_that_is_known() {
    let peer = Peer::hba(2);
    let preference = Preference {
        flags: PreferenceFlags(0),
        priority: 1,
        weight: 1,
    };
    let preferences = |generation, count| LocatorOptions {
        preferences: Some(LocatorPreferences {
            generation,
            elements: vec![preference; count],
        }),
        ..LocatorOptions::default()
    };
    let known = peer.generation;
    for (options, refused) in [
        (preferences(known, 2), None),
        (
            preferences(Generation(0x0102_0304), 2),
            Some((ErrorCode::Generation, &[1, 2, 3, 4][..])),
        ),
        (
            // The Length: generation, element length, padding to 8, one octet each.
            preferences(known, 3),
            Some((ErrorCode::LocatorCount, &[][..])),
        ),
    ] {
        let mut subject = established(&peer);
        let ulids = ulids(&subject, &peer);
        let message = request(&subject, &peer, options);
        let sent = only(subject.hear(ulids.into(), &message)).message;
        let Some((code, pointed_at)) = refused else {
            assert_eq!(sent, ack(peer.tag, RequestNonce(0x5151)));
            continue;
        };
        let Message::Error(error) = sent else {
            panic!("{sent:?}")
        };
        assert_eq!(error.code, code);
        let pointer = usize::from(error.pointer);
        assert!(error.packet[pointer..].starts_with(pointed_at));
        // IPv6 header, message header, Option Type: then comes the Length.
        let length_at = 40 + 16 + 2;
        assert_eq!(pointer == length_at, code == ErrorCode::LocatorCount);
    }
}
