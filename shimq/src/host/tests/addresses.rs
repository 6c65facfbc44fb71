//! Which addresses there are, and which of them new connections choose.

use std::net::{IpAddr, Ipv6Addr, UdpSocket};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use shim6_cga::{generate_hba, next_collision, verify_cga};

use super::super::status::LocatorState;
use super::super::store::Store;
use super::super::watch::prefix_of;
use super::super::{
    AddressMode, Host, HostConfig, HostError, InterfaceChoice, LocalLocator, Removed, release,
    status,
};
use super::namespace::{alone, eventually, ip};
use super::{FAR, address, config, network, start, traces, until, usable};

/// The source address that the kernel chooses for a new connection.
fn source_to(destination: &str) -> Ipv6Addr {
    let socket = UdpSocket::bind("[::]:0").unwrap();
    socket.connect((destination, 9)).unwrap();
    source_of(&socket)
}

fn source_of(socket: &UdpSocket) -> Ipv6Addr {
    match socket.local_addr().unwrap().ip() {
        IpAddr::V6(address) => address,
        IpAddr::V4(address) => panic!("{address}"),
    }
}

#[test]
fn new_connections_choose_the_cga_and_everything_else_stays_as_it_was() {
    alone(async || {
        let _neighbour = network().await;
        let state = tempfile::tempdir().unwrap();
        let existing = UdpSocket::bind("[::]:0").unwrap();
        existing.connect((FAR, 9)).unwrap();

        let config = HostConfig {
            sec: 1,
            ..config(state.path())
        };
        let (host, mut changes) = start(&config).await;
        let [cga] = usable(&mut changes, 1).await.try_into().unwrap();
        assert_eq!(verify_cga(cga.address, &cga.pds), Ok(()));
        assert_eq!(cga.address.octets()[8] >> 5, 1, "Sec");
        assert_eq!(prefix_of(cga.address), prefix_of(address("2001:db8:1::")));
        // The kernel would otherwise prefer the address that came last.
        ip("address add 2001:db8:1::2/64 dev up0 nodad");
        assert_eq!(source_to(FAR), cga.address);
        assert_eq!(
            source_to("2001:db8:1::77"),
            address("2001:db8:1::2"),
            "on the link"
        );
        assert_eq!(source_of(&existing), address("2001:db8:1::1"));
        let addresses = ip("-6 address show dev up0");
        let ordinary = "inet6 2001:db8:1::1/64 scope global nodad \n       \
                        valid_lft forever preferred_lft forever";
        assert!(addresses.contains(ordinary), "{addresses}");

        host.stop().await.unwrap();
        assert_eq!(source_to(FAR), address("2001:db8:1::2"), "after the stop");
    });
}

#[test]
fn a_restart_finds_the_same_address_and_doubles_nothing() {
    alone(async || {
        let _neighbour = network().await;
        let state = tempfile::tempdir().unwrap();
        let config = config(state.path());
        let (host, mut changes) = start(&config).await;
        let first = usable(&mut changes, 1).await;
        let running = traces();
        host.stop().await.unwrap();
        let stopped = ip("-6 address show dev up0");
        assert!(
            stopped.contains(&first[0].address.to_string()),
            "connections live on it"
        );

        let (host, mut changes) = start(&config).await;
        assert_eq!(usable(&mut changes, 1).await, first);
        assert_eq!(traces(), running);
        host.stop().await.unwrap();

        // As after a reboot.
        ip(&format!("address del {}/64 dev up0", first[0].address));
        let (host, mut changes) = start(&config).await;
        assert_eq!(usable(&mut changes, 1).await, first);
        host.stop().await.unwrap();
    });
}

#[test]
fn release_leaves_no_trace() {
    alone(async || {
        let _neighbour = network().await;
        // Its manager keeps routes for itself: an address of ours must not bring one.
        ip("address add 2001:db8:2::1/64 dev up0 nodad noprefixroute");
        let state = tempfile::tempdir().unwrap();
        let config = config(state.path());
        let before = traces();
        for orderly in [true, false] {
            let (host, mut changes) = start(&config).await;
            let locators = usable(&mut changes, 2).await;
            let (local, peer) = (locators[0].address, address("2001:db8:99::1"));
            host.set_anchor(local, peer, Some(1272)).await.unwrap();
            if orderly {
                host.stop().await.unwrap();
            } else {
                // As if it were killed.
                drop((host, changes));
                tokio::task::yield_now().await;
            }
            let removed = release(&config).await.unwrap();
            let address = Removed::Address {
                address: local,
                interface: "up0".into(),
            };
            assert!(removed.contains(&address), "{removed:?}");
            assert_eq!(traces(), before, "orderly: {orderly}");
        }
    });
}

