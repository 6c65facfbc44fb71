//! The rewriter: what is set up once, and what each flow adds.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::Ipv6Addr;

use aya::maps::MapError;
use netlink_packet_route::link::LinkMessage;
use rustix::io::Errno;
use shim6_core::{LocatorPair, UlidPair};
use shim6_wire::ContextTag;

use crate::BpfError;
use crate::device::{self, Pair};
use crate::layout::{self, Arrival, Drops, Tally};
use crate::netlink::Netlink;
use crate::path::{self, Path};
use crate::programs::{self, Programs, Which};
use crate::routes::{self, Routes};

/// How a rewriter is set up; the default suits all but hosts with unusual names or numbers.
#[derive(Clone, Debug)]
pub struct Config {
    /// Names of the ends of the device pair: the one that the stack sees, the one behind it.
    pub pair: [String; 2],
    /// How many flows there may be; each takes about 500 octets of the kernel's memory.
    pub flows: u32,
    /// SO_MARK of packets that are never led here, though they be between the ULIDs of a flow: those
    /// that test whether the ULIDs reach each other. Not 0.
    pub exempt_mark: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pair: ["shim0", "shim1"].map(str::to_owned),
            flows: 4096,
            exempt_mark: 0x5533,
        }
    }
}

/// A context that sends by other locators than its ULIDs, as the kernel has to know it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MappedFlow {
    /// ULID(local) and ULID(peer), by which outgoing packets find the flow.
    pub ulids: UlidPair,
    /// Lp(local) and Lp(peer).
    pub locators: LocatorPair,
    /// CT(peer), put into what is sent.
    pub peer_tag: ContextTag,
    /// CT(local), by which what arrives finds the flow.
    pub local_tag: ContextTag,
    /// Ls(local): tagged packets to one of these are unmapped here. Those to other addresses are
    /// left to the stack.
    pub local_locators: Vec<Ipv6Addr>,
}

/// What passed on one flow since it was first inserted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowCounters {
    /// The flow.
    pub ulids: UlidPair,
    /// Mapped and sent.
    pub sent: Tally,
    /// Received and unmapped.
    pub received: Tally,
}

/// What passed on all flows, present and former.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Mapped and sent.
    pub sent: Tally,
    /// Received and unmapped.
    pub received: Tally,
}

/// The kernel's half of the mapping; gone, with everything it added to the host, when dropped.
///
/// Belongs to the network namespace of the thread that made it; is to be used and dropped there. One namespace has room for one rewriter of the same names: the second takes over from the
/// first, which it takes for one that was killed.
pub struct Rewriter {
    netlink: Netlink,
    pair: Pair,
    programs: Programs,
    routes: Routes,
    /// Indices of interfaces whose arrivals are looked at.
    attached: BTreeSet<u32>,
    flows: HashMap<UlidPair, Installed>,
    /// Places in the array of accounts that no flow has.
    free: Vec<u32>,
    /// What passed on flows that were removed.
    former: Totals,
}

/// What a flow has in the kernel.
#[derive(Debug)]
struct Installed {
    account: u32,
    arrivals: Vec<Arrival>,
}

impl Rewriter {
    /// Makes the device pair and loads the programs; no packet is touched before a flow is inserted.
    ///
    /// # Errors
    ///
    /// Why this host cannot have it; everything is as it was before then.
    pub fn attach(config: &Config) -> Result<Self, BpfError> {
        let mut netlink = Netlink::route()?;
        remove_left_over(&mut netlink, &config.pair)?;
        let pair = Pair::create(&mut netlink, &config.pair)?;
        match Self::load(pair, config) {
            Ok(programs) => Ok(Self {
                netlink,
                pair,
                programs,
                routes: Routes::new(pair.shim0, config.exempt_mark),
                attached: BTreeSet::new(),
                flows: HashMap::new(),
                free: (0..config.flows).rev().collect(),
                former: Totals::default(),
            }),
            Err(error) => {
                // The reason is worth more than that the removal failed as well.
                let _ = pair.remove(&mut netlink);
                Err(error)
            }
        }
    }

    fn load(pair: Pair, config: &Config) -> Result<Programs, BpfError> {
        let arrivals = config.flows.saturating_mul(ARRIVALS_PER_FLOW);
        let mut programs = Programs::load(pair, config.flows, arrivals)?;
        programs.attach(Which::Send, pair.shim1, &config.pair[1])?;
        Ok(programs)
    }

