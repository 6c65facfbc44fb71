//! Leaving a pair that works: back to a better one, or where an operator wants it.

use std::time::Duration;

use shim6_core::{Cause, Event, LocatorPair, SwitchRefusal};
use shim6_sim::{FlowId, HostSpec, Pair, Pattern, World};
use shim6_wire::Preference;
use shimq_tests::{Proof, TwoHosts, locators, secs};

/// Two hosts that answer each other ten times a second, with `providers` each; the last of the first
/// host's is `reserve`d for when nothing else works.
fn scene(seed: u64, providers: u16, reserve: bool) -> (TwoHosts, FlowId) {
    let spec = |host| HostSpec {
        suspects: true,
        ..HostSpec::shim6(locators(host, providers, Proof::Hba))
    };
    let mut a = spec(0);
    if let Some(last) = a.locators.last_mut().filter(|_| reserve) {
        last.preference = Preference {
            priority: 200,
            ..Preference::default()
        };
    }
    let mut scene = TwoHosts::of(seed, a, spec(1));
    let flow = scene.establish(Pattern {
        length: 160,
        ..Pattern::request_response(Duration::from_millis(100))
    });
    scene.world.run_for(secs(10));
    (scene, flow)
}

/// The first link of the first host fails, or works again, as `how` says.
fn flap(scene: &mut TwoHosts, noticed: bool, how: impl Fn(&mut World, Pair)) {
    let first = scene.world.address(scene.a, 0);
    if noticed {
        let mut locators = scene.world.locators(scene.a).to_vec();
        locators[0].usable = !locators[0].usable;
        scene.world.set_locators(scene.a, locators);
        return;
    }
    for pair in scene.world.pairs(scene.a, scene.b) {
        if pair.source == first {
            how(&mut scene.world, pair);
        }
    }
}

/// The changes of pair of the first host: to where, why.
fn changes(scene: &TwoHosts) -> Vec<(LocatorPair, Cause)> {
    let events = scene.world.events(scene.a).iter();
    let change = |(_, event): &(_, Event)| {
        if let Event::PairChanged { to, cause, .. } = event {
            Some((*to, *cause))
        } else {
            None
        }
    };
    events.filter_map(change).collect()
}

fn current(scene: &TwoHosts) -> Pair {
    scene.world.current_pair(scene.a).expect("one context")
}

fn seen_from_host(pair: Pair) -> LocatorPair {
    LocatorPair {
        local: pair.source,
        peer: pair.destination,
    }
}

#[test]
fn payload_returns_to_the_ulids_when_they_answer_again_and_not_before_an_interval() {
    for seed in 0..5 {
        let (mut scene, flow) = scene(seed, 2, false);
        let ulids = scene.ulids();
        scene.world.cut(ulids);
        scene.world.run_for(secs(5));
        assert_ne!(current(&scene), ulids, "seed {seed}");
        scene.world.mend(ulids);
        scene.world.run_for(secs(50));
        assert_ne!(current(&scene), ulids, "seed {seed}: too soon");
        let before = scene.world.stats(flow);
        scene.world.run_for(secs(20));
        assert_eq!(current(&scene), ulids, "seed {seed}");
        assert_eq!(
            changes(&scene).last().map(|it| it.1),
            Some(Cause::Preference)
        );
        let after = scene.world.stats(flow);
        assert_eq!(
            after.answered - before.answered,
            after.sent - before.sent,
            "seed {seed}: the return cost nothing"
        );
        scene.world.run_for(secs(70));
        assert_eq!(
            scene.world.current_pair(scene.b),
            Some(ulids.reversed()),
            "seed {seed}: the peer follows"
        );
    }
}

#[test]
fn a_pair_that_stays_dead_is_asked_more_and_more_rarely_and_harms_nothing() {
    let (mut scene, flow) = scene(1, 2, false);
    let ulids = scene.ulids();
    scene.world.cut(ulids);
    scene.world.run_for(secs(5));
    let before = scene.world.stats(flow);
    scene.world.run_for(secs(3 * 3600));
    let after = scene.world.stats(flow);
    let asked = scene.world.events(scene.a).iter();
    let asked = asked.filter(|(_, event)| matches!(event, Event::PairDeclined { .. }));
    let asked = asked.count();
    // After 1, 2, 4, 8, 16, 32, 64 minutes.
    assert!((6..=7).contains(&asked), "{asked}");
    assert_eq!(changes(&scene).len(), 1);
    assert!(after.answered - before.answered + 1 >= after.sent - before.sent);
}

#[test]
fn a_pair_that_comes_and_goes_draws_payload_less_and_less_often() {
    let (mut scene, _) = scene(2, 2, false);
    let ulids = scene.ulids();
    for _ in 0..60 {
        scene.world.cut(ulids);
        scene.world.run_for(secs(30));
        scene.world.mend(ulids);
        scene.world.run_for(secs(90));
    }
    // Two hours, 60 failures: away and back at 1, 2, 4, 8, 16, 32, 64 minutes.
    let changes = changes(&scene).len();
    assert!(changes <= 16, "{changes}");
}

