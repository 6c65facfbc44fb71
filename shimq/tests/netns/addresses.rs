//! Addresses that shimq forms or is given, and which connections have them.

use std::fs;
use std::net::Ipv6Addr;
use std::os::unix::fs::PermissionsExt;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use shim6_cga::{Pds, SigningKey, SubnetPrefix, generate_cga, generate_hba};
use shimq_testbed::{A, B, Direction, Provider};

use crate::support::{Daemon, FAST, Network, Side, Stream, eventually};

#[test]
fn new_connections_choose_the_cga_and_old_ones_keep_their_address() {
    let Some(network) = Network::new() else {
        return;
    };
    let old = Stream::start(&network, None, B[0].host());
    assert_eq!(old.local.ip(), A[0].host());

    let (a, b) = Daemon::pair(&network, "");
    let ([a1, a2], [b1, _]) = (a.locators(), b.locators());
    eventually("new connections choose the CGA", || {
        network
            .run(Side::A, "ip", "addrlabel")
            .contains(&format!("{a2}"))
    });
    let new = Stream::start(&network, None, b1);
    assert_eq!(new.local.ip(), a1);
    for provider in A {
        let addresses = network.run(
            Side::A,
            "ip",
            &format!("-6 address show dev {}", provider.link),
        );
        assert!(addresses.contains(&format!("{}/64", provider.host())));
    }
    old.wait_for_more();
    old.finish();
    new.finish();
}

#[test]
fn without_any_configuration_the_addresses_are_strong_and_the_key_is_closed_to_others() {
    let Some(network) = Network::new() else {
        return;
    };
    let a = Daemon::start_exactly(&network, Side::A, "");
    for locator in a.ask("locators").as_array().unwrap() {
        assert_eq!(locator["sec"], 1, "{locator}");
        assert_eq!(locator["kind"], "cga", "{locator}");
    }
    let state = Daemon::state(&network, Side::A);
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(state.join("key.pem")), 0o600);
    assert_eq!(mode(state), 0o700);
}

#[test]
fn hba_sets_as_configured_carry_a_connection_over_a_cut_without_any_key() {
    let Some(network) = Network::new() else {
        return;
    };
    for (side, seed) in [(Side::A, 1), (Side::B, 2)] {
        let prefixes = side.providers().map(prefix);
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let set = generate_hba(&prefixes, None, 0, &mut random).unwrap();
        configure(&network, side, &set, None);
    }
    survives_a_cut(&network, "hba");
}

#[test]
fn cgas_as_configured_carry_a_connection_over_a_cut() {
    let Some(network) = Network::new() else {
        return;
    };
    for (side, seed) in [(Side::A, 1), (Side::B, 2)] {
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let key = SigningKey::generate(1024, &mut random).unwrap();
        let cgas = side
            .providers()
            .map(|provider| generate_cga(&key, prefix(provider), 0, &mut random).unwrap());
        configure(&network, side, &cgas, Some(&key));
    }
    survives_a_cut(&network, "cga");
}

#[test]
fn each_link_may_have_a_key_and_a_kind_of_address_of_its_own() {
    let Some(network) = Network::new() else {
        return;
    };
    let mut random = ChaCha20Rng::seed_from_u64(3);
    let [key, other] = [(), ()].map(|()| SigningKey::generate(1024, &mut random).unwrap());
    let [first, second] = A.map(prefix);
    let cga = generate_cga(&key, first, 0, &mut random).unwrap();
    let hba = generate_hba(&[second], Some(&other), 0, &mut random).unwrap();
    configure(&network, Side::A, &[cga, hba[0].clone()], Some(&key));
    let path = Daemon::state(&network, Side::A).join("second.pem");
    fs::write(path, other.to_pem().unwrap().as_bytes()).unwrap();

    let a = Daemon::start(
        &network,
        Side::A,
        &format!("addresses = 'as-configured'\n{FAST}"),
    );
    let b = Daemon::start(&network, Side::B, FAST);
    let kinds = A.map(|provider| {
        let locators = a.ask("locators");
        let mut own = locators.as_array().unwrap().iter();
        let own = own.find(|locator| locator["interface"] == provider.link);
        own.unwrap()["kind"].clone()
    });
    assert_eq!(kinds, ["cga", "cga-compatible-hba"]);
    // Each is proven to the peer with its own key: the list that the other is in as well is signed.
    each_moves_to_the_other(&network, &a, &b);
}

