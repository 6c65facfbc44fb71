//! Daemons, started and asked as any user would.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::Ipv6Addr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use shimq_testbed::{Namespace, Process, Provider, TestbedError};

use super::{Network, PATIENCE, Side, eventually};

/// The program under test.
const SHIMQ: &str = env!("CARGO_BIN_EXE_shimq");

/// Keys and addresses that cost next to nothing; what they are worth is tested elsewhere.
const CHEAP: &str = "sec = 0\nkey-bits = 1024\n";

/// A running daemon; killed when dropped.
pub(crate) struct Daemon<'n> {
    network: &'n Network,
    side: Side,
    process: Process,
    pid: Pid,
}

impl<'n> Daemon<'n> {
    /// Starts one and waits until it has a usable address of each provider. A later one on the same
    /// side finds what the earlier one kept.
    pub(crate) fn start(network: &'n Network, side: Side, config: &str) -> Self {
        Self::start_exactly(network, side, &format!("{CHEAP}{config}"))
    }

    /// The same with `config` alone as its configuration.
    pub(crate) fn start_exactly(network: &'n Network, side: Side, config: &str) -> Self {
        let mut command = Self::command(network, side, config);
        let log = File::options()
            .create(true)
            .append(true)
            .open(log(network, side))
            .unwrap();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let mut process = network.host(side).spawn(command).unwrap();
        let pid = Pid::from_child(process.child());
        let mut daemon = Self {
            network,
            side,
            process,
            pid,
        };
        eventually("the daemon is ready", || daemon.is_ready());
        daemon
    }

    /// Both hosts' daemons.
    pub(crate) fn pair(network: &'n Network, config: &str) -> (Self, Self) {
        let start = |side| Self::start(network, side, config);
        (start(Side::A), start(Side::B))
    }

    /// `shimq run` for a host, with `config` as its configuration file.
    pub(crate) fn command(network: &Network, side: Side, config: &str) -> Command {
        let (state, socket) = (state(network, side), socket(network, side));
        Self::command_at(network, side, config, [state, socket])
    }

    /// The same with state directory and control socket elsewhere.
    pub(crate) fn command_at(
        network: &Network,
        side: Side,
        config: &str,
        [state, socket]: [PathBuf; 2],
    ) -> Command {
        let file = network.path(format!("{side}.toml"));
        fs::write(&file, config).unwrap();
        let mut command = network.host(side).command(SHIMQ).unwrap();
        command.arg("run").arg("--config").arg(file);
        command.arg("--state-dir").arg(state);
        command.arg("--socket").arg(socket);
        command
    }

    fn is_ready(&mut self) -> bool {
        let ended = self.process.try_wait().unwrap();
        assert!(ended.is_none(), "ended: {ended:?}\n{}", self.log());
        UnixStream::connect(self.socket()).is_ok()
            && self.ask("status")["locators"].as_array().unwrap().len() == 2
            && self.preferred().len() == 2
    }

    /// Where the daemon keeps key and parameters.
    pub(crate) fn state(network: &Network, side: Side) -> PathBuf {
        state(network, side)
    }

    fn socket(&self) -> PathBuf {
        socket(self.network, self.side)
    }

