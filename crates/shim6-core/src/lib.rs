//! Shim6 (RFC 5533) and REAP (RFC 5534) as a value.
//!
//! [`Endpoint`] is one host: `handle_*` says what happened, `poll_*` asks what is next. Time only
//! enters as `now`, randomness only as the seed given to [`Endpoint::new`]; the same calls give the
//! same answers, so that the simulator replays a history from its seed and the daemon runs the very
//! code that was simulated.
//!
//! Work per packet is not the endpoint's: [`FlowTable`] does it, one owned by each queue thread, fed
//! by [`FlowUpdate`]s and sharing nothing with the endpoint but the atomics of [`Account`].
//!
//! ```text
//!   octets, timers, addresses ---> Endpoint ---> Transmit, Event
//!                                     |  ^
//!                        FlowUpdate   v  |  Notice, Account
//!                  packets ------> FlowTable ---> Verdict
//! ```

mod account;
mod budget;
mod config;
mod context;
mod dispatch;
mod endpoint;
mod event;
mod flow;
mod icmp;
mod locator;
mod pair;
mod reap;
mod responder;
mod table;
mod time;
mod trigger;

pub use account::Account;
pub use config::Config;
pub use context::{ForkRefusal, State, SwitchRefusal};
pub use endpoint::Endpoint;
pub use event::{Cause, Counters, DropReason, Event, Resend, Transmit};
pub use flow::{Exploring, Flow, FlowTable, FlowUpdate, Notice, Path, Tagged, Verdict};
pub use locator::{LocalLocator, ProbedLocator};
pub use pair::{LocatorPair, UlidPair};
pub use reap::{ExplorationPolicy, State as ReapState, UnknownPolicy};
pub use table::{Census, ContextId, ContextView};
pub use time::Instant;
pub use trigger::{Decision, Heuristic, KernelRule, PacketCount, RespondOnly, Seen, VolumeOrAge};
