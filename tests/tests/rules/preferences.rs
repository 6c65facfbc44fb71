//! How gladly locators are used: told, heard, and heeded (RFC 5533 §5.15.3, §10).

use shim6_core::{Cause, Config, Event, LocalLocator, ReapState, State, UlidPair};
use shim6_sim::{cga, hba, prefix};
use shim6_wire::{
    LocatorOptions, LocatorPreferences, Message, Preference, PreferenceFlags, Probe, ProbeState,
    RequestNonce, UpdateAck, UpdateRequest,
};
use shimq_tests::secs;

use crate::bench::{Line, Peer, Sent, Subject, left_on, probes, ulids};

const BROKEN: Preference = Preference {
    flags: PreferenceFlags::BROKEN,
    priority: 0,
    weight: 0,
};

fn priority(priority: u8) -> Preference {
    Preference {
        priority,
        ..Preference::default()
    }
}

/// The subject's locators, with these preferences.
fn preferring<const N: usize>(
    locators: Vec<LocalLocator>,
    preferences: [Preference; N],
) -> Vec<LocalLocator> {
    let both = locators.into_iter().zip(preferences);
    both.map(|(locator, preference)| LocalLocator {
        preference,
        ..locator
    })
    .collect()
}

fn addresses() -> Vec<LocalLocator> {
    hba(0, &[prefix(0, 0), prefix(0, 1)])
}

/// The peer's list, with these preferences.
fn told(peer: &Peer, elements: &[Preference]) -> LocatorOptions {
    LocatorOptions {
        preferences: Some(LocatorPreferences {
            generation: peer.generation,
            elements: elements.to_vec(),
        }),
        ..peer.options()
    }
}

fn update(subject: &Subject, ulids: UlidPair, locators: LocatorOptions) -> Message {
    Message::UpdateRequest(UpdateRequest {
        receiver_tag: subject.context(ulids).unwrap().local_tag,
        request_nonce: RequestNonce(0x77),
        locators,
        keepalive_timeout: None,
    })
}

/// The peer's answer to a probe of the subject's that it received on `pair`.
fn answer(subject: &Subject, ulids: UlidPair, probe: &Probe) -> Message {
    let mine = shim6_wire::ProbeReport {
        source: ulids.peer,
        destination: ulids.local,
        nonce: shim6_wire::ProbeNonce(0x99),
        data: 0,
    };
    Message::Probe(Probe {
        receiver_tag: subject.context(ulids).unwrap().local_tag,
        state: ProbeState::InboundOk,
        sent: vec![mine],
        received: vec![probe.sent[0]],
    })
}

/// What the Update Requests among `sent` tell of locators.
fn preferences_in(sent: &[Sent]) -> Vec<LocatorOptions> {
    let options = |sent: &Sent| {
        if let Message::UpdateRequest(request) = &sent.message {
            Some(request.locators.clone())
        } else {
            None
        }
    };
    sent.iter().filter_map(options).collect()
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-10.1
//= type=test
//= id=S-040
//# Any Locator Preference option, whether sent in the same Update Request or in some future Update
//# Request, will use that generation number to make sure the preferences get applied to the correct
//# version of the locator list.
#[test]
fn preferences_are_told_with_the_list_that_they_are_about() {
    let locators = preferring(addresses(), [priority(1), priority(2)]);
    let (mut subject, peer) = (Subject::with(Config::default(), locators), Peer::hba(2));
    let ulids = ulids(&subject, &peer);
    // In I2, and in R2 to another peer.
    let (_, i2) = peer.be_asked(&mut subject, ulids);
    let other = Peer {
        tag: shim6_wire::ContextTag::from_bits(5),
        locators: hba(2, &[prefix(2, 0)]),
        ..Peer::hba(1)
    };
    let line = Line::on_ulids(crate::bench::ulids(&subject, &other));
    let r2 = other.begin(&mut subject, line);
    for options in [i2.locators, r2.locators] {
        let list = options.list.unwrap();
        let preferences = options.preferences.unwrap();
        assert_eq!(preferences.generation, list.generation);
        assert_eq!(preferences.elements, [priority(1), priority(2)]);
    }
    // A change is an update under the same generation, and so is the return to normal.
    let before = subject.set_locators(preferring(addresses(), [BROKEN, priority(2)]));
    let after = subject.set_locators(addresses());
    let generation = |options: &LocatorOptions| options.list.as_ref().unwrap().generation;
    let (before, after) = (preferences_in(&before), preferences_in(&after));
    assert_eq!((before.len(), after.len()), (2, 2));
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(generation(before), generation(after));
        let told = before.preferences.as_ref().unwrap();
        assert_eq!(told.elements, [BROKEN, priority(2)]);
        let told = after.preferences.as_ref().unwrap();
        assert_eq!(told.elements, [Preference::default(); 2]);
    }
    // The same again is no change.
    assert_eq!(subject.set_locators(addresses()), []);
}

