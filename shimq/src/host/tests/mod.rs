//! Claims about the host module, proven on a real kernel in namespaces.

mod addresses;
mod advertised;
mod forgetting;
pub(crate) mod namespace;
mod owners;
mod routes;
mod sets;

use std::net::Ipv6Addr;
use std::path::Path;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use tokio::sync::mpsc::Receiver;

use super::{Host, HostConfig, LocalLocator, LocatorsChanged};
use namespace::{Neighbour, ip};

/// A destination that no link has.
const FAR: &str = "2001:db8:ffff::1";

fn address(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn config(state: &Path) -> HostConfig {
    HostConfig {
        sec: 0,
        key_bits: 1024,
        state_dir: state.to_owned(),
        ..HostConfig::default()
    }
}

async fn start(config: &HostConfig) -> (Host, Receiver<LocatorsChanged>) {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    Host::start(config.clone(), &mut rng).await.unwrap()
}

/// Waits until the locators are as `wanted` says.
async fn until(
    changes: &mut Receiver<LocatorsChanged>,
    what: &str,
    wanted: impl Fn(&[LocalLocator]) -> bool,
) -> Vec<LocalLocator> {
    let heard = async {
        loop {
            let LocatorsChanged { locators, .. } =
                changes.recv().await.expect("the host has ended");
            if wanted(&locators) {
                return locators;
            }
        }
    };
    let patience = std::time::Duration::from_secs(20);
    tokio::time::timeout(patience, heard)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"))
}

/// Waits until there are `count` locators, all usable.
async fn usable(changes: &mut Receiver<LocatorsChanged>, count: usize) -> Vec<LocalLocator> {
    until(changes, "usable locators", |locators| {
        locators.len() == count && locators.iter().all(|locator| locator.usable)
    })
    .await
}

/// `up0` and `up1`, with a prefix each.
async fn two_links() -> Neighbour {
    let neighbour = network().await;
    neighbour.link("up1", "b1").await;
    ip("address add 2001:db8:2::1/64 dev up1 nodad");
    neighbour
}

/// All that this module could leave behind.
fn traces() -> String {
    wait_for_local_routes();
    [
        "-6 address",
        "-6 rule",
        "-6 route show table all",
        "addrlabel",
    ]
    .map(ip)
    .join("\n")
}

/// Waits until the kernel has done its part for each address: it adds the local route a little later.
fn wait_for_local_routes() {
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let addresses = ip("-6 -o address show up");
        let routes = ip("-6 route show table local");
        let is_routed = |address: &str| routes.contains(&format!("local {address} dev"));
        let all_routed = addresses
            .lines()
            .filter(|line| !line.contains("tentative") && !line.contains("dadfailed"))
            .filter_map(|line| line.split("inet6 ").nth(1)?.split('/').next())
            .filter(|address| *address != "::1")
            .all(is_routed);
        if all_routed {
            return;
        }
        assert!(
            std::time::Instant::now() < patience,
            "{addresses}\n{routes}"
        );
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// A link `up0` with the ordinary address 2001:db8:1::1 and a default route.
async fn network() -> Neighbour {
    let neighbour = Neighbour::new().await;
    neighbour.link("up0", "b0").await;
    ip("address add 2001:db8:1::1/64 dev up0 nodad");
    ip("-6 route add default via fe80::b0 dev up0");
    neighbour
}
