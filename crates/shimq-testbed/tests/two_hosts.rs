//! What [`TwoHosts`] promises, tried with real packets.
//!
//! Needs root or user namespaces; fails, rather than passes untried, where neither is to be had.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use shimq_testbed::{
    A, B, Count, Direction, Namespace, Prefix, TestbedError, TwoHosts, gain_privilege, packets,
    uninterrupted,
};

mod support;

use support::{PORT, arrives, datagram_socket};

#[test]
fn a_ping_crosses_by_the_first_providers_and_is_counted() {
    let hosts = two_hosts();
    ping(&hosts.a, A[0].host(), B[0].host()).unwrap();

    let counters = hosts.counters().unwrap();
    // An echo of 56 octets: IPv6 and ICMPv6 headers add 40 and 8.
    let one = Count {
        packets: 1,
        octets: 104,
    };
    assert_eq!(counters.path(A[0].host(), B[0].host()), one);
    assert_eq!(counters.path(B[0].host(), A[0].host()), one);
    assert_eq!(counters.paths.len(), 2);
}

#[test]
fn every_path_carries_packets_once_the_host_routes_by_source() {
    let hosts = two_hosts();
    for (host, providers) in [(&hosts.a, A), (&hosts.b, B)] {
        let second = providers[1];
        let rule = format!("-6 rule add from {} lookup 2", second.prefix);
        host.run("ip", rule.split(' ')).unwrap();
        let (router, link) = (second.router(), second.link);
        let route = format!("-6 route add default via {router} dev {link} table 2");
        host.run("ip", route.split(' ')).unwrap();
    }
    for a in A {
        for b in B {
            ping(&hosts.a, a.host(), b.host()).unwrap();
        }
    }
    let counters = hosts.counters().unwrap();
    assert_eq!(counters.paths.len(), 8);
    assert_eq!(counters.spoofed, Count::default());
}

#[test]
fn a_source_of_the_other_provider_is_dropped_by_ingress_filtering() {
    let hosts = two_hosts();
    // Without policy routing this leaves by a1, which is not the provider of its source.
    ping(&hosts.a, A[1].host(), B[0].host()).unwrap_err();

    let counters = hosts.counters().unwrap();
    assert_eq!(counters.spoofed.packets, 1);
    assert!(counters.paths.is_empty());
}

#[test]
fn a_cut_holds_in_its_direction_only_until_it_is_healed() {
    for (direction, a_to_b, b_to_a) in [
        (Direction::AToB, false, true),
        (Direction::BToA, true, false),
        (Direction::Both, false, false),
    ] {
        let hosts = two_hosts();
        let at_a = datagram_socket(&hosts.a, A[0].host());
        let at_b = datagram_socket(&hosts.b, B[0].host());
        assert!(
            arrives(&at_a, &at_b) && arrives(&at_b, &at_a),
            "before the cut"
        );

        hosts.cut(A[0].host(), B[0].host(), direction).unwrap();
        assert_eq!(arrives(&at_a, &at_b), a_to_b, "{direction:?}");
        assert_eq!(arrives(&at_b, &at_a), b_to_a, "{direction:?}");
        let dropped = [a_to_b, b_to_a].iter().filter(|passes| !**passes).count();
        assert_eq!(hosts.counters().unwrap().cut.packets, dropped as u64);

        hosts.heal().unwrap();
        assert!(
            arrives(&at_a, &at_b) && arrives(&at_b, &at_a),
            "after healing"
        );
    }
}

#[test]
fn a_cut_is_silent() {
    let hosts = two_hosts();
    hosts
        .cut(A[0].host(), B[0].host(), Direction::Both)
        .unwrap();
    let socket = datagram_socket(&hosts.a, A[0].host());
    socket.connect((B[0].host(), PORT)).unwrap();
    socket.send(b"?").unwrap();
    // An ICMPv6 error would be an error of this socket.
    let error = uninterrupted(|| socket.recv(&mut [0])).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    for link in A.map(|provider| provider.link) {
        let state = hosts.a.run("ip", ["link", "show", link]).unwrap();
        assert!(text(&state).contains("LOWER_UP"), "{}", text(&state));
    }
}

