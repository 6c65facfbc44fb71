//! Hosts that change in the life of a context: addresses come and go, memory is lost.

use std::time::Duration;

use shim6_core::{Cause, DropReason, Event, ReapState, State};
use shim6_sim::{HostId, HostSpec, Kind, Link, Pair, Pattern, World, message_of, send_message};
use shim6_wire::{
    ContextTag, Generation, I1, I2, InitiatorNonce, ListedLocator, LocatorList, LocatorOptions,
    Message, MessageType as Ty, VerificationMethod,
};
use shimq_tests::{Proof, TwoHosts, is_established, locators, recovery_bound, secs};

/// Sets whether `host` has its address number `index`.
fn set_usable(world: &mut World, host: HostId, index: usize, usable: bool) {
    let mut locators = world.locators(host).to_vec();
    locators[index].usable = usable;
    world.set_locators(host, locators);
}

#[test]
fn an_address_that_comes_later_is_told_and_used() {
    for proof in [Proof::Cga, Proof::Hba] {
        let mut scene = TwoHosts::proven_by(1, proof);
        let mut late = scene.world.locators(scene.b).to_vec();
        let second = late[1].address;
        late[1].usable = false;
        scene.world.set_locators(scene.b, late);
        let flow = scene.establish(Pattern::request_response(secs(1)));
        let world = &mut scene.world;
        world.run_for(secs(10));
        assert_eq!(world.contexts(scene.a)[0].peer_locators.len(), 1);

        set_usable(world, scene.b, 1, true);
        world.run_for(secs(1));
        assert!(world.contexts(scene.a)[0].peer_locators.contains(&second));
        assert_eq!(world.sent(scene.b, Ty::UpdateRequest), 1);
        assert_eq!(world.sent(scene.a, Ty::UpdateAck), 1);

        for pair in world.pairs(scene.a, scene.b) {
            if pair.destination != second {
                world.cut(pair);
            }
        }
        world.run_for(secs(30));
        assert_eq!(world.current_pair(scene.a).unwrap().destination, second);
        let stats = world.stats(flow);
        assert!(world.now().since(stats.last_answered.unwrap()) < secs(2));
    }
}

#[test]
fn an_address_that_comes_when_all_others_are_dead_is_the_way_out() {
    for proof in [Proof::Cga, Proof::Hba] {
        for seed in 0..8 {
            let [a, b] = [0, 1].map(|host| HostSpec::shim6(locators(host, 2, proof)));
            let mut scene = TwoHosts::of(seed, a, b);
            set_usable(&mut scene.world, scene.b, 1, false);
            let flow = scene.establish(Pattern::request_response(secs(1)));
            let world = &mut scene.world;
            world.run_for(secs(10));
            let [first, second] = [0, 1].map(|index| world.address(scene.b, index));
            for pair in world.pairs(scene.a, scene.b) {
                if pair.destination == first {
                    world.cut(pair);
                }
            }
            world.run_for(secs(20));
            // No update can tell the peer: it goes by the pair that is dead.
            set_usable(world, scene.b, 1, true);
            world.run_for(secs(60));
            assert_eq!(world.current_pair(scene.a).unwrap().destination, second);
            assert!(world.contexts(scene.a)[0].peer_locators.contains(&second));
            let stats = world.stats(flow);
            let silence = world.now().since(stats.last_answered.unwrap());
            assert!(silence < secs(2), "seed {seed}: {silence:?}");
        }
    }
}

