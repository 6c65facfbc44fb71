//! The daemon: the one place where the protocol meets the clock, the kernel and the operator.
//!
//! ```text
//!   queue threads ---FromQueue--->  +--------+ ---Transmit---> inject: raw sockets
//!   host: addresses --------------> | Daemon | ---FlowUpdate-> queue threads, kernel's sets
//!   counting: kernel's counters --> |  (the  | ---Event------> log, `shimq monitor`
//!   control: commands ------------> |  core) | ---FlowUpdate-> bpf: what the kernel maps
//!                                   |        | <--poll_timeout, clock
//!                                   +--------+
//! ```
//!
//! One task turns all of it: something happens, the core is told, and what the core has to say is
//! carried out before anything else happens.

mod answers;
mod bpf;
mod busy;
mod carry;
mod counting;
mod datapath;
mod error;
mod fork;
mod inject;
mod intake;
mod kernel;
mod listing;
mod locators;
mod log;
mod narrow;
mod oversize;
mod processors;
mod queues;
mod reload;
mod report;
mod switch;

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv6Addr;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use ring::rand::{SecureRandom, SystemRandom};
use shim6_core::{Endpoint, Instant, LocalLocator};
use shimq_netfilter::queue::{BatchQueue, PlainQueue, Queue, QueueConfig, QueueError};
use shimq_netfilter::rules::Mode;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::clock;
use crate::config::{Backend, Config};
use crate::control::{self, Asked, Server};
use crate::host::{Host, LocatorsChanged};
use crate::preferences::Preferences;
use bpf::KernelMapping;
use counting::Reading;
use datapath::Choosing;
pub(crate) use error::DaemonError;
use inject::Injector;
use intake::Intake;
use kernel::Kernel;
use listing::Listing;
use narrow::{NarrowPath, NarrowPaths};
use oversize::Oversize;
use processors::Share;
use queues::{FromQueue, QueueThread};
use switch::Switches;

/// How many packets and notices are taken before anything else has its turn.
const BURST: usize = 256;

/// How often the queue threads are looked after.
const WATCH: Duration = Duration::from_secs(1);

/// Runs until a signal says stop.
///
/// # Errors
///
/// [`DaemonError`], each with what to do. Whatever was set up is gone on return, save the addresses
/// that connections live on.
pub(crate) async fn run(config: Config) -> Result<(), DaemonError> {
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    if control::is_running(&config.socket) {
        return Err(DaemonError::Running(config.socket));
    }
    inject::check_capability().map_err(DaemonError::raw_socket)?;
    let (daemon, mut inputs) = Daemon::start(config).await?;
    daemon.run(&mut inputs).await
}

/// What happens to the daemon.
struct Inputs {
    from_queues: Intake,
    locators: mpsc::Receiver<LocatorsChanged>,
    asked: mpsc::Receiver<Asked>,
}

struct Daemon {
    config: Config,
    started: Instant,
    endpoint: Endpoint,
    /// The heuristic's rule is applied by the kernel: a candidate that comes is one.
    kernel_decides: bool,
    queues: Vec<QueueThread>,
    kernel: Kernel,
    kernel_mapping: KernelMapping,
    injector: Injector,
    own_mark: u32,
    send_errors: u64,
    /// Whether the log tells of a firewall that drops what we send.
    firewall_told: bool,
    narrow_paths: NarrowPaths,
    switches: Switches,
    choosings: Vec<Choosing>,
    /// Lists of contexts that somebody waits for.
    listings: VecDeque<Listing>,
    locators: Vec<LocalLocator>,
    /// Names of the interfaces that these are on.
    interfaces: BTreeMap<Ipv6Addr, String>,
    preferences: Preferences,
    server: Server,
    host: Host,
}