#[test]
fn a_cut_of_prefixes_spares_the_other_prefix() {
    let hosts = two_hosts();
    hosts
        .cut(A[0].prefix, Prefix::ANY, Direction::Both)
        .unwrap();
    ping(&hosts.b, B[0].host(), A[0].host()).unwrap_err();

    let to_second = datagram_socket(&hosts.a, A[1].host());
    let from_b = datagram_socket(&hosts.b, B[0].host());
    assert!(arrives(&from_b, &to_second));
}

#[test]
fn a_tcp_connection_of_threads_inside_crosses() {
    let hosts = two_hosts();
    let listening = hosts.b.enter(|| TcpListener::bind((B[0].host(), PORT)));
    let listener = listening.unwrap().unwrap();
    let connected = hosts
        .a
        .enter(|| TcpStream::connect(listener.local_addr().unwrap()));
    let mut from_a = connected.unwrap().unwrap();
    from_a.write_all(b"over the router").unwrap();
    drop(from_a);

    let mut received = String::new();
    let (mut at_b, peer) = listener.accept().unwrap();
    at_b.read_to_string(&mut received).unwrap();
    assert_eq!(received, "over the router");
    assert_eq!(peer.ip(), A[0].host());
}

#[test]
fn a_limited_rate_is_kept() {
    let hosts = two_hosts();
    hosts.limit_rate(8_000_000).unwrap();
    let listening = hosts.b.enter(|| TcpListener::bind((B[0].host(), PORT)));
    let listener = listening.unwrap().unwrap();
    let connected = hosts
        .a
        .enter(|| TcpStream::connect(listener.local_addr().unwrap()));
    let mut from_a = connected.unwrap().unwrap();
    let (mut at_b, _) = listener.accept().unwrap();

    let start = Instant::now();
    let sender = thread::spawn(move || from_a.write_all(&vec![0; 1_000_000]));
    let received = at_b.read_to_end(&mut Vec::new()).unwrap();
    sender.join().unwrap().unwrap();
    assert_eq!(received, 1_000_000);
    assert!(
        start.elapsed() > Duration::from_millis(900),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_capture_holds_what_the_router_received_and_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("router.pcap");
    let hosts = two_hosts();
    let capture = hosts.capture(&file).unwrap();
    hosts
        .cut(A[0].host(), B[0].host(), Direction::Both)
        .unwrap();
    ping(&hosts.a, A[0].host(), B[0].host()).unwrap_err();
    capture.stop().unwrap();

    let requests = packets(&fs::read(&file).unwrap())
        .filter(|packet| packet[6] == ICMPV6 && packet[40] == ECHO_REQUEST)
        .count();
    assert_eq!(requests, 1);
}

#[test]
fn a_capture_ends_although_packets_keep_coming() {
    let folder = tempfile::tempdir().unwrap();
    let hosts = two_hosts();
    let capture = hosts.capture(&folder.path().join("router.pcap")).unwrap();
    let socket = datagram_socket(&hosts.a, A[0].host());
    let sending = AtomicBool::new(true);
    thread::scope(|scope| {
        scope.spawn(|| {
            while sending.load(Ordering::Relaxed) {
                // What nobody reads at B is answered with errors, which are of no interest.
                let _ = socket.send_to(&[0; 1_000], (B[0].host(), PORT));
            }
        });
        wait_until(|| {
            hosts
                .counters()
                .unwrap()
                .path(A[0].host(), B[0].host())
                .packets
                > 100
        });
        // Returns at all.
        let stopped = capture.stop();
        sending.store(false, Ordering::Relaxed);
        stopped.unwrap();
    });
}

#[test]
fn no_address_is_tentative() {
    let hosts = two_hosts();
    for host in [&hosts.a, &hosts.b, &hosts.router] {
        let tentative = host.run(
            "ip",
            ["-6", "address", "show", "tentative", "scope", "global"],
        );
        assert_eq!(text(&tentative.unwrap()), "", "{}", host.name());
    }
}

#[test]
fn nothing_is_left_after_drop() {
    let hosts = two_hosts();
    let namespaces = [&hosts.a, &hosts.b, &hosts.router].map(|host| inode(&host.path()));
    let mut sleep = hosts.a.command("sleep").unwrap();
    sleep.arg("1000");
    let mut sleep = hosts.a.spawn(sleep).unwrap();
    let process = sleep.child().id();
    assert_eq!(
        inode(Path::new(&format!("/proc/{process}/ns/net"))),
        namespaces[0]
    );

    // Once it has become what it shall be, it is tied to its namespace.
    let command = format!("/proc/{process}/comm");
    wait_until(|| fs::read_to_string(&command).unwrap() == "sleep\n");

    // The namespace goes first, and takes with it the process whose guard is still there.
    drop(hosts);
    wait_until(|| sleep.try_wait().unwrap().is_some());
    for path in open_namespaces() {
        assert!(
            !namespaces.contains(&inode(&path)),
            "{} is left",
            path.display()
        );
    }
}

#[test]
fn a_dropped_process_takes_along_what_it_started() {
    gain_privilege().unwrap();
    let host = Namespace::new("host").unwrap();
    let mut shell = host.command("sh").unwrap();
    shell.args(["-c", "sleep 1000 & echo $!; wait"]);
    shell.stdout(Stdio::piped());
    let mut shell = host.spawn(shell).unwrap();
    let mut line = String::new();
    let stdout = shell.child().stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let sleep = format!("/proc/{}/stat", line.trim());
    assert!(Path::new(&sleep).exists());

    drop(shell);
    // Whoever adopted it may take a while to reap it.
    wait_until(|| fs::read_to_string(&sleep).map_or(true, |stat| stat.contains(") Z ")));
}

#[test]
fn twenty_testbeds_exist_side_by_side() {
    let testbeds: Vec<TwoHosts> = (0..20).map(|_| two_hosts()).collect();
    for hosts in &testbeds {
        ping(&hosts.a, A[0].host(), B[0].host()).unwrap();
    }
    for hosts in &testbeds {
        assert_eq!(
            hosts
                .counters()
                .unwrap()
                .path(A[0].host(), B[0].host())
                .packets,
            1
        );
    }
}

#[test]
fn a_program_that_fails_is_an_error_with_its_words() {
    gain_privilege().unwrap();
    let host = Namespace::new("host").unwrap();
    let error = host.run("ip", ["link", "show", "a9"]).unwrap_err();
    assert!(matches!(error, TestbedError::Failed { .. }));
    assert!(
        error.to_string().contains("\"a9\" does not exist"),
        "{error}"
    );
}

fn two_hosts() -> TwoHosts {
    gain_privilege().unwrap();
    TwoHosts::new().unwrap()
}

/// One echo from `source`; an error if the answer does not come within a second.
fn ping(host: &Namespace, source: Ipv6Addr, destination: Ipv6Addr) -> Result<(), TestbedError> {
    let (source, destination) = (source.to_string(), destination.to_string());
    host.run("ping", ["-c1", "-W1", "-I", &source, &destination])
        .map(drop)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn wait_until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 5 s");
        thread::sleep(Duration::from_millis(1));
    }
}

/// What tells one namespace from another.
fn inode(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).unwrap().ino()
}

/// The network namespaces that this process still holds, by descriptor or by thread.
fn open_namespaces() -> Vec<std::path::PathBuf> {
    let entries = |folder: &str| {
        fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
    };
    let descriptors = entries("/proc/self/fd").filter(|path| {
        fs::read_link(path).is_ok_and(|target| target.to_string_lossy().starts_with("net:"))
    });
    let threads = entries("/proc/self/task").map(|task| task.join("ns/net"));
    descriptors
        .chain(threads)
        .filter(|path| path.exists())
        .collect()
}

/// Next Header of ICMPv6, and its Type of an echo request.
const ICMPV6: u8 = 58;
const ECHO_REQUEST: u8 = 128;
