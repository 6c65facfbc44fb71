//! One trial: a network of its own, an application on it, one fault, and what came of it.

use std::net::Ipv6Addr;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::Serialize;
use shimq_benches::application::{Application, Transport};
use shimq_benches::daemon::{Monitor, Program};
use shimq_benches::error::BenchError;
use shimq_testbed::{A, B, Moment, Provider};

use crate::scenario::{Fault, Means, Scenario};
use crate::silence;
use crate::stage::{Network, PATH, Shims, ends, wait_until};

/// What one trial with one means showed.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) scenario: Scenario,
    pub(crate) means: Means,
    pub(crate) run: u64,
    /// Milliseconds from the fault to the end of the longest silence; `None` if it did not end.
    pub(crate) recovery_ms: Option<f64>,
    /// The pair that the fault met, by its links.
    pub(crate) pair: [&'static str; 2],
    /// What the daemons said from some seconds before the fault on.
    pub(crate) events: Vec<TimedEvent>,
}

/// Something that a daemon reported.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TimedEvent {
    /// Milliseconds after the fault.
    pub(crate) at_ms: f64,
    /// Which host.
    pub(crate) host: String,
    /// What, in the words of `shimq monitor`.
    pub(crate) event: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<String>,
    /// The links of the pair that it is about, this host's first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pair: Option<[&'static str; 2]>,
}

/// Plays `scenario` with all its means, one after the other; which comes first turns from run to run.
pub(crate) fn play(
    scenario: Scenario,
    run: u64,
    program: &Program,
) -> Result<Vec<Outcome>, BenchError> {
    let mut networks = scenario.networks().to_vec();
    if run % 2 == 1 {
        networks.reverse();
    }
    let mut outcomes = Vec::new();
    for means in networks {
        outcomes.extend(play_in_one_network(scenario, means, run, program)?);
    }
    Ok(outcomes)
}

fn play_in_one_network(
    scenario: Scenario,
    means: &[Means],
    run: u64,
    program: &Program,
) -> Result<Vec<Outcome>, BenchError> {
    let mut rng = ChaCha8Rng::seed_from_u64(run);
    let network = Network::new(rng.next_u64())?;
    let config = means.first().map_or("", |means| means.config());
    let mut shim = network.start_daemons(program, config)?;
    let mut means = means.to_vec();
    if run % 2 == 1 {
        means.reverse();
    }
    let mut outcomes = Vec::new();
    for means in means {
        network.set_paths(PATH);
        let settling = SETTLING + Duration::from_micros(rng.next_u64() % SPREAD_MICROS);
        outcomes.push(
            Trial {
                scenario,
                means,
                run,
                network: &network,
                shim: &shim,
            }
            .play(settling)?,
        );
        for daemon in &mut shim.daemons {
            daemon.check()?;
        }
    }
    Ok(outcomes)
}

struct Trial<'n> {
    scenario: Scenario,
    means: Means,
    run: u64,
    network: &'n Network,
    shim: &'n Shims<'n>,
}

