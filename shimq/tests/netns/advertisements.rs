//! Prefixes that come and go by router advertisements, under traffic.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use shimq_testbed::{A, AdvertisedPrefix, B, Direction, Prefix, Provider, RouterAdvertisement};

use crate::support::{Daemon, FAST, Network, Side, Stream, eventually};

/// How often each router advertises its prefix: no test waits long for the next time.
const INTERVAL: Duration = Duration::from_millis(200);

/// Valid and preferred lifetime, in seconds.
type Lifetimes = [u32; 2];

/// The routers of some providers; silent when dropped.
struct Routers {
    lifetimes: Arc<Vec<Mutex<Lifetimes>>>,
    stopping: Arc<AtomicBool>,
    advertising: Option<JoinHandle<()>>,
}

impl Routers {
    fn start<const N: usize>(network: &Network, routers: [(Provider, Lifetimes); N]) -> Self {
        let (providers, lifetimes): (Vec<_>, Vec<_>) = routers.into_iter().unzip();
        let lifetimes: Arc<Vec<_>> = Arc::new(lifetimes.into_iter().map(Mutex::new).collect());
        let stopping = Arc::new(AtomicBool::new(false));
        let (now, stop) = (Arc::clone(&lifetimes), Arc::clone(&stopping));
        // A thread started by one inside the namespace is inside as well.
        let advertising = network.hosts.router.enter(|| {
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    for (provider, lifetimes) in providers.iter().zip(now.iter()) {
                        advertise(provider, *lifetimes.lock().unwrap());
                    }
                    thread::sleep(INTERVAL);
                }
            })
        });
        Self {
            lifetimes,
            stopping,
            advertising: Some(advertising.unwrap()),
        }
    }

    /// Has the router of the provider with this index advertise otherwise from now on.
    fn change(&self, provider: usize, lifetimes: Lifetimes) {
        *self.lifetimes[provider].lock().unwrap() = lifetimes;
    }
}

impl Drop for Routers {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        if let Some(advertising) = self.advertising.take() {
            let ended = advertising.join();
            assert!(thread::panicking() || ended.is_ok());
        }
    }
}

fn advertise(provider: &Provider, [valid, preferred]: Lifetimes) {
    let advertisement = RouterAdvertisement {
        // The hosts have their default routes already.
        router_lifetime: 0,
        prefixes: vec![AdvertisedPrefix {
            prefix: provider.prefix,
            valid,
            preferred,
        }],
    };
    advertisement.send_here(provider.link).unwrap();
}

#[test]
fn a_context_leaves_a_prefix_that_is_withdrawn_and_outlives_it() {
    let Some(network) = Network::new() else {
        return;
    };
    let routers = Routers::start(&network, [(A[0], [9000, 8000]), (A[1], [15, 14])]);
    let config = format!("addresses = 'from-advertisements'\n{FAST}");
    let a = Daemon::start(&network, Side::A, &config);
    let b = Daemon::start(&network, Side::B, FAST);
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    let a2 = a.locator(A[1]);

    network
        .hosts
        .cut(A[0].prefix, Prefix::ANY, Direction::Both)
        .unwrap();
    eventually("it moves to the second provider", || {
        a.current_pair(a1, b1).0 == a2
    });
    stream.wait_for_more();
    network.hosts.heal().unwrap();
    routers.change(1, [0, 0]);
    eventually("it leaves before the address goes", || {
        a.current_pair(a1, b1).0 == a1 && b.current_pair(b1, a1).1 == a1
    });
    eventually("the address is gone", || {
        let addresses = network.run(Side::A, "ip", "-6 address");
        !addresses.contains(&a2.to_string())
    });
    stream.wait_for_more();
    assert!(a.has_context(a1, b1));
    eventually("nor is it a ULID any more", || {
        a.ask("status")["locators"] == serde_json::json!([a1.to_string()])
    });
    stream.finish();
    drop(routers);
    assert!(a.stop().success());
    for Provider { link, .. } in A {
        let path = format!("/proc/sys/net/ipv6/conf/{link}/autoconf");
        let setting = network.hosts.a.enter(|| fs::read_to_string(&path).unwrap());
        assert_eq!(setting.unwrap(), "1\n", "the kernel forms addresses again");
    }
}

#[test]
fn sets_over_what_two_links_advertise_carry_a_connection_over_a_cut_and_outlive_a_reboot() {
    let Some(network) = Network::new() else {
        return;
    };
    let both = [A, B].as_flattened().iter();
    let routers = both.map(|provider| (*provider, [9000, 8000]));
    let routers: [_; 4] = routers.collect::<Vec<_>>().try_into().unwrap();
    let _routers = Routers::start(&network, routers);
    let config = |kind| {
        let kind = format!("[[interface]]\nname = '*'\nkind = '{kind}'\n");
        format!("addresses = 'from-advertisements'\n{FAST}{kind}")
    };
    let a = Daemon::start(&network, Side::A, &config("hba"));
    let b = Daemon::start(&network, Side::B, &config("cga-hba"));
    for (daemon, kind) in [(&a, "hba"), (&b, "cga-compatible-hba")] {
        for locator in daemon.ask("locators").as_array().unwrap() {
            assert_eq!(locator["kind"], kind, "{locator}");
        }
    }
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    network.hosts.cut(a1, b1, Direction::Both).unwrap();
    eventually("it moves", || a.current_pair(a1, b1) != (a1, b1));
    stream.wait_for_more();
    stream.finish();

    let locators = a.locators();
    assert!(a.stop().success());
    for (address, Provider { link, .. }) in locators.iter().zip(A) {
        let delete = format!("-6 address del {address}/64 dev {link}");
        network.run(Side::A, "ip", &delete);
    }
    let a = Daemon::start(&network, Side::A, &config("hba"));
    assert_eq!(a.locators(), locators);
}
