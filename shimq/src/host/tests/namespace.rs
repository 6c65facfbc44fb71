//! A network of one's own for a test: the test program runs itself again as root of new namespaces.

use std::fs::{self, File};
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Set in the program that runs inside.
const INSIDE: &str = "SHIMQ_TEST_NAMESPACE";

/// How long a condition may take to come true; duplicate address detection needs two seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the calling test in new user and network namespaces; says so if it cannot.
pub(crate) fn alone<F: AsyncFnOnce()>(test: F) {
    if std::env::var_os(INSIDE).is_some() {
        ip("link set lo up");
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(test());
        return;
    }
    let possible = Command::new("unshare").args(["-rn", "true"]).status();
    if !possible.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: this system does not let `unshare -rn` make namespaces");
        return;
    }
    // The closure is called after the function that it is in.
    let name = std::any::type_name::<F>();
    let name = name
        .split_once("::")
        .unwrap()
        .1
        .trim_end_matches("::{{closure}}");
    let output = Command::new("unshare")
        .arg("-rn")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

/// Runs `ip` and returns what it printed.
pub(crate) fn ip(arguments: &str) -> String {
    run(Command::new("ip").args(arguments.split_whitespace()))
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

/// Waits until `condition` holds; the program's tasks go on meanwhile.
pub(super) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(
            Instant::now() < deadline,
            "not in time: {what}\n{}",
            ip("-6 address")
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Another network namespace, whose hosts and routers are at the far end of links.
pub(crate) struct Neighbour {
    process: Child,
}

impl Neighbour {
    pub(crate) async fn new() -> Self {
        // `cat` ends when this program does, whatever happens to it.
        let process = Command::new("unshare")
            .args(["-n", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let neighbour = Self { process };
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        eventually("a second namespace", || {
            fs::read_link(neighbour.namespace()).is_ok_and(|other| other != own)
        })
        .await;
        neighbour.ip("link set lo up");
        neighbour
    }

    fn namespace(&self) -> String {
        format!("/proc/{}/ns/net", self.process.id())
    }

    /// Runs `ip` there.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.namespace())).arg("ip");
        run(command.args(arguments.split_whitespace()))
    }

    /// Makes a link from `name` here to the same name there, where it has an address fe80::`end`,
    /// and waits until it carries packets.
    pub(crate) async fn link(&self, name: &str, end: &str) {
        let there = self.process.id();
        ip(&format!(
            "link add name {name} type veth peer name {name} netns {there}"
        ));
        self.ip(&format!("link set {name} up"));
        self.ip(&format!("address add fe80::{end}/64 dev {name} nodad"));
        ip(&format!("link set {name} up"));
        eventually("a link-local address", || {
            let addresses = ip(&format!("-6 address show dev {name}"));
            addresses.contains("fe80:") && !addresses.contains("tentative")
        })
        .await;
    }

    /// Calls `f` on a thread that is there.
    pub(crate) fn enter<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        let namespace = File::open(self.namespace()).unwrap();
        let inside = || {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), kind).unwrap();
            f()
        };
        // Only this thread moves there, and it ends at once.
        std::thread::scope(|scope| scope.spawn(inside).join().unwrap())
    }

    /// A socket there that receives UDP packets to `port` from the link `name` only.
    pub(super) fn listen(&self, name: &str, port: u16) -> UdpSocket {
        self.enter(|| {
            let socket = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::DGRAM, None);
            let socket = socket.unwrap();
            socket.set_reuse_port(true).unwrap();
            socket.bind_device(Some(name.as_bytes())).unwrap();
            let any = std::net::SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port));
            socket.bind(&any.into()).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.into()
        })
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
