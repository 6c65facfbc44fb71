//! The programs in the kernel: loading, attaching, their maps.

use aya::maps::{Array, HashMap, Map, MapData, MapError};
use aya::programs::tc::{
    NlOptions, TcAttachOptions, TcError, qdisc_add_clsact, qdisc_detach_program,
};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};

use crate::BpfError;
use crate::device::{Pair, SHIM0_MAC};
use crate::layout::{Account, Arrival, Drops, Receiving, Sending, Ulids};

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
    /// Owns the programs, and their links to interfaces.
    ebpf: Ebpf,
    pub(crate) by_ulids: HashMap<MapData, Ulids, Sending>,
    pub(crate) by_tag: HashMap<MapData, Arrival, Receiving>,
    pub(crate) accounts: Array<MapData, Account>,
    drops: Array<MapData, u64>,
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
            ebpf,
        })
    }

    /// Attaches a program to what arrives at `interface`.
    pub(crate) fn attach(&mut self, which: Which, interface: &str) -> Result<(), BpfError> {
        let failure = |error: ProgramError| BpfError::from_load("attach a BPF program", error);
        let program = program(&mut self.ebpf, which).map_err(failure)?;
        let ingress = TcAttachType::Ingress;
        // A link goes with this process, however that ends; kernels before 6.6 have filters only.
        let link = TcAttachOptions::TcxOrder(LinkOrder::last());
        if program
            .attach_with_options(interface, ingress, link)
            .is_ok()
        {
            return Ok(());
        }
        add_clsact(interface).map_err(|error| failure(error.into()))?;
        // Of a killed process; that there is none is the rule.
        let _ = qdisc_detach_program(interface, ingress, which.name());
        let filter = TcAttachOptions::Netlink(NlOptions::default());
        program
            .attach_with_options(interface, ingress, filter)
            .map(drop)
            .map_err(failure)
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

fn program(ebpf: &mut Ebpf, which: Which) -> Result<&mut SchedClassifier, ProgramError> {
    ebpf.program_mut(which.name())
        .ok_or(ProgramError::UnexpectedProgramType)?
        .try_into()
}

fn take<T: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &str) -> Result<T, MapError> {
    let map = ebpf.take_map(name);
    map.ok_or(MapError::ElementNotFound)?.try_into()
}

/// Makes sure that filters can be attached to `interface`.
fn add_clsact(interface: &str) -> Result<(), TcError> {
    match qdisc_add_clsact(interface) {
        Err(TcError::AlreadyAttached) => Ok(()),
        outcome => outcome,
    }
}
