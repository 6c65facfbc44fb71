//! Which key and Sec value the addresses of an interface have.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use shim6_cga::{SigningKey, verify_cga};

use super::super::store::Store;
use super::super::{
    AddressKind, Host, HostConfig, HostError, InterfaceChoice, InterfaceRule, LocalLocator, release,
};
use super::namespace::{alone, ip};
use super::{config, network, start, traces, two_links, usable};

fn rule(name: &str, key: Option<&str>, sec: Option<u8>) -> InterfaceRule {
    InterfaceRule {
        name: name.into(),
        kind: AddressKind::Cga,
        key: key.map(Into::into),
        sec,
    }
}

fn with_rules(state: &Path, rules: impl Into<Vec<InterfaceRule>>) -> HostConfig {
    HostConfig {
        rules: rules.into(),
        ..config(state)
    }
}

/// The interface, the key file and the Sec value of each locator.
fn owners(state: &Path, locators: &[LocalLocator], files: &[&str]) -> Vec<(String, String, u8)> {
    let store = Store::new(state);
    let keys = files.iter().map(|file| {
        let key = store.key(Path::new(file)).unwrap().unwrap();
        (*file, key.public_key().to_vec())
    });
    let keys: Vec<_> = keys.collect();
    let owner = |locator: &LocalLocator| {
        assert_eq!(verify_cga(locator.address, &locator.pds), Ok(()));
        let (file, public_key) = keys
            .iter()
            .find(|(_, public_key)| public_key == locator.pds.public_key())
            .unwrap();
        let signs = locator.key.as_ref().map(|key| key.public_key());
        assert_eq!(signs, Some(public_key.as_slice()), "who signs");
        let sec = locator.address.octets()[8] >> 5;
        (locator.interface_name.clone(), (*file).to_owned(), sec)
    };
    locators.iter().map(owner).collect()
}

#[test]
fn an_interface_has_the_key_and_the_sec_value_of_the_first_rule_that_it_matches() {
    alone(async || {
        let _neighbour = two_links().await;
        let state = tempfile::tempdir().unwrap();
        let config = with_rules(
            state.path(),
            [
                rule("up1", Some("second.pem"), Some(1)),
                rule("up*", None, None),
                rule("*", Some("nobody.pem"), Some(2)),
            ],
        );
        let (host, mut changes) = start(&config).await;
        let locators = usable(&mut changes, 2).await;
        assert_eq!(
            owners(state.path(), &locators, &["key.pem", "second.pem"]),
            [
                ("up0".into(), "key.pem".into(), 0),
                ("up1".into(), "second.pem".into(), 1)
            ]
        );
        let mode = std::fs::metadata(state.path().join("second.pem"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        host.stop().await.unwrap();

        let (host, mut changes) = start(&config).await;
        assert_eq!(usable(&mut changes, 2).await, locators, "after a restart");
        host.stop().await.unwrap();
    });
}

#[test]
fn the_host_s_own_key_is_for_what_can_be_used_and_has_no_rule() {
    let rules = [rule("eth*", None, None), rule("wlan0", None, None)];
    let covered = |allow: &[&str]| {
        let allow = allow.iter().map(|&name| name.to_owned()).collect();
        let choice = InterfaceChoice {
            allow,
            ..InterfaceChoice::default()
        };
        choice.is_covered_by(&rules)
    };
    assert!(covered(&["eth0", "wlan0"]) && covered(&["eth*"]));
    assert!(!covered(&[]) && !covered(&["e*"]) && !covered(&["eth0", "wlan*"]));
}

#[test]
fn another_key_for_an_interface_makes_another_address_there_and_only_there() {
    alone(async || {
        let _neighbour = two_links().await;
        let state = tempfile::tempdir().unwrap();
        let before = traces();
        let (host, mut changes) = start(&config(state.path())).await;
        let former = usable(&mut changes, 2).await;
        host.stop().await.unwrap();

        let elsewhere = tempfile::tempdir().unwrap();
        let path = elsewhere.path().join("mine");
        let key = SigningKey::generate(1024, &mut ChaCha20Rng::seed_from_u64(7)).unwrap();
        std::fs::write(&path, key.to_pem().unwrap().as_bytes()).unwrap();
        let config = with_rules(state.path(), [rule("up1", path.to_str(), None)]);
        let (host, mut changes) = start(&config).await;
        let locators = usable(&mut changes, 2).await;
        assert_eq!(locators[0], former[0], "up0 has no rule");
        assert_eq!(locators[1].pds.public_key(), key.public_key());
        // Connections live on it.
        let addresses = ip("-6 address show dev up1");
        let old = former[1].address.to_string();
        assert!(addresses.contains(&old), "{addresses}");
        host.stop().await.unwrap();
        release(&config).await.unwrap();
        assert_eq!(traces(), before, "both are released");
    });
}

#[test]
fn a_rule_that_cannot_be_kept_is_an_error_before_any_key_is_made() {
    alone(async || {
        let _neighbour = network().await;
        let state = tempfile::tempdir().unwrap();
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let absent = with_rules(state.path(), [rule("up7", None, None)]);
        let error = Host::start(absent, &mut rng).await.err();
        assert!(
            matches!(&error, Some(HostError::NoSuchInterface(name)) if name == "up7"),
            "{error:?}"
        );
        let path = state.path().join("other/key.pem");
        let keyless = with_rules(state.path(), [rule("up*", path.to_str(), None)]);
        let error = Host::start(keyless, &mut rng).await.err();
        assert!(
            matches!(&error, Some(HostError::NoSuchKey(named)) if *named == path),
            "{error:?}"
        );
        assert!(!state.path().join("key.pem").exists());
    });
}
