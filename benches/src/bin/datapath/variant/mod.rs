//! What packets go through: nothing, shimq in each of its modes, and what it is compared with.
//!
//! A variant is set up afresh in each round, on a network of its own, so that rounds are independent
//! of each other, and variants can wait side by side for their turns.

mod bpf;
mod floor;
mod kernel;
mod shimq;

use std::net::Ipv6Addr;
use std::path::PathBuf;

use rustix::process::Pid;
use serde::Serialize;
use shimq_bpf::Rewriter;
use shimq_testbed::{Namespace, Process};
use socket2::Protocol;

pub(crate) use floor::{Floors, compile};

use crate::network::{Network, Side};
use crate::traffic::{Course, Traffic};
use shimq_benches::error::BenchError;

/// One way for packets to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Variant {
    /// Nothing at all: what every ratio is of.
    NoRules,
    /// The hooks that shimq uses, each with one rule that matches no packet.
    IdleRules,
    /// shimq on both hosts, without a context between them.
    NoContext,
    /// With a context whose locators are the ULIDs: the kernel counts, no packet is queued.
    Unmapped,
    /// The same, but every packet is queued.
    QueueAll,
    /// The same over the crate nfq: a packet, a verdict.
    QueueAllPlain,
    /// The best loop in C that accepts every packet.
    BestAccept,
    /// A context on other locators: every packet is rewritten, on both hosts.
    Mapped,
    /// The same over the crate nfq.
    MappedPlain,
    /// The same, mapped by the kernel: BPF programs behind a device pair, fed by the daemons.
    MappedByKernel,
    /// Traffic of the same hosts that is not for the kernel to map.
    BesideMappedByKernel,
    /// These programs without the daemons.
    Rewriter,
    /// The plain tc programs, for which TCP must not leave segmentation to the kernel.
    SingleSegments,
    /// The best loop in C that rewrites every packet, on both hosts.
    BestRewrite,
    /// The usual loop in C: a packet, a verdict, and the buffers that the system gives.
    NaiveRewrite,
    /// The same with buffers that no burst overruns.
    BufferedRewrite,
    /// nft rules that exchange the addresses, on both hosts.
    NftAddresses,
    /// SRv6 inline: the kernel inserts a header that it can segment.
    Srv6Inline,
    /// MPTCP over both links: the same wish fulfilled in TCP.
    Mptcp,
}

