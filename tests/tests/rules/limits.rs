//! How much of a host others may take up.

use shim6_core::{Config, DropReason, ForkRefusal, UlidPair};
use shim6_sim::{hba, prefix};
use shim6_wire::{ContextTag, Fii};
use shimq_tests::secs;

use crate::bench::{Line, Peer, Subject, ulids};

fn subject(config: Config) -> Subject {
    Subject::with(config, hba(0, &[prefix(0, 0), prefix(0, 1)]))
}

/// A peer with its addresses in a site of its own.
fn elsewhere(site: u16) -> Peer {
    Peer {
        locators: hba(1, &[prefix(1, 100 + site)]),
        tag: ContextTag::from_bits(0x9000 + u64::from(site)),
        ..Peer::hba(1)
    }
}

/// Begins the peer's context number `fii`; says whether the subject has it then.
fn begins(peer: &Peer, subject: &mut Subject, fii: u32) -> bool {
    let peer = Peer {
        locators: peer.locators.clone(),
        tag: ContextTag::from_bits(peer.tag.bits() + (u64::from(fii) << 20)),
        ..Peer::hba(1)
    };
    let line = Line {
        fii: Some(Fii(fii)).filter(|&fii| fii != Fii::DEFAULT),
        ..Line::on_ulids(ulids(subject, &peer))
    };
    let r1 = peer.ask(subject, line);
    let sent = subject.hear(line.pair, &peer.i2(line, &r1, peer.options()));
    !sent.is_empty()
}

#[test]
fn a_site_gets_its_share_of_the_table_and_leaves_the_rest_to_others() {
    let mut subject = subject(Config {
        contexts_per_site_max: 3,
        ..Config::default()
    });
    let greedy = elsewhere(0);
    let begun = (0..5).map(|fii| begins(&greedy, &mut subject, fii));
    assert_eq!(begun.collect::<Vec<_>>(), [true, true, true, false, false]);
    assert_eq!(subject.dropped(DropReason::SiteFull), 2);
    assert!(begins(&elsewhere(1), &mut subject, 0), "another site");

    // What this host begins is not counted against its peer.
    let neighbour = Peer {
        locators: hba(2, &[prefix(2, 100)]),
        ..Peer::hba(1)
    };
    let ulids = ulids(&subject, &neighbour);
    assert!(subject.try_trigger(ulids));

    // A share is given back with the contexts that end.
    subject.wait(Config::default().idle_lifetime + secs(60));
    assert_eq!(subject.contexts().len(), 0);
    assert!(begins(&greedy, &mut subject, 0));
}

/// Most forks between two ULIDs.
const FORKS_MAX: u32 = 16;

#[test]
fn a_peer_has_so_many_forks_between_two_ulids_and_no_more() {
    let mut subject = subject(Config::default());
    let greedy = elsewhere(0);
    let begun = (0..=FORKS_MAX + 3).filter(|&fii| begins(&greedy, &mut subject, fii));
    assert_eq!(begun.count(), 1 + FORKS_MAX as usize);
    assert_eq!(subject.dropped(DropReason::TooManyForks), 3);
    assert_eq!(subject.contexts().len(), 1 + FORKS_MAX as usize);
    // Another pair has forks of its own.
    assert!((0..4).all(|fii| begins(&elsewhere(1), &mut subject, fii)));
    // Forks of this host are counted with those of the peer.
    let ulids = ulids(&subject, &greedy);
    let refused = subject.fork(ulids, 99, None);
    assert_eq!(refused, Err(ForkRefusal::TooMany));
    assert_eq!(subject.dropped(DropReason::TooManyForks), 4);
    subject.wait(Config::default().idle_lifetime + secs(60));
    assert_eq!(subject.contexts().len(), 0);
    assert!((0..4).all(|fii| begins(&greedy, &mut subject, fii)));
}

#[test]
fn this_host_makes_so_many_forks_between_two_ulids_and_ends_one_for_another() {
    let mut subject = subject(Config::default());
    let peer = Peer::hba(2);
    let ulids = ulids(&subject, &peer);
    peer.be_asked(&mut subject, ulids);
    for mark in 1..=FORKS_MAX {
        assert!(subject.fork(ulids, mark, None).is_ok(), "{mark}");
    }
    let one_more = FORKS_MAX + 1;
    assert_eq!(
        subject.fork(ulids, one_more, None),
        Err(ForkRefusal::TooMany)
    );
    assert!(subject.end_fork(ulids, 1));
    assert!(subject.fork(ulids, one_more, None).is_ok());
    assert_eq!(subject.dropped(DropReason::TooManyForks), 1);
}

#[test]
fn peers_leave_a_quarter_of_the_table_to_what_this_host_begins() {
    let mut subject = subject(Config {
        contexts_max: 8,
        ..Config::default()
    });
    let begun = (0..8).filter(|&site| begins(&elsewhere(site), &mut subject, 0));
    assert_eq!(begun.count(), 6);
    assert_eq!(subject.dropped(DropReason::TableFull), 2);
    for site in 10..12 {
        let ulids = ulids(&subject, &elsewhere(site));
        assert!(subject.try_trigger(ulids));
    }
    let ulids = ulids(&subject, &elsewhere(12));
    assert!(!subject.try_trigger(ulids));
}

#[test]
fn peers_that_do_not_answer_take_up_a_quarter_of_the_table_at_most() {
    let mut subject = subject(Config {
        contexts_max: 8,
        ..Config::default()
    });
    let silent: Vec<UlidPair> = (0..3)
        .map(|site| ulids(&subject, &elsewhere(site)))
        .collect();
    assert!(subject.try_trigger(silent[0]));
    assert!(subject.try_trigger(silent[1]));
    assert!(!subject.try_trigger(silent[2]));
    assert_eq!(subject.dropped(DropReason::TooManyUnanswered), 1);
    assert!(begins(&elsewhere(5), &mut subject, 0));
    // Given up after four repetitions, and remembered for a minute: both count as unanswered.
    subject.wait_for(silent[0], shim6_core::State::EFailed);
    assert!(!subject.try_trigger(silent[2]));
    subject.wait(secs(400));
    assert!(subject.try_trigger(silent[2]));
}