#[test]
fn links_with_keys_of_their_own_carry_each_other_s_connections() {
    let Some(network) = Network::new() else {
        return;
    };
    let rules = A.map(|Provider { link, .. }| {
        format!("[[interface]]\nname = '{link}'\nkey = '{link}.pem'\n")
    });
    let a = Daemon::start(&network, Side::A, &format!("{FAST}{}", rules.concat()));
    let b = Daemon::start(&network, Side::B, FAST);
    let state = Daemon::state(&network, Side::A);
    let [first, second] = A.map(|provider| fs::read(state.join(format!("{}.pem", provider.link))));
    assert_ne!(first.unwrap(), second.unwrap());
    each_moves_to_the_other(&network, &a, &b);
}

/// Connections from both addresses of A survive a cut: the peer took the other address, which has other
/// parameters, for a locator.
fn each_moves_to_the_other(network: &Network, a: &Daemon<'_>, b: &Daemon<'_>) {
    let ([a1, a2], [b1, _]) = (a.locators(), b.locators());
    let streams = [a1, a2].map(|from| Stream::start(network, from, b1));
    eventually("both have contexts", || {
        [a1, a2]
            .iter()
            .all(|&at| a.has_context(at, b1) && b.has_context(b1, at))
    });
    for (at, other) in [(a1, a2), (a2, a1)] {
        network.hosts.cut(at, b1, Direction::Both).unwrap();
        eventually("it moves", || a.current_pair(at, b1) != (at, b1));
        let peer = b.context(b1, at).unwrap()["peer_locators"].clone();
        assert!(
            peer.as_array().unwrap().contains(&other.to_string().into()),
            "{peer}"
        );
    }
    for stream in streams {
        stream.wait_for_more();
        stream.finish();
    }
}

/// Puts addresses on the links of a host, and their parameters into its state directory.
fn configure(network: &Network, side: Side, set: &[(Ipv6Addr, Pds)], key: Option<&SigningKey>) {
    let state = Daemon::state(network, side);
    fs::create_dir(&state).unwrap();
    if let Some(key) = key {
        fs::write(state.join("key.pem"), key.to_pem().unwrap().as_bytes()).unwrap();
    }
    for ((address, pds), provider) in set.iter().zip(side.providers()) {
        fs::write(state.join(format!("{address}.cga")), pds.octets()).unwrap();
        let command = format!("-6 address add {address}/64 dev {}", provider.link);
        network.run(side, "ip", &command);
    }
    network.settle(side);
}

fn survives_a_cut(network: &Network, kind: &str) {
    let addresses = [Side::A, Side::B].map(|side| network.run(side, "ip", "-6 -o address"));
    let (a, b) = Daemon::pair(network, &format!("addresses = 'as-configured'\n{FAST}"));
    for locator in a.ask("locators").as_array().unwrap() {
        assert_eq!(locator["kind"], kind, "{locator}");
    }
    let (stream, a1, b1) = Stream::with_context(network, &a, &b);
    let mut events = b.events();
    network.hosts.cut(a1, b1, Direction::Both).unwrap();
    events.wait_for("pair-changed");
    stream.wait_for_more();
    stream.finish();
    // What the operator configured is all there is.
    assert_eq!(
        [Side::A, Side::B].map(|side| network.run(side, "ip", "-6 -o address")),
        addresses
    );
}

/// The first half of a provider's addresses.
fn prefix(provider: Provider) -> SubnetPrefix {
    let octets = provider.prefix.address.octets();
    *octets.first_chunk().unwrap()
}