impl Variant {
    /// In the order in which they are measured and shown: what is compared most closely stands side by
    /// side.
    pub(crate) const ALL: [Self; 19] = [
        Self::NoRules,
        Self::BesideMappedByKernel,
        Self::Unmapped,
        Self::NoContext,
        Self::IdleRules,
        Self::QueueAllPlain,
        Self::QueueAll,
        Self::BestAccept,
        Self::BestRewrite,
        Self::Mapped,
        Self::NaiveRewrite,
        Self::BufferedRewrite,
        Self::MappedPlain,
        Self::SingleSegments,
        Self::MappedByKernel,
        Self::Rewriter,
        Self::NftAddresses,
        Self::Srv6Inline,
        Self::Mptcp,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::NoRules => "no rules",
            Self::IdleRules => "rules that match nothing",
            Self::NoContext => "shimq, no context",
            Self::Unmapped => "shimq, unmapped context",
            Self::QueueAll => "shimq, queue-all, unmapped",
            Self::QueueAllPlain => "shimq, queue-all, plain backend",
            Self::BestAccept => "best accept loop in C",
            Self::Mapped => "shimq, mapped by queue",
            Self::MappedPlain => "shimq, mapped by queue, plain backend",
            Self::MappedByKernel => "shimq, mapped by bpf",
            Self::BesideMappedByKernel => "shimq, beside what bpf maps",
            Self::Rewriter => "the same bpf without shimq",
            Self::SingleSegments => "plain tc bpf, single segments",
            Self::BestRewrite => "best packed rewriter in C",
            Self::NaiveRewrite => "naive rewriter in C",
            Self::BufferedRewrite => "naive rewriter in C, large buffers",
            Self::NftAddresses => "nft stateless addresses",
            Self::Srv6Inline => "SRv6 inline",
            Self::Mptcp => "MPTCP",
        }
    }

    /// Whether this kind of traffic can go this way.
    pub(crate) fn carries(self, traffic: Traffic) -> bool {
        self != Self::Mptcp || traffic != Traffic::SmallPackets
    }

    /// Whether it is one of the C programs.
    pub(crate) fn is_floor(self) -> bool {
        matches!(
            self,
            Self::BestAccept | Self::BestRewrite | Self::NaiveRewrite | Self::BufferedRewrite
        )
    }

    /// Makes packets go this way.
    pub(crate) fn set_up<'n>(
        self,
        network: &'n Network,
        tools: &Tools,
    ) -> Result<Stage<'n>, BenchError> {
        let stage = Stage::new(network);
        match self {
            Self::NoRules => Ok(stage),
            Self::IdleRules => kernel::set_up_idle_rules(stage),
            Self::NoContext => shimq::set_up(stage, tools, shimq::State::NoContext),
            Self::Unmapped => shimq::set_up(stage, tools, shimq::State::Unmapped),
            Self::QueueAll => shimq::set_up(stage, tools, shimq::State::QueueAll),
            Self::QueueAllPlain => shimq::set_up(stage, tools, shimq::State::QueueAllPlain),
            Self::MappedPlain => shimq::set_up(stage, tools, shimq::State::MappedPlain),
            Self::Mapped => shimq::set_up(stage, tools, shimq::State::Mapped),
            Self::MappedByKernel => shimq::set_up(stage, tools, shimq::State::MappedByKernel),
            Self::BesideMappedByKernel => {
                shimq::set_up(stage, tools, shimq::State::BesideMappedByKernel)
            }
            Self::Rewriter => bpf::set_up_rewriters(stage),
            Self::SingleSegments => bpf::set_up_single(stage, tools),
            Self::BestAccept => floor::set_up(stage, tools, floor::Kind::Accept),
            Self::BestRewrite => floor::set_up(stage, tools, floor::Kind::RewritePacked),
            Self::NaiveRewrite => floor::set_up(stage, tools, floor::Kind::RewriteNaive),
            Self::BufferedRewrite => floor::set_up(stage, tools, floor::Kind::RewriteBuffered),
            Self::NftAddresses => kernel::set_up_nft(stage),
            Self::Srv6Inline => kernel::set_up_srv6(stage),
            Self::Mptcp => kernel::set_up_mptcp(stage),
        }
    }
}

/// Starts shimq on both hosts with all defaults, and sends nothing.
pub(crate) fn set_up_waiting<'n>(
    network: &'n Network,
    tools: &Tools,
) -> Result<Stage<'n>, BenchError> {
    shimq::set_up(Stage::new(network), tools, shimq::State::Waiting)
}

/// What variants are made with.
pub(crate) struct Tools {
    /// The program.
    pub(crate) shimq: PathBuf,
    /// Compiled; `None` without a C compiler.
    pub(crate) floors: Option<Floors>,
    /// What outlives a round: the daemons' keys.
    pub(crate) folder: PathBuf,
}

/// A variant that is set up; undone when dropped, with its network.
pub(crate) struct Stage<'n> {
    network: &'n Network,
    ends: [Ipv6Addr; 2],
    stream: Protocol,
    servers: Vec<Process>,
    rewriters: Vec<Rewriter>,
}

impl<'n> Stage<'n> {
    fn new(network: &'n Network) -> Self {
        Self {
            network,
            ends: Side::BOTH.map(|side| side.address(0)),
            stream: Protocol::TCP,
            servers: Vec::new(),
            rewriters: Vec::new(),
        }
    }

    fn host(&self, side: Side) -> &'n Namespace {
        self.network.host(side)
    }

    /// Where traffic then runs, for as long as a rewriter's routes last without a daemon.
    pub(crate) fn course(&mut self) -> Result<Course<'n>, BenchError> {
        for rewriter in &mut self.rewriters {
            let renewed = rewriter.renew(1);
            renewed.map_err(bpf::complaint)?;
        }
        Ok(Course {
            network: self.network,
            ends: self.ends,
            stream: self.stream,
            servers: self
                .servers
                .iter_mut()
                .map(|server| Pid::from_child(server.child()))
                .collect(),
        })
    }
}
