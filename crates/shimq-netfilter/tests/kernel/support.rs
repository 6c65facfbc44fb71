//! Network namespaces for tests: this thread's own, with a peer behind a veth pair.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, Protocol, RawProtocol, SocketType};
use shimq_netfilter::queue::{QueuedPacket, Verdict};

/// This host's address towards the peer.
pub(crate) const HOST: &str = "2001:db8::1";
/// The peer's address.
pub(crate) const PEER: &str = "2001:db8::2";

/// Moves this thread into a network namespace of its own with its loopback interface up; false without the privilege.
pub(crate) fn enter_namespace() -> bool {
    // SAFETY: only this thread's network namespace changes; no descriptor or memory is unshared.
    let entered = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) };
    if let Err(errno) = entered {
        eprintln!(
            "SKIPPED: needs a network namespace ({errno}): run as root or under `unshare -rn`"
        );
        return false;
    }
    run("ip link set lo up");
    true
}

/// Runs a command in this thread's namespace and returns what it printed.
pub(crate) fn run(command: &str) -> String {
    let (ok, output) = try_run(command);
    assert!(ok, "{command}: {output}");
    output
}

/// Like [`run`], and tells whether the command succeeded.
pub(crate) fn try_run(command: &str) -> (bool, String) {
    let mut words = command.split_ascii_whitespace();
    let program = words.next().expect("a command");
    let output = Command::new(program)
        .args(words)
        .output()
        .unwrap_or_else(|error| panic!("{command}: {error}"));
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// Calls `ready` until it is true; panics after 10 seconds.
pub(crate) fn wait_for(what: &str, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !ready() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

/// Another host, [`PEER`], on the other end of a veth pair; gone when dropped.
pub(crate) struct Peer {
    holder: Child,
}

impl Peer {
    /// Connects this thread's namespace, as [`HOST`], with a new one.
    pub(crate) fn connect() -> Self {
        // The holder keeps the namespace while its standard input is open.
        let mut holder = Command::new("unshare")
            .args(["-n", "sh", "-c", "echo ready; read nothing"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut line = String::new();
        let output = holder.stdout.take().expect("piped");
        BufReader::new(output)
            .read_line(&mut line)
            .expect("the holder answers");
        assert_eq!(line, "ready\n");

        let peer = Self { holder };
        run(&format!(
            "ip link add host type veth peer name peer netns {}",
            peer.holder.id()
        ));
        run(&format!("ip -6 addr add {HOST}/64 dev host nodad"));
        run("ip link set host up");
        peer.run(&format!("ip -6 addr add {PEER}/64 dev peer nodad"));
        peer.run("ip link set lo up");
        peer.run("ip link set peer up");
        // Nobody listens there: an answer to a datagram would be an error, whenever it comes.
        peer.run("nft add table ip6 quiet");
        peer.run("nft add chain ip6 quiet input { type filter hook input priority 0 ; }");
        peer.run("nft add rule ip6 quiet input meta l4proto udp drop");
        wait_for("the link", || {
            run("ip -6 route show dev host").contains("2001:db8::/64")
        });
        // Each now knows the other's neighbour entry; on a busy machine the first packets can go nowhere.
        wait_for("an answer", || {
            try_run(&format!("ping -6 -q -c 1 -W 1 {PEER}")).0
        });
        peer
    }

    /// A raw socket of the peer's, which sends what follows an IPv6 header with this Next Header.
    pub(crate) fn raw_socket(&self, next_header: u8) -> OwnedFd {
        let namespace = File::open(format!("/proc/{}/ns/net", self.holder.id())).expect("the peer");
        // A socket stays in the namespace in which it was made; the thread that went there ends.
        std::thread::spawn(move || {
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(namespace.as_fd(), kind).expect("setns");
            let protocol = RawProtocol::new(next_header.into()).expect("not 0");
            rustix::net::socket(
                AddressFamily::INET6,
                SocketType::RAW,
                Some(Protocol::from_raw(protocol)),
            )
            .expect("a raw socket")
        })
        .join()
        .expect("the thread")
    }

    /// Runs a command as the peer.
    pub(crate) fn run(&self, command: &str) -> String {
        run(&format!("nsenter -t {} -n {command}", self.holder.id()))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// Closes queues and rulesets, and waits until the kernel has let go of them.
///
/// While another test's thread starts a program, that has copies of all descriptors until it executes.
pub(crate) fn close(held: impl Sized) {
    drop(held);
    wait_for("the queue and the table to go", || {
        let queues = shimq_netfilter::queue::statistics().expect("the list of queues");
        queues.is_empty() && !run("nft list tables").contains("shimq")
    });
}

/// Lets a packet pass.
pub(crate) fn accept(_: &mut QueuedPacket<'_>) -> Verdict {
    Verdict::Accept
}
