//! Transitions of RFC 5533 Appendix B that no other rule has to prove; found by spoiling each of them.

use shim6_core::{Config, DropReason, LocatorPair, State, Transmit, UlidPair};
use shim6_sim::{control_packet, unrecognized_next_header};
use shim6_wire::{ContextTag, I1, Message, ResponderNonce};
use shimq_tests::secs;

use crate::bench::{Line, Peer, R1orBis, Subject, r1bis_for, ulids};

/// What permits an I2, and an I2bis.
fn permits(subject: &mut Subject, peer: &Peer, line: Line) -> [R1orBis; 2] {
    let tag = ContextTag::from_bits(0x7777);
    [
        R1orBis::R1(peer.ask(subject, line)),
        R1orBis::R1bis(subject.hear_unknown_tag(line.pair, tag)),
    ]
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-7.13
//= type=test
//= id=S-095
//# the Responder Validator option matches
//# the validator the host would have computed for the ULID, locators,
//# Responder Nonce, Initiator Nonce, and FII.
#[test]
fn an_i2_or_i2bis_whose_validator_was_made_for_another_nonce_makes_no_context() {
    let peer = Peer::hba(2);
    for which in 0..2 {
        let mut subject = Subject::new();
        let ulids = ulids(&subject, &peer);
        let line = Line::on_ulids(ulids);
        let mut permits = permits(&mut subject, &peer, line);
        match &mut permits[which] {
            R1orBis::R1(r1) => {
                r1.responder_nonce = ResponderNonce(r1.responder_nonce.0 ^ 1);
            }
            R1orBis::R1bis(r1bis) => {
                r1bis.responder_nonce = ResponderNonce(r1bis.responder_nonce.0 ^ 1);
            }
        }
        let message = permits[which].use_by(&peer, line, peer.options());
        assert_eq!(subject.hear(line.pair, &message), []);
        assert!(subject.context(ulids).is_none());
        assert_eq!(subject.dropped(DropReason::BadValidator), 1);
    }
}

/// CT(peer) of a context that is made anew is no more than a memory: nothing is found by it.
#[test]
fn an_r1bis_finds_no_context_for_which_i1_is_sent_again() {
    let peer = Peer::hba(2);
    let mut subject = Subject::new();
    let ulids = ulids(&subject, &peer);
    peer.be_asked(&mut subject, ulids);
    subject.hear_r1bis(ulids.into(), peer.tag);
    subject.wait_for(ulids, State::I1Sent);
    assert_eq!(subject.hear(ulids.into(), &r1bis_for(peer.tag)), []);
    assert_eq!(subject.state(ulids), Some(State::I1Sent));
    assert_eq!(subject.dropped(DropReason::NoContext), 1);
}

#[test]
fn an_r2_establishes_a_context_for_which_only_i1_was_sent() {
    let peer = Peer::hba(2);
    let mut subject = Subject::new();
    let ulids = ulids(&subject, &peer);
    let i1 = subject.begin(ulids);
    let r2 = peer.r2(i1.initiator_nonce, peer.options());
    assert_eq!(subject.hear(ulids.into(), &r2), []);
    assert_eq!(subject.state(ulids), Some(State::Established));
}

#[test]
fn an_r2_from_elsewhere_than_the_message_that_it_answers_went_is_discarded() {
    let peer = Peer::hba(2);
    let mut subject = Subject::new();
    let ulids = ulids(&subject, &peer);
    let i1 = subject.begin(ulids);
    let elsewhere = LocatorPair {
        peer: peer.address(1),
        ..ulids.into()
    };
    let r2 = peer.r2(i1.initiator_nonce, peer.options());
    assert_eq!(subject.hear(elsewhere, &r2), []);
    assert_eq!(subject.state(ulids), Some(State::I1Sent));
    assert_eq!(subject.dropped(DropReason::ForeignLocator), 1);
}

/// The subject asks its peer in vain: nobody answers, or the peer's kernel knows no Shim6.
fn be_declined(subject: &mut Subject, ulids: UlidPair, state: State) {
    let i1 = subject.begin(ulids);
    if state == State::NoSupport {
        subject.receive(refusal(ulids, i1));
    }
    subject.wait_for(ulids, state);
}

/// The error that a kernel without Shim6 answers `i1` with.
fn refusal(ulids: UlidPair, i1: I1) -> Vec<u8> {
    unrecognized_next_header(&control_packet(&Transmit {
        source: ulids.local,
        destination: ulids.peer,
        message: Message::I1(i1).emit(),
    }))
}

#[test]
fn a_peer_that_comes_forward_ends_the_negative_cache() {
    let peer = Peer::hba(2);
    for state in [State::EFailed, State::NoSupport] {
        for which in 0..2 {
            let mut subject = Subject::new();
            let ulids = ulids(&subject, &peer);
            be_declined(&mut subject, ulids, state);
            let line = Line::on_ulids(ulids);
            let permit = &permits(&mut subject, &peer, line)[which];
            let message = permit.use_by(&peer, line, peer.options());
            assert_eq!(subject.hear(line.pair, &message).len(), 1, "R2");
            assert_eq!(subject.state(ulids), Some(State::Established));
        }
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-7.8
//= type=test
//= id=S-076
//# the included packet is the I1 message it just sent
#[test]
fn an_error_about_another_i1_declines_nothing() {
    let peer = Peer::hba(2);
    let mut subject = Subject::new();
    let ulids = ulids(&subject, &peer);
    let mut i1 = subject.begin(ulids);
    i1.initiator_nonce.0 ^= 1;
    subject.receive(refusal(ulids, i1));
    assert_eq!(subject.state(ulids), Some(State::I1Sent));
    assert_eq!(subject.dropped(DropReason::IcmpActedUpon), 1);
}

#[test]
fn a_peer_without_shim6_is_left_alone_for_longer_than_one_that_was_silent() {
    let peer = Peer::hba(2);
    let config = Config::default();
    for (state, hold) in [
        (State::EFailed, config.no_r1_holddown),
        (State::NoSupport, config.icmp_holddown),
    ] {
        let mut subject = Subject::new();
        let ulids = ulids(&subject, &peer);
        be_declined(&mut subject, ulids, state);
        // It waits in steps of a second.
        subject.wait(hold.saturating_sub(secs(2)));
        assert_eq!(subject.state(ulids), Some(state));
        subject.wait(secs(3));
        assert_eq!(subject.state(ulids), None);
    }
}
