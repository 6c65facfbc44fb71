//! What becomes of the addresses of networks that the host has left.

use std::net::Ipv6Addr;
use std::path::Path;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use shim6_cga::generate_cga;

use super::super::held;
use super::super::store::{KEY_FILE, Store};
use super::namespace::{alone, eventually};
use super::{config, network, start, usable};

#[test]
fn of_the_networks_that_a_host_has_left_the_last_32_are_remembered() {
    alone(async || {
        let _neighbour = network().await;
        let state = tempfile::tempdir().unwrap();
        let config = config(state.path());
        let (host, mut changes) = start(&config).await;
        let here = usable(&mut changes, 1).await[0].address;
        host.stop().await.unwrap();

        let store = Store::new(state.path());
        let key = store.key(Path::new(KEY_FILE)).unwrap().unwrap();
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let elsewhere: Vec<Ipv6Addr> = (0..40)
            .map(|number| {
                let prefix = [0x20, 1, 0xd, 0xb9, 0, 0, 0, number];
                let (address, pds) = generate_cga(&key, prefix, 0, &mut rng).unwrap();
                store.save_formed("up0", address, &pds).unwrap();
                address
            })
            .collect();
        let (host, mut changes) = start(&config).await;
        usable(&mut changes, 1).await;
        let known = || {
            let formed = store.formed("up0").unwrap().into_iter();
            formed.map(|(address, _)| address).collect::<Vec<_>>()
        };
        eventually("the others are forgotten", || {
            known().len() == held::MAX + 1
        })
        .await;
        let known = known();
        assert!(known.contains(&here), "it is there, if written first");
        let last = &elsewhere[elsewhere.len() - held::MAX..];
        assert!(last.iter().all(|address| known.contains(address)));
        host.stop().await.unwrap();
    });
}