#[test]
fn a_link_that_flaps_for_an_hour_draws_payload_a_few_times() {
    // Whether its host notices that the link's address cannot be used; how long it cannot, less and more
    // than the interval; and whether the other link is in reserve.
    for (noticed, down, reserve) in [
        (false, 10, false),
        (true, 10, false),
        (true, 10, true),
        (true, 90, true),
    ] {
        for seed in 0..2 {
            let (mut scene, flow) = scene(seed, 2, reserve);
            let end = scene.world.now() + secs(3600);
            while scene.world.now() < end {
                scene.world.run_for(secs(30));
                flap(&mut scene, noticed, World::cut);
                scene.world.run_for(secs(down));
                flap(&mut scene, noticed, World::mend);
            }
            for host in [scene.a, scene.b] {
                let events = scene.world.events(host).iter();
                let changed = |(_, event): &&(_, Event)| matches!(event, Event::PairChanged { .. });
                let changes = events.filter(changed).count();
                // Away at first and after each return, after 1, 2, 4, 8, 16 and 32 minutes; an end may
                // follow in two steps, to the address and to the pair.
                let case = format!("{noticed}, {down} s, {reserve}, {seed}, {host}: {changes}");
                assert!((1..=19).contains(&changes), "{case}");
            }
            let last = scene.world.stats(flow).last_answered.unwrap();
            assert!(scene.world.now().since(last) < secs(2));
        }
    }
}

#[test]
fn what_is_kept_in_reserve_is_used_when_nothing_else_works_and_left_again() {
    for seed in 0..5 {
        let (mut scene, _) = scene(seed, 3, true);
        let pairs = scene.world.pairs(scene.a, scene.b);
        let reserve = scene.world.address(scene.a, 2);
        let regular: Vec<_> = pairs.iter().filter(|pair| pair.source != reserve).collect();
        scene.world.cut(*regular[0]);
        scene.world.run_for(secs(10));
        assert_ne!(current(&scene).source, reserve, "seed {seed}: others work");
        for pair in &regular {
            scene.world.cut(**pair);
        }
        scene.world.run_for(secs(30));
        assert_eq!(current(&scene).source, reserve, "seed {seed}");
        scene.world.heal();
        scene.world.run_for(secs(200));
        assert_ne!(current(&scene).source, reserve, "seed {seed}: left again");
    }
}

#[test]
fn an_operator_moves_payload_when_the_pair_answers_and_it_stays_there() {
    for seed in 0..5 {
        let (mut scene, flow) = scene(seed, 2, false);
        let pairs = scene.world.pairs(scene.a, scene.b);
        let wanted = seen_from_host(pairs[2]);
        let before = scene.world.stats(flow);
        assert_eq!(scene.world.switch(scene.a, Some(wanted)), Ok(wanted));
        assert_eq!(
            scene.world.switch(scene.a, Some(wanted)),
            Err(SwitchRefusal::Exploring)
        );
        scene.world.run_for(Duration::from_millis(100));
        assert_eq!(current(&scene), pairs[2], "seed {seed}");
        scene.world.run_for(secs(600));
        assert_eq!(changes(&scene), [(wanted, Cause::Operator)], "seed {seed}");
        assert_eq!(
            scene.world.switch(scene.a, Some(wanted)),
            Err(SwitchRefusal::AlreadyThere)
        );
        let after = scene.world.stats(flow);
        assert!(after.answered - before.answered + 1 >= after.sent - before.sent);
    }
}

#[test]
fn payload_stays_where_it_is_when_the_pair_that_an_operator_wants_is_dead() {
    for seed in 0..5 {
        let (mut scene, flow) = scene(seed, 2, false);
        let pairs = scene.world.pairs(scene.a, scene.b);
        scene.world.cut(pairs[3]);
        let before = scene.world.stats(flow);
        let wanted = seen_from_host(pairs[3]);
        assert_eq!(scene.world.switch(scene.a, Some(wanted)), Ok(wanted));
        scene.world.run_for(secs(2));
        let told = scene.world.events(scene.a).iter();
        let declined = told.filter(|(_, event)| {
            matches!(event, Event::PairDeclined { pair, cause: Cause::Operator, .. } if *pair == wanted)
        });
        assert_eq!(declined.count(), 1, "seed {seed}");
        scene.world.run_for(secs(60));
        assert_eq!(changes(&scene), [], "seed {seed}");
        let after = scene.world.stats(flow);
        assert!(after.answered - before.answered + 1 >= after.sent - before.sent);
        let foreign = LocatorPair {
            local: wanted.peer,
            peer: wanted.local,
        };
        assert_eq!(
            scene.world.switch(scene.a, Some(foreign)),
            Err(SwitchRefusal::NotItsPair)
        );
    }
}
