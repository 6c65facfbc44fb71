//! What a host answers to I1, I2, I2bis and R2 (RFC 5533 §7.9, §7.13, §7.16, §7.20).

use shim6_core::{DropReason, LocatorPair, ReapState, State, UlidPair};
use shim6_wire::{
    ContextTag, ErrorCode, Generation, ListedLocator, LocatorOptions, Message, VerificationMethod,
};

use crate::bench::{Line, Peer, R1orBis, Subject, only, r1_for, ulids};

/// Every STATE in which I2 and I2bis are looked at; `None` is IDLE.
const STATES: [Option<State>; 5] = [
    None,
    Some(State::I1Sent),
    Some(State::I2Sent),
    Some(State::I2bisSent),
    Some(State::Established),
];

/// A peer that has forgotten what it was: another tag, another list.
fn reborn() -> Peer {
    Peer {
        tag: ContextTag::from_bits(0x1111),
        generation: Generation(1234),
        ..Peer::hba(2)
    }
}

/// The peer as the subject knew it: one locator of its two.
fn former_options(peer: &Peer) -> LocatorOptions {
    peer.listing(&[peer.address(0)])
}

/// A subject in `state`, and a permission to send it I2 or I2bis on `line`.
fn subject_in(state: Option<State>, line: Line, bis: bool) -> (Subject, R1orBis) {
    let (mut subject, peer, reborn) = (Subject::new(), Peer::hba(2), reborn());
    let permission = if bis {
        R1orBis::R1bis(subject.hear_unknown_tag(line.pair, ContextTag::from_bits(0x5555)))
    } else {
        R1orBis::R1(reborn.ask(&mut subject, line))
    };
    let establish = |subject: &mut Subject| {
        let i1 = subject.begin(line.ulids);
        let i2 = subject.hear_r1(line.ulids.into(), i1.initiator_nonce);
        let r2 = peer.r2(i2.initiator_nonce, former_options(&peer));
        assert_eq!(subject.hear(line.ulids.into(), &r2), []);
    };
    match state {
        None => {}
        Some(State::I1Sent) => {
            subject.begin(line.ulids);
        }
        Some(State::I2Sent) => {
            let i1 = subject.begin(line.ulids);
            subject.hear_r1(line.ulids.into(), i1.initiator_nonce);
        }
        Some(State::Established) => establish(&mut subject),
        Some(State::I2bisSent) => {
            establish(&mut subject);
            subject.hear_r1bis(line.ulids.into(), peer.tag);
        }
        Some(State::EFailed | State::NoSupport) => unreachable!("not asked for"),
    }
    assert_eq!(subject.state(line.ulids), state);
    (subject, permission)
}

/// What a context knows of its peer, and its STATE.
fn known(subject: &Subject, ulids: UlidPair) -> Option<(State, Option<ContextTag>, usize)> {
    let context = subject.context(ulids)?;
    Some((context.state, context.peer_tag, context.peer_locators.len()))
}

