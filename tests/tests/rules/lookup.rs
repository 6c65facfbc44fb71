//! Which context a message is for, and what is answered when there is none (RFC 5533 §7.17, §7.18,
//! §12.2, §12.4).

use shim6_core::{DropReason, LocatorPair, State};
use shim6_wire::{
    ContextTag, InitiatorNonce, Keepalive, LocatorOptions, Message, Probe, ProbeNonce, ProbeReport,
    ProbeState, RequestNonce, UpdateAck, UpdateRequest,
};

use shimq_tests::secs;

use crate::bench::{Peer, Sent, Subject, left_on, only, r1_for, r1bis_for, tagged, ulids};

/// A message of each type that names a context by `tag`.
fn messages_on(tag: ContextTag, pair: LocatorPair) -> [Message; 4] {
    [
        Message::UpdateRequest(UpdateRequest {
            receiver_tag: tag,
            request_nonce: RequestNonce(5),
            locators: LocatorOptions::default(),
            keepalive_timeout: None,
        }),
        Message::UpdateAck(UpdateAck {
            receiver_tag: tag,
            request_nonce: RequestNonce(5),
        }),
        Message::Keepalive(Keepalive { receiver_tag: tag }),
        Message::Probe(Probe {
            receiver_tag: tag,
            state: ProbeState::Exploring,
            sent: vec![ProbeReport {
                source: pair.peer,
                destination: pair.local,
                nonce: ProbeNonce(6),
                data: 0,
            }],
            received: Vec::new(),
        }),
    ]
}

