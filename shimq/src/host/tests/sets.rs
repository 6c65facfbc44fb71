//! HBA sets over the prefixes of several links.

use std::net::Ipv6Addr;
use std::path::Path;

use shim6_cga::{Kind, next_collision, verify_hba};

use super::super::{AddressKind, HostConfig, InterfaceRule, LocalLocator, release};
use super::namespace::{alone, eventually, ip};
use super::{config, start, traces, two_links, until, usable};

/// All addresses are of this kind.
fn with_kind(state: &Path, kind: AddressKind) -> HostConfig {
    let rule = InterfaceRule {
        name: "*".into(),
        kind,
        key: None,
        sec: None,
    };
    HostConfig {
        rules: vec![rule],
        ..config(state)
    }
}

fn addresses(locators: &[LocalLocator]) -> Vec<Ipv6Addr> {
    locators.iter().map(|locator| locator.address).collect()
}

/// Whether each proves all.
fn is_one_set(locators: &[LocalLocator]) -> bool {
    locators.iter().all(|ulid| {
        let mut all = locators.iter();
        all.all(|other| verify_hba(other.address, &ulid.pds).is_ok())
    })
}

#[test]
fn one_set_spans_the_links_of_its_kind_and_outlives_restarts() {
    alone(async || {
        let _neighbour = two_links().await;
        let before = traces();
        for (kind, formed) in [
            (AddressKind::Hba, Kind::Hba),
            (AddressKind::CgaHba, Kind::CgaCompatibleHba),
        ] {
            let state = tempfile::tempdir().unwrap();
            let config = with_kind(state.path(), kind);
            let (host, mut changes) = start(&config).await;
            let locators = usable(&mut changes, 2).await;
            assert!(is_one_set(&locators), "{locators:?}");
            for locator in &locators {
                assert_eq!(locator.pds.kind(), formed);
                assert_eq!(locator.key.is_some(), formed == Kind::CgaCompatibleHba);
            }
            let has_key = state.path().join("key.pem").exists();
            assert_eq!(
                has_key,
                formed == Kind::CgaCompatibleHba,
                "made for nothing"
            );
            host.stop().await.unwrap();

            // As after a reboot.
            release(&config).await.unwrap();
            assert_eq!(traces(), before);
            let (host, mut changes) = start(&config).await;
            assert_eq!(usable(&mut changes, 2).await, locators);
            host.stop().await.unwrap();
            release(&config).await.unwrap();
        }
    });
}

#[test]
fn a_prefix_that_appears_renews_the_set_and_the_former_addresses_go_on_being_locators() {
    alone(async || {
        let _neighbour = two_links().await;
        let state = tempfile::tempdir().unwrap();
        let config = with_kind(state.path(), AddressKind::Hba);
        let (host, mut changes) = start(&config).await;
        let old = usable(&mut changes, 2).await;
        ip("address add 2001:db8:3::1/64 dev up1 nodad");
        let all = usable(&mut changes, 5).await;
        let is_old = |locator: &&LocalLocator| addresses(&old).contains(&locator.address);
        let (former, new): (Vec<_>, Vec<_>) =
            all.iter().cloned().partition(|locator| is_old(&locator));
        assert!(is_one_set(&former) && is_one_set(&new), "{all:?}");
        assert_eq!((former.len(), new.len()), (2, 3));
        eventually("new connections choose the new ones", || {
            let deprecated = ip("-6 -o address show deprecated");
            let is_deprecated = |address: &Ipv6Addr| deprecated.contains(&address.to_string());
            addresses(&former).iter().all(is_deprecated)
                && !addresses(&new).iter().any(is_deprecated)
        })
        .await;
        host.stop().await.unwrap();

        let (host, mut changes) = start(&config).await;
        assert_eq!(usable(&mut changes, 5).await, all, "after a restart");
        // The prefix goes, and with it what can be reached there.
        ip("address del 2001:db8:3::1/64 dev up1");
        let gone = |locators: &[LocalLocator]| {
            let usable = locators.iter().filter(|locator| locator.usable);
            usable.count() == 4
        };
        until(&mut changes, "one less", gone).await;
        host.stop().await.unwrap();
        release(&config).await.unwrap();
    });
}

//= https://www.rfc-editor.org/rfc/rfc5535#section-6
//= type=test
//= id=H-012
//# If an address collision is detected, increment the collision count by
//# one and go back to step (6).
#[test]
fn a_duplicate_moves_the_whole_set_to_the_next_collision_count() {
    alone(async || {
        let neighbour = two_links().await;
        let state = tempfile::tempdir().unwrap();
        let config = with_kind(state.path(), AddressKind::Hba);
        let (host, mut changes) = start(&config).await;
        let first = usable(&mut changes, 2).await;
        host.stop().await.unwrap();
        release(&config).await.unwrap();

        neighbour.ip(&format!(
            "address add {}/64 dev up1 nodad",
            first[1].address
        ));
        let (host, mut changes) = start(&config).await;
        let next = |locators: &[LocalLocator]| {
            let next = locators.iter().filter(|locator| locator.usable);
            next.filter(|locator| locator.pds.collision_count() == 1)
                .count()
                == 2
        };
        let second = until(&mut changes, "collision count 1", next).await;
        let expected = first.iter().map(|locator| {
            let (next, _) = next_collision(locator.address, &locator.pds).unwrap();
            next
        });
        for next in expected {
            assert!(addresses(&second).contains(&next), "{second:?}");
        }
        assert!(!addresses(&second).contains(&first[1].address));
        host.stop().await.unwrap();
        release(&config).await.unwrap();

        let (host, mut changes) = start(&config).await;
        let again = usable(&mut changes, 2).await;
        assert!(next(&again) && is_one_set(&again), "after a restart");
        host.stop().await.unwrap();
    });
}
