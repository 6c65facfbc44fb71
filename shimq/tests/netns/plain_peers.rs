//! Peers and addresses without Shim6 are served as plain IPv6.

use shim6_wire::Message;
use shimq_testbed::B;

use crate::support::{Daemon, Network, Packet, Side, Stream, eventually};

//= https://www.rfc-editor.org/rfc/rfc5533#section-7.8
//= type=test
//= id=S-076
//# If the host receives an ICMP error with "Unrecognized Next Header"
//# type (type 4, code 1) and the included packet is the I1 message it
//# just sent, then this is a more reliable indication that the peer ULID
//# does not implement Shim6.
#[test]
fn a_peer_without_shim6_is_asked_once_and_served_as_plain_ipv6() {
    let Some(network) = Network::new() else {
        return;
    };
    let recording = network.record("r.pcap");
    let a = Daemon::start(&network, Side::A, "");
    let [a1, _] = a.locators();
    let mut events = a.events();
    let stream = Stream::start(&network, a1, B[0].host());
    let declined = events.wait_for("context-declined");
    assert_eq!(declined["cause"], "not-supported");
    eventually("the flow is left to the kernel", || {
        let before = a.queued();
        stream.wait_for_more();
        a.queued() == before
    });
    stream.finish();
    let status = a.ask("status");
    assert_eq!(
        (&status["established"], &status["mapped"]),
        (&0.into(), &0.into())
    );
    assert_eq!(i1s(&recording.stop()), 1);
}

#[test]
fn a_peer_that_filters_shim6_silently_is_served_as_plain_ipv6() {
    let Some(network) = Network::new() else {
        return;
    };
    let filter = "add table ip6 f; add chain ip6 f c { type filter hook forward priority -1; }; \
                  add rule ip6 f c meta l4proto 140 drop";
    network.hosts.router.run("nft", [filter]).unwrap();
    let (a, b) = Daemon::pair(&network, "");
    let ([a1, _], [b1, _]) = (a.locators(), b.locators());
    let stream = Stream::start(&network, a1, b1);
    eventually("an I1 was sent", || a.count("/counters/messages_sent") > 0);
    stream.wait_for_more();
    stream.finish();
    assert!(!a.has_context(a1, b1) && !b.has_context(b1, a1));
}

#[test]
fn a_firewall_of_this_host_that_drops_shim6_is_named_in_the_log() {
    let Some(network) = Network::new() else {
        return;
    };
    let filter = "add table inet f; add chain inet f c { type filter hook output priority 0; }; \
                  add rule inet f c meta l4proto 140 drop";
    network.hosts.a.run("nft", [filter]).unwrap();
    let (a, b) = Daemon::pair(&network, "");
    let ([a1, _], [b1, _]) = (a.locators(), b.locators());
    let stream = Stream::start(&network, a1, b1);
    eventually("the log says what to do", || {
        let log = a.log();
        log.contains("a firewall of this host") && log.contains("meta l4proto 140 accept")
    });
    stream.wait_for_more();
    stream.finish();
}

#[test]
fn an_ordinary_address_of_a_shim6_host_answers_as_if_there_were_no_shim6() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, "");
    let recording = network.record("r.pcap");
    let [a1, _] = a.locators();
    let mut events = a.events();
    let stream = Stream::start(&network, a1, B[0].host());
    // By its kernel, with an error.
    let declined = events.wait_for("context-declined");
    assert_eq!(declined["cause"], "not-supported");
    stream.wait_for_more();
    stream.finish();
    assert_eq!(b.queued(), 0);
    assert_eq!(i1s(&recording.stop()), 1);
}

fn i1s(packets: &[Packet]) -> usize {
    let messages = packets.iter().filter_map(Packet::control);
    messages
        .filter(|octets| matches!(Message::parse(octets), Ok(Message::I1(_))))
        .count()
}