/// Asserts that `sent` is an R1bis about `tag` on `pair`.
fn assert_r1bis(sent: Vec<Sent>, tag: ContextTag, pair: LocatorPair) {
    let sent = only(sent);
    assert_eq!(sent.pair, pair);
    let Message::R1bis(r1bis) = sent.message else {
        panic!("{sent:?}")
    };
    assert_eq!(r1bis.packet_tag, tag);
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-7.17
//= type=test
//= id=S-009,S-114,S-144
//# Also, a host is to respond with an R1bis upon receipt of any control messages that have a message
//# type in the range 64-127 (i.e., excluding the context-setup messages such as I1, R1, R1bis, I2,
//# I2bis, R2, and future extensions), where the control message refers to a non-existent context.
//= https://www.rfc-editor.org/rfc/rfc5533#section-12.2
//= type=test
//= id=S-159
//# If no context is found, the receiver SHOULD generate an R1bis message
#[test]
fn whoever_uses_an_unknown_tag_hears_so() {
    let (mut subject, peer) = (Subject::new(), Peer::hba(2));
    let pair = ulids(&subject, &peer).into();
    let tag = ContextTag::from_bits(0x4242);
    for message in messages_on(tag, pair) {
        assert_r1bis(subject.hear(pair, &message), tag, pair);
    }
    let (delivered, sent) = subject.receive(tagged(pair, tag));
    assert_eq!(delivered, None);
    assert_r1bis(sent, tag, pair);
    for message in [
        r1_for(InitiatorNonce(3)),
        r1bis_for(tag),
        peer.r2(InitiatorNonce(3), peer.options()),
    ] {
        assert_eq!(subject.hear(pair, &message), []);
    }
    assert!(subject.contexts().is_empty());
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-10.4
//= type=test
//= id=S-145,S-146
//# Since Context Tags can be reused, the host MUST verify that the IPv6 Source Address field is part
//# of Ls(peer) and that the IPv6 Destination Address field is part of Ls(local).
//= https://www.rfc-editor.org/rfc/rfc5533#section-10.5
//= type=test
//= id=S-153,S-154
//# In this case, the host MUST send an R1bis message and otherwise ignore the Update Acknowledgement
//# message.
//= https://www.rfc-editor.org/rfc/rfc5533#section-12.4
//= type=test
//= id=S-165
//# Verify that the IPv6 Source Address field is part of Ls(peer) and that the IPv6 Destination
//# Address field is part of Ls(local).  If not, send an R1bis message.
//= https://www.rfc-editor.org/rfc/rfc5534#section-5.1
//= type=test
//= id=R-022
//# A valid message conforms to the format above, has a Receiver Context Tag that matches the context
//# known by the receiver
#[test]
fn a_known_tag_from_elsewhere_is_a_stale_context() {
    let (mut subject, peer) = (Subject::new(), Peer::hba(2));
    let ulids = ulids(&subject, &peer);
    peer.be_asked(&mut subject, ulids);
    // An address of this host that its peer was not told of.
    subject.set_usable(1, false);
    let mut acknowledged = subject.wait(secs(1));
    assert!(acknowledged.pop().is_none());
    let before = subject.context(ulids).unwrap();
    let stranger = "2001:db8:bad::1".parse().unwrap();
    let pair = LocatorPair {
        peer: stranger,
        ..ulids.into()
    };
    for (number, message) in (1..).zip(messages_on(before.local_tag, pair)) {
        assert_r1bis(subject.hear(pair, &message), before.local_tag, pair);
        assert_eq!(subject.dropped(DropReason::ForeignLocator), number);
        let after = subject.context(ulids).unwrap();
        assert_eq!((after.state, after.reap), (before.state, before.reap));
        assert_eq!(after.peer_locators, before.peer_locators);
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-7.18
//= type=test
//= id=S-116
//# For that, the host leaves CT(peer) unchanged in the context state, transitions to I2BIS-SENT
//# STATE, and sends an I2bis message, including the computed Responder Validator option, the Packet
//# Context Tag, and the Responder Nonce that were received in the R1bis message.
#[test]
fn an_r1bis_counts_in_an_established_context_and_from_its_peer_only() {
    let (mut subject, peer) = (Subject::new(), Peer::hba(2));
    let ulids = ulids(&subject, &peer);
    let stranger = LocatorPair {
        peer: "2001:db8:bad::1".parse().unwrap(),
        ..ulids.into()
    };
    let i1 = subject.begin(ulids);
    assert_eq!(subject.hear(ulids.into(), &r1bis_for(peer.tag)), []);
    subject.hear_r1(ulids.into(), i1.initiator_nonce);
    assert_eq!(subject.hear(ulids.into(), &r1bis_for(peer.tag)), []);
    let r2 = peer.r2(i1.initiator_nonce, peer.options());
    assert_eq!(subject.hear(ulids.into(), &r2), []);

    assert_eq!(subject.hear(stranger, &r1bis_for(peer.tag)), []);
    let unknown = r1bis_for(ContextTag::from_bits(9));
    assert_eq!(subject.hear(ulids.into(), &unknown), []);
    assert_eq!(subject.state(ulids), Some(State::Established));

    let i2bis = subject.hear_r1bis(ulids.into(), peer.tag);
    let Message::R1bis(r1bis) = r1bis_for(peer.tag) else {
        unreachable!("it is made so")
    };
    assert_eq!(
        (i2bis.packet_tag, i2bis.responder_nonce, i2bis.validator),
        (r1bis.packet_tag, r1bis.responder_nonce, r1bis.validator)
    );
    let context = subject.context(ulids).unwrap();
    assert_eq!(context.state, State::I2bisSent);
    assert_eq!(context.peer_tag, Some(peer.tag));
    assert_eq!(subject.hear(ulids.into(), &r1bis_for(peer.tag)), []);
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-1.5
//= type=test
//= id=S-001
//# This potential source for confusion is avoided by requiring that any communication using a ULID
//# MUST be terminated when the ULID becomes invalid (due to the underlying prefix becoming invalid).
#[test]
fn a_context_ends_with_its_ulid_and_its_peer_learns_of_it() {
    let (mut subject, peer) = (Subject::new(), Peer::hba(2));
    let all = shim6_sim::hba(0, &[shim6_sim::prefix(0, 0), shim6_sim::prefix(0, 1)]);
    let ulids = ulids(&subject, &peer);
    peer.be_asked(&mut subject, ulids);
    let tag = subject.context(ulids).unwrap().local_tag;
    assert_eq!(subject.set_locators(all[1..].to_vec()), []);
    assert!(subject.contexts().is_empty());
    let left = left_on(&subject.send_payload(ulids));
    assert_eq!(left, (ulids.into(), None));
    let other = LocatorPair {
        local: all[1].address,
        peer: peer.address(1),
    };
    let (delivered, sent) = subject.receive(tagged(other, tag));
    assert_eq!(delivered, None);
    assert_r1bis(sent, tag, other);
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-12.2
//= type=test
//= id=S-160
//# If I1-SENT, discard the message and stay in I1-SENT.
#[test]
fn tagged_payload_is_delivered_as_soon_as_the_peer_can_know_the_tag() {
    let (mut subject, peer) = (Subject::new(), Peer::hba(2));
    let ulids = ulids(&subject, &peer);
    let i1 = subject.begin(ulids);
    let packet = tagged(ulids.into(), i1.initiator_tag);
    assert_eq!(subject.receive(packet.clone()), (None, vec![]));
    let i2 = subject.hear_r1(ulids.into(), i1.initiator_nonce);
    assert_eq!(subject.wait(secs(1)), []);
    let (delivered, sent) = subject.receive(packet.clone());
    assert!(delivered.is_some());
    assert_eq!(only(sent).message, Message::I2(i2));
    let r2 = peer.r2(i1.initiator_nonce, peer.options());
    subject.hear(ulids.into(), &r2);
    let i2bis = subject.hear_r1bis(ulids.into(), peer.tag);
    assert_eq!(subject.wait(secs(1)), []);
    let (delivered, sent) = subject.receive(packet);
    assert!(delivered.is_some());
    assert_eq!(only(sent).message, Message::I2bis(i2bis));
}