#[test]
fn who_likes_all_alike_says_nothing() {
    let (mut subject, peer) = (Subject::new(), Peer::hba(2));
    let ulids = ulids(&subject, &peer);
    let (_, i2) = peer.be_asked(&mut subject, ulids);
    assert_eq!(i2.locators.preferences, None);
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-10.4
//= type=test
//= id=S-151
//# The host uses the reachability exploration procedure described in [4] to verify that the new
//# locator is reachable before changing Lp(peer).
#[test]
fn a_locator_that_the_peer_calls_broken_or_likes_less_is_left_for_one_that_answers() {
    for preferences in [
        [BROKEN, Preference::default()],
        [priority(1), priority(0)],
        [
            Preference {
                flags: PreferenceFlags::TRANSIENT,
                ..Preference::default()
            },
            Preference::default(),
        ],
    ] {
        let (mut subject, peer) = (Subject::new(), Peer::hba(2));
        let ulids = ulids(&subject, &peer);
        peer.be_asked(&mut subject, ulids);
        let message = update(&subject, ulids, told(&peer, &preferences));
        let sent = subject.hear(ulids.into(), &message);
        assert!(matches!(sent[0].message, Message::UpdateAck(_)), "{sent:?}");
        let [(_, asked, probe)] = &probes(&sent)[..] else {
            panic!("{sent:?}")
        };
        assert_eq!(asked.peer, peer.address(1), "{preferences:?}");
        assert_eq!(left_on(&subject.send_payload(ulids)).0, ulids.into());

        subject.hear(*asked, &answer(&subject, ulids, probe));
        assert_eq!(left_on(&subject.send_payload(ulids)).0, *asked);
        let because = |event: &Event| matches!(event, Event::PairChanged { cause: Cause::Preference, to, .. } if to == asked);
        assert!(subject.events.iter().any(because), "{:?}", subject.events);
    }
}

#[test]
fn a_better_pair_that_is_silent_is_asked_a_few_times_and_let_be() {
    let (mut subject, peer) = (Subject::new(), Peer::hba(2));
    let ulids = ulids(&subject, &peer);
    peer.be_asked(&mut subject, ulids);
    let preferences = [priority(1), priority(0)];
    let message = update(&subject, ulids, told(&peer, &preferences));
    let mut asked = probes(&subject.hear(ulids.into(), &message));
    let mut rounds = 0;
    for _ in 0..300 {
        // The current pair works: a probe on it is answered, which ends the round.
        let answered = asked.iter().find(|(_, pair, _)| *pair == ulids.into());
        if let Some((_, pair, probe)) = answered.cloned() {
            rounds += 1;
            subject.hear(pair, &answer(&subject, ulids, &probe));
            let context = subject.context(ulids).unwrap();
            assert_eq!(context.reap, ReapState::Operational);
            assert_eq!(context.current, ulids.into());
        }
        // The peer goes on sending, so nothing else is in doubt.
        subject.receive_payload(ulids);
        asked = probes(&subject.wait(std::time::Duration::from_millis(100)));
    }
    assert_eq!(rounds, 3);
}

#[test]
fn preferences_that_change_nothing_for_the_current_pair_start_nothing() {
    let (mut subject, peer) = (Subject::new(), Peer::hba(2));
    let ulids = ulids(&subject, &peer);
    peer.be_asked(&mut subject, ulids);
    for preferences in [[Preference::default(), BROKEN], [priority(3), priority(3)]] {
        let message = update(&subject, ulids, told(&peer, &preferences));
        let sent = subject.hear(ulids.into(), &message);
        assert_eq!(probes(&sent), []);
    }
}

#[test]
fn an_own_locator_that_is_broken_is_left_if_the_peer_does_not_see_to_it() {
    let (mut subject, peer) = (Subject::new(), Peer::hba(2));
    let ulids = ulids(&subject, &peer);
    peer.be_asked(&mut subject, ulids);
    let tag = subject.context(ulids).unwrap().local_tag;
    let sent = subject.set_locators(preferring(addresses(), [BROKEN, Preference::default()]));
    assert_eq!(probes(&sent), []);
    let Some(Message::UpdateRequest(request)) = sent.first().map(|sent| &sent.message) else {
        panic!("{sent:?}")
    };
    let ack = Message::UpdateAck(UpdateAck {
        receiver_tag: tag,
        request_nonce: request.request_nonce,
    });
    subject.hear(ulids.into(), &ack);
    let later = subject.wait(secs(2));
    let [(_, asked, probe)] = &probes(&later)[..] else {
        panic!("{later:?}")
    };
    assert_eq!(asked.local, subject.address(1));
    subject.hear(*asked, &answer(&subject, ulids, probe));
    let context = subject.context(ulids).unwrap();
    assert_eq!(
        (context.state, context.current),
        (State::Established, *asked)
    );
}

/// Of many contexts between hosts that weigh two equal locators 3 to 1, three quarters go to the one.
#[test]
fn weights_share_the_load_among_equals() {
    let share = |weight| Preference {
        weight,
        ..priority(0)
    };
    let mut count = 0;
    for seed in 0..80 {
        let mut subject = Subject::seeded(Config::default(), addresses(), seed);
        let peer = Peer {
            locators: cga(1, &[0, 1, 2].map(|provider| prefix(1, provider)), 1),
            ..Peer::cga(3)
        };
        let ulids = ulids(&subject, &peer);
        peer.be_asked(&mut subject, ulids);
        let preferences = [priority(9), share(3), share(1)];
        let message = update(&subject, ulids, told(&peer, &preferences));
        let sent = subject.hear(ulids.into(), &message);
        count += usize::from(probes(&sent)[0].1.peer == peer.address(1));
    }
    assert!((50..=70).contains(&count), "{count} of 80");
}
