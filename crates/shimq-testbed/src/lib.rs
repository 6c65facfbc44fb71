//! Networks to try things on: hosts, providers and cuts, out of network namespaces.
//!
//! A [`Namespace`] is one host: it runs programs and opens sockets, and is gone with everything
//! in it when the value is dropped. It has no name that another program could see or take, so any
//! number of testbeds run side by side. [`TwoHosts`] is the network that every claim about
//! multihoming is tried on; an [`Emulator`] gives its paths delay, loss and the like. Nothing of this
//! knows Shim6: what these networks do to packets holds for whatever the hosts run. [`Shim`] is a
//! daemon of `shimq` on a host, driven by the program's own commands.
//!
//! Namespaces need privilege. A program calls [`gain_privilege`] before anything else: as root
//! it does nothing, for anyone else it starts the program again as root of a user namespace.

mod advertise;
mod capture;
mod emulator;
mod error;
mod moment;
mod namespace;
mod privilege;
mod process;
mod programs;
mod router;
mod shim;
mod signals;
mod two_hosts;

pub use advertise::{AdvertisedPrefix, RouterAdvertisement};
pub use capture::{Capture, packets};
pub use emulator::{Emulator, Path, PathCounts};
pub use error::TestbedError;
pub use moment::Moment;
pub use namespace::Namespace;
pub use privilege::gain_privilege;
pub use process::Process;
pub use programs::{find, require};
pub use router::{Count, Counters, Direction, Prefix};
pub use shim::{Event, Pair, Shim, ShimSetup};
pub use signals::uninterrupted;
pub use two_hosts::{A, A3, B, B3, Provider, TwoHosts};