impl Trial<'_> {
    fn play(&self, settling: Duration) -> Result<Outcome, BenchError> {
        let application = self.start()?;
        std::thread::sleep(settling);
        let pair = self.network.busiest();
        let fault = self.strike(pair)?;
        let recovered = watch(&application, fault);
        let events = self
            .shim
            .monitors
            .iter()
            .flat_map(|monitor| events(monitor, fault));
        let mut events: Vec<TimedEvent> = events.collect();
        events.sort_by(|one, other| one.at_ms.total_cmp(&other.at_ms));
        Ok(Outcome {
            scenario: self.scenario,
            means: self.means,
            run: self.run,
            recovery_ms: recovered.map(|time| time.as_secs_f64() * 1_000.0),
            pair: [pair.0.link, pair.1.link],
            events,
        })
    }

    /// Starts the application and returns when it is protected.
    fn start(&self) -> Result<Application, BenchError> {
        let hosts = &self.network.hosts;
        let [of_a, of_b] = &self.shim.locators;
        let (transport, from, to) = match self.means {
            Means::Shimq | Means::QueueAll => (Transport::Plain, of_a[0], of_b[0]),
            Means::Mptcp => (Transport::Multipath, A[0].host(), B[0].host()),
        };
        let joined = self.network.joined_subflows()?;
        let ends = ((&hosts.a, from), (&hosts.b, to));
        let application = Application::start(self.scenario.pattern, transport, ends.0, ends.1)?;
        match self.means {
            Means::Shimq | Means::QueueAll => {
                wait_until("both hosts have a context", PATIENCE, || {
                    let monitors = &self.shim.monitors;
                    Ok(monitors.iter().all(|one| one.has("context-established")))
                })?;
            }
            Means::Mptcp => wait_until("the second subflow has joined", PATIENCE, || {
                Ok(self.network.joined_subflows()? > joined)
            })?,
        }
        Ok(application)
    }

    /// Lets the fault happen; the moment returned is not later than that.
    fn strike(&self, pair: (Provider, Provider)) -> Result<Moment, BenchError> {
        let (a, b) = ends(pair);
        let hosts = &self.network.hosts;
        let cut = |there: bool, back: bool| {
            let fault = Moment::now();
            for (source, destination, holds) in [(a, b, there), (b, a, back)] {
                if holds {
                    self.network
                        .emulator
                        .change(source, destination, |path| path.up = false);
                }
            }
            Ok(fault)
        };
        let down = |host: &shimq_testbed::Namespace, provider: Provider| {
            let fault = Moment::now();
            host.run("ip", ["link", "set", provider.link, "down"])?;
            Ok(fault)
        };
        let remove =
            |host: &shimq_testbed::Namespace, locators: &[Ipv6Addr], provider: Provider| {
                let of_provider = |address: &&Ipv6Addr| provider.prefix.contains(**address);
                let address = locators.iter().find(of_provider).copied();
                let address = format!("{}/64", address.unwrap_or(provider.host()));
                let fault = Moment::now();
                host.run(
                    "ip",
                    ["-6", "address", "del", &address, "dev", provider.link],
                )?;
                Ok(fault)
            };
        let [of_a, of_b] = &self.shim.locators;
        match self.scenario.fault {
            Fault::Cut => cut(true, true),
            Fault::CutForward => cut(true, false),
            Fault::CutBackward => cut(false, true),
            Fault::SenderLink => down(&hosts.a, pair.0),
            Fault::ReceiverLink => down(&hosts.b, pair.1),
            Fault::SenderAddress => remove(&hosts.a, of_a, pair.0),
            Fault::ReceiverAddress => remove(&hosts.b, of_b, pair.1),
        }
    }
}

/// Watches until all ends receive steadily again; the slowest end decides.
fn watch(application: &Application, fault: Moment) -> Option<Duration> {
    loop {
        std::thread::sleep(Duration::from_millis(20));
        let now = Moment::now();
        let arrivals = application.moments();
        let is_steady = arrivals.iter().all(|end| silence::is_steady(end, now));
        let waited = now.since(fault);
        if (is_steady && waited > AFTERMATH) || waited > GIVEN_UP {
            let recoveries = arrivals
                .iter()
                .map(|end| silence::recovery(end, fault, now));
            // `None` is less than any time, so it has to be looked for first.
            return recoveries.collect::<Option<Vec<_>>>()?.into_iter().max();
        }
    }
}

fn events(monitor: &Monitor, fault: Moment) -> Vec<TimedEvent> {
    let timed = monitor.events().into_iter().map(|event| TimedEvent {
        at_ms: event.at().ms_after(fault),
        host: monitor.host().to_owned(),
        event: event.name.clone(),
        cause: event.cause.clone(),
        pair: event
            .locators
            .map(|pair| [link(pair.local), link(pair.peer)]),
    });
    timed.filter(|event| event.at_ms > -5_000.0).collect()
}

/// The link of the provider that an address belongs to.
fn link(address: Ipv6Addr) -> &'static str {
    A.iter()
        .chain(&B)
        .find(|provider| provider.prefix.contains(address))
        .map_or("elsewhere", |provider| provider.link)
}

/// How long an application runs undisturbed, and the random part on top of it.
const SETTLING: Duration = Duration::from_millis(1_500);
const SPREAD_MICROS: u64 = 500_000;

/// How long an application is watched after the fault at least.
const AFTERMATH: Duration = Duration::from_millis(1_500);

/// When a recovery is no longer waited for: beyond the Send Timeout and some exploration.
const GIVEN_UP: Duration = Duration::from_secs(40);

/// How long a context or a subflow may take: messages of the exchange get lost in a queue that a bulk
/// transfer fills, and are repeated after 4 s, 8 s and 16 s.
const PATIENCE: Duration = Duration::from_secs(40);
