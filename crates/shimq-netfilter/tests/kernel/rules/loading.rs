//! The table comes, is found right, is its owner's alone, and goes.

use super::{address, configurations};
use crate::support::{HOST, close, enter_namespace, run, try_run, wait_for};
use shimq_netfilter::rules::{
    Change, Exclusions, Prefix, RulesError, Ruleset, RulesetConfig, Statement, print,
};

#[test]
fn the_table_loads_is_found_right_and_vanishes_with_its_owner() {
    if !enter_namespace() {
        return;
    }
    for config in configurations() {
        let mut rules = Ruleset::load(&config).unwrap();
        eprintln!("{}", rules.statement());
        rules.verify().unwrap();
        assert!(run("nft list tables").contains("table ip6 shimq"));
        // Nobody else can touch it.
        assert!(!try_run("nft delete table ip6 shimq").0);
        run("nft flush ruleset");
        rules.verify().unwrap();
        close(rules);
    }
}

#[test]
fn exclusions_are_loaded_and_replaced() {
    if !enter_namespace() {
        return;
    }
    let prefix = |text: &str, len| Prefix::new(address(text), len).unwrap();
    let config = RulesetConfig {
        excluded: Exclusions {
            peers: vec![
                prefix("2001:db8:1::", 48),
                prefix("2001:db8:2::", 48),
                prefix("2001:db8:2:3::", 64),
                prefix("ff00::", 8),
            ],
            ports: vec![123, 53, 123],
            marks: vec![0x20, 0x10, 0x20],
            users: vec![1001, 0, 1001],
        },
        ..RulesetConfig::default()
    };
    let mut rules = Ruleset::load(&config).unwrap();
    let peers = run("nft list set ip6 shimq excluded_peers");
    assert!(peers.contains("2001:db8:1::-2001:db8:2:ffff:") || peers.contains("2001:db8:1::/48"));
    assert!(peers.contains("ff00::/8"), "{peers}");
    let ports = run("nft list set ip6 shimq excluded_ports");
    assert!(ports.contains("53") && ports.contains("123"), "{ports}");

    let marks = run("nft list set ip6 shimq excluded_marks");
    assert!(marks.contains("{ 0x00000010, 0x00000020 }"), "{marks}");
    let users = run("nft -n list set ip6 shimq excluded_users");
    assert!(users.contains("{ 0, 1001 }"), "{users}");
    rules.verify().unwrap();

    let peers_alone = Exclusions {
        peers: vec![prefix("2001:db8:9::", 48)],
        ..Exclusions::default()
    };
    rules.set_exclusions(&peers_alone).unwrap();
    let peers = run("nft list set ip6 shimq excluded_peers");
    assert!(
        peers.contains("2001:db8:9::/48") && !peers.contains("ff00"),
        "{peers}"
    );
    let table = run("nft list table ip6 shimq");
    for gone in ["excluded_ports", "excluded_marks", "excluded_users"] {
        assert!(!table.contains(gone), "{table}");
    }
    rules.verify().unwrap();
    let all_but_peers = Exclusions {
        ports: vec![53],
        marks: vec![0x30],
        users: vec![1002],
        ..Exclusions::default()
    };
    rules.set_exclusions(&all_but_peers).unwrap();
    let table = run("nft list table ip6 shimq");
    assert!(!table.contains("excluded_peers"), "{table}");
    for there in [
        "udp dport @excluded_ports",
        "meta mark @excluded_marks",
        "meta skuid @excluded_users",
    ] {
        assert!(table.contains(there), "{table}");
    }
    rules.verify().unwrap();
}

#[test]
fn a_second_owner_is_told_who_the_first_is() {
    if !enter_namespace() {
        return;
    }
    let config = RulesetConfig::default();
    let _first = Ruleset::load(&config).unwrap();
    let second = Ruleset::load(&config).err();
    assert!(
        matches!(second, Some(RulesError::Owned { .. })),
        "{second:?}"
    );
}

#[test]
fn a_table_without_an_owner_is_left_alone() {
    if !enter_namespace() {
        return;
    }
    run("nft add table ip6 shimq");
    let refused = Ruleset::load(&RulesetConfig::default()).err();
    assert!(matches!(refused, Some(RulesError::Exists)), "{refused:?}");
    // Nor is it used: it lacks all that is needed.
    let refused = Ruleset::attach(&RulesetConfig::default()).err();
    assert!(
        matches!(refused, Some(RulesError::Unlike(_))),
        "{refused:?}"
    );
    assert!(run("nft list tables").contains("table ip6 shimq"));
}

#[test]
fn other_tables_are_untouched() {
    if !enter_namespace() {
        return;
    }
    run("nft add table ip6 other");
    run("nft add chain ip6 other output { type filter hook output priority 0 ; }");
    run("nft add rule ip6 other output udp dport 9 counter");
    let before = run("nft -a list ruleset");
    let mut rules = Ruleset::load(&RulesetConfig::default()).unwrap();
    rules.apply(&[Change::AddIdentity(address(HOST))]).unwrap();
    assert!(run("nft -a list ruleset").contains(&before));
    drop(rules);
    wait_for("our table to go", || run("nft -a list ruleset") == before);
}

#[test]
fn operators_text_loads_where_the_kernel_has_the_queue_expression() {
    if !enter_namespace() {
        return;
    }
    for config in configurations() {
        let path = std::env::temp_dir().join(format!("shimq-{}.nft", std::process::id()));
        std::fs::write(&path, print(&config)).unwrap();
        let load = format!("nft -f {}", path.display());
        let (loaded, said) = try_run(&load);
        // A second time, to replace the first.
        let (replaced, _) = try_run(&load);
        std::fs::remove_file(&path).unwrap();
        if Statement::probe().unwrap() == Statement::XtCompat {
            assert!(!loaded);
            eprintln!("SKIPPED: no queue expression in this kernel");
            return;
        }
        assert!(loaded && replaced, "{said}");
        let mut rules = Ruleset::attach(&config).unwrap();
        rules.verify().unwrap();
        run("nft delete table ip6 shimq");
    }
}
