//! Transitions of RFC 5533 Appendix B that no other rule has to prove; found by spoiling each of them.

use shim6_core::{DropReason, LocatorPair, State};
use shim6_wire::{ContextTag, ResponderNonce};

use crate::bench::{Line, Peer, R1orBis, Subject, ulids};

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

#[test]
fn a_peer_that_comes_forward_ends_the_negative_cache() {
    let peer = Peer::hba(2);
    for which in 0..2 {
        let mut subject = Subject::new();
        let ulids = ulids(&subject, &peer);
        subject.begin(ulids);
        subject.wait_for(ulids, State::EFailed);
        let line = Line::on_ulids(ulids);
        let permit = &permits(&mut subject, &peer, line)[which];
        let message = permit.use_by(&peer, line, peer.options());
        assert_eq!(subject.hear(line.pair, &message).len(), 1, "R2");
        assert_eq!(subject.state(ulids), Some(State::Established));
    }
}