#[test]
fn a_duplicate_address_is_given_up_for_the_next_one() {
    alone(async || {
        let neighbour = network().await;
        // The kernel keeps a duplicate that lives for ever, and removes one that does not.
        ip("address add 2001:db8:2::1/64 dev up0 nodad valid_lft 3000 preferred_lft 2000");
        let state = tempfile::tempdir().unwrap();
        let config = config(state.path());
        let (host, mut changes) = start(&config).await;
        let first = usable(&mut changes, 2).await;
        host.stop().await.unwrap();
        release(&config).await.unwrap();

        for locator in &first {
            neighbour.ip(&format!("address add {}/64 dev up0 nodad", locator.address));
        }
        let (host, mut changes) = start(&config).await;
        let counted = |locators: &[LocalLocator]| {
            locators
                .iter()
                .filter(|locator| locator.usable && locator.pds.collision_count() == 1)
                .count()
        };
        let second = until(&mut changes, "collision count 1", |all| counted(all) == 2).await;
        let expected: Vec<_> = first
            .iter()
            .map(|locator| next_collision(locator.address, &locator.pds).unwrap().0)
            .collect();
        let mut found: Vec<_> = second.iter().map(|locator| locator.address).collect();
        found.sort_by_key(|address| address.octets()[5]);
        assert_eq!(found, expected);
        host.stop().await.unwrap();
        let known: Vec<_> = Store::new(state.path())
            .formed("up0")
            .unwrap()
            .into_iter()
            .map(|(address, _)| address)
            .collect();
        assert_eq!(known.len(), 2, "{known:?}");
        assert!(
            expected.iter().all(|address| known.contains(address)),
            "{known:?}"
        );
    });
}

//= https://www.rfc-editor.org/rfc/rfc3972#section-4
//= id=C-019
//= type=test
//# However, after three collisions,
//# stop and report the error.
#[test]
fn three_duplicates_are_enough() {
    alone(async || {
        let neighbour = network().await;
        let state = tempfile::tempdir().unwrap();
        let config = config(state.path());
        let (host, mut changes) = start(&config).await;
        let first = usable(&mut changes, 1).await;
        host.stop().await.unwrap();
        release(&config).await.unwrap();
        let before = traces();

        let mut next = (first[0].address, first[0].pds.as_ref().clone());
        neighbour.ip(&format!("address add {}/64 dev up0 nodad", next.0));
        for _ in 0..2 {
            next = next_collision(next.0, &next.1).unwrap();
            neighbour.ip(&format!("address add {}/64 dev up0 nodad", next.0));
        }
        let (host, mut changes) = start(&config).await;
        let third = |all: &[LocalLocator]| all.iter().any(|l| l.pds.collision_count() == 2);
        until(&mut changes, "the third try", third).await;
        until(&mut changes, "giving up", <[LocalLocator]>::is_empty).await;
        host.stop().await.unwrap();
        release(&config).await.unwrap();
        assert_eq!(traces(), before);
    });
}

//= https://www.rfc-editor.org/rfc/rfc5534#section-3.1
//= type=test
//= id=R-002
//# This information includes the availability of a new address and status changes of existing
//# addresses (such as when an address becomes invalid).
#[test]
fn a_cga_lives_as_long_as_its_prefix() {
    alone(async || {
        let _neighbour = network().await;
        ip("address change 2001:db8:1::1/64 dev up0 valid_lft 1000 preferred_lft 500");
        let state = tempfile::tempdir().unwrap();
        let config = config(state.path());
        let (host, mut changes) = start(&config).await;
        let cga = usable(&mut changes, 1).await.remove(0).address;
        let lifetimes = || {
            let addresses = ip("-6 address show dev up0");
            let (_, after) = addresses.split_once(&format!("inet6 {cga}/64")).unwrap();
            let line = after.lines().nth(1).unwrap();
            let numbers = line.split_whitespace().filter_map(|word| {
                (word == "forever")
                    .then_some(u32::MAX)
                    .or(word.strip_suffix("sec")?.parse().ok())
            });
            let numbers: Vec<u32> = numbers.collect();
            (numbers[0], numbers[1])
        };
        let near = |(valid, preferred): (u32, u32), (v, p): (u32, u32)| {
            valid.abs_diff(v) <= 10 && preferred.abs_diff(p) <= 10
        };
        assert!(near(lifetimes(), (1000, 500)), "{:?}", lifetimes());
        ip("address change 2001:db8:1::1/64 dev up0 valid_lft 5000 preferred_lft 4000");
        eventually("renewed lifetimes", || near(lifetimes(), (5000, 4000))).await;
        ip("address del 2001:db8:1::1/64 dev up0");
        eventually("deprecation", || near(lifetimes(), (5000, 0))).await;
        until(&mut changes, "unusable", |locators| !locators[0].usable).await;
        let [shown] = status(&config).await.unwrap().try_into().unwrap();
        assert_eq!(
            (shown.address, shown.state),
            (cga, LocatorState::Deprecated)
        );
        ip("address add 2001:db8:1::3/64 dev up0 nodad valid_lft 6000 preferred_lft 600");
        eventually("the prefix's return", || near(lifetimes(), (6000, 600))).await;
        usable(&mut changes, 1).await;
        host.stop().await.unwrap();
    });
}

