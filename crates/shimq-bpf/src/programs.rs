//! The programs in the kernel: loading, attaching, their maps.

use aya::maps::{Array, HashMap, Map, MapData, MapError};
use aya::programs::tc::{
    NlOptions, SchedClassifierLink, TcAttachOptions, TcError, qdisc_add_clsact,
    qdisc_detach_program,
};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage};

use crate::BpfError;
use crate::device::{Pair, SHIM0_MAC};
use crate::layout::{Account, Arrival, Drops, Receiving, Sending, Ulids};
use crate::netlink::Netlink;

/// The compiled programs; `tests/object.rs` proves that they are what the source says.
static OBJECT: &[u8] = include_bytes_aligned!("bpf/shim.bpf.o");

/// A program, by its name in the object.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which {
    /// At shim1: maps what the stack sends.
    Send,
    /// At interfaces of locators: unmaps what arrives.
    Receive,
}

impl Which {
    const fn name(self) -> &'static str {
        match self {
            Self::Send => "shim_send",
            Self::Receive => "shim_receive",
        }
    }
}

/// The programs and their maps; detached and gone when dropped.
pub(crate) struct Programs {
    ebpf: Ebpf,
    attachments: Vec<Attachment>,
    pub(crate) by_ulids: HashMap<MapData, Ulids, Sending>,
    pub(crate) by_tag: HashMap<MapData, Arrival, Receiving>,
    pub(crate) accounts: Array<MapData, Account>,
    drops: Array<MapData, u64>,
}

/// A program at an interface, until dropped.
struct Attachment {
    link: SchedClassifierLink,
    /// Index of the interface if it has a clsact queueing discipline because of this.
    clsact_added: Option<u32>,
}

impl Programs {
    /// Loads the programs for this pair, with room for `flows` flows and `arrivals` ways in.
    pub(crate) fn load(pair: Pair, flows: u32, arrivals: u32) -> Result<Self, BpfError> {
        let mut ebpf = EbpfLoader::new()
            .override_global("shim1", &pair.shim1, true)
            .override_global("shim0_mac", &SHIM0_MAC, true)
            .map_max_entries("by_ulids", flows)
            .map_max_entries("accounts", flows)
            .map_max_entries("by_tag", arrivals)
            .load(OBJECT)
            .map_err(|error| BpfError::from_load("load the BPF maps", error))?;
        for which in [Which::Send, Which::Receive] {
            program(&mut ebpf, which)
                .and_then(SchedClassifier::load)
                .map_err(|error| BpfError::from_load("load a BPF program", error))?;
        }
        let map_error = |error: MapError| BpfError::from_load("open the BPF maps", error);
        Ok(Self {
            by_ulids: take(&mut ebpf, "by_ulids").map_err(map_error)?,
            by_tag: take(&mut ebpf, "by_tag").map_err(map_error)?,
            accounts: take(&mut ebpf, "accounts").map_err(map_error)?,
            drops: take(&mut ebpf, "drops").map_err(map_error)?,
            attachments: Vec::new(),
            ebpf,
        })
    }

    /// Attaches a program to what arrives at the interface of this index and name.
    pub(crate) fn attach(&mut self, which: Which, index: u32, name: &str) -> Result<(), BpfError> {
        let failure = |error: ProgramError| BpfError::from_load("attach a BPF program", error);
        let program = program(&mut self.ebpf, which).map_err(failure)?;
        let ingress = TcAttachType::Ingress;
        // A link goes with this process, however that ends; kernels before 6.6 have filters only.
        let tcx = TcAttachOptions::TcxOrder(LinkOrder::last());
        let mut clsact_added = None;
        let id = if let Ok(id) = program.attach_with_options(name, ingress, tcx) {
            id
        } else {
            if add_clsact(name).map_err(|error| failure(error.into()))? {
                clsact_added = Some(index);
            }
            let filter = TcAttachOptions::Netlink(NlOptions::default());
            let outcome = program.attach_with_options(name, ingress, filter);
            outcome.map_err(failure)?
        };
        let link = program.take_link(id).map_err(failure)?;
        self.attachments.push(Attachment { link, clsact_added });
        Ok(())
    }

    /// Detaches the programs from all interfaces.
    pub(crate) fn detach(&mut self, netlink: &mut Netlink) -> Result<(), BpfError> {
        let mut outcome = Ok(());
        for Attachment { link, clsact_added } in self.attachments.drain(..) {
            drop(link);
            if let Some(index) = clsact_added {
                outcome = outcome.and(remove_unused_clsact(netlink, index));
            }
        }
        outcome
    }

    /// What was dropped when sending.
    pub(crate) fn drops(&self) -> Result<Drops, BpfError> {
        let mut counts = [0; Drops::REASONS];
        for (reason, count) in (0..).zip(&mut counts) {
            *count = self
                .drops
                .get(&reason, 0)
                .map_err(|error| BpfError::from_load("read the BPF maps", error))?;
        }
        Ok(Drops::from_counts(counts))
    }
}

/// Removes filters that a killed process left at the interface of this name.
///
/// They would lead packets to a device pair that is gone. There are none from kernel 6.6 on.
pub(crate) fn detach_left_over(name: &str) {
    // That there is nothing to remove is the rule.
    let _ = qdisc_detach_program(name, TcAttachType::Ingress, Which::Receive.name());
}

fn program(ebpf: &mut Ebpf, which: Which) -> Result<&mut SchedClassifier, ProgramError> {
    ebpf.program_mut(which.name())
        .ok_or(ProgramError::UnexpectedProgramType)?
        .try_into()
}

fn take<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &str) -> Result<T, MapError> {
    let map = ebpf.take_map(name);
    map.ok_or(MapError::ElementNotFound)?.try_into()
}

/// Makes sure that filters can be attached to the interface; true if that was not so before.
fn add_clsact(interface: &str) -> Result<bool, TcError> {
    match qdisc_add_clsact(interface) {
        Ok(()) => Ok(true),
        Err(TcError::AlreadyAttached) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes clsact from an interface, unless somebody else has attached something meanwhile.
fn remove_unused_clsact(netlink: &mut Netlink, index: u32) -> Result<(), BpfError> {
    let message = |minor| {
        let mut message = TcMessage::with_index(index.cast_signed());
        message.header.parent = TcHandle {
            major: TcHandle::CLSACT.major,
            minor,
        };
        message
    };
    for minor in [TcHandle::MIN_INGRESS, TcHandle::MIN_EGRESS] {
        let request = RouteNetlinkMessage::GetTrafficFilter(message(minor));
        if !netlink.dump("list traffic filters", request)?.is_empty() {
            return Ok(());
        }
    }
    let mut clsact = message(TcHandle::CLSACT.minor);
    clsact.attributes = vec![TcAttribute::Kind("clsact".to_owned())];
    let request = RouteNetlinkMessage::DelQueueDiscipline(clsact);
    netlink.remove("remove a queueing discipline", request)
}
