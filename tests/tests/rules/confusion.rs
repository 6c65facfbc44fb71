//! A peer that uses a tag again (RFC 5533 §7.6, §7.14, §7.15).

use shim6_core::{Cause, Event, LocatorPair, State, UlidPair};
use shim6_sim::{hba, prefix};
use shim6_wire::{ContextTag, Message, RequestNonce, UpdateRequest};

use crate::bench::{Line, Peer, Subject, left_on, only};

/// How the peer comes to use its tag again.
#[derive(Clone, Copy, Debug)]
enum By {
    I2,
    I2bis,
    R2,
}

/// A subject whose payload to the peer's first address is mapped.
fn subject_with_mapped_context(peer: &Peer) -> (Subject, UlidPair) {
    let mut subject = Subject::new();
    let ulids = crate::bench::ulids(&subject, peer);
    let line = Line {
        pair: LocatorPair {
            peer: peer.address(1),
            ..ulids.into()
        },
        ..Line::on_ulids(ulids)
    };
    peer.begin(&mut subject, line);
    let left = left_on(&subject.send_payload(ulids));
    assert_eq!(left, (line.pair, Some(peer.tag)));
    (subject, ulids)
}

fn use_tag_again(subject: &mut Subject, peer: &Peer, ulids: UlidPair, by: By) {
    let line = Line::on_ulids(ulids);
    match by {
        By::I2 => {
            peer.begin(subject, line);
        }
        By::I2bis => {
            let r1bis = subject.hear_unknown_tag(line.pair, ContextTag::from_bits(0x7777));
            let message = peer.i2bis(line, &r1bis, peer.options());
            only(subject.hear(line.pair, &message));
        }
        By::R2 => {
            peer.be_asked(subject, ulids);
        }
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-7.15
//= type=test
//= id=S-068,S-105,S-106,S-108
//# In this case, we are in a context confusion situation, and the host MUST NOT use the old context
//# to send any packets.
//= https://www.rfc-editor.org/rfc/rfc5533#section-7.15
//= type=test
//= id=S-102,S-104,S-113
//# When the host receives an I2, I2bis, or R2, it MUST look for a possible context confusion, i.e.,
//# where it would end up with multiple contexts using the same CT(peer) for the same peer host.
#[test]
fn a_context_whose_tag_the_peer_uses_again_is_gone_before_anything_is_sent_on_it() {
    for by in [By::I2, By::I2bis, By::R2] {
        let peer = Peer::hba(2);
        let (mut subject, old) = subject_with_mapped_context(&peer);
        let new = UlidPair {
            peer: peer.address(1),
            ..old
        };
        use_tag_again(&mut subject, &peer, new, by);
        assert!(subject.context(old).is_none(), "{by:?}");
        assert!(subject.context(new).is_some(), "{by:?}");
        let left = left_on(&subject.send_payload(old));
        assert_eq!(left, (old.into(), None), "{by:?}: as plain IPv6");
        let told = subject.events.iter().any(|event| {
            matches!(event, Event::Discarded { ulids, cause: Cause::Confusion, .. } if *ulids == old)
        });
        assert!(told, "{by:?}");
    }
}

#[test]
fn two_hosts_may_choose_the_same_tag() {
    let peer = Peer::hba(2);
    let (mut subject, first) = subject_with_mapped_context(&peer);
    let other = Peer {
        locators: hba(2, &[prefix(2, 0), prefix(2, 1)]),
        ..Peer::hba(2)
    };
    let second = UlidPair {
        peer: other.address(0),
        ..first
    };
    use_tag_again(&mut subject, &other, second, By::I2);
    assert!(subject.context(first).is_some());
    assert!(subject.context(second).is_some());
}

#[test]
fn an_update_that_tells_of_a_locator_of_another_context_with_the_tag_ends_that_context() {
    // Each context knows one address of the peer, so nothing shows that both are of one host.
    let peer = Peer::hba(2);
    let mut subject = Subject::new();
    let first = crate::bench::ulids(&subject, &peer);
    let second = UlidPair {
        peer: peer.address(1),
        ..first
    };
    for ulids in [first, second] {
        let alone = peer.listing(&[ulids.peer]);
        peer.begin_with(&mut subject, Line::on_ulids(ulids), alone);
    }
    assert!(subject.context(first).is_some());
    let request = Message::UpdateRequest(UpdateRequest {
        receiver_tag: subject.context(second).unwrap().local_tag,
        request_nonce: RequestNonce(1),
        locators: peer.options(),
        keepalive_timeout: None,
    });
    subject.hear(second.into(), &request);
    assert!(subject.context(first).is_none());
    assert!(subject.context(second).is_some());
}

#[test]
fn each_of_many_peers_with_one_tag_is_told_apart_by_its_locators() {
    let mut subject = Subject::new();
    let peers: Vec<Peer> = (2..66)
        .map(|host| Peer {
            locators: hba(host, &[prefix(host, 0), prefix(host, 1)]),
            ..Peer::hba(2)
        })
        .collect();
    let all: Vec<UlidPair> = peers
        .iter()
        .map(|peer| {
            let ulids = crate::bench::ulids(&subject, peer);
            peer.begin(&mut subject, Line::on_ulids(ulids));
            ulids
        })
        .collect();
    for (peer, &ulids) in peers.iter().zip(&all) {
        // Heard from its second address, which only this context knows.
        let pair = LocatorPair {
            peer: peer.address(1),
            ..ulids.into()
        };
        subject.hear_r1bis(pair, peer.tag);
        assert_eq!(subject.state(ulids), Some(State::I2bisSent));
    }
    assert_eq!(subject.contexts().len(), all.len());
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-7.6
//= type=test
//= id=S-070
//# Note that an I1 message with a duplicate Context Tag should not cause the removal of the old
//# context state; this operation needs to be deferred until the reception of the I2 message.
#[test]
fn an_i1_with_a_tag_in_use_removes_nothing() {
    let peer = Peer::hba(2);
    let (mut subject, old) = subject_with_mapped_context(&peer);
    let new = UlidPair {
        peer: peer.address(1),
        ..old
    };
    peer.ask(&mut subject, Line::on_ulids(new));
    let left = left_on(&subject.send_payload(old));
    assert_eq!(left.1, Some(peer.tag));
}
