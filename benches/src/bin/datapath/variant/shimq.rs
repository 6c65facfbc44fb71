//! The daemons of both hosts, brought to a state by traffic and by cutting the path of the ULIDs.

use std::fs::{self, File};
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde::Deserialize;
use shimq_testbed::{Namespace, Process};

use super::{Stage, Tools};
use crate::network::{Both, Network, Side};
use shimq_benches::error::BenchError;

/// What the daemons shall have between the two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing yet.
    Waiting,
    /// Nothing, and no wish for it.
    NoContext,
    /// A context on its ULIDs.
    Unmapped,
    /// The same, with every packet queued.
    QueueAll,
    /// A context on other locators.
    Mapped,
    /// The same, mapped by the kernel.
    MappedByKernel,
}

impl State {
    /// The configuration file. Keys and addresses cost next to nothing: packets do not know.
    fn config(self) -> String {
        let what = match self {
            Self::NoContext => "[trigger]\nheuristic = \"respond-only\"\n",
            Self::QueueAll => "[datapath]\nmode = \"queue-all\"\n",
            Self::MappedByKernel => "[datapath]\nmode = \"bpf\"\n",
            Self::Waiting | Self::Unmapped | Self::Mapped => "",
        };
        format!("sec = 0\nkey-bits = 1024\n{what}")
    }
}

/// Starts the daemons, and does what brings them to `state`.
pub(super) fn set_up<'n>(
    mut stage: Stage<'n>,
    tools: &Tools,
    state: State,
) -> Result<Stage<'n>, BenchError> {
    let network = stage.network;
    let mut daemons = Both::try_new(|side| Daemon::start(network, tools, side, state))?;
    let locators = Both::try_new(|side| match side {
        Side::A => daemons.a.wait_until_ready(),
        Side::B => daemons.b.wait_until_ready(),
    })?;
    stage.ends = [locators.a[0], locators.b[0]];
    if state == State::MappedByKernel {
        daemons.a.check_kernel_maps()?;
        daemons.b.check_kernel_maps()?;
    }
    if !matches!(state, State::Waiting | State::NoContext) {
        let exchange = Exchange::start(network, stage.ends)?;
        exchange.until("there is a context", || {
            daemons.all(stage.ends, |context| context.state == "ESTABLISHED")
        })?;
        if matches!(state, State::Mapped | State::MappedByKernel) {
            map(network, &daemons, &exchange, stage.ends)?;
        }
        if state == State::MappedByKernel {
            exchange.until("the kernel maps the context on both hosts", || {
                daemons.all(stage.ends, |context| {
                    context.mapped_by.as_deref() == Some("kernel")
                })
            })?;
        }
    }
    stage.servers.extend([daemons.a.process, daemons.b.process]);
    Ok(stage)
}

/// Cuts all paths that end on the first link until both hosts use the second one. The context stays
/// where it is when the first link works again.
fn map(
    network: &Network,
    daemons: &Both<Daemon<'_>>,
    exchange: &Exchange,
    ends: [Ipv6Addr; 2],
) -> Result<(), BenchError> {
    // Neighbours must still be found: the second link needs that, too.
    let cut = "table ip6 cut {
        chain prerouting {
            type filter hook prerouting priority -500;
            icmpv6 type 133-137 accept
            ip6 saddr 2001:db8:1::/64 drop
            ip6 daddr 2001:db8:1::/64 drop
        }
    }\n";
    for side in Side::BOTH {
        network.nft(side, cut)?;
    }
    exchange.until("both hosts have mapped the context", || {
        daemons.all(ends, |context| {
            context.mapped && context.reap == "operational"
        })
    })?;
    for side in Side::BOTH {
        network.nft(side, "delete table ip6 cut\n")?;
    }
    exchange.until("the context stays mapped", || {
        daemons.all(ends, |context| context.mapped)
    })
}

/// A running daemon.
struct Daemon<'n> {
    side: Side,
    host: &'n Namespace,
    program: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    process: Process,
}

impl<'n> Daemon<'n> {
    fn start(
        network: &'n Network,
        tools: &Tools,
        side: Side,
        state: State,
    ) -> Result<Self, BenchError> {
        let host = network.host(side);
        let config = tools.file(format!("{side:?}.toml"));
        fs::write(&config, state.config()).map_err(BenchError::io("write a configuration"))?;
        let socket = tools.file(format!("{side:?}.sock"));
        let log = tools.file(format!("{side:?}.log"));
        let to_log = File::create(&log).map_err(BenchError::io("create a log"))?;
        let mut command = host.command(&tools.shimq)?;
        command.arg("run").arg("--config").arg(config);
        command.arg("--state-dir").arg(tools.state(side));
        command.arg("--socket").arg(&socket);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(to_log);
        Ok(Self {
            side,
            host,
            program: tools.shimq.clone(),
            socket,
            log,
            process: host.spawn(command)?,
        })
    }

