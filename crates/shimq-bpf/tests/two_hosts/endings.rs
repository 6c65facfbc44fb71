//! What a process leaves, whichever way it ends.

use std::time::{Duration, Instant};
use std::{mem, thread};

use aya::programs::{SchedClassifier, TcAttachType};
use shimq_bpf::{LEASE, release};
use shimq_testbed::{B, Namespace};

use crate::support::{attach, flow_of_a, ip, ping, run, two_hosts};

#[test]
fn nothing_is_left_after_drop() {
    let hosts = two_hosts();
    let look = |host: &Namespace| {
        [
            ip(host, "route show table all"),
            ip(host, "rule show"),
            ip(host, "addr show"),
            run(host, "ip", "-o link show"),
            run(host, "tc", "qdisc show"),
        ]
    };
    let before = look(&hosts.a);
    let Some(mut a) = attach(&hosts.a) else {
        return;
    };
    hosts.a.enter(|| a.insert(&flow_of_a()).unwrap()).unwrap();
    assert_ne!(look(&hosts.a), before);
    let programs = || {
        let count = |link| {
            let links = SchedClassifier::query_tcx(link, TcAttachType::Ingress);
            // A kernel before 6.6 knows no links: the programs are filters.
            links.map_or_else(
                |_| {
                    let filters = run(&hosts.a, "tc", &format!("filter show dev {link} ingress"));
                    filters.matches("name shim_receive").count()
                },
                |(_, programs)| programs.len(),
            )
        };
        hosts.a.enter(|| ["a1", "a2"].map(count)).unwrap()
    };
    assert_eq!(programs(), [1, 1]);
    hosts.a.enter(|| drop(a)).unwrap();
    assert_eq!(look(&hosts.a), before);
    assert_eq!(programs(), [0, 0]);
    ping(&hosts.a, &format!("-c 1 {}", B[0].host())).unwrap();
}

#[test]
fn a_route_expires_unless_it_is_renewed() {
    let hosts = two_hosts();
    let Some(mut a) = attach(&hosts.a) else {
        return;
    };
    hosts.a.enter(|| a.insert(&flow_of_a()).unwrap()).unwrap();
    let seconds_left = || {
        let routes = ip(&hosts.a, "route show table all dev shim0");
        let route = routes
            .lines()
            .find(|line| line.contains("mtu 1492"))
            .unwrap();
        let after = route.split("expires ").nth(1).unwrap();
        after.split("sec").next().unwrap().parse::<u64>().unwrap()
    };
    let deadline = Instant::now() + Duration::from_secs(5);
    while seconds_left() > LEASE.as_secs() - 2 {
        assert!(Instant::now() < deadline, "{} s left", seconds_left());
        thread::sleep(Duration::from_millis(50));
    }
    hosts.a.enter(|| a.renew(1).unwrap()).unwrap();
    assert!(seconds_left() > LEASE.as_secs() - 2);
}

#[test]
fn what_a_killed_process_left_is_taken_over() {
    let hosts = two_hosts();
    let before = ip(&hosts.a, "rule show");
    let Some(mut killed) = attach(&hosts.a) else {
        return;
    };
    hosts
        .a
        .enter(|| killed.insert(&flow_of_a()).unwrap())
        .unwrap();
    // Unlike a kill, this leaves the programs attached to a2, too.
    mem::forget(killed);
    assert_ne!(ip(&hosts.a, "rule show"), before);

    let successor = attach(&hosts.a).unwrap();
    let filters = run(&hosts.a, "tc", "filter show dev a2 ingress");
    assert!(!filters.contains("shim_receive"), "{filters}");
    assert_eq!(ip(&hosts.a, "rule show"), before);
    drop(successor);
    assert!(!ip(&hosts.a, "link show").contains("shim"));
}

#[test]
fn what_a_killed_process_left_can_be_released() {
    let hosts = two_hosts();
    let look = |host: &Namespace| [ip(host, "rule show"), ip(host, "link show")];
    let before = look(&hosts.a);
    let Some(mut killed) = attach(&hosts.a) else {
        return;
    };
    hosts
        .a
        .enter(|| killed.insert(&flow_of_a()).unwrap())
        .unwrap();
    mem::forget(killed);
    let released = || hosts.a.enter(|| release().unwrap()).unwrap();
    assert!(released());
    assert_eq!(look(&hosts.a), before);
    assert!(!released(), "there was nothing more");
}
