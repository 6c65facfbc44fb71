//! Counting without a daemon around it.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, UdpSocket};

use shim6_core::{Exploring, Path, Tagged};
use shim6_wire::ContextTag;
use shimq_netfilter::rules::RulesetConfig;
use shimq_testbed::uninterrupted;

use super::*;
use crate::host::tests::namespace::{Neighbour, alone, ip};

fn flow(number: u16) -> Arc<Flow> {
    Arc::new(Flow {
        ulids: UlidPair {
            local: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xa),
            peer: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 1, number),
        },
        is_default: true,
        mark: None,
        local_tag: ContextTag::from_bits(u64::from(number)),
        path: Path::Untouched,
        tagged: Tagged::Refused,
        exploring: Exploring::No,
        kernel_maps: false,
        account: Arc::default(),
    })
}

#[test]
fn of_very_many_contexts_each_has_its_turn_and_none_has_two_in_a_reading() {
    let mut counting = KernelCounting::default();
    let turns = 1 + READ_AT_ONCE / READ_IN_TURN;
    let all = (turns * READ_IN_TURN) as u16 - 500;
    for number in 0..all {
        counting.set(&flow(number));
    }
    assert!(!counting.are_read_at_once());
    let mut read = BTreeSet::new();
    for reading in 0..turns {
        let next = counting.next_to_read();
        assert_eq!(next.len(), READ_IN_TURN);
        assert_eq!(BTreeSet::from_iter(&next).len(), READ_IN_TURN);
        // The one to go on from may be gone by then.
        if reading == 0 {
            assert_eq!(counting.remove(*next.last().unwrap()).count(), 0);
        }
        read.extend(next);
    }
    assert_eq!(read.len(), usize::from(all));
}

#[test]
fn what_changes_the_counting_is_told_once() {
    let mut counting = KernelCounting::default();
    let flow = flow(1);
    let mut count = |wanted| counting.set_counted(flow.ulids, Direction::In, wanted);
    assert_eq!(count(true), None, "it is not followed");
    counting.set(&flow);
    let begin = Change::Count(pair(flow.ulids), Direction::In);
    let stop = Change::StopCounting(pair(flow.ulids), Direction::In);
    let mut count = |wanted| counting.set_counted(flow.ulids, Direction::In, wanted);
    assert_eq!(count(true), Some(begin));
    assert_eq!(count(true), None);
    assert_eq!(count(false), Some(stop));
    assert_eq!(count(false), None);
    assert_eq!(count(true), Some(begin));
    assert_eq!(counting.begin_all_anew(), [begin]);
    let changes: Vec<_> = counting.begin_anew(flow.ulids).collect();
    assert_eq!(changes, [stop, begin]);
    let changes: Vec<_> = counting.remove(flow.ulids).collect();
    assert_eq!(changes, [stop]);
    assert!(counting.is_empty());
}

#[test]
fn what_the_kernel_counts_of_very_many_contexts_is_accounted_for() {
    alone(async || {
        ip("link add quiet arp off type veth peer name elsewhere");
        ip("link set elsewhere up");
        ip("link set quiet up");
        let local = flow(0).ulids.local;
        ip(&format!("address add {local} dev quiet nodad"));
        ip("route add default via fe80::1 dev quiet");
        let flows: Vec<_> = (1..=(READ_AT_ONCE + READ_IN_TURN) as u16)
            .map(flow)
            .collect();
        let mut ruleset = Ruleset::load(&RulesetConfig::default()).unwrap();
        let mut counting = KernelCounting::default();
        let mut changes = vec![Change::AddIdentity(local)];
        for flow in &flows {
            counting.set(flow);
            changes.extend(counting.set_counted(flow.ulids, Direction::Out, true));
        }
        for changes in changes.chunks(512) {
            ruleset.apply(changes).unwrap();
        }
        let socket = UdpSocket::bind((local, 0)).unwrap();
        for flow in &flows {
            socket
                .send_to(b"where nobody listens", (flow.ulids.peer, 9))
                .unwrap();
        }
        let accounted = || flows.iter().filter(|flow| flow.account.packets() == (1, 0));
        let now = Instant::from_micros(1_000_000);
        for reading in 1..=flows.len() / READ_IN_TURN {
            counting.poll(&mut ruleset, now, true).unwrap();
            assert_eq!(accounted().count(), reading * READ_IN_TURN);
        }

        let last = flows.last().unwrap();
        socket.send_to(b"again", (last.ulids.peer, 9)).unwrap();
        counting
            .poll_these(&mut ruleset, &[last.ulids], now)
            .unwrap();
        assert_eq!(last.account.packets(), (2, 0));
        assert_eq!(accounted().count(), flows.len() - 1);
    });
}

#[test]
fn a_context_is_busy_until_it_is_heard_less_and_data_without_an_answer_is_told_of() {
    alone(async || {
        let neighbour = Neighbour::new().await;
        neighbour.link("up0", "2").await;
        let flow = flow(1);
        let UlidPair { local, peer } = flow.ulids;
        ip(&format!("address add {local}/64 dev up0 nodad"));
        neighbour.ip(&format!("address add {peer}/64 dev up0 nodad"));
        let mut ruleset = Ruleset::load(&RulesetConfig::default()).unwrap();
        let mut counting = KernelCounting::default();
        counting.set(&flow);
        let mut changes = vec![Change::AddIdentity(local)];
        changes.extend(
            BOTH.map(|direction| counting.set_counted(flow.ulids, direction, true).unwrap()),
        );
        ruleset.apply(&changes).unwrap();
        let here = UdpSocket::bind((local, 0)).unwrap();
        here.set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let there = neighbour.enter(|| UdpSocket::bind((peer, 0)).unwrap());
        let hear = |packets| {
            for _ in 0..packets {
                there.send_to(b"short", here.local_addr().unwrap()).unwrap();
                uninterrupted(|| here.recv(&mut [0; 64])).unwrap();
            }
        };
        let send = |octets: usize| {
            here.send_to(&vec![0; octets], there.local_addr().unwrap())
                .unwrap();
        };
        let mut now = Instant::from_micros(1_000_000);
        let mut read = || {
            now = now + SHORT_INTERVAL;
            let (reading, changes) = counting.poll(&mut ruleset, now, true).unwrap();
            ruleset.apply(&changes).unwrap();
            let has = |wanted: fn(&Change) -> bool| changes.iter().any(wanted);
            let begins = has(|change| matches!(change, Change::CountOnly(..)));
            let ends = has(|change| matches!(change, Change::Count(..)));
            (begins, ends, reading.unanswered.len())
        };
        read();
        for (octets, unanswered) in [(1000, 1), (60, 0)] {
            hear(50);
            assert_eq!(read(), (true, false, 0));
            send(1000);
            hear(13);
            assert_eq!(read(), (false, false, 0));
            send(octets);
            assert_eq!(read(), (false, true, unanswered));
            send(1000);
            assert_eq!(read(), (false, false, 0), "such packets are shown");
        }
        assert_eq!(flow.account.packets(), (6, 126));
    });
}
