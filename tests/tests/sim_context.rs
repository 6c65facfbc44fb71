//! How contexts come to be, whatever is lost on the way.

use std::time::Duration;

use shim6_core::{Cause, DropReason, Event, Heuristic, RespondOnly, State};
use shim6_sim::{HostSpec, Kind, Pattern, message_of, send_message};
use shim6_wire::{
    ContextTag, I1, InitiatorNonce, Keepalive, Message, MessageType, R1, ResponderNonce, Validator,
};
use shimq_tests::{Proof, TwoHosts, is_established, locators, secs};

use MessageType as Ty;

#[test]
fn two_kilobytes_bring_up_a_context_in_four_messages() {
    for proof in [Proof::Cga, Proof::Hba] {
        let mut scene = TwoHosts::proven_by(1, proof);
        let (a, b) = (scene.a, scene.b);
        let flow = scene.establish(Pattern::request_response(secs(1)));
        let world = &mut scene.world;
        // Three questions and two answers of 400 octets are 2000, the third answer is too much.
        assert_eq!(world.stats(flow).sent, 3);
        world.run_for(secs(60));
        let exchange: Vec<_> = world.messages().iter().map(|&(_, h, ty)| (h, ty)).collect();
        assert_eq!(
            exchange,
            [(a, Ty::I1), (b, Ty::R1), (a, Ty::I2), (b, Ty::R2)]
        );
        for host in [a, b] {
            assert_eq!(world.contexts(host)[0].peer_locators.len(), 2);
            assert_eq!(world.payload_sent(host).1, 0, "the pair is the ULIDs");
        }
    }
}

#[test]
fn any_message_of_the_exchange_can_be_lost_twice() {
    for seed in 0..10 {
        for (from_a, ty) in [
            (true, Ty::I1),
            (false, Ty::R1),
            (true, Ty::I2),
            (false, Ty::R2),
        ] {
            let mut scene = TwoHosts::new(seed);
            let sender = if from_a { scene.a } else { scene.b };
            scene.world.lose_next(sender, ty);
            scene.world.lose_next(sender, ty);
            let flow = scene.establish(Pattern::request_response(secs(1)));
            scene.world.run_for(secs(60));
            let stats = scene.world.stats(flow);
            assert!(stats.answered + 1 >= stats.sent, "{ty:?}: {stats:?}");
            assert_same_context(&scene, &format!("seed {seed}, {ty:?}"));
        }
    }
}

#[test]
fn crossing_i1s_make_one_context() {
    for seed in 0..20 {
        let mut scene = TwoHosts::new(seed);
        let (a, b) = (scene.a, scene.b);
        let ulids = scene.world_ulids();
        // Within the 20 ms that an I1 takes.
        let apart = Duration::from_millis(scene.world.random(20));
        scene.world.trigger(a, ulids.0);
        scene.world.run_for(apart);
        scene.world.trigger(b, ulids.1);
        scene.world.run_for(secs(1));
        assert_same_context(&scene, &format!("seed {seed}"));
        scene.world.run_for(secs(60));
        assert_same_context(&scene, &format!("seed {seed}, later"));
    }
}