    /// Waits for an address on each link, and returns them in the order of the links.
    fn wait_until_ready(&mut self) -> Result<[Ipv6Addr; 2], BenchError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(locators) = self.locators() {
                return Ok(locators);
            }
            if let Some(status) = self.process.try_wait()? {
                return Err(BenchError::Program {
                    program: format!("shimq on host {:?}", self.side),
                    complaint: format!("{status}: {}", self.last_words()),
                });
            }
            if Instant::now() > deadline {
                return Err(BenchError::TooLate {
                    condition: format!("shimq is ready: {}", self.last_words()),
                });
            }
            std::thread::sleep(POLL);
        }
    }

    fn locators(&self) -> Option<[Ipv6Addr; 2]> {
        let locators: Vec<Locator> = serde_json::from_slice(&self.ask("locators").ok()?).ok()?;
        let of_link = |link: u16| {
            let prefix = &self.side.address(link).segments()[..4];
            locators
                .iter()
                .find(|locator| {
                    locator.state == "preferred" && locator.address.segments()[..4] == *prefix
                })
                .map(|locator| locator.address)
        };
        Some([of_link(0)?, of_link(1)?])
    }

    /// Whether BPF programs may be loaded here.
    fn check_kernel_maps(&self) -> Result<(), BenchError> {
        let answer = self.ask("status")?;
        let status: Option<Status> = serde_json::from_slice(&answer).ok();
        match status.and_then(|status| status.datapath.reason) {
            None => Ok(()),
            Some(reason) => Err(BenchError::Program {
                program: format!("shimq on host {:?}", self.side),
                complaint: reason,
            }),
        }
    }

    fn context(&self, local: Ipv6Addr, peer: Ipv6Addr) -> Option<Context> {
        let contexts: Vec<Context> = serde_json::from_slice(&self.ask("contexts").ok()?).ok()?;
        contexts
            .into_iter()
            .find(|context| context.ulids.local == local && context.ulids.peer == peer)
    }

    fn ask(&self, command: &str) -> Result<Vec<u8>, BenchError> {
        let arguments = [
            command.as_ref(),
            "--json".as_ref(),
            "--socket".as_ref(),
            self.socket.as_os_str(),
        ];
        Ok(self.host.run(&self.program, arguments)?.stdout)
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("; ")
    }
}

impl Both<Daemon<'_>> {
    /// Whether `holds` of the context between the ends, on both hosts.
    fn all(&self, [a, b]: [Ipv6Addr; 2], holds: impl Fn(&Context) -> bool) -> bool {
        self.a.context(a, b).is_some_and(|context| holds(&context))
            && self.b.context(b, a).is_some_and(|context| holds(&context))
    }
}

/// One element of `shimq locators --json`, as far as it is read here.
#[derive(Deserialize)]
struct Locator {
    address: Ipv6Addr,
    state: String,
}

/// `shimq status --json`, as far as it is read here.
#[derive(Deserialize)]
struct Status {
    datapath: Datapath,
}

#[derive(Deserialize)]
struct Datapath {
    /// Why the data path is another one than was wanted.
    reason: Option<String>,
}

/// One element of `shimq contexts --json`, as far as it is read here.
#[derive(Deserialize)]
struct Context {
    ulids: Ulids,
    state: String,
    reap: String,
    mapped: bool,
    mapped_by: Option<String>,
}

#[derive(Deserialize)]
struct Ulids {
    local: Ipv6Addr,
    peer: Ipv6Addr,
}

/// Traffic that is worth a context, both ways.
struct Exchange {
    a: UdpSocket,
    b: UdpSocket,
}

impl Exchange {
    fn start(network: &Network, ends: [Ipv6Addr; 2]) -> Result<Self, BenchError> {
        let failed = || BenchError::io("open UDP sockets");
        let open = |side: Side, end: Ipv6Addr| {
            let socket = network.host(side).enter(|| UdpSocket::bind((end, PORT)))?;
            socket.map_err(failed())
        };
        let a = open(Side::A, ends[0])?;
        let b = open(Side::B, ends[1])?;
        a.connect(SocketAddr::from((ends[1], PORT)))
            .and_then(|()| b.connect(SocketAddr::from((ends[0], PORT))))
            .and_then(|()| a.set_nonblocking(true))
            .and_then(|()| b.set_nonblocking(true))
            .map_err(failed())?;
        Ok(Self { a, b })
    }

    /// Sends until `condition` holds.
    fn until(&self, what: &str, condition: impl Fn() -> bool) -> Result<(), BenchError> {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            if Instant::now() > deadline {
                return Err(BenchError::TooLate {
                    condition: what.to_owned(),
                });
            }
            for socket in [&self.a, &self.b] {
                // While the path is cut some of this fails; that is what it is for.
                let _ = socket.send(&[0; 512]);
                let mut buffer = [0; 512];
                while socket.recv(&mut buffer).is_ok() {}
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

/// Both ends of the traffic that is worth a context.
const PORT: u16 = 9;

/// How long a state may take to come about; the first start makes a key.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often conditions are looked at, and traffic is sent for them.
const POLL: Duration = Duration::from_millis(20);
