//! Addresses from router advertisements, in place of the kernel's.

use std::fs;
use std::io::Read;
use std::net::Ipv6Addr;
use std::os::fd::AsFd;

use shim6_cga::{next_collision, verify_cga};
use shimq_testbed::{AdvertisedPrefix, Prefix, RouterAdvertisement};
use socket2::{Domain, Protocol, Socket, Type};

use super::super::watch::prefix_of;
use super::super::{AddressMode, HostConfig, LocalLocator, Removed, release};
use super::namespace::{Neighbour, alone, eventually, ip};
use super::{address, config, start, until, usable};

const PREFIX: &str = "2001:db8:5::";
const AUTOCONF: &str = "/proc/sys/net/ipv6/conf/up0/autoconf";

fn from_advertisements(state: &std::path::Path) -> HostConfig {
    HostConfig {
        addresses: AddressMode::FromAdvertisements,
        ..config(state)
    }
}

/// A link `up0` whose kernel asks no routers by itself.
async fn link() -> Neighbour {
    fs::write("/proc/sys/net/ipv6/conf/default/router_solicitations", "0").unwrap();
    let neighbour = Neighbour::new().await;
    neighbour.link("up0", "b0").await;
    neighbour
}

/// Has the neighbour advertise [`PREFIX`] with lifetimes in seconds.
fn advertise(neighbour: &Neighbour, valid: u32, preferred: u32) {
    let advertisement = RouterAdvertisement {
        router_lifetime: 0,
        prefixes: vec![AdvertisedPrefix {
            prefix: Prefix {
                address: address(PREFIX),
                length: 64,
            },
            valid,
            preferred,
        }],
    };
    neighbour.enter(|| advertisement.send_here("up0")).unwrap();
}

fn autoconf() -> String {
    fs::read_to_string(AUTOCONF).unwrap().trim().to_owned()
}

/// Waits until the kernel of this host forms no addresses: from then on ours are.
async fn until_switched_off() {
    eventually("the kernel forms no addresses", || autoconf() == "0").await;
}

/// Seconds that the kernel gives an address, valid and preferred.
fn lifetimes(address: Ipv6Addr) -> (u32, u32) {
    let listing = ip("-6 -o address show dev up0");
    let line = listing
        .lines()
        .find(|line| line.contains(&address.to_string()));
    let words: Vec<_> = line.unwrap_or_default().split_whitespace().collect();
    let after = |label: &str| {
        let at = words.iter().position(|word| *word == label)?;
        words[at + 1].strip_suffix("sec")?.parse().ok()
    };
    (
        after("valid_lft").unwrap_or_default(),
        after("preferred_lft").unwrap_or_default(),
    )
}

fn near((valid, preferred): (u32, u32), (v, p): (u32, u32)) -> bool {
    valid.abs_diff(v) <= 10 && preferred.abs_diff(p) <= 10
}

#[test]
fn an_advertised_prefix_gets_a_cga_and_no_address_of_the_kernel_s() {
    alone(async || {
        let neighbour = link().await;
        let state = tempfile::tempdir().unwrap();
        let config = from_advertisements(state.path());
        for orderly in [true, false] {
            let (host, mut changes) = start(&config).await;
            until_switched_off().await;
            advertise(&neighbour, 9000, 8000);
            let [cga] = usable(&mut changes, 1).await.try_into().unwrap();
            assert_eq!(verify_cga(cga.address, &cga.pds), Ok(()));
            assert_eq!(prefix_of(cga.address), prefix_of(address(PREFIX)));
            let found = lifetimes(cga.address);
            assert!(near(found, (9000, 8000)), "{found:?}");
            let global = ip("-6 -o address show dev up0 scope global");
            assert_eq!(global.lines().count(), 1, "{global}");
            let routes = ip(&format!("-6 route show {PREFIX}/64"));
            assert!(routes.contains("dev up0 proto kernel"), "{routes}");

            let off = Removed::AutoconfOff {
                interface: "up0".into(),
            };
            if orderly {
                host.stop().await.unwrap();
                assert_eq!(autoconf(), "1", "after the stop");
                assert!(!release(&config).await.unwrap().contains(&off));
            } else {
                // As if it were killed.
                drop((host, changes));
                tokio::task::yield_now().await;
                assert_eq!(autoconf(), "0");
                assert!(release(&config).await.unwrap().contains(&off));
                assert_eq!(autoconf(), "1", "after the release");
            }
        }
    });
}