    /// Maps the packets of this flow from now on; a flow with the same ULIDs gives way to it.
    ///
    /// To be called again when the flow's locators, or the routes of this host, change.
    ///
    /// # Errors
    ///
    /// Why the kernel cannot map them; the flow is not inserted then, nor is its former self.
    pub fn insert(&mut self, flow: &MappedFlow) -> Result<(), BpfError> {
        let outcome = self.try_insert(flow);
        if outcome.is_err() {
            // The caller has one error to act upon already.
            let _ = self.remove(flow.ulids);
        }
        outcome
    }

    fn try_insert(&mut self, flow: &MappedFlow) -> Result<(), BpfError> {
        let addresses = path::addresses(&mut self.netlink)?;
        let shim0 = self.pair.shim0;
        let interfaces_of = |locator: Ipv6Addr| {
            let elsewhere = addresses.iter().filter(move |&&(_, index)| index != shim0);
            elsewhere.filter_map(move |&(address, index)| (address == locator).then_some(index))
        };
        let holders: Vec<_> = interfaces_of(flow.locators.local).collect();
        let locators = flow.local_locators.iter();
        let arrival_interfaces: BTreeSet<_> = locators.copied().flat_map(interfaces_of).collect();
        let path = Path::find(&mut self.netlink, flow.locators, &holders, shim0)?;
        self.pair.fit_checksums(path.interface)?;
        for index in arrival_interfaces {
            self.watch(index)?;
        }
        let account = self.account_of(flow.ulids)?;
        self.write_receiving(flow, account)?;
        let sending = layout::sending(
            flow.locators,
            path.next_hop,
            flow.peer_tag,
            path.interface,
            account,
        );
        self.programs
            .by_ulids
            .insert(layout::ulids(flow.ulids), sending, 0)
            .map_err(map_failure)?;
        let mtu = path.mtu.saturating_sub(PAYLOAD_EXT_LEN);
        self.routes.add(&mut self.netlink, flow.ulids, mtu)
    }

    /// Maps the packets between these ULIDs no more; they take the route of everything else.
    ///
    /// # Errors
    ///
    /// What could not be removed; the rest is.
    pub fn remove(&mut self, ulids: UlidPair) -> Result<(), BpfError> {
        let Some(flow) = self.flows.remove(&ulids) else {
            return Ok(());
        };
        // Were it not to be had, the totals would be the poorer for it, nothing else.
        if let Ok((sent, received)) = self.tallies(flow.account) {
            self.former.sent.add(sent);
            self.former.received.add(received);
        }
        // In this order no packet is led to a flow that is gone.
        let route = self.routes.remove(&mut self.netlink, ulids);
        let sending = forget(self.programs.by_ulids.remove(&layout::ulids(ulids)));
        let mut receiving = Ok(());
        for arrival in &flow.arrivals {
            receiving = receiving.and(forget(self.programs.by_tag.remove(arrival)));
        }
        self.free.push(flow.account);
        route.and(sending).and(receiving)
    }

    /// Keeps `count` flows, those whose turn it is: to be called so often that each has its turn well
    /// before [`LEASE`](crate::LEASE) runs out.
    ///
    /// # Errors
    ///
    /// What the kernel reports about a route, or that somebody removed the device pair.
    pub fn renew(&mut self, count: usize) -> Result<(), BpfError> {
        let mut shim0 = LinkMessage::default();
        shim0.header.index = self.pair.shim0;
        if device::get(&mut self.netlink, shim0)?.is_none() {
            return Err(BpfError::netlink("look for shim0", Errno::NODEV.into()));
        }
        self.routes.renew(&mut self.netlink, count)
    }

    /// What passed on each flow, in no order.
    ///
    /// # Errors
    ///
    /// What the kernel reports about the map.
    pub fn counters(&self) -> Result<Vec<FlowCounters>, BpfError> {
        let counters = self.flows.iter().map(|(&ulids, flow)| {
            let (sent, received) = self.tallies(flow.account)?;
            Ok(FlowCounters {
                ulids,
                sent,
                received,
            })
        });
        counters.collect()
    }

    /// What passed since [`Self::attach`], on flows that were removed as well.
    ///
    /// # Errors
    ///
    /// What the kernel reports about the map.
    pub fn totals(&self) -> Result<Totals, BpfError> {
        let mut totals = self.former;
        for flow in self.counters()? {
            totals.sent.add(flow.sent);
            totals.received.add(flow.received);
        }
        Ok(totals)
    }

