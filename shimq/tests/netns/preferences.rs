//! Operators say how gladly a host is reached where; its peers go there, if somebody answers.

use shimq_testbed::{B, Direction, Prefix};

use crate::support::{Daemon, FAST, Network, Side, Stream};

#[test]
fn a_preference_set_on_one_host_moves_what_the_other_one_sends() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, FAST);
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    let b2 = b.locators()[1];
    assert_eq!(a.current_pair(a1, b1), (a1, b1));
    let mut at_a = a.events();
    b.try_to(&format!("locators set {b1} --priority 5"))
        .unwrap();
    let changed = at_a.wait_for("pair-changed");
    assert_eq!(changed["cause"], "preference", "{changed}");
    stream.wait_for_more();
    assert_eq!(a.current_pair(a1, b1).1, b2);

    // Both show it.
    let context = a.context(a1, b1).unwrap();
    let told = &context["peer_preferences"][0];
    assert_eq!(
        (&told["address"], &told["priority"]),
        (&b1.to_string().into(), &5.into())
    );
    let locators = b.ask("locators");
    let first = locators.as_array().unwrap().iter();
    let mut first = first.filter(|locator| locator["address"] == b1.to_string());
    assert_eq!(first.next().unwrap()["preference"]["priority"], 5);

    // And back: a lower number is the better one.
    b.try_to(&format!("locators set {} --priority 9", B[1].prefix))
        .unwrap();
    at_a.wait_for("pair-changed");
    assert_eq!(a.current_pair(a1, b1).1, b1);
    stream.wait_for_more();
    stream.finish();
}

#[test]
fn a_better_locator_that_does_not_answer_is_not_gone_to() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, FAST);
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    let cut = network.hosts.cut(B[1].prefix, Prefix::ANY, Direction::Both);
    cut.unwrap();
    let mut at_a = a.events();
    b.try_to(&format!("locators set {b1} --priority 5"))
        .unwrap();
    at_a.wait_for("pair-declined");
    assert_eq!(a.current_pair(a1, b1), (a1, b1));
    stream.wait_for_more();
    stream.finish();
}

#[test]
fn a_locator_that_is_configured_as_broken_is_left_as_soon_as_there_is_a_context() {
    let Some(network) = Network::new() else {
        return;
    };
    let a = Daemon::start(&network, Side::A, FAST);
    let broken = format!(
        "{FAST}[[locators]]\nprefix = '{}'\nbroken = true\n",
        B[0].prefix
    );
    let b = Daemon::start(&network, Side::B, &broken);
    let mut at_a = a.events();
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    at_a.wait_for("pair-changed");
    assert_eq!(a.current_pair(a1, b1).1, b.locators()[1]);
    stream.wait_for_more();
    stream.finish();
}

#[test]
fn a_link_that_is_named_as_backup_is_left_until_the_other_one_costs_more() {
    let Some(network) = Network::new() else {
        return;
    };
    let a = Daemon::start(&network, Side::A, FAST);
    let backup = format!(
        "{FAST}[[locators]]\ninterface = '{}'\nrole = 'backup'\n",
        B[0].link
    );
    let b = Daemon::start(&network, Side::B, &backup);
    let mut at_a = a.events();
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    at_a.wait_for("pair-changed");
    assert_eq!(a.current_pair(a1, b1).1, b.locators()[1]);
    stream.wait_for_more();

    b.try_to(&format!("locators set {} --role metered", B[1].link))
        .unwrap();
    at_a.wait_for("pair-changed");
    assert_eq!(a.current_pair(a1, b1).1, b1);
    let told = b.ask("locators");
    let told = told.as_array().unwrap().iter();
    let told: Vec<_> = told
        .map(|locator| (&locator["interface"], &locator["preference"]["priority"]))
        .collect();
    for (link, priority) in [(B[0].link, 100), (B[1].link, 250)] {
        assert!(told.contains(&(&link.into(), &priority.into())), "{told:?}");
    }
    stream.wait_for_more();
    stream.finish();
}

#[test]
fn a_preference_for_nobodys_address_is_refused() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, _) = Daemon::pair(&network, FAST);
    for nobodys in ["2001:db8:dead::/48", "wwan7"] {
        let refused = a.try_to(&format!("locators set {nobodys} --broken"));
        let said = refused.unwrap_err().to_string();
        assert!(said.contains("shimq locators"), "{said}");
    }
}