#[test]
fn a_deprecated_address_is_left_with_a_handful_of_probes() {
    // Whether the Update or the first probes arrive first, and on which pair, is up to the seed.
    for seed in 0..64 {
        let [a, b] =
            [3, 2].map(|providers| HostSpec::shim6(locators(providers, providers, Proof::Cga)));
        let mut scene = TwoHosts::of(seed, a, b);
        scene.establish(Pattern::request_response(Duration::from_millis(20)));
        let world = &mut scene.world;
        world.set_default_link(Link {
            delay: Duration::from_millis(1),
            jitter: Duration::from_millis(5),
            ..Link::default()
        });
        let left = world.address(scene.a, 0);
        world.deprecate(scene.a, 0);
        world.run_for(secs(10));
        let probes = world.sent(scene.a, Ty::Probe) + world.sent(scene.b, Ty::Probe);
        assert!(probes < 50, "seed {seed}: {probes} probes");
        for host in [scene.a, scene.b] {
            let Pair {
                source,
                destination,
            } = world.current_pair(host).unwrap();
            assert!(
                ![source, destination].contains(&left),
                "seed {seed}, {host}"
            );
        }
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-10.2
//= type=test
//= id=S-141
//# Should there be no response, the retransmissions continue forever.
#[test]
fn an_update_is_repeated_until_it_is_acknowledged() {
    let mut scene = TwoHosts::new(2);
    scene.establish(Pattern::request_response(secs(1)));
    let world = &mut scene.world;
    for _ in 0..3 {
        world.lose_next(scene.b, Ty::UpdateRequest);
    }
    world.lose_next(scene.a, Ty::UpdateAck);
    set_usable(world, scene.b, 1, false);
    world.run_for(secs(200));
    assert_eq!(world.sent(scene.b, Ty::UpdateRequest), 5);
    assert_eq!(world.contexts(scene.a)[0].peer_locators.len(), 1);
    world.run_for(secs(600));
    assert_eq!(world.sent(scene.b, Ty::UpdateRequest), 5);
}

#[test]
fn a_connection_outlives_the_loss_of_its_own_ulids_addresses() {
    for seed in 0..10 {
        let mut scene = TwoHosts::new(seed);
        let pattern = Pattern::request_response(secs(1));
        let flow = scene.establish(pattern);
        let world = &mut scene.world;
        world.run_for(secs(20));
        for host in [scene.a, scene.b] {
            set_usable(world, host, 0, false);
            let lost_at = world.now();
            // Whoever lost the address knows at once: no Send Timeout.
            world.run_for(secs(5));
            let stats = world.stats(flow);
            assert!(
                stats.last_answered.unwrap() > lost_at,
                "seed {seed}: {stats:?}"
            );
            world.run_for(secs(60));
        }
        let pair = world.current_pair(scene.a).unwrap();
        assert_eq!(pair.source, world.address(scene.a, 1));
        assert_eq!(pair.destination, world.address(scene.b, 1));
        let stats = world.stats(flow);
        assert!(world.now().since(stats.last_answered.unwrap()) < secs(2));
    }
}

#[test]
fn all_addresses_gone_for_ten_minutes_is_no_longer_an_outage_than_that() {
    let mut scene = TwoHosts::new(3);
    let flow = scene.establish(Pattern::request_response(secs(1)));
    let world = &mut scene.world;
    world.run_for(secs(20));
    set_usable(world, scene.a, 0, false);
    set_usable(world, scene.a, 1, false);
    world.run_for(secs(600));
    set_usable(world, scene.a, 1, true);
    world.run_for(secs(5));
    let stats = world.stats(flow);
    assert!(
        world.now().since(stats.last_answered.unwrap()) < secs(2),
        "{stats:?}"
    );
}

#[test]
fn a_context_ends_with_its_ulid() {
    let mut scene = TwoHosts::new(4);
    scene.establish(Pattern::request_response(secs(1)));
    let world = &mut scene.world;
    let remaining = world.locators(scene.a)[1..].to_vec();
    world.set_locators(scene.a, remaining);
    assert!(world.contexts(scene.a).is_empty());
    let last = &world.events(scene.a).last().unwrap().1;
    assert!(
        matches!(
            last,
            Event::Discarded {
                cause: Cause::UlidLost,
                ..
            }
        ),
        "{last:?}"
    );
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-7.17
//= type=test
//= id=S-114
//# Upon the receipt of a Shim6 Payload Extension header where there is
//# no current Shim6 context at the receiver, the receiver is to respond
//# with an R1bis message in order to enable a fast re-establishment of
//# the lost Shim6 context.
#[test]
fn a_peer_that_lost_its_memory_has_the_context_back_with_the_next_packet() {
    for seed in 0..10 {
        let mut scene = TwoHosts::new(seed);
        let flow = scene.establish(Pattern::request_response(secs(1)));
        let (ulids, a, b) = (scene.ulids(), scene.a, scene.b);
        let world = &mut scene.world;
        world.cut(ulids);
        world.run_for(secs(60));
        assert_ne!(world.current_pair(a), Some(ulids));
        world.restart(b);
        let restarted_at = world.now();
        let begun = world.messages().len();
        world.run_for(secs(2));
        let stats = world.stats(flow);
        assert!(
            stats.last_answered.unwrap() > restarted_at,
            "seed {seed}: {stats:?}"
        );
        let exchange: Vec<_> = world.messages()[begun..]
            .iter()
            .map(|&(_, host, ty)| (host, ty))
            .collect();
        assert_eq!(
            exchange,
            [(b, Ty::R1bis), (a, Ty::I2bis), (b, Ty::R2)],
            "seed {seed}"
        );
        assert!(is_established(world, a) && is_established(world, b));
    }
}

#[test]
fn any_message_of_the_recovery_can_be_lost_twice() {
    for seed in 0..5 {
        for (from_b, ty) in [(true, Ty::R1bis), (false, Ty::I2bis), (true, Ty::R2)] {
            let mut scene = TwoHosts::new(seed);
            let flow = scene.establish(Pattern::request_response(secs(1)));
            let ulids = scene.ulids();
            let world = &mut scene.world;
            world.cut(ulids);
            world.run_for(secs(60));
            let loser = if from_b { scene.b } else { scene.a };
            world.lose_next(loser, ty);
            world.lose_next(loser, ty);
            world.restart(scene.b);
            world.run_for(secs(60));
            let stats = world.stats(flow);
            let silence = world.now().since(stats.last_answered.unwrap());
            assert!(silence < secs(2), "seed {seed}, {ty:?}: {stats:?}");
        }
    }
}

#[test]
fn a_peer_that_lost_its_memory_and_its_pair_is_found_on_another() {
    let pattern = Pattern::request_response(secs(1));
    for seed in 0..10 {
        let mut scene = TwoHosts::new(seed);
        let flow = scene.establish(pattern);
        let world = &mut scene.world;
        world.cut(world.current_pair(scene.a).unwrap());
        world.run_for(secs(60));
        let second = world.current_pair(scene.a).unwrap();
        world.cut(second);
        world.restart(scene.b);
        let (cut_at, bound) = (
            world.now(),
            recovery_bound(&shim6_core::Config::default(), 4, pattern),
        );
        world.run_for(bound);
        let stats = world.stats(flow);
        assert!(
            stats.last_answered.unwrap() > cut_at,
            "seed {seed}: {stats:?}"
        );
    }
}

#[test]
fn a_context_that_is_held_down_does_not_swallow_what_its_peer_sends() {
    for seed in 0..10 {
        let mut scene = TwoHosts::new(seed);
        let forth = scene
            .world
            .start(scene.a, scene.b, Pattern::request_response(secs(2)));
        let back = scene
            .world
            .start(scene.b, scene.a, Pattern::one_way(secs(2)));
        let ulids = scene.ulids();
        let world = &mut scene.world;
        world.run_for(secs(30));
        world.cut(ulids);
        world.run_for(secs(60));
        // B forgets the context, has it back from A's I2bis, but A never hears of that.
        world.restart(scene.b);
        let state_is = |world: &World, wanted| matches!(&world.contexts(scene.a)[..], [context] if context.state == wanted);
        let end = world.now() + secs(300);
        assert!(world.run_until(end, |world| state_is(world, State::I2bisSent)));
        for pair in world.pairs(scene.b, scene.a) {
            world.cut_one_way(pair);
        }
        assert!(world.run_until(end, |world| state_is(world, State::EFailed)));
        assert!(is_established(world, scene.b));
        world.heal();
        world.cut(ulids);
        let healed_at = world.now();
        world.run_for(secs(20));
        for flow in [forth, back] {
            let stats = world.stats(flow);
            assert!(
                stats.last_delivered.unwrap() > healed_at,
                "seed {seed}: {stats:?}"
            );
        }
    }
}

#[test]
fn an_update_that_nobody_answers_keeps_no_context_alive() {
    let mut scene = TwoHosts::new(5);
    let flow = scene.establish(Pattern::request_response(secs(1)));
    let world = &mut scene.world;
    world.stop(flow);
    for pair in world.pairs(scene.a, scene.b) {
        world.cut(pair);
    }
    set_usable(world, scene.a, 1, false);
    world.run_for(secs(620));
    assert!(world.contexts(scene.a).is_empty());
    assert!(world.timer(scene.a).is_none());
}

#[test]
fn what_the_peer_no_longer_lists_is_not_probed_any_more() {
    for seed in 0..10 {
        let mut scene = TwoHosts::new(seed);
        scene.establish(Pattern::request_response(secs(1)));
        let world = &mut scene.world;
        world.run_for(secs(20));
        for pair in world.pairs(scene.a, scene.b) {
            world.cut_one_way(pair);
        }
        let exploring = |world: &World| world.contexts(scene.a)[0].reap != ReapState::Operational;
        assert!(world.run_until(world.now() + secs(20), exploring));
        // In the middle of a round, the other direction brings the news.
        set_usable(world, scene.b, 1, false);
        let told = |world: &World| world.contexts(scene.a)[0].peer_locators.len() == 1;
        assert!(world.run_until(world.now() + secs(20), told));
        world.forbid(world.address(scene.b, 1));
        world.run_for(secs(120));
    }
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-7.15
//= type=test
//= id=S-068,S-104,S-108
//# the host MUST NOT
//# keep two contexts with overlapping Ls(peer) locator sets and the
//# same Context Tag in ESTABLISHED STATE
#[test]
fn a_tag_that_the_peer_gives_out_again_ends_its_former_context() {
    // The peer is played by hand: it has forgotten a context between its second address and us, and
    // gives that context's tag to a new one between its first address and us.
    let mut scene = TwoHosts::of(
        9,
        HostSpec::shim6(locators(0, 2, Proof::Hba)).kind(Kind::Puppet),
        HostSpec::shim6(locators(1, 2, Proof::Hba)),
    );
    let tag = ContextTag::from_bits(0x1234);
    for (nonce, ulid) in [(1, 1), (2, 0)] {
        exchange(&mut scene, InitiatorNonce(nonce), tag, ulid);
    }
    let contexts = scene.world.contexts(scene.b);
    assert_eq!(contexts.len(), 1);
    assert_eq!(contexts[0].ulids.peer, scene.world.address(scene.a, 0));
    let confused = |(_, event): &(_, Event)| {
        matches!(
            event,
            Event::Discarded {
                cause: Cause::Confusion,
                ..
            }
        )
    };
    assert!(scene.world.events(scene.b).iter().any(confused));
    assert_eq!(scene.world.dropped(scene.b, DropReason::BadLocators), 0);
}

/// I1 and I2 of the puppet `a`, from its address number `ulid`, with `tag` as its own.
fn exchange(scene: &mut TwoHosts, nonce: InitiatorNonce, tag: ContextTag, ulid: usize) {
    let pair = shim6_sim::Pair {
        source: scene.world.address(scene.a, ulid),
        destination: scene.world.address(scene.b, 0),
    };
    let i1 = Message::I1(I1 {
        initiator_tag: tag,
        initiator_nonce: nonce,
        ulids: None,
        fii: None,
    });
    scene.world.inject(scene.a, send_message(pair, &i1));
    scene.world.run_for(secs(1));
    let mail = scene.world.take_inbox(scene.a);
    let Some(Message::R1(r1)) = mail.iter().find_map(|p| Some(message_of(p)?.message)) else {
        panic!("no R1");
    };
    let own = scene.world.locators(scene.a);
    let listed = |locator: &shim6_core::LocalLocator| ListedLocator {
        address: locator.address,
        method: VerificationMethod::Hba,
    };
    let locators = LocatorOptions {
        list: Some(LocatorList {
            generation: Generation(nonce.0),
            locators: own.iter().map(listed).collect(),
        }),
        preferences: None,
        pds: Some(own[ulid].pds.octets().to_vec()),
        signature: None,
    };
    let i2 = Message::I2(I2 {
        initiator_tag: tag,
        initiator_nonce: nonce,
        responder_nonce: r1.responder_nonce,
        validator: r1.validator,
        ulids: None,
        fii: None,
        locators,
        keepalive_timeout: None,
    });
    scene.world.inject(scene.a, send_message(pair, &i2));
    scene.world.run_for(secs(1));
    scene.world.take_inbox(scene.a);
}