    /// All that the daemons of this host have written.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(log(self.network, self.side)).unwrap()
    }

    /// The daemon's process, as the system numbers it.
    pub(crate) fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    fn host(&self) -> &'n Namespace {
        self.network.host(self.side)
    }

    /// What `shimq COMMAND --json` prints.
    pub(crate) fn ask(&self, command: &str) -> Value {
        let output = self.try_to(command).unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs `shimq COMMAND --json`; an error if that fails.
    pub(crate) fn try_to(&self, command: &str) -> Result<Output, TestbedError> {
        let socket = self.socket();
        let last = ["--json", "--socket", socket.to_str().unwrap()];
        let arguments = command.split_whitespace().chain(last);
        self.host().run(SHIMQ, arguments)
    }

    /// A number of `shimq status`.
    pub(crate) fn count(&self, pointer: &str) -> u64 {
        let status = self.ask("status");
        // Reasons that never occurred are not listed.
        status.pointer(pointer).map_or(0, |n| n.as_u64().unwrap())
    }

    /// Packets that entered the program, of all queues.
    pub(crate) fn queued(&self) -> u64 {
        let status = self.ask("status");
        let queues = status["queues"].as_array().unwrap();
        queues
            .iter()
            .map(|queue| queue["packets"].as_u64().unwrap())
            .sum()
    }

    /// Addresses that the daemon formed or was given, and that connections can use.
    fn preferred(&self) -> Vec<Ipv6Addr> {
        let locators = self.ask("locators");
        let preferred = locators.as_array().unwrap().iter();
        preferred
            .filter(|locator| locator["state"] == "preferred")
            .map(|locator| locator["address"].as_str().unwrap().parse().unwrap())
            .collect()
    }

    /// The host's locator of a provider.
    pub(crate) fn locator(&self, provider: Provider) -> Ipv6Addr {
        let locators = self.preferred();
        let mut own = locators.iter().filter(|at| provider.prefix.contains(**at));
        *own.next().unwrap()
    }

    /// The host's locators, of the preferred provider first.
    pub(crate) fn locators(&self) -> [Ipv6Addr; 2] {
        self.side.providers().map(|provider| self.locator(provider))
    }

    /// Whether there is a context, established, between these ULIDs.
    pub(crate) fn has_context(&self, local: Ipv6Addr, peer: Ipv6Addr) -> bool {
        self.context(local, peer)
            .is_some_and(|context| context["state"] == "ESTABLISHED")
    }

    /// What `shimq contexts` says of these ULIDs.
    pub(crate) fn context(&self, local: Ipv6Addr, peer: Ipv6Addr) -> Option<Value> {
        let contexts = self.ask("contexts");
        let mut contexts = contexts.as_array().unwrap().iter();
        contexts
            .find(|context| {
                context["ulids"]["local"] == local.to_string()
                    && context["ulids"]["peer"] == peer.to_string()
            })
            .cloned()
    }

    /// The addresses that packets of these ULIDs now travel between, local first.
    pub(crate) fn current_pair(&self, local: Ipv6Addr, peer: Ipv6Addr) -> (Ipv6Addr, Ipv6Addr) {
        let context = self.context(local, peer).unwrap();
        let end = |end| context["locators"][end].as_str().unwrap().parse().unwrap();
        (end("local"), end("peer"))
    }

    /// Every event from now on.
    pub(crate) fn events(&self) -> Events {
        let mut socket = UnixStream::connect(self.socket()).unwrap();
        socket.write_all(b"{\"command\":\"monitor\"}\n").unwrap();
        let mut lines = BufReader::new(socket);
        // The answer comes before the first event: from here on none is missed.
        lines.read_line(&mut String::new()).unwrap();
        Events { lines }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        // Reaped only by `stop` and `drop`, so the number is still this daemon's.
        kill_process(self.pid, signal).unwrap();
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.signal(Signal::KILL);
        self.process.child().wait().unwrap();
    }

    /// Asks the daemon to end, as a service manager does.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let mut ended = None;
        eventually("the daemon ends", || {
            ended = self.process.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap()
    }
}

impl Drop for Daemon<'_> {
    /// A test that fails shows what the daemon has to say.
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        eprintln!("host {}:\n{}", self.side, self.log());
        for command in ["status", "contexts", "locators"] {
            let socket = self.socket();
            let arguments = [command, "--json", "--socket", socket.to_str().unwrap()];
            if let Ok(output) = self.host().run(SHIMQ, arguments) {
                eprintln!("{}", String::from_utf8_lossy(&output.stdout));
            }
        }
    }
}

/// What `shimq monitor` would print.
pub(crate) struct Events {
    lines: BufReader<UnixStream>,
}

impl Events {
    /// Waits for the next event of this name, and returns it.
    pub(crate) fn wait_for(&mut self, name: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let mut others = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = left.max(Duration::from_millis(1));
            self.lines.get_ref().set_read_timeout(Some(left)).unwrap();
            let mut line = String::new();
            let read = self.lines.read_line(&mut line);
            assert!(read.is_ok_and(|n| n > 0), "no {name} among {others:#?}");
            let event: Value = serde_json::from_str(&line).unwrap();
            if event["event"] == name {
                return event;
            }
            others.push(line);
        }
    }
}

/// `shimq locators release`, without a daemon.
pub(crate) fn release(network: &Network, side: Side) -> String {
    let (state, socket) = (state(network, side), socket(network, side));
    let arguments = [
        "locators".as_ref(),
        "release".as_ref(),
        "--state-dir".as_ref(),
        state.as_os_str(),
        "--socket".as_ref(),
        socket.as_os_str(),
    ];
    let output = network.host(side).run(SHIMQ, arguments).unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a program that should refuse to work, and returns what it said.
pub(crate) fn run_until_refused(host: &Namespace, mut command: Command) -> String {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut process = host.spawn(command).unwrap();
    let mut ended = None;
    eventually("the program refuses", || {
        ended = process.try_wait().unwrap();
        ended.is_some()
    });
    // A few lines, which the pipe holds.
    let said = std::io::read_to_string(process.child().stderr.take().unwrap()).unwrap();
    assert_eq!(ended.unwrap().code(), Some(1), "{said}");
    said
}

fn state(network: &Network, side: Side) -> PathBuf {
    network.path(format!("state-{side}"))
}

fn socket(network: &Network, side: Side) -> PathBuf {
    network.path(format!("{side}.sock"))
}

fn log(network: &Network, side: Side) -> PathBuf {
    network.path(format!("{side}.log"))
}
