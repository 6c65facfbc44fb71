//! The daemons of both hosts, brought to a state by traffic and by cutting the path of the ULIDs.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use serde::Deserialize;
use shimq_testbed::{Pair, Prefix, Provider, Shim, ShimSetup};

use super::{Stage, Tools};
use crate::network::{Both, LINKS, Network, Side};
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
    /// The same, by the plain backend.
    QueueAllPlain,
    /// A context on other locators.
    Mapped,
    /// The same, by the plain backend.
    MappedPlain,
    /// The same, mapped by the kernel.
    MappedByKernel,
    /// The same, but traffic is between other addresses of the two hosts.
    BesideMappedByKernel,
}

impl State {
    /// Whether the context is to be on other locators.
    fn is_mapped(self) -> bool {
        match self {
            Self::Waiting
            | Self::NoContext
            | Self::Unmapped
            | Self::QueueAll
            | Self::QueueAllPlain => false,
            Self::Mapped
            | Self::MappedPlain
            | Self::MappedByKernel
            | Self::BesideMappedByKernel => true,
        }
    }

    /// Whether the kernel is to map it.
    fn kernel_maps(self) -> bool {
        matches!(self, Self::MappedByKernel | Self::BesideMappedByKernel)
    }

    /// The configuration file. Keys and addresses cost next to nothing: packets do not know.
    fn config(self) -> String {
        let what = match self {
            Self::NoContext => "[trigger]\nheuristic = \"respond-only\"\n",
            Self::QueueAll => "[datapath]\nmode = \"queue-all\"\n",
            Self::QueueAllPlain => "[datapath]\nmode = \"queue-all\"\nbackend = \"plain\"\n",
            Self::MappedPlain => "[datapath]\nbackend = \"plain\"\n",
            Self::MappedByKernel | Self::BesideMappedByKernel => "[datapath]\nmode = \"bpf\"\n",
            Self::Waiting | Self::Unmapped | Self::Mapped => "",
        };
        // A round lasts longer than a context stays on other locators once its ULIDs work again.
        format!("sec = 0\nkey-bits = 1024\n{what}[reap]\nreturn-interval = 86400\n")
    }
}

/// Starts the daemons, and does what brings them to `state`.
pub(super) fn set_up<'n>(
    mut stage: Stage<'n>,
    tools: &Tools,
    state: State,
) -> Result<Stage<'n>, BenchError> {
    let network = stage.network;
    let mut daemons = Both::try_new(|side| start(network, tools, side, state))?;
    let links = links();
    let of_a = daemons.a.wait_until_ready(&links)?;
    let of_b = daemons.b.wait_until_ready(&links)?;
    let ulids = [of_a[0], of_b[0]];
    if state != State::BesideMappedByKernel {
        stage.ends = ulids;
    }
    if state.kernel_maps() {
        check_kernel_maps(&daemons.a)?;
        check_kernel_maps(&daemons.b)?;
    }
    if !matches!(state, State::Waiting | State::NoContext) {
        let exchange = Exchange::start(network, ulids)?;
        exchange.until("there is a context", || {
            daemons.all(ulids, |context| context.state == "ESTABLISHED")
        })?;
        if state.is_mapped() {
            map(network, &daemons, &exchange, ulids)?;
        }
        if state.kernel_maps() {
            exchange.until("the kernel maps the context on both hosts", || {
                daemons.all(ulids, |context| {
                    context.mapped_by.as_deref() == Some("kernel")
                })
            })?;
        }
    }
    stage
        .servers
        .extend([daemons.a, daemons.b].map(Shim::into_process));
    Ok(stage)
}

/// Cuts all paths that end on the first link until both hosts use the second one. The context stays
/// where it is when the first link works again.
fn map(
    network: &Network,
    daemons: &Both<Shim<'_>>,
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

/// Starts the daemon of one host, with the keys of earlier rounds.
fn start<'n>(
    network: &'n Network,
    tools: &Tools,
    side: Side,
    state: State,
) -> Result<Shim<'n>, BenchError> {
    let folder = tools.folder.join(format!("{state:?}"));
    std::fs::create_dir_all(&folder).map_err(BenchError::io("make a folder"))?;
    let setup = ShimSetup {
        program: &tools.shimq,
        name: &format!("{side:?}"),
        config: &state.config(),
        folder: &folder,
        state: &folder.join(format!("state-{side:?}")),
        logs: &folder,
    };
    Ok(Shim::start(network.host(side), setup)?)
}

/// The links as daemons see them: each is a prefix to form an address of.
fn links() -> [Provider; 2] {
    [(LINKS[0], 1), (LINKS[1], 2)].map(|(link, subnet)| {
        let prefix = Prefix {
            address: Ipv6Addr::new(0x2001, 0xdb8, subnet, 0, 0, 0, 0, 0),
            length: 64,
        };
        Provider { link, prefix }
    })
}

/// Whether BPF programs may be loaded here.
fn check_kernel_maps(shim: &Shim<'_>) -> Result<(), BenchError> {
    let answer = shim.ask("status")?;
    let status: Option<Status> = serde_json::from_slice(&answer).ok();
    match status.and_then(|status| status.datapath.reason) {
        None => Ok(()),
        Some(reason) => Err(BenchError::program(
            format!("shimq on host {}", shim.name()),
            reason,
        )),
    }
}

/// The context between two ULIDs, if there is one.
fn context(shim: &Shim<'_>, ulids: Pair) -> Option<Context> {
    let contexts: Vec<Context> = serde_json::from_slice(&shim.ask("contexts").ok()?).ok()?;
    contexts.into_iter().find(|context| context.ulids == ulids)
}

impl Both<Shim<'_>> {
    /// Whether `holds` of the context between the ends, on both hosts.
    fn all(&self, [a, b]: [Ipv6Addr; 2], holds: impl Fn(&Context) -> bool) -> bool {
        let holds = |shim, local, peer| {
            context(shim, Pair { local, peer }).is_some_and(|context| holds(&context))
        };
        holds(&self.a, a, b) && holds(&self.b, b, a)
    }
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
    ulids: Pair,
    state: String,
    reap: String,
    mapped: bool,
    mapped_by: Option<String>,
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

/// How long a state may take to come about.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often conditions are looked at, and traffic is sent for them.
const POLL: Duration = Duration::from_millis(20);
