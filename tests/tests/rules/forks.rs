//! Forked contexts (RFC 5533 §4.2): their exchange, their packets, their end.

use shim6_core::{Config, ContextView, ForkRefusal, LocatorPair, State, UlidPair};
use shim6_wire::{ContextTag, Fii, I1, Message, Ulids};
use shimq_tests::secs;

use crate::bench::{Line, Peer, Sent, Subject, left_on, only, r1_for, tagged, ulids};

const MARK: u32 = 0x00c0_ffee;

/// The peer's tag for the fork.
const FORK_TAG: u64 = 0x7777_0001;

fn established() -> (Subject, Peer, UlidPair) {
    let (mut subject, peer) = (Subject::new(), Peer::hba(2));
    let ulids = ulids(&subject, &peer);
    peer.be_asked(&mut subject, ulids);
    (subject, peer, ulids)
}

fn second_pair(subject: &Subject, peer: &Peer) -> LocatorPair {
    LocatorPair {
        local: subject.address(1),
        peer: peer.address(1),
    }
}

fn fork_of(subject: &Subject, mark: u32) -> Option<ContextView> {
    let mut contexts = subject.contexts().into_iter();
    contexts.find(|context| context.fii == Fii(mark))
}

/// The peer lets the fork come to be; `sent` is what the subject sent when it forked. Returns the I1.
fn let_fork(subject: &mut Subject, peer: &Peer, sent: Vec<Sent>, tag: u64) -> (I1, LocatorPair) {
    let Sent {
        message: Message::I1(i1),
        pair,
        ..
    } = only(sent)
    else {
        panic!("no I1")
    };
    let sent = only(subject.hear(pair, &r1_for(i1.initiator_nonce)));
    let Message::I2(i2) = sent.message else {
        panic!("{sent:?}")
    };
    assert_eq!((i2.fii, i2.ulids), (i1.fii, i1.ulids));
    let responder = Peer {
        tag: ContextTag::from_bits(tag),
        ..Peer::hba(2)
    };
    let r2 = responder.r2(i1.initiator_nonce, peer.options());
    assert_eq!(subject.hear(pair, &r2), []);
    (i1, pair)
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-7.7
//= type=test
//= id=S-014,S-073,S-089,S-024
//# In addition, if a Forked Instance Identifier value is non-zero, the I1 message MUST include a
//# Context Instance Identifier option containing the correspondent value.
#[test]
fn a_fork_has_its_own_exchange_tags_and_pair_and_carries_marked_packets_alone() {
    let (mut subject, peer, ulids) = established();
    let before = subject.context(ulids).unwrap();
    let pair = second_pair(&subject, &peer);
    let sent = subject.fork(ulids, MARK, Some(pair)).unwrap();
    // Until it is there, its packets go as all others do.
    assert_eq!(
        left_on(&subject.send_marked(ulids, MARK)),
        (ulids.into(), None)
    );
    let (i1, asked_on) = let_fork(&mut subject, &peer, sent, FORK_TAG);
    assert_eq!(i1.fii, Some(Fii(MARK)));
    assert_eq!(asked_on, pair, "the exchange proves the pair");
    let conveyed = Ulids {
        sender: ulids.local,
        receiver: ulids.peer,
    };
    assert_eq!(i1.ulids, Some(conveyed));

    let fork = fork_of(&subject, MARK).unwrap();
    assert_eq!((fork.state, fork.current), (State::Established, pair));
    assert_ne!(fork.local_tag, before.local_tag);
    let tag = Some(ContextTag::from_bits(FORK_TAG));
    assert_eq!(left_on(&subject.send_marked(ulids, MARK)), (pair, tag));
    for mark in [0, MARK + 1] {
        let left = left_on(&subject.send_marked(ulids, mark));
        assert_eq!(left, (ulids.into(), None), "mark {mark}");
    }
    // What the peer sends on its fork arrives by its tag.
    let (delivered, _) = subject.receive(tagged(pair, fork.local_tag));
    assert_eq!(left_on(&delivered.unwrap()).0.local, ulids.peer);
}

#[test]
fn a_fork_on_the_ulids_still_says_by_its_header_which_context_it_is() {
    let (mut subject, peer, ulids) = established();
    let sent = subject.fork(ulids, MARK, None).unwrap();
    let (i1, pair) = let_fork(&mut subject, &peer, sent, FORK_TAG);
    assert_eq!((pair, i1.ulids), (ulids.into(), None));
    let tag = Some(ContextTag::from_bits(FORK_TAG));
    assert_eq!(
        left_on(&subject.send_marked(ulids, MARK)),
        (ulids.into(), tag)
    );
}

#[test]
fn a_fork_stays_until_it_is_taken_back_and_ends_alone() {
    let (mut subject, peer, ulids) = established();
    for (mark, tag) in [(1, 0x101), (2, 0x102)] {
        let sent = subject.fork(ulids, mark, None).unwrap();
        let_fork(&mut subject, &peer, sent, tag);
    }
    subject.wait(Config::default().idle_lifetime + secs(30));
    let left: Vec<_> = subject
        .contexts()
        .iter()
        .map(|context| context.mark)
        .collect();
    assert_eq!(left, [Some(1), Some(2)], "the default context was idle");
    assert!(subject.end_fork(ulids, 1));
    assert!(!subject.end_fork(ulids, 1));
    assert!(fork_of(&subject, 1).is_none() && fork_of(&subject, 2).is_some());
    assert_eq!(
        left_on(&subject.send_marked(ulids, 1)),
        (ulids.into(), None)
    );
    let tag = Some(ContextTag::from_bits(0x102));
    assert_eq!(left_on(&subject.send_marked(ulids, 2)), (ulids.into(), tag));
}

#[test]
fn a_fork_of_the_peer_takes_no_packets_of_this_host_unless_it_is_forked_here_too() {
    let (mut subject, peer, ulids) = established();
    let line = Line {
        fii: Some(Fii(MARK)),
        ..Line::on_ulids(ulids)
    };
    let forking = Peer {
        tag: ContextTag::from_bits(FORK_TAG),
        ..Peer::hba(2)
    };
    forking.begin(&mut subject, line);
    assert_eq!(subject.contexts().len(), 2);
    assert_eq!(
        left_on(&subject.send_marked(ulids, MARK)),
        (ulids.into(), None)
    );
    assert_eq!(subject.fork(ulids, MARK, None).unwrap(), []);
    let tag = Some(ContextTag::from_bits(FORK_TAG));
    assert_eq!(
        left_on(&subject.send_marked(ulids, MARK)),
        (ulids.into(), tag)
    );
    assert_eq!(peer.tag, subject.context(ulids).unwrap().peer_tag.unwrap());
}

#[test]
fn a_fork_that_cannot_be_is_refused_with_the_reason() {
    let (mut subject, peer, ulids) = established();
    let elsewhere = LocatorPair {
        peer: "2001:db8:bad::1".parse().unwrap(),
        ..ulids.into()
    };
    let strangers = UlidPair {
        peer: elsewhere.peer,
        ..ulids
    };
    assert_eq!(subject.fork(ulids, 0, None), Err(ForkRefusal::ZeroMark));
    assert_eq!(
        subject.fork(strangers, 1, None),
        Err(ForkRefusal::NoContext)
    );
    let refused = subject.fork(ulids, 1, Some(elsewhere));
    assert_eq!(refused, Err(ForkRefusal::ForeignPair));
    let sent = subject.fork(ulids, 1, None).unwrap();
    assert_eq!(subject.fork(ulids, 1, None), Err(ForkRefusal::Exists));
    let_fork(&mut subject, &peer, sent, FORK_TAG);
    assert_eq!(subject.fork(ulids, 1, None), Err(ForkRefusal::Exists));
}

/// A fork that nobody answers is given up and may be asked for again.
#[test]
fn a_fork_whose_pair_is_dead_is_declined_and_its_packets_go_as_before() {
    let (mut subject, peer, ulids) = established();
    let pair = second_pair(&subject, &peer);
    subject.fork(ulids, MARK, Some(pair)).unwrap();
    for _ in 0..24 {
        subject.wait(secs(10));
        subject.receive_payload(ulids);
        if fork_of(&subject, MARK).is_none_or(|fork| fork.state == State::EFailed) {
            break;
        }
    }
    assert_eq!(fork_of(&subject, MARK).unwrap().state, State::EFailed);
    assert_eq!(
        left_on(&subject.send_marked(ulids, MARK)),
        (ulids.into(), None)
    );
    let again = subject.fork(ulids, MARK, None).unwrap();
    let_fork(&mut subject, &peer, again, FORK_TAG);
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-7.18
//= type=test
//= id=S-118
//# if the Forked Instance Identifier for this context is non-zero, then a Forked Instance Identifier
//# option carrying the instance identifier value for this context MUST be included in the I2bis
//# message.
#[test]
fn a_fork_that_the_peer_lost_is_recovered_as_the_fork_that_it_was() {
    let (mut subject, peer, ulids) = established();
    let sent = subject.fork(ulids, MARK, None).unwrap();
    let_fork(&mut subject, &peer, sent, FORK_TAG);
    let i2bis = subject.hear_r1bis(ulids.into(), ContextTag::from_bits(FORK_TAG));
    assert_eq!(i2bis.fii, Some(Fii(MARK)));
}
