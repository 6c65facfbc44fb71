//! A host's prefixes come and go; its connections stay.

use std::net::Ipv6Addr;

use shimq_testbed::{A, Direction, Prefix, Provider};

use crate::support::{Crowd, Daemon, FAST, Network, Side, Stream, eventually};

#[test]
fn a_hundred_connections_outlive_both_prefixes_that_they_began_with() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, FAST);
    let ([a1, a2], [b1, b2]) = (a.locators(), b.locators());
    let mut crowd = Crowd::new();
    for (from, to) in [(a1, b1), (a1, b2), (a2, b1), (a2, b2)] {
        crowd.join(&network, from, to, 25);
        eventually("both have a context", || {
            a.has_context(from, to) && b.has_context(to, from)
        });
    }
    crowd.wait_for_more();

    // The first provider numbers host A anew, and says so before it lets the old prefix go.
    let mut at_b = b.events();
    let new = delegate(&network, A[0], 0xa3);
    eventually("host A has a locator of the new prefix", || {
        a.ask("locators").as_array().unwrap().len() == 3
            && (a.ask("locators").as_array().unwrap().iter())
                .all(|locator| locator["state"] == "preferred")
    });
    let a3 = a.locator(new);
    at_b.wait_for("peer-locators-updated");

    // The second prefix is deprecated: connections leave it while it still works, and none is new.
    let old = A[1].host();
    change(&network, &format!("change {old}/64 dev a2 preferred_lft 0"));
    eventually("the locator is deprecated", || {
        state(&a, a2) == "deprecated"
    });
    crowd.wait_for_more();
    for to in [b1, b2] {
        eventually("its contexts leave it", || {
            b.current_pair(to, a2).1 != a2 && a.current_pair(a2, to).0 != a2
        });
        crowd.wait_for_more();
        assert_ne!(Stream::start(&network, None, to).local.ip(), a2);
    }

    // The first prefix is withdrawn, and its packets with it.
    let old = A[0].host();
    change(&network, &format!("delete {old}/64 dev a1"));
    withdraw(&network, A[0]);
    eventually("nothing uses the first prefix", || {
        [b1, b2].iter().all(|&to| b.current_pair(to, a1).1 != a1)
            && [b1, b2].iter().all(|&to| a.current_pair(a1, to).0 != a1)
    });
    crowd.wait_for_more();

    // Then the second: all live on an address that none of them has ever heard of.
    let old = A[1].host();
    change(&network, &format!("delete {old}/64 dev a2"));
    withdraw(&network, A[1]);
    eventually("all use the new prefix", || {
        [(a1, b1), (a1, b2), (a2, b1), (a2, b2)]
            .iter()
            .all(|&(from, to)| b.current_pair(to, from).1 == a3 && a.current_pair(from, to).0 == a3)
    });
    crowd.wait_for_more();
    assert_eq!(crowd.finish(), 100);
}

/// A provider delegates another /64 on the same link, `2001:db8:SUBNET::`, and lets it through.
fn delegate(network: &Network, provider: Provider, subnet: u16) -> Provider {
    let link = provider.link;
    let address = Ipv6Addr::new(0x2001, 0xdb8, subnet, 0, 0, 0, 0, 0);
    let prefix = Prefix {
        address,
        length: 64,
    };
    let new = Provider { link, prefix };
    let router = &network.hosts.router;
    let command = format!("-6 address add {}/64 dev {link}", new.router());
    router.run("ip", command.split(' ')).unwrap();
    let rule = format!(
        "insert rule ip6 providers forward iifname {link} ip6 saddr {prefix} \
         update @paths {{ ip6 saddr . ip6 daddr }} accept"
    );
    router.run("nft", [rule]).unwrap();
    change(network, &format!("add {}/64 dev {link}", new.host()));
    network.settle(Side::A);
    new
}

/// Changes an address of host A.
fn change(network: &Network, command: &str) {
    network.run(Side::A, "ip", &format!("-6 address {command}"));
}

/// A provider forwards nothing from or to a prefix any more.
fn withdraw(network: &Network, provider: Provider) {
    let hosts = &network.hosts;
    hosts
        .cut(provider.prefix, Prefix::ANY, Direction::Both)
        .unwrap();
}

/// What `shimq locators` says of an address.
fn state(daemon: &Daemon<'_>, address: Ipv6Addr) -> String {
    let locators = daemon.ask("locators");
    let mut locators = locators.as_array().unwrap().iter();
    let locator = locators.find(|locator| locator["address"] == address.to_string());
    locator.unwrap()["state"].as_str().unwrap().to_owned()
}