impl Daemon {
    async fn start(config: Config) -> Result<(Self, Inputs), DaemonError> {
        let rules = config.rules()?;
        let mut seed = [0; 32];
        SystemRandom::new()
            .fill(&mut seed)
            .map_err(|_| DaemonError::Randomness)?;
        let mut rng = ChaCha20Rng::from_seed(seed);
        rng.fill_bytes(&mut seed);
        let mut endpoint = Endpoint::new(config.core(), config.heuristic(), seed);

        // Queues are bound and threads serve them before a rule points there.
        let (to_endpoint, from_queues) = intake::intake();
        // Where every packet is queued, what goes into silence is seen anyway.
        let keep = match rules.mode {
            Mode::Queue => rules.keep.clone(),
            Mode::QueueAll => 0..0,
        };
        let kinds: [(_, Configure); 3] = [
            (&rules.observe, QueueConfig::observe),
            (&rules.rewrite, QueueConfig::rewrite),
            (&keep, QueueConfig::keep),
        ];
        let mut queues = Vec::new();
        for (numbers, configure) in kinds {
            for number in numbers.clone() {
                let maps = rules.rewrite.contains(&number);
                let mut queue = configure(number);
                queue.fail_open &= config.fail_open();
                let queue = open(config.backend(), &queue)?;
                let table = match rules.mode {
                    Mode::Queue => endpoint.flow_table_behind_kernel_counters(),
                    Mode::QueueAll => endpoint.flow_table(),
                };
                let random =
                    ChaCha20Rng::from_rng(&mut rng).map_err(|_| DaemonError::Randomness)?;
                let oversize = Oversize::new(rules.own_mark, random);
                let share = Share::of(number, numbers);
                let to_endpoint = to_endpoint.clone();
                let thread = QueueThread::start(queue, share, maps, table, to_endpoint, oversize);
                queues.push(thread.map_err(DaemonError::Thread)?);
            }
        }
        let kernel = Kernel::start(&config, &rules)?;
        tracing::info!(queued_by = %kernel.statement(), "rules are in force");
        let kernel_mapping = KernelMapping::start(config.kernel_maps(), rules.own_mark);
        let (host, locators) = Host::start(config.host(), &mut rng).await?;
        let (asked_sender, asked) = mpsc::channel(16);
        let server =
            Server::listen(&config.socket, asked_sender).map_err(|source| DaemonError::Socket {
                path: config.socket.clone(),
                source,
            })?;
        let kernel_decides = config.kernel_decides();
        let preferences = config.preferences();
        let injector = Injector::new(rules.own_mark);
        let daemon = Self {
            config,
            started: clock::now(),
            endpoint,
            kernel_decides,
            queues,
            kernel,
            kernel_mapping,
            injector,
            own_mark: rules.own_mark,
            send_errors: 0,
            firewall_told: false,
            narrow_paths: NarrowPaths::default(),
            switches: Switches::default(),
            choosings: Vec::new(),
            listings: VecDeque::new(),
            locators: Vec::new(),
            interfaces: BTreeMap::new(),
            preferences,
            server,
            host,
        };
        Ok((
            daemon,
            Inputs {
                from_queues,
                locators,
                asked,
            },
        ))
    }

    /// Turns until told to stop, and clears up in any case.
    async fn run(mut self, inputs: &mut Inputs) -> Result<(), DaemonError> {
        let turned = self.turn(inputs).await;
        if turned.is_ok() {
            tracing::info!("stopping; addresses stay: `shimq locators release` removes them");
        }
        self.kernel_mapping.stop();
        let kernel = self.kernel.stop();
        let host = self.host.stop().await;
        turned?;
        kernel?;
        host?;
        Ok(())
    }