fn line(subject: &Subject, peer: &Peer) -> Line {
    Line::on_ulids(ulids(subject, peer))
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-7.13
//= type=test
//= id=S-098,S-100
//# If this is the case, then the host updates the context information (CT(peer), Ls(peer)) with the
//# data contained in the I2 message, and the host MUST send an R2 message back
//= https://www.rfc-editor.org/rfc/rfc5533#section-7.20
//= type=test
//= id=S-127,S-129
//# If this is the case, then the host updates the context information (CT(peer), Ls(peer)) with the
//# data contained in the I2bis message, and the host MUST send an R2 message back
#[test]
fn a_good_i2_or_i2bis_is_answered_and_believed_in_every_state() {
    let reborn = reborn();
    let line = line(&Subject::new(), &reborn);
    for bis in [false, true] {
        for state in STATES {
            let (mut subject, permission) = subject_in(state, line, bis);
            let message = permission.use_by(&reborn, line, reborn.options());
            let r2 = only(subject.hear(line.pair, &message));
            let Message::R2(r2) = r2.message else {
                panic!("{state:?}: {r2:?}")
            };
            assert_eq!(r2.initiator_nonce, reborn.nonce);
            let after = match state {
                None | Some(State::I1Sent) => State::Established,
                Some(unchanged) => unchanged,
            };
            let expected = Some((after, Some(reborn.tag), 2));
            assert_eq!(known(&subject, line.ulids), expected, "{state:?}");
            let tag = subject.context(line.ulids).unwrap().local_tag;
            assert_eq!(r2.responder_tag, tag);
        }
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-7.13
//= type=test
//= id=S-097,S-099,S-101
//# Note that before updating Ls(peer) information, the host SHOULD perform the HBA/CGA validation of
//# the peer's locator set at this point in time, as specified in Section 7.2.
//= https://www.rfc-editor.org/rfc/rfc5533#section-7.20
//= type=test
//= id=S-126,S-128,S-130
//# Note that before updating Ls(peer) information, the host SHOULD perform the HBA/CGA validation of
//# the peer's locator set at this point in time, as specified in Section 7.2.
//= https://www.rfc-editor.org/rfc/rfc5533#section-7.2
//= type=test
//= id=S-062,S-065
//# Thus, the HBA/CGA verification SHOULD be performed by the host before the host acknowledges the
//# new locator by sending either an Update Acknowledgement message or an R2 message.
#[test]
fn a_list_with_a_stranger_in_it_is_neither_answered_nor_believed_in_any_state() {
    let reborn = reborn();
    let line = line(&Subject::new(), &reborn);
    let stranger = "2001:db8:bad::1".parse().unwrap();
    let forged = reborn.listing(&[reborn.address(0), reborn.address(1), stranger]);
    for bis in [false, true] {
        for state in STATES {
            let (mut subject, permission) = subject_in(state, line, bis);
            let before = known(&subject, line.ulids);
            let message = permission.use_by(&reborn, line, forged.clone());
            let sent = subject.hear(line.pair, &message);
            assert!(
                sent.iter()
                    .all(|sent| matches!(sent.message, Message::Error(_))),
                "{state:?}: {sent:?}"
            );
            assert_eq!(known(&subject, line.ulids), before, "{state:?}");
            assert_eq!(subject.dropped(DropReason::BadLocators), 1);
        }
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-7.13
//= type=test
//= id=S-096
//# If a CGA Parameter Data Structure (PDS) is included in the message, then the host MUST verify if
//# the actual PDS contained in the message corresponds to the ULID(peer).
//= https://www.rfc-editor.org/rfc/rfc5533#section-7.20
//= type=test
//= id=S-124
//# If a CGA Parameter Data Structure (PDS) is included in the message, then the host MUST verify if
//# the actual PDS contained in the message corresponds to the ULID(peer).
#[test]
fn parameters_of_somebody_else_end_an_i2_or_i2bis_in_silence() {
    let reborn = reborn();
    let line = line(&Subject::new(), &reborn);
    let foreign = LocatorOptions {
        pds: Peer::cga(1).options().pds,
        ..LocatorOptions::default()
    };
    for bis in [false, true] {
        for state in STATES {
            let (mut subject, permission) = subject_in(state, line, bis);
            let before = known(&subject, line.ulids);
            let message = permission.use_by(&reborn, line, foreign.clone());
            assert_eq!(subject.hear(line.pair, &message), []);
            assert_eq!(known(&subject, line.ulids), before, "{state:?}");
            assert_eq!(subject.dropped(DropReason::BadPds), 1);
        }
    }
}

#[test]
fn an_i2_or_i2bis_from_an_address_that_nothing_proves_changes_nothing() {
    let reborn = reborn();
    let ulids = ulids(&Subject::new(), &reborn);
    let line = Line {
        pair: LocatorPair {
            peer: "2001:db8:bad::1".parse().unwrap(),
            ..ulids.into()
        },
        ..Line::on_ulids(ulids)
    };
    for bis in [false, true] {
        for state in STATES {
            let (mut subject, permission) = subject_in(state, line, bis);
            let before = known(&subject, ulids);
            let message = permission.use_by(&reborn, line, reborn.options());
            assert_eq!(subject.hear(line.pair, &message), []);
            assert_eq!(known(&subject, ulids), before, "{state:?}");
        }
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-7.20
//= type=test
//= id=S-125
//# The host SHOULD NOT use the Packet Context Tag in the I2bis message for CT(local); instead, it
//# should pick a new random Context Tag just as when it processes an I2 message.
#[test]
fn a_recovered_context_has_a_new_tag() {
    let reborn = reborn();
    let line = line(&Subject::new(), &reborn);
    let (mut subject, permission) = subject_in(None, line, true);
    let message = permission.use_by(&reborn, line, reborn.options());
    only(subject.hear(line.pair, &message));
    let tag = subject.context(line.ulids).unwrap().local_tag;
    assert_ne!(tag, ContextTag::from_bits(0x5555));
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-7.2
//= type=test
//= id=S-066
//# The host SHOULD generate a Shim6 Error message with Error Code=2 and with the Pointer referencing
//# the octet in the verification method that was found inconsistent.
#[test]
fn the_method_that_does_not_hold_is_pointed_at() {
    // Three members of a set, with the third one's claim spoilt.
    let peer = Peer::hba(3);
    let listed = peer.options().list.unwrap().locators[2];
    let stranger = "2001:db8:bad::1".parse().unwrap();
    for spoilt in [
        ListedLocator {
            method: VerificationMethod::Other(0xee),
            ..listed
        },
        ListedLocator {
            method: VerificationMethod::Cga,
            ..listed
        },
        ListedLocator {
            address: stranger,
            ..listed
        },
    ] {
        let mut options = peer.options();
        options.list.as_mut().unwrap().locators[2] = spoilt;
        for bis in [false, true] {
            let line = line(&Subject::new(), &peer);
            let (mut subject, permission) = subject_in(None, line, bis);
            // The validator covers the tag of whoever asked.
            let sender = Peer {
                tag: reborn().tag,
                ..Peer::hba(3)
            };
            let message = permission.use_by(&sender, line, options.clone());
            let sent = only(subject.hear(line.pair, &message));
            let Message::Error(error) = sent.message else {
                panic!("{sent:?}")
            };
            assert_eq!(error.code, ErrorCode::VerificationMethod);
            assert_eq!(pointed_at(&error, &options), Some(2), "{spoilt:?}");
            assert!(subject.contexts().is_empty());
        }
    }
}

/// The index of the locator whose method an Error points at.
fn pointed_at(error: &shim6_wire::Error, options: &LocatorOptions) -> Option<usize> {
    let list = options.list.as_ref()?;
    let count = u8::try_from(list.locators.len()).ok()?;
    let head = [&list.generation.0.to_be_bytes()[..], &[count]].concat();
    let at = error.packet.windows(head.len()).position(|w| w == head)?;
    usize::from(error.pointer).checked_sub(at + head.len())
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-7.9
//= type=test
//= id=S-079,S-080,S-081
//# If the state exists in ESTABLISHED STATE and the locators do not fall in the locator sets, then
//# the host replies with an R1 message as specified below.
#[test]
fn an_i1_to_an_established_context_draws_r2_if_it_is_a_repetition_and_else_r1() {
    let peer = Peer::hba(2);
    let line = line(&Subject::new(), &peer);
    let (mut subject, _) = subject_in(Some(State::Established), line, false);
    let before = known(&subject, line.ulids);
    let stranger = Line {
        pair: LocatorPair {
            peer: "2001:db8:bad::1".parse().unwrap(),
            ..line.pair
        },
        ..line
    };
    for (peer, line, is_r2) in [
        (&peer, line, true),
        (&reborn(), line, false),
        (&peer, stranger, false),
    ] {
        let sent = only(subject.hear(line.pair, &peer.i1(line)));
        assert_eq!(matches!(sent.message, Message::R2(_)), is_r2, "{sent:?}");
        assert_eq!(matches!(sent.message, Message::R1(_)), !is_r2, "{sent:?}");
        assert_eq!(known(&subject, line.ulids), before);
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-7.9
//= type=test
//= id=S-082
//# In this case, the host leaves CT(peer) unchanged and replies with an R2 message.  This completes
//# the I1 processing, with the context STATE being unchanged.
#[test]
fn a_crossing_i1_draws_r2_and_changes_nothing() {
    let reborn = reborn();
    let line = line(&Subject::new(), &reborn);
    for state in [State::I1Sent, State::I2Sent, State::I2bisSent] {
        let (mut subject, _) = subject_in(Some(state), line, false);
        let before = known(&subject, line.ulids);
        let sent = only(subject.hear(line.pair, &reborn.i1(line)));
        assert!(matches!(sent.message, Message::R2(_)), "{sent:?}");
        assert_eq!(known(&subject, line.ulids), before);
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-7.16
//= type=test
//= id=S-110
//# If a CGA Parameter Data Structure (PDS) is included in the message, then the host MUST verify
//# that the actual PDS contained in the message corresponds to the ULID(peer) as specified in
//# Section 7.2.
//= https://www.rfc-editor.org/rfc/rfc5533#section-7.16
//= type=test
//= id=S-111
//# The host SHOULD perform the HBA/CGA verification of the peer's locator set at this point in time,
//# as specified in Section 7.2.
#[test]
fn an_r2_that_proves_nothing_is_not_believed() {
    let peer = Peer::hba(2);
    let ulids = ulids(&Subject::new(), &peer);
    let stranger = "2001:db8:bad::1".parse().unwrap();
    let foreign = LocatorOptions {
        pds: Peer::cga(1).options().pds,
        ..peer.options()
    };
    let forged = peer.listing(&[peer.address(0), stranger]);
    for (options, reason) in [
        (foreign, DropReason::BadPds),
        (forged, DropReason::BadLocators),
    ] {
        let mut subject = Subject::new();
        let i1 = subject.begin(ulids);
        subject.hear_r1(ulids.into(), i1.initiator_nonce);
        let sent = subject.hear(ulids.into(), &peer.r2(i1.initiator_nonce, options));
        assert_eq!(sent.is_empty(), reason == DropReason::BadPds);
        assert_eq!(known(&subject, ulids), Some((State::I2Sent, None, 1)));
        assert_eq!(subject.dropped(reason), 1);
        // The true one still counts.
        let r2 = peer.r2(i1.initiator_nonce, peer.options());
        assert_eq!(subject.hear(ulids.into(), &r2), []);
        assert_eq!(subject.state(ulids), Some(State::Established));
    }
}

/// It stays the context that it was: what REAP found out is of the pair, not of the peer's tag.
#[test]
fn an_i2_or_i2bis_to_an_established_context_lays_no_doubt_about_its_pair_to_rest() {
    let reborn = reborn();
    let line = line(&Subject::new(), &reborn);
    for bis in [false, true] {
        let (mut subject, permission) = subject_in(Some(State::Established), line, bis);
        subject.send_payload(line.ulids);
        subject.wait(shimq_tests::secs(16));
        let reap = |subject: &Subject| subject.context(line.ulids).unwrap().reap;
        assert_eq!(reap(&subject), ReapState::Exploring);
        let message = permission.use_by(&reborn, line, reborn.options());
        let r2 = only(subject.hear(line.pair, &message));
        assert!(matches!(r2.message, Message::R2(_)), "{r2:?}");
        assert_eq!(reap(&subject), ReapState::Exploring);
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-7.16
//= type=test
//= id=S-112
//# If the STATE is ESTABLISHED, the R2 message is silently ignored, (since this is likely to be a
//# reply to a retransmitted I2 message).
#[test]
fn a_second_r2_is_ignored() {
    let (mut subject, peer) = (Subject::new(), Peer::hba(2));
    let ulids = ulids(&subject, &peer);
    let (i1, _) = peer.be_asked(&mut subject, ulids);
    let again = reborn().r2(i1.initiator_nonce, former_options(&peer));
    assert_eq!(subject.hear(ulids.into(), &again), []);
    let expected = Some((State::Established, Some(peer.tag), 2));
    assert_eq!(known(&subject, ulids), expected);
    let r1 = r1_for(i1.initiator_nonce);
    assert_eq!(subject.hear(ulids.into(), &r1), []);
    assert_eq!(subject.dropped(DropReason::NoContext), 2, "none waits");
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-7.14
//= type=test
//= id=S-103
//# R2 messages are never retransmitted.
#[test]
fn an_r2_is_sent_once() {
    let (mut subject, peer) = (Subject::new(), Peer::hba(2));
    let line = line(&subject, &peer);
    peer.begin(&mut subject, line);
    assert_eq!(subject.wait(shimq_tests::secs(300)), []);
}
