//! Two hosts whose ULIDs no longer reach each other, mapped to their second providers.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use ring::digest::{Context, Digest, SHA256};
use shim6_core::{LocatorPair, UlidPair};
use shim6_wire::ContextTag;
use shimq_bpf::{BpfError, Config, MappedFlow, Rewriter};
use shimq_testbed::{A, B, Direction, Namespace, Provider, TestbedError, TwoHosts, gain_privilege};

/// What A allocated for its context with B, and B for its with A.
pub(crate) const TAG_A: ContextTag = ContextTag::from_bits(0x4abc_dead_beef);
pub(crate) const TAG_B: ContextTag = ContextTag::from_bits(0x0000_0000_0001);

pub(crate) const PORT: u16 = 5533;

/// How long nothing may happen on a connection.
const PATIENCE: Duration = Duration::from_secs(20);

/// The network with a rewriter on each host. Rewriters go first when dropped.
pub(crate) struct Mapped {
    pub(crate) a: Rewriter,
    pub(crate) b: Rewriter,
    pub(crate) hosts: TwoHosts,
}

impl Mapped {
    /// Both hosts map both ways, and the path between the ULIDs is cut: what passes is mapped.
    ///
    /// `None`, and a word about it, where BPF is not to be had.
    pub(crate) fn new() -> Option<Self> {
        let hosts = two_hosts();
        let mut mapped = Self {
            a: attach(&hosts.a)?,
            b: attach(&hosts.b)?,
            hosts,
        };
        mapped.insert();
        let Mapped { hosts, .. } = &mapped;
        hosts
            .cut(A[0].host(), B[0].host(), Direction::Both)
            .unwrap();
        Some(mapped)
    }

    pub(crate) fn insert(&mut self) {
        let Self { a, b, hosts } = self;
        hosts.a.enter(|| a.insert(&flow_of_a()).unwrap()).unwrap();
        hosts.b.enter(|| b.insert(&flow_of_b()).unwrap()).unwrap();
    }
}

/// The network; each source leaves by its own provider.
pub(crate) fn two_hosts() -> TwoHosts {
    gain_privilege().unwrap();
    let hosts = TwoHosts::new().unwrap();
    for (host, providers) in [(&hosts.a, A), (&hosts.b, B)] {
        for (table, provider) in ["1", "2"].into_iter().zip(providers) {
            let (router, prefix) = (provider.router(), provider.prefix);
            let link = provider.link;
            ip(host, &format!("rule add from {prefix} lookup {table}"));
            ip(
                host,
                &format!("route add default via {router} dev {link} table {table}"),
            );
        }
    }
    hosts
}

/// A rewriter in `host`; `None`, and a word about it, in a user namespace, where none is to be had.
pub(crate) fn attach(host: &Namespace) -> Option<Rewriter> {
    let outcome = host.enter(|| Rewriter::attach(&Config::default())).unwrap();
    match outcome {
        Err(BpfError::NotPermitted) if in_user_namespace() => {
            eprintln!("SKIPPED, nothing was tested: BPF needs root outside user namespaces");
            None
        }
        outcome => Some(outcome.unwrap()),
    }
}

fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    map.split_whitespace().ne(["0", "0", "4294967295"])
}

pub(crate) fn flow_of_a() -> MappedFlow {
    flow(A, B, TAG_A, TAG_B)
}

pub(crate) fn flow_of_b() -> MappedFlow {
    flow(B, A, TAG_B, TAG_A)
}

/// The first addresses are the ULIDs, the second the locators.
fn flow(
    local: [Provider; 2],
    peer: [Provider; 2],
    local_tag: ContextTag,
    peer_tag: ContextTag,
) -> MappedFlow {
    let pair = |provider: usize| (local[provider].host(), peer[provider].host());
    let (ulids, locators) = (pair(0), pair(1));
    MappedFlow {
        ulids: UlidPair {
            local: ulids.0,
            peer: ulids.1,
        },
        locators: LocatorPair {
            local: locators.0,
            peer: locators.1,
        },
        peer_tag,
        local_tag,
        local_locators: local.map(|provider| provider.host()).into(),
    }
}

/// Runs `ip -6` with these words and returns what it wrote.
pub(crate) fn ip(host: &Namespace, words: &str) -> String {
    run(host, "ip", &format!("-6 {words}"))
}

pub(crate) fn run(host: &Namespace, program: &str, words: &str) -> String {
    let output = host.run(program, words.split_whitespace()).unwrap();
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn ping(host: &Namespace, words: &str) -> Result<String, TestbedError> {
    let words = format!("-i 0.05 -W 2 {words}");
    let output = host.run("ping", words.split_whitespace())?;
    Ok(String::from_utf8(output.stdout).unwrap())
}

/// A connection from A's ULID to B's, as A and B have it.
pub(crate) fn connect(hosts: &TwoHosts) -> (TcpStream, TcpStream) {
    connect_between((&hosts.a, A[0].host()), (&hosts.b, B[0].host()))
}

/// A connection from a socket that is bound to nothing, as both ends have it.
pub(crate) fn connect_between(
    (from, source): (&Namespace, Ipv6Addr),
    (to, destination): (&Namespace, Ipv6Addr),
) -> (TcpStream, TcpStream) {
    let listener = to.enter(|| TcpListener::bind((destination, PORT)));
    let listener = listener.unwrap().unwrap();
    let destination = SocketAddr::from((destination, PORT));
    let stream = from.enter(|| TcpStream::connect_timeout(&destination, PATIENCE));
    let stream = stream.unwrap().unwrap();
    let (accepted, peer) = listener.accept().unwrap();
    assert_eq!(peer.ip(), source, "source address selection");
    for end in [&stream, &accepted] {
        end.set_read_timeout(Some(PATIENCE)).unwrap();
        end.set_write_timeout(Some(PATIENCE)).unwrap();
    }
    (stream, accepted)
}

/// Moves `octets` from one end to the other and says whether they arrived as they were.
pub(crate) fn transfer(mut from: TcpStream, mut to: TcpStream, octets: usize) {
    let sender = thread::spawn(move || {
        let mut digest = Context::new(&SHA256);
        let mut state = 1_u64;
        let mut block = vec![0; 1 << 16];
        let mut left = octets;
        while left > 0 {
            for word in block.chunks_exact_mut(8) {
                // Marsaglia's xorshift: no two segments alike.
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                word.copy_from_slice(&state.to_ne_bytes());
            }
            let block = &block[..left.min(1 << 16)];
            digest.update(block);
            from.write_all(block).unwrap();
            left -= block.len();
        }
        (digest.finish(), from)
    });
    let received = read_digest(&mut to, octets);
    let (sent, _from) = sender.join().unwrap();
    assert_eq!(sent.as_ref(), received.as_ref());
}

fn read_digest(stream: &mut TcpStream, octets: usize) -> Digest {
    let mut digest = Context::new(&SHA256);
    let mut block = vec![0; 1 << 18];
    let mut left = octets;
    while left > 0 {
        // Goes on after a signal, as a plain read does not where there is a time limit.
        let block = &mut block[..left.min(1 << 18)];
        let read = stream.read_exact(block);
        read.unwrap_or_else(|error| panic!("{error}, with up to {left} octets missing"));
        digest.update(block);
        left -= block.len();
    }
    digest.finish()
}
