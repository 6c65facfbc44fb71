//! An attacker who can send anything under any name, and sees nothing that is not sent to him.

mod forger;

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use shimq_testbed::{Direction, Namespace};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::support::{Crowd, Daemon, Network, PATIENCE, Packet, Side, Stream, eventually};
use forger::{Forger, HOP_LIMIT, KINDS};

#[test]
fn forgeries_of_every_kind_make_no_context_move_no_path_and_fill_no_memory() {
    let Some(network) = Network::new() else {
        return;
    };
    let (a, b) = Daemon::pair(&network, "");
    // One context that maps its packets, and one that does not.
    let (stream, a1, b1) = Stream::with_context(&network, &a, &b);
    let ([_, a2], [_, b2]) = (a.locators(), b.locators());
    let mut crowd = Crowd::new();
    crowd.join(&network, a2, b2, 10);
    eventually("both have both contexts", || {
        a.has_context(a2, b2) && b.has_context(b2, a2)
    });
    let mut events = b.events();
    network.hosts.cut(a1, b1, Direction::Both).unwrap();
    events.wait_for("pair-changed");
    stream.wait_for_more();
    crowd.wait_for_more();

    let attacker = Attacker::new(&network);
    let pairs = || [b.current_pair(b1, a1), b.current_pair(b2, a2)];
    let (before, pairs_before) = (Trace::of(&b), pairs());
    let packets = Forger::new([a1, a2], [b1, b2]).packets(PRECOMPUTED_OF_EACH);
    let flood = attacker.flood(&network, &packets);
    stream.wait_for_more();
    crowd.wait_for_more();
    let after = Trace::of(&b);
    // Not by a macro, whose output the test harness would keep to itself.
    let report = format!(
        "{flood}; resident {} KiB, then {}\n",
        before.resident, after.resident
    );
    io::stderr().write_all(report.as_bytes()).unwrap();

    assert_eq!(after.contexts, before.contexts);
    assert_eq!(after.created, before.created);
    assert_eq!(after.verifications, before.verifications);
    assert_eq!(pairs(), pairs_before);
    let growth = after.resident.saturating_sub(before.resident);
    assert!(growth < GROWTH_MOST, "{growth} KiB more");
    stream.finish();
    assert_eq!(crowd.finish(), 10);
}

/// What a forgery may leave no trace in.
struct Trace {
    contexts: u64,
    created: u64,
    verifications: u64,
    /// Memory in KiB.
    resident: u64,
}

impl Trace {
    fn of(daemon: &Daemon<'_>) -> Self {
        let status = fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
        let mut lines = status.lines();
        let resident = lines.find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let resident = resident.trim().strip_suffix(" kB").unwrap();
        Self {
            contexts: daemon.count("/contexts"),
            created: daemon.count("/counters/contexts_created"),
            verifications: daemon.count("/counters/verifications"),
            resident: resident.parse().unwrap(),
        }
    }
}

/// What was sent, and what of it arrived.
struct Flood {
    sent: u64,
    took: Duration,
    /// By the host, of each of [`KINDS`].
    seen: Vec<u64>,
}

impl std::fmt::Display for Flood {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { sent, took, seen } = self;
        let rate = u128::from(*sent) * 1000 / took.as_millis().max(1);
        let seen: u64 = seen.iter().sum();
        write!(
            f,
            "{sent} forgeries, {rate} a second, of which the host saw {seen}"
        )
    }
}

/// A host behind a provider that lets every source address pass.
struct Attacker(Namespace);

