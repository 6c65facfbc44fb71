//! Where packets go.

use std::net::{Ipv6Addr, UdpSocket};

use shimq_testbed::uninterrupted;

use super::super::release;
use super::namespace::{Neighbour, alone, eventually, ip};
use super::{FAR, address, config, network, start, traces, usable};

#[test]
fn packets_from_each_cga_leave_by_its_own_interface() {
    alone(async || {
        let neighbour = Neighbour::new().await;
        neighbour.ip(&format!("address add {FAR}/128 dev lo"));
        for number in 1..=2 {
            neighbour
                .link(&format!("up{number}"), &format!("b{number}"))
                .await;
            ip(&format!(
                "address add 2001:db8:{number}::1/64 dev up{number} nodad"
            ));
            ip(&format!(
                "-6 route add default via fe80::b{number} dev up{number} metric {number}00"
            ));
        }
        ip("-6 route add 2001:db8:cafe::/48 via fe80::b2 dev up2");
        let rules = ip("-6 rule");
        let state = tempfile::tempdir().unwrap();
        let (host, mut changes) = start(&config(state.path())).await;
        for locator in usable(&mut changes, 2).await {
            let listener = neighbour.listen(&locator.interface_name, 7000);
            let socket = UdpSocket::bind((locator.address, 0)).unwrap();
            socket.send_to(b"shimq", (FAR, 7000)).unwrap();
            let (_, from) =
                uninterrupted(|| listener.recv_from(&mut [0; 16])).expect("wrong interface");
            assert_eq!(from.ip(), locator.address);
            // A route of its own comes before any provider.
            let route = ip(&format!(
                "-6 route get 2001:db8:cafe::1 from {}",
                locator.address
            ));
            assert!(route.contains("via fe80::b2 dev up2"), "{route}");
        }
        // A rule would have the kernel walk rules for every packet.
        assert_eq!(ip("-6 rule"), rules);
        // Following what they are copies of.
        let copies_at_up2 = || {
            let routes = ip("-6 route show table all proto 140");
            routes
                .lines()
                .filter(|line| line.contains("dev up2"))
                .collect::<String>()
        };
        ip("-6 route replace default via fe80::b9 dev up2 metric 200");
        eventually("the new router", || {
            let routes = copies_at_up2();
            routes.contains("via fe80::b9") && !routes.contains("via fe80::b2")
        })
        .await;
        ip("-6 route append default via fe80::b8 dev up2 metric 200");
        eventually("a second router", || {
            copies_at_up2().matches("via fe80::b").count() == 2
        })
        .await;
        ip("-6 route del default via fe80::b9 dev up2");
        eventually("one router less", || {
            let routes = copies_at_up2();
            routes.contains("via fe80::b8") && !routes.contains("via fe80::b9")
        })
        .await;
        ip("-6 route flush proto 140");
        eventually("the copies again", || {
            copies_at_up2().contains("via fe80::b8")
        })
        .await;
        ip("-6 route flush default");
        eventually("no router", || copies_at_up2().is_empty()).await;
        host.stop().await.unwrap();
    });
}

#[test]
fn an_anchor_lets_applications_send_when_there_is_no_route() {
    alone(async || {
        let _neighbour = network().await;
        let peer = "2001:db8:99::1";
        let state = tempfile::tempdir().unwrap();
        let (host, mut changes) = start(&config(state.path())).await;
        let local = usable(&mut changes, 1).await.remove(0).address;
        let other = address("2001:db8:1::1");
        let before = traces();

        host.set_anchor(local, address(peer), Some(1272))
            .await
            .unwrap();
        let route = |from: Ipv6Addr| ip(&format!("-6 route get {peer} from {from}"));
        let narrow = route(local);
        assert!(narrow.contains("mtu 1272"), "{narrow}");
        // Should the daemon be killed, packets go where they went before.
        assert!(narrow.contains("via fe80::b0 dev up0"), "{narrow}");
        assert!(
            route(other).contains("dev up0"),
            "only the ULID pair is caught"
        );
        host.set_anchor(local, address(peer), None).await.unwrap();
        assert!(!route(local).contains("mtu"), "a real route comes first");
        let is_in_force = || ip("-6 rule").contains("lookup 13999");
        assert!(!is_in_force(), "needless rules cost every packet");

        let socket = UdpSocket::bind("[::]:0").unwrap();
        ip("-6 route del default");
        eventually("the anchor is in force", is_in_force).await;
        socket.connect((peer, 9)).unwrap();
        ip("-6 rule del lookup 13999");
        eventually("the anchor is in force again", is_in_force).await;
        host.remove_anchor(local, address(peer)).await.unwrap();
        let without = UdpSocket::bind("[::]:0").unwrap();
        assert!(without.connect((peer, 9)).is_err());

        ip("-6 route add default via fe80::b0 dev up0");
        eventually("nothing left", || traces() == before).await;
        host.stop().await.unwrap();
    });
}

#[test]
fn other_peoples_routes_for_a_locator_are_left_to_them() {
    alone(async || {
        let _neighbour = network().await;
        let state = tempfile::tempdir().unwrap();
        let config = config(state.path());
        let (host, mut changes) = start(&config).await;
        let cga = usable(&mut changes, 1).await.remove(0).address;
        let copies = || ip("-6 route show proto 140");
        let copy = format!("default from {cga} via fe80::b0 dev up0");
        assert!(copies().contains(&copy), "{}", copies());

        let theirs = format!("default from {cga} via fe80::77 dev up0");
        ip(&format!("-6 route add {theirs} metric 77"));
        let all = ip("-6 route show");
        ip("-6 route add default via fe80::b1 dev up0 metric 2000");
        eventually("two copies", || copies().contains("via fe80::b1")).await;
        ip("-6 route del default via fe80::b1 dev up0");
        eventually("one copy", || ip("-6 route show") == all).await;
        host.stop().await.unwrap();
        release(&config).await.unwrap();
        assert_eq!(copies(), "");
        let left = ip("-6 route show");
        assert!(left.contains(&theirs), "{left}");
    });
}
