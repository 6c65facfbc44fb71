//! What others configured stays as it is: firewall, rules, routes, labels.

use std::net::Ipv6Addr;

use shimq_testbed::Direction;

use crate::support::{Daemon, Network, Side, Stream, release};

/// A firewall that lets nothing in but what the host asked for, and a service.
const FIREWALL: &str = "\
table inet firewall {
    set services { type inet_service; flags interval; elements = { 1024-65535 }; }
    chain input {
        type filter hook input priority filter; policy drop;
        iifname lo accept
        ct state invalid drop
        ct state established,related accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept
        tcp dport @services ct state new accept
    }
}
table ip6 marks {
    map classes { type ipv6_addr : mark; elements = { 2001:db8:77::1 : 0x7 }; }
    chain output {
        type route hook output priority mangle; policy accept;
        meta mark set ip6 daddr map @classes
    }
}
";

const STATEFUL: &str = "[datapath]\ninput-hook = 'prerouting'\n[reap]\nsend-timeout = 2\n";

#[test]
fn rules_and_routes_of_others_are_byte_identical_before_during_and_after() {
    let Some(network) = Network::new() else {
        return;
    };
    for side in [Side::A, Side::B] {
        let host = network.host(side);
        host.feed("nft", ["-f", "-"], FIREWALL).unwrap();
        let link = side.providers()[0].link;
        for command in [
            "-6 rule add from 2001:db8:77::/48 lookup 77 priority 1234",
            &format!("-6 route add 2001:db8:77::/48 dev {link} table 77"),
            "addrlabel add prefix 2001:db8:77::/48 label 77",
        ] {
            network.run(side, "ip", command);
        }
    }
    let sides = [Side::A, Side::B];
    let before = sides.map(|side| Configuration::of(&network, side));

    let (a, b) = Daemon::pair(&network, STATEFUL);
    let ours = [a.locators(), b.locators()];
    let unchanged = |when: &str| {
        for (index, side) in sides.into_iter().enumerate() {
            let now = Configuration::of(&network, side);
            assert_eq!(now.rules, before[index].rules, "{when}, host {side}");
            let (now, before) = (now.without(&ours[index]), before[index].without(&[]));
            assert_eq!(now, before, "{when}, host {side}");
        }
    };
    unchanged("ready");
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    unchanged("with a context");
    let mut events = b.events();
    network.hosts.cut(a1, b1, Direction::Both).unwrap();
    events.wait_for("pair-changed");
    stream.wait_for_more();
    unchanged("on other locators");
    network.hosts.heal().unwrap();
    stream.finish();

    assert!(a.stop().success() && b.stop().success());
    unchanged("stopped");
    for (side, before) in sides.into_iter().zip(&before) {
        let labels = network.run(side, "ip", "addrlabel");
        assert_eq!(labels, before.labels, "stopped, host {side}");
        let removed = release(&network, side);
        assert!(removed.contains("removed"), "{removed}");
        assert_eq!(&Configuration::of(&network, side), before, "released");
        assert_eq!(release(&network, side), "nothing to remove\n");
    }
}

/// All of a host that others configure as well.
#[derive(Debug, PartialEq, Eq)]
struct Configuration {
    /// The ruleset without our table.
    rules: String,
    policies: String,
    routes: String,
    addresses: String,
    labels: String,
}

impl Configuration {
    fn of(network: &Network, side: Side) -> Self {
        let ip = |arguments| network.run(side, "ip", arguments);
        Self {
            rules: without_own_table(&network.run(side, "nft", "list ruleset")),
            policies: ip("-6 rule"),
            routes: ip("-6 route show table all"),
            addresses: ip("-6 -o address"),
            labels: ip("addrlabel"),
        }
    }

    /// Policies, routes and addresses without those that are ours: by their protocol, or by our
    /// `addresses`.
    fn without(&self, addresses: &[Ipv6Addr]) -> [String; 3] {
        let is_ours = |line: &str| {
            let mut words = line.split([' ', '/']);
            line.contains("proto 140")
                || words.any(|word| addresses.iter().any(|ours| word == ours.to_string()))
        };
        [&self.policies, &self.routes, &self.addresses].map(|listing| {
            let foreign = listing.lines().filter(|line| !is_ours(line));
            foreign.collect::<Vec<_>>().join("\n")
        })
    }
}

/// What `nft list ruleset` says of the tables of others.
fn without_own_table(listing: &str) -> String {
    let mut ours = false;
    let foreign = listing.lines().filter(|line| {
        ours |= line.starts_with("table ip6 shimq ");
        let keep = !ours;
        ours &= *line != "}";
        keep
    });
    foreign.collect::<Vec<_>>().join("\n")
}