impl Attacker {
    fn new(network: &Network) -> Self {
        let host = Namespace::new("the attacker").unwrap();
        // Nothing is sent before its link-local address has settled.
        host.set_sysctl("ipv6/conf/default/accept_dad", "0")
            .unwrap();
        let link = format!(
            "link add x type veth peer name x netns {}",
            host.path().display()
        );
        let router = [
            &link,
            "link set x up",
            "address add 2001:db8:bad::1/64 dev x nodad",
        ];
        let own = [
            "link set x up",
            "address add 2001:db8:bad::2/64 dev x nodad",
            "route add default via 2001:db8:bad::1",
        ];
        for (namespace, commands) in [(&network.hosts.router, router), (&host, own)] {
            for command in commands {
                let arguments = format!("-6 {command}");
                namespace.run("ip", arguments.split(' ')).unwrap();
            }
        }
        eventually("no address is tentative", || {
            let tentative = host.run("ip", ["-6", "address", "show", "tentative"]);
            tentative.unwrap().stdout.is_empty()
        });
        network
            .hosts
            .b
            .feed("nft", ["-f", "-"], &witness())
            .unwrap();
        Self(host)
    }

    /// Sends `packets` again and again at 50 000 a second, until host B has seen enough of each kind.
    fn flood(&self, network: &Network, packets: &[Packet]) -> Flood {
        let socket = self.0.enter(raw_socket).unwrap().unwrap();
        let mut packets = packets.iter().cycle();
        let mut flood = Flood {
            sent: 0,
            took: Duration::ZERO,
            seen: seen(network),
        };
        let start = Instant::now();
        for round in 1.. {
            for packet in packets.by_ref().take(BURST) {
                let to = SockAddr::from(SocketAddr::from((packet.destination(), 0)));
                // A full device queue refuses some: they count as never sent.
                flood.sent += u64::from(socket.send_to(&packet.0, &to).is_ok());
            }
            flood.took = start.elapsed();
            thread::sleep((ROUND * round).saturating_sub(flood.took));
            if flood.took >= LASTING && round % 100 == 0 {
                flood.seen = seen(network);
                if flood.seen.iter().all(|&seen| seen >= SEEN_OF_EACH) {
                    break;
                }
            }
            assert!(flood.took < PATIENCE, "{flood}");
        }
        flood
    }
}

/// Counts forgeries of each kind at host B, before anything else looks at them.
fn witness() -> String {
    let (mut counters, mut rules) = (String::new(), String::new());
    for kind in &KINDS {
        let (name, filter) = (kind.name, kind.filter);
        writeln!(counters, "counter {name} {{ }}").unwrap();
        // There is one router on the way.
        let hop_limit = HOP_LIMIT - 1;
        writeln!(rules, "@nh,56,8 {hop_limit} {filter} counter name {name}").unwrap();
    }
    format!(
        "table ip6 witness {{
            {counters}
            chain before {{
                type filter hook prerouting priority -500; policy accept;
                {rules}
            }}
        }}\n"
    )
}

/// What the witness has counted of each of [`KINDS`].
fn seen(network: &Network) -> Vec<u64> {
    let listing = network.run(Side::B, "nft", "-j list counters table ip6 witness");
    let listing: Value = serde_json::from_str(&listing).unwrap();
    let objects = listing["nftables"].as_array().unwrap();
    let of_kind = |name: &str| {
        let mut counters = objects.iter().map(|object| &object["counter"]);
        let counter = counters.find(|counter| counter["name"] == name).unwrap();
        counter["packets"].as_u64().unwrap()
    };
    KINDS.iter().map(|kind| of_kind(kind.name)).collect()
}

fn raw_socket() -> io::Result<Socket> {
    // Whole packets are sent.
    Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(255)))
}

/// Packets in a burst, and how often there is one: 50 000 a second.
const BURST: usize = 250;
const ROUND: Duration = Duration::from_millis(5);

/// How long the flood lasts at the least, and what has to arrive of each kind.
const LASTING: Duration = Duration::from_secs(4);
const SEEN_OF_EACH: u64 = 5_000;

/// Different packets of each kind.
const PRECOMPUTED_OF_EACH: usize = 2_000;

/// In KiB, whatever arrives: what the allocator keeps of buffers that have been in use.
const GROWTH_MOST: u64 = 8 * 1024;