    /// Sent and received, of the flow with this place in the array of accounts.
    fn tallies(&self, account: u32) -> Result<(Tally, Tally), BpfError> {
        let account = self.programs.accounts.get(&account, 0);
        Ok(layout::tallies(&account.map_err(map_failure)?))
    }

    /// What could not be sent, of all flows.
    ///
    /// # Errors
    ///
    /// What the kernel reports about the map.
    pub fn drops(&self) -> Result<Drops, BpfError> {
        self.programs.drops()
    }

    /// The flow's account; a new one, empty, if it has none.
    fn account_of(&mut self, ulids: UlidPair) -> Result<u32, BpfError> {
        if let Some(flow) = self.flows.get(&ulids) {
            return Ok(flow.account);
        }
        let account = self.free.pop().ok_or(BpfError::Full { what: "flow" })?;
        let installed = Installed {
            account,
            arrivals: Vec::new(),
        };
        self.flows.insert(ulids, installed);
        let empty = [0; size_of::<layout::Account>()];
        let outcome = self.programs.accounts.set(account, empty, 0);
        outcome.map_err(map_failure)?;
        Ok(account)
    }

    /// Makes the ways in of this flow those that it says.
    fn write_receiving(&mut self, flow: &MappedFlow, account: u32) -> Result<(), BpfError> {
        let Some(installed) = self.flows.get_mut(&flow.ulids) else {
            return Ok(());
        };
        let locators = flow.local_locators.iter();
        let wanted: Vec<_> = locators
            .map(|&locator| layout::arrival(locator, flow.local_tag))
            .collect();
        for arrival in &installed.arrivals {
            if !wanted.contains(arrival) {
                forget(self.programs.by_tag.remove(arrival))?;
            }
        }
        installed.arrivals.clone_from(&wanted);
        let receiving = layout::receiving(flow.ulids, account);
        for arrival in wanted {
            let outcome = self.programs.by_tag.insert(arrival, receiving, 0);
            outcome.map_err(map_failure)?;
        }
        Ok(())
    }

    /// Looks at what arrives at the interface `index` from now on.
    fn watch(&mut self, index: u32) -> Result<(), BpfError> {
        if self.attached.contains(&index) {
            return Ok(());
        }
        let mut message = LinkMessage::default();
        message.header.index = index;
        let link = device::get(&mut self.netlink, message)?;
        // An interface that is gone has no arrivals.
        if let Some(name) = link.and_then(device::name) {
            self.programs.attach(Which::Receive, index, &name)?;
            self.attached.insert(index);
        }
        Ok(())
    }
}

impl Drop for Rewriter {
    fn drop(&mut self) {
        // Nobody is left to act upon failures. Routes first, as in `remove`.
        let _ = self.routes.remove_all(&mut self.netlink);
        let _ = self.programs.detach(&mut self.netlink);
        let _ = self.pair.remove(&mut self.netlink);
    }
}

impl fmt::Debug for Rewriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rewriter")
            .field("pair", &self.pair)
            .field("flows", &self.flows)
            .finish_non_exhaustive()
    }
}

/// Removes what a process that was killed left behind; true if there was anything.
///
/// For a start without a rewriter: [`Rewriter::attach`] does it by itself.
///
/// # Errors
///
/// What the kernel reports; [`BpfError::NameTaken`] if the devices are somebody else's.
pub fn release() -> Result<bool, BpfError> {
    let mut netlink = Netlink::route()?;
    remove_left_over(&mut netlink, &Config::default().pair)
}

fn remove_left_over(netlink: &mut Netlink, names: &[String; 2]) -> Result<bool, BpfError> {
    // Rules before routes: no packet is then led to a device that is on its way out.
    let rules = routes::remove_left_over(netlink)?;
    let pair = device::remove_left_over(netlink, names)?;
    for name in device::names(netlink)? {
        programs::detach_left_over(&name);
    }
    Ok(rules || pair)
}

/// What is not in a map need not be removed from it.
fn forget(outcome: Result<(), MapError>) -> Result<(), BpfError> {
    match outcome {
        Err(MapError::SyscallError(error))
            if Errno::from_io_error(&error.io_error) == Some(Errno::NOENT) =>
        {
            Ok(())
        }
        outcome => outcome.map_err(map_failure),
    }
}

fn map_failure(error: MapError) -> BpfError {
    BpfError::from_load("change a BPF map", error)
}

/// Octets that mapping adds to a packet.
const PAYLOAD_EXT_LEN: u32 = 8;

/// Local locators of a flow that there is room for, on average.
const ARRIVALS_PER_FLOW: u32 = 4;