//= https://www.rfc-editor.org/rfc/rfc5534#section-4.1
//= type=test
//= id=R-007
//# Nodes SHOULD employ techniques listed in Sections 3.1 and 3.2 to track the local situation.
//= https://www.rfc-editor.org/rfc/rfc5534#section-3.2
//= type=test
//= id=R-004
//# Implementations MAY also employ additional, link-layer-specific mechanisms.
#[test]
fn a_locator_is_usable_while_its_link_carries_packets() {
    alone(async || {
        let neighbour = network().await;
        let state = tempfile::tempdir().unwrap();
        let (host, mut changes) = start(&config(state.path())).await;
        let first = usable(&mut changes, 1).await;
        neighbour.ip("link set up0 down");
        until(&mut changes, "unusable", |locators| !locators[0].usable).await;
        neighbour.ip("link set up0 up");
        assert_eq!(usable(&mut changes, 1).await, first);
        host.stop().await.unwrap();
    });
}

#[test]
fn addresses_as_configured_are_used_and_never_taken_away() {
    alone(async || {
        let _neighbour = network().await;
        let state = tempfile::tempdir().unwrap();
        let prefix = prefix_of(address("2001:db8:1::"));
        let mut rng = ChaCha20Rng::seed_from_u64(5);
        let (hba, pds) = generate_hba(&[prefix], None, 0, &mut rng)
            .unwrap()
            .remove(0);
        std::fs::write(state.path().join(format!("{hba}.cga")), pds.octets()).unwrap();
        ip(&format!("address add {hba}/64 dev up0 nodad"));
        let before = traces();

        let config = HostConfig {
            addresses: AddressMode::AsConfigured,
            ..config(state.path())
        };
        let (host, mut changes) = start(&config).await;
        let [locator] = usable(&mut changes, 1).await.try_into().unwrap();
        assert_eq!((locator.address, locator.key.is_none()), (hba, true));
        assert_eq!(source_to(FAR), hba);
        host.stop().await.unwrap();
        assert!(
            !state.path().join("key.pem").exists(),
            "nobody asked for a key"
        );
        release(&config).await.unwrap();
        assert_eq!(traces(), before);
    });
}

//= https://www.rfc-editor.org/rfc/rfc5534#section-3.1
//= type=test
//= id=R-001
//# The address and interface are acceptable for use according to a local policy.
#[test]
fn denied_interfaces_and_other_prefixes_get_no_address() {
    alone(async || {
        let neighbour = network().await;
        neighbour.link("docker0", "b1").await;
        ip("address add 2001:db8:2::1/64 dev docker0 nodad");
        ip("address add 2001:db8:3::1/128 dev up0 nodad");
        ip("address add 2001:db8:4::1/64 dev up0 nodad preferred_lft 0");
        ip("address add fd00:1::1/64 dev up0 nodad");
        let state = tempfile::tempdir().unwrap();
        let config = HostConfig {
            interfaces: InterfaceChoice {
                allow: Vec::new(),
                deny: vec!["docker*".into()],
            },
            ..config(state.path())
        };
        let (host, mut changes) = start(&config).await;
        let locators = usable(&mut changes, 2).await;
        let mut prefixes: Vec<_> = locators
            .iter()
            .map(|locator| prefix_of(locator.address))
            .collect();
        prefixes.sort_unstable();
        assert_eq!(
            prefixes,
            ["2001:db8:1::", "fd00:1::"].map(|text| prefix_of(address(text)))
        );
        host.stop().await.unwrap();
    });
}

#[test]
fn errors_name_what_the_operator_got_wrong() {
    alone(async || {
        let _neighbour = network().await;
        let state = tempfile::tempdir().unwrap();
        let before = traces();
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let absent = HostConfig {
            interfaces: InterfaceChoice {
                allow: vec!["eth77".into()],
                deny: Vec::new(),
            },
            ..config(state.path())
        };
        let error = Host::start(absent, &mut rng).await.err();
        assert!(matches!(error, Some(HostError::NoSuchInterface(name)) if name == "eth77"));

        std::fs::write(state.path().join("key.pem"), "garbage").unwrap();
        let error = Host::start(config(state.path()), &mut rng).await.err();
        assert!(
            matches!(error, Some(HostError::KeyUnreadable { .. })),
            "{error:?}"
        );
        assert_eq!(traces(), before);

        std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1").unwrap();
        let error = Host::start(config(state.path()), &mut rng).await.err();
        assert!(matches!(error, Some(HostError::Ipv6Disabled)), "{error:?}");
    });
}