    async fn turn(&mut self, inputs: &mut Inputs) -> Result<(), DaemonError> {
        let mut terminate = signal(SignalKind::terminate()).map_err(DaemonError::Thread)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(DaemonError::Thread)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(DaemonError::Thread)?;
        let mut watch = tokio::time::interval(WATCH);
        // Looks that were missed while this process was stopped must not come all at once: the
        // threads were stopped as well.
        watch.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut ready = false;
        loop {
            let due = self.endpoint.poll_timeout();
            tokio::select! {
                Some(first) = inputs.from_queues.recv() => {
                    self.handle_from_queue(first);
                    for _ in 0..BURST {
                        let Some(next) = inputs.from_queues.try_recv() else { break };
                        self.handle_from_queue(next);
                    }
                }
                changed = inputs.locators.recv() => {
                    // Why it ended is said when the host is stopped.
                    let Some(changed) = changed else { return Ok(()) };
                    self.handle_locators(&changed);
                    if !ready {
                        ready = true;
                        tell_service_manager();
                    }
                }
                () = until(due) => {
                    self.freshen_counters(clock::now());
                    self.endpoint.handle_timeout(clock::now());
                }
                () = until(self.kernel.poll_timeout()) => self.poll_counters(),
                _ = watch.tick() => {
                    self.look_after_queues()?;
                    self.switches.expire(clock::now());
                    self.kernel.mend();
                    self.kernel_mapping.look_after();
                    self.forget_narrow_paths().await;
                }
                () = std::future::ready(()), if self.kernel_mapping.is_waiting() => {
                    self.kernel_mapping.hand_over();
                }
                Some(asked) = inputs.asked.recv() => self.answer(asked).await,
                () = std::future::ready(()), if !self.listings.is_empty() => self.go_on_listing(),
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                _ = hangup.recv() => self.reload_for_signal(),
            }
            self.carry_out().await;
        }
    }

    fn handle_from_queue(&mut self, told: FromQueue) {
        let now = clock::now();
        match told {
            FromQueue::Packet(packet) => {
                if self.kernel.watches_something() {
                    self.freshen_counters(now);
                }
                self.endpoint.handle_packet(now, &packet);
            }
            FromQueue::Unanswered(tag, packet) => {
                if let Some(ulids) = self.endpoint.ulids(tag) {
                    let reading = self.kernel.freshen_counter(ulids, now);
                    self.handle_reading(now, reading);
                }
                self.endpoint.handle_unanswered(now, tag, &packet);
            }
            FromQueue::Payload(tag) => self.endpoint.handle_payload_received(now, tag),
            FromQueue::NarrowPath { ulids, mtu, error } => {
                self.narrow_paths
                    .told
                    .push(NarrowPath { ulids, mtu, error });
            }
            FromQueue::Candidate { ulids, sent, .. } if self.kernel_decides => {
                if sent && !self.endpoint.handle_trigger(now, ulids) {
                    self.kernel.decline(ulids);
                }
            }
            FromQueue::Candidate {
                ulids,
                sent,
                octets,
            } => {
                self.endpoint.handle_candidate(now, ulids, sent, octets);
            }
        }
    }

    fn freshen_counters(&mut self, now: Instant) {
        let reading = self.kernel.freshen_counters(now);
        self.handle_reading(now, reading);
    }

    fn poll_counters(&mut self) {
        let now = clock::now();
        let reading = self.kernel.poll_counters(now);
        self.handle_reading(now, reading);
    }

    fn handle_reading(&mut self, now: Instant, reading: Reading) {
        for flow in reading.heard {
            self.endpoint.handle_payload_received(now, flow.local_tag);
        }
        for flow in reading.unanswered {
            self.endpoint.handle_silence(now, flow.local_tag);
        }
    }

    fn look_after_queues(&mut self) -> Result<(), DaemonError> {
        for queue in &mut self.queues {
            if let Some(ended) = queue.ended() {
                let source = ended
                    .err()
                    .unwrap_or_else(|| std::io::Error::other("it returned"));
                return Err(DaemonError::Queue {
                    number: queue.number,
                    source,
                });
            }
            if queue.hangs() {
                // Its packets bypass it from now on; a new start is the cure.
                return Err(DaemonError::Hangs(queue.number));
            }
        }
        // Nothing to notify outside of a service manager.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
        Ok(())
    }
}

/// What a queue of some kind is like, by its number.
type Configure = fn(u16) -> QueueConfig;

fn open(backend: Backend, config: &QueueConfig) -> Result<Box<dyn Queue>, QueueError> {
    Ok(match backend {
        Backend::Batch => Box::new(BatchQueue::open(config)?),
        Backend::Plain => Box::new(PlainQueue::open(config)?),
    })
}

/// Sleeps until `due`; for ever if there is nothing to wait for.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep(due.since(clock::now())).await,
        None => std::future::pending().await,
    }
}

fn tell_service_manager() {
    tracing::info!("ready");
    // Outside of a service manager there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}
