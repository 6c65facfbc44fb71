//! What the kernel counts for contexts.

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use super::{address, both, host_and_peer};
use crate::support::{HOST, Peer, close, enter_namespace};
use shimq_netfilter::rules::{
    AddressPair, Change, ContextCount, Direction, InputHook, Ruleset, RulesetConfig,
};

#[test]
fn contexts_are_counted_both_ways_from_when_they_were_added() {
    if !enter_namespace() {
        return;
    }
    let peer = Peer::connect();
    for input_hook in [InputHook::Input, InputHook::Prerouting] {
        let config = RulesetConfig {
            input_hook,
            ..RulesetConfig::default()
        };
        let mut rules = Ruleset::load(&config).unwrap();
        let ping = || peer.run(&format!("ping -6 -q -c 3 -i 0.01 -s 100 -W 5 {HOST}"));
        ping();
        rules
            .apply(&[
                Change::AddIdentity(address(HOST)),
                Change::Count(host_and_peer(), Direction::Out),
                Change::Count(host_and_peer(), Direction::In),
            ])
            .unwrap();
        ping();
        let mut counts = vec![];
        for direction in [Direction::Out, Direction::In] {
            rules.read_contexts(direction, &mut counts).unwrap();
            let expected = ContextCount {
                pair: host_and_peer(),
                packets: 3,
                octets: 3 * (40 + 8 + 100),
            };
            assert_eq!(counts, [expected], "{direction:?}");
            rules
                .read_these_contexts(direction, &[host_and_peer()], &mut counts)
                .unwrap();
            assert_eq!(counts, [expected], "{direction:?}, asked for it alone");
        }
        rules
            .apply(&both(Change::StopCounting, host_and_peer()))
            .unwrap();
        rules.read_contexts(Direction::Out, &mut counts).unwrap();
        assert_eq!(counts, []);
        close(rules);
    }
}

#[test]
fn thousands_of_contexts_come_are_listed_and_go() {
    if !enter_namespace() {
        return;
    }
    let mut rules = Ruleset::load(&RulesetConfig::default()).unwrap();
    let pairs: Vec<_> = (0..5000)
        .map(|number: u16| AddressPair {
            local: address(HOST),
            peer: Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, number),
        })
        .collect();
    let changes = |change: fn(AddressPair, Direction) -> Change| -> Vec<_> {
        pairs.iter().flat_map(|&pair| both(change, pair)).collect()
    };
    rules.apply(&changes(Change::Count)).unwrap();
    let mut counts = vec![];
    for direction in [Direction::Out, Direction::In] {
        // Complete once the kernel has grown the table for so many; until then it misses some.
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            rules.read_contexts(direction, &mut counts).unwrap();
            assert!(counts.iter().all(|count| {
                count.packets == 0 && count.octets == 0 && pairs.binary_search(&count.pair).is_ok()
            }));
            let mut listed: Vec<_> = counts.iter().map(|count| count.pair).collect();
            listed.sort_unstable();
            if listed == pairs {
                break;
            }
            assert!(Instant::now() < deadline, "{direction:?}: {}", listed.len());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let mut asked = pairs.clone();
    // In front of all, between them, and behind.
    asked.push(host_and_peer());
    for index in [701, 700, 0] {
        asked.insert(index, host_and_peer());
    }
    rules
        .read_these_contexts(Direction::In, &asked, &mut counts)
        .unwrap();
    let listed: Vec<_> = counts.iter().map(|count| count.pair).collect();
    assert!(listed == pairs, "{} of {}", listed.len(), pairs.len());
    rules.apply(&changes(Change::StopCounting)).unwrap();
    rules.read_contexts(Direction::In, &mut counts).unwrap();
    assert_eq!(counts, []);
    rules
        .read_these_contexts(Direction::In, &pairs[..3], &mut counts)
        .unwrap();
    assert_eq!(counts, []);
}

#[test]
fn repeated_and_needless_changes_are_no_errors_and_keep_the_others() {
    if !enter_namespace() {
        return;
    }
    let mut rules = Ruleset::load(&RulesetConfig::default()).unwrap();
    let pair = |last| AddressPair {
        local: address(HOST),
        peer: Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, last),
    };
    rules.apply(&both(Change::Count, pair(1))).unwrap();
    rules.apply(&both(Change::Count, pair(2))).unwrap();
    rules.apply(&both(Change::Count, pair(1))).unwrap();
    let mut changes = both(Change::StopCounting, pair(7)).to_vec();
    changes.extend(both(Change::StopCounting, pair(1)));
    changes.extend(both(Change::Count, pair(3)));
    changes.push(Change::Unmap(pair(3)));
    rules.apply(&changes).unwrap();
    let mut counts = vec![];
    for direction in [Direction::Out, Direction::In] {
        rules.read_contexts(direction, &mut counts).unwrap();
        let mut listed: Vec<_> = counts.iter().map(|count| count.pair).collect();
        listed.sort_unstable();
        assert_eq!(listed, [pair(2), pair(3)]);
    }
}