#[test]
fn a_setting_of_the_administrator_s_is_left_alone() {
    alone(async || {
        let neighbour = link().await;
        fs::write(AUTOCONF, "0").unwrap();
        let state = tempfile::tempdir().unwrap();
        let config = from_advertisements(state.path());
        let (host, mut changes) = start(&config).await;
        eventually("a CGA", || {
            advertise(&neighbour, 9000, 8000);
            ip("-6 address show dev up0").contains("2001:db8:5:")
        })
        .await;
        usable(&mut changes, 1).await;
        host.stop().await.unwrap();
        release(&config).await.unwrap();
        assert_eq!(autoconf(), "0");
    });
}

/// RFC 4862 §5.5.3 e.
#[test]
fn a_cga_has_the_lifetimes_that_routers_advertise_last_but_no_less_than_two_hours() {
    alone(async || {
        let neighbour = link().await;
        let state = tempfile::tempdir().unwrap();
        let config = from_advertisements(state.path());
        let (host, mut changes) = start(&config).await;
        until_switched_off().await;
        advertise(&neighbour, 32_400, 18_000);
        let cga = usable(&mut changes, 1).await.remove(0).address;
        assert!(near(lifetimes(cga), (32_400, 18_000)));

        advertise(&neighbour, 60, 0);
        until(&mut changes, "unusable", |locators| !locators[0].usable).await;
        assert!(near(lifetimes(cga), (7200, 0)), "{:?}", lifetimes(cga));
        // The same again after a restart, which finds the address on the link.
        host.stop().await.unwrap();
        let (host, mut changes) = start(&config).await;
        until_switched_off().await;
        advertise(&neighbour, 60, 50);
        usable(&mut changes, 1).await;
        assert!(near(lifetimes(cga), (7200, 50)), "{:?}", lifetimes(cga));
        advertise(&neighbour, 20_000, 10_000);
        eventually("longer lifetimes", || {
            near(lifetimes(cga), (20_000, 10_000))
        })
        .await;
        host.stop().await.unwrap();
    });
}

#[test]
fn a_cga_is_gone_when_its_prefix_has_expired_and_is_the_same_when_that_comes_back() {
    alone(async || {
        let neighbour = link().await;
        let state = tempfile::tempdir().unwrap();
        let (host, mut changes) = start(&from_advertisements(state.path())).await;
        until_switched_off().await;
        advertise(&neighbour, 5, 5);
        let first = usable(&mut changes, 1).await;
        until(&mut changes, "expiry", <[LocalLocator]>::is_empty).await;
        assert_eq!(lifetimes(first[0].address), (0, 0));
        advertise(&neighbour, 9000, 8000);
        assert_eq!(usable(&mut changes, 1).await, first);
        host.stop().await.unwrap();
    });
}

#[test]
fn an_advertised_prefix_whose_first_cga_is_taken_gets_the_next_one() {
    alone(async || {
        let neighbour = link().await;
        let state = tempfile::tempdir().unwrap();
        let config = from_advertisements(state.path());
        let (host, mut changes) = start(&config).await;
        until_switched_off().await;
        advertise(&neighbour, 9000, 8000);
        let [first] = usable(&mut changes, 1).await.try_into().unwrap();
        host.stop().await.unwrap();
        release(&config).await.unwrap();

        neighbour.ip(&format!("address add {}/64 dev up0 nodad", first.address));
        let (host, mut changes) = start(&config).await;
        until_switched_off().await;
        advertise(&neighbour, 9000, 8000);
        let [second] = usable(&mut changes, 1).await.try_into().unwrap();
        let expected = next_collision(first.address, &first.pds).unwrap().0;
        assert_eq!(
            (second.address, second.pds.collision_count()),
            (expected, 1)
        );
        assert!(near(lifetimes(expected), (9000, 8000)));
        host.stop().await.unwrap();
    });
}

#[test]
fn routers_are_asked_for_their_prefixes_and_asked_again_if_they_are_silent() {
    alone(async || {
        const SOLICITATION: u8 = 133;
        let neighbour = link().await;
        let mut listener = neighbour.enter(|| {
            let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6)).unwrap();
            socket.bind_device(Some(b"up0")).unwrap();
            // All routers, without being one.
            let index = rustix::net::netdevice::name_to_index(socket.as_fd(), "up0").unwrap();
            socket
                .join_multicast_v6(&address("ff02::2"), index)
                .unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        });
        let state = tempfile::tempdir().unwrap();
        let (host, _changes) = start(&from_advertisements(state.path())).await;
        let mut heard = 0;
        eventually("two questions", || {
            let mut octets = [0; 128];
            while listener.read(&mut octets).is_ok() {
                heard += u32::from(octets[0] == SOLICITATION);
            }
            heard >= 2
        })
        .await;
        host.stop().await.unwrap();
    });
}