#[test]
fn a_peer_without_shim6_is_left_alone_for_a_while_and_its_traffic_unharmed() {
    for (kind, hold, cause) in [
        (Kind::Silent, secs(60), Cause::NoAnswer),
        (Kind::Refusing, secs(600), Cause::NotSupported),
    ] {
        let mut scene = TwoHosts::of(
            7,
            HostSpec::shim6(locators(0, 2, Proof::Hba)),
            HostSpec::shim6(locators(1, 2, Proof::Hba)).kind(kind),
        );
        let world = &mut scene.world;
        let flow = world.start(scene.a, scene.b, Pattern::request_response(secs(1)));
        // 4, 8, 16, 32 and 64 seconds, up to half longer, are waited for R1 (RFC 5533 §7.8, §14).
        let declined = world.run_until(world.now() + secs(300), |world| {
            let is_declined = |(_, event): &(_, Event)| matches!(event, Event::Declined { .. });
            world.events(scene.a).iter().any(is_declined)
        });
        assert!(declined);
        let (at, event) = world.events(scene.a)[0].clone();
        assert!(
            matches!(&event, Event::Declined { hold: h, cause: c, .. } if (*h, *c) == (hold, cause)),
            "{event:?}"
        );
        let first_try = world.messages().len();
        let expected = if kind == Kind::Silent { 5 } else { 1 };
        assert_eq!(first_try, expected, "{kind:?}");
        let held = world.run_until(at + hold, |world| world.messages().len() > first_try);
        assert!(!held, "no I1 during the hold-down");
        // Two kilobytes more, and it may be tried again.
        assert!(
            world.run_until(at + hold + secs(10), |world| world.messages().len()
                > first_try)
        );
        let stats = world.stats(flow);
        assert!(stats.answered + 1 >= stats.sent, "{stats:?}");
        assert_eq!(world.payload_sent(scene.a).1, 0);
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-7.10
//= type=test
//= id=S-078
//# No state is created on the host in this case.
#[test]
fn a_flood_of_i1_leaves_nothing_behind() {
    let mut scene = TwoHosts::of(
        3,
        HostSpec::shim6(locators(0, 2, Proof::Cga)).kind(Kind::Puppet),
        HostSpec::shim6(locators(1, 2, Proof::Cga)),
    );
    let pair = scene.ulids();
    for number in 0..20_000_u32 {
        let i1 = Message::I1(I1 {
            initiator_tag: ContextTag::from_bits(u64::from(number)),
            initiator_nonce: InitiatorNonce(number),
            ulids: None,
            fii: None,
        });
        scene.world.inject(scene.a, send_message(pair, &i1));
    }
    scene.world.run_for(secs(1));
    let world = &mut scene.world;
    let answers = world.take_inbox(scene.a);
    let is_r1 = |packet: &Vec<u8>| {
        message_of(packet).is_some_and(|received| matches!(received.message, Message::R1(_)))
    };
    assert!(answers.iter().all(is_r1));
    // A budget bounds what strangers can draw.
    assert_eq!(answers.len(), 10_000);
    let counters = world.counters(scene.b).unwrap();
    assert_eq!(world.dropped(scene.b, DropReason::OverBudget), 10_000);
    assert_eq!((counters.contexts_created, counters.verifications), (0, 0));
    assert!(world.contexts(scene.b).is_empty());
    assert!(world.timer(scene.b).is_none(), "nothing waits");
}

#[test]
fn a_host_that_only_responds_never_starts() {
    let respond_only: fn() -> Box<dyn Heuristic> = || Box::new(RespondOnly);
    let spec = |host| HostSpec {
        heuristic: respond_only,
        ..HostSpec::shim6(locators(host, 2, Proof::Hba))
    };
    let mut scene = TwoHosts::of(3, spec(0), spec(1));
    let flow = scene.world.start(scene.a, scene.b, Pattern::bulk());
    scene.world.run_for(secs(120));
    assert!(scene.world.messages().is_empty());
    assert!(scene.world.stats(flow).answered > 5_900);
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-9
//= type=test
//= id=S-137,S-138
//# it is RECOMMENDED that implementations minimize premature teardown by observing the amount of
//# traffic that is sent and received using the context, and tear down the state only after it
//# appears quiescent.
#[test]
fn a_context_that_nobody_uses_is_collected_at_both_ends() {
    let mut scene = TwoHosts::new(5);
    let flow = scene.establish(Pattern::request_response(secs(1)));
    let world = &mut scene.world;
    world.run_for(secs(700));
    assert!(is_established(world, scene.a) && is_established(world, scene.b));
    world.stop(flow);
    world.run_for(secs(590));
    assert!(is_established(world, scene.a) && is_established(world, scene.b));
    world.run_for(secs(60));
    for host in [scene.a, scene.b] {
        assert!(world.contexts(host).is_empty());
        let last = &world.events(host).last().unwrap().1;
        assert!(
            matches!(
                last,
                Event::Discarded {
                    cause: Cause::Idle,
                    ..
                }
            ),
            "{last:?}"
        );
        assert!(world.timer(host).is_none());
    }
}

#[test]
fn what_went_unanswered_before_the_context_is_not_held_against_it() {
    let mut scene = TwoHosts::new(8);
    for _ in 0..3 {
        scene.world.lose_next(scene.a, Ty::I1);
    }
    scene.establish(Pattern::one_way(secs(1)));
    assert!(
        scene.world.now().as_micros() > 20_000_000,
        "longer than a Send Timeout"
    );
    scene.world.run_for(secs(120));
    assert_eq!(scene.world.sent(scene.a, Ty::Probe), 0);
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-12.2
//= type=test
//= id=S-160
//# o  If I2-SENT, send I2 and proceed to process the message.
#[test]
fn a_peer_that_has_the_context_already_draws_i2_again_but_not_as_fast_as_it_sends() {
    let mut scene = TwoHosts::of(
        9,
        HostSpec::shim6(locators(0, 2, Proof::Hba)),
        HostSpec::shim6(locators(1, 2, Proof::Hba)).kind(Kind::Puppet),
    );
    let (ours, back) = (scene.world_ulids().0, scene.ulids().reversed());
    scene.world.trigger(scene.a, ours);
    scene.world.run_for(secs(1));
    let mail = scene.world.take_inbox(scene.b);
    let Some(Message::I1(i1)) = message_of(&mail[0]).map(|received| received.message) else {
        panic!("no I1");
    };
    let r1 = Message::R1(R1 {
        initiator_nonce: i1.initiator_nonce,
        responder_nonce: ResponderNonce(1),
        validator: Validator(vec![1; 32]),
    });
    scene.world.inject(scene.b, send_message(back, &r1));
    scene.world.run_for(Duration::from_millis(600));
    assert_eq!(scene.world.sent(scene.a, Ty::I2), 1);
    let receiver_tag = i1.initiator_tag;
    let keepalive = send_message(back, &Message::Keepalive(Keepalive { receiver_tag }));
    for _ in 0..100 {
        scene.world.inject(scene.b, keepalive.clone());
        scene.world.run_for(Duration::from_millis(10));
    }
    assert_eq!(scene.world.sent(scene.a, Ty::I2), 3, "twice in a second");
}

/// Asserts that both ends hold one context, the same, and that each knows the other's tag.
fn assert_same_context(scene: &TwoHosts, what: &str) {
    let [a, b] = [scene.a, scene.b].map(|host| scene.world.contexts(host));
    assert_eq!((a.len(), b.len()), (1, 1), "{what}: {a:?} {b:?}");
    assert_eq!(
        (a[0].state, b[0].state),
        (State::Established, State::Established),
        "{what}"
    );
    assert_eq!(a[0].peer_tag, Some(b[0].local_tag), "{what}");
    assert_eq!(b[0].peer_tag, Some(a[0].local_tag), "{what}");
    assert_eq!(a[0].peer_locators.len(), 2, "{what}");
    assert_eq!(b[0].peer_locators.len(), 2, "{what}");
}
