//! Both hosts with shimq, brought to a phase, and the traffic of it.

use std::net::Ipv6Addr;
use std::thread;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde_json::Value;
use shimq_benches::daemon::Program;
use shimq_benches::error::BenchError;
use shimq_netfilter::queue::statistics;
use shimq_testbed::{A, B, Direction, Shim, TwoHosts};

use crate::ledger::Ledger;
use crate::numbered::Lane;
use crate::phase::Phase;
use crate::report::Outcome;

/// Plays a phase with so many datagrams from A to B; the inner error says why this system cannot.
pub(crate) fn play(
    program: &Program,
    phase: Phase,
    datagrams: u64,
    bar: &ProgressBar,
) -> Result<Result<Outcome, String>, BenchError> {
    let hosts = TwoHosts::new()?;
    let folder = tempfile::tempdir().map_err(BenchError::io("make a folder"))?;
    let start = |host, name| program.start(host, name, folder.path(), &phase.config());
    let mut daemons = [start(&hosts.a, "A")?, start(&hosts.b, "B")?];
    let [at_a, at_b] = &mut daemons;
    let ends = [at_a.wait_until_ready(&A)?, at_b.wait_until_ready(&B)?];
    for daemon in &daemons {
        if let Some(reason) = answer(daemon, "status")?["datapath"]["reason"].as_str() {
            return Ok(Err(reason.to_owned()));
        }
    }
    let mut stage = Stage {
        hosts: &hosts,
        daemons,
        ends,
    };
    stage.bring_to(phase)?;
    stage.account(phase, datagrams, bar).map(Ok)
}

struct Stage<'n> {
    hosts: &'n TwoHosts,
    /// Of A and B.
    daemons: [Shim<'n>; 2],
    /// Locators of A and of B, those of the ULIDs first.
    ends: [Vec<Ipv6Addr>; 2],
}

/// What is done to the stage while datagrams are sent.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// Never more on their way than every buffer holds.
    Steady,
    /// As fast as they can be sent.
    Blast,
    /// shimq of this host is stopped meanwhile.
    Stopped(usize),
    /// The receiver reads nothing meanwhile.
    Held,
}

/// A cycle of traffic, in datagrams: more than 8192 wait in no queue.
const CYCLE: [(Part, u64); 5] = [
    (Part::Steady, 14_000),
    (Part::Stopped(0), 12_000),
    (Part::Stopped(1), 12_000),
    (Part::Held, 2_000),
    (Part::Blast, 10_000),
];

impl Stage<'_> {
    fn ulids(&self) -> [Ipv6Addr; 2] {
        [self.ends[0][0], self.ends[1][0]]
    }

    /// Gives the hosts their context, on the locators of the phase.
    fn bring_to(&mut self, phase: Phase) -> Result<(), BenchError> {
        let [a, b] = self.ulids();
        self.exchange_until("both hosts have a context", |stage| {
            stage.both(|context| context["state"] == "ESTABLISHED")
        })?;
        if !phase.is_mapped() {
            return Ok(());
        }
        let mapper = if phase == Phase::MappedByKernel {
            "kernel"
        } else {
            "queue"
        };
        self.exchange_until("both hosts map", |stage| {
            for host in 0..2 {
                if stage.context(host)?["mapped"] == false {
                    stage.ask_to_move(host);
                }
            }
            stage.both(|context| context["mapped_by"] == mapper && context["reap"] == "operational")
        })?;
        // So it stays: no probe of the ULIDs is answered.
        Ok(self.hosts.cut(a, b, Direction::Both)?)
    }

    /// Asks a host to move the context to the other locators.
    fn ask_to_move(&self, host: usize) {
        let [here, there] = [&self.ends[host], &self.ends[1 - host]];
        let pair = format!("{},{}", here[1], there[1]);
        // It may refuse while the other host has the same moved; who waits looks at the outcome.
        let _ = self.daemons[host].ask(&format!("switch {} --pair {pair}", there[0]));
    }

    /// Whether `holds` of the context between the ULIDs, on both hosts.
    fn both(&self, holds: impl Fn(&Value) -> bool) -> Result<bool, BenchError> {
        Ok(holds(&self.context(0)?) && holds(&self.context(1)?))
    }

    /// A host's context between the ULIDs; null if there is none.
    fn context(&self, host: usize) -> Result<Value, BenchError> {
        let [local, peer] =
            [&self.ends[host], &self.ends[1 - host]].map(|ends| ends[0].to_string());
        let contexts = answer(&self.daemons[host], "contexts")?;
        let mut contexts = contexts.as_array().into_iter().flatten();
        let ours = contexts.find(|context| {
            context["ulids"]["local"] == *local && context["ulids"]["peer"] == *peer
        });
        Ok(ours.cloned().unwrap_or_default())
    }

    /// Has both hosts send until `condition` holds.
    fn exchange_until(
        &self,
        what: &str,
        condition: impl Fn(&Self) -> Result<bool, BenchError>,
    ) -> Result<(), BenchError> {
        let [mut there, mut back] = self.lanes(1 << 20)?;
        let deadline = Instant::now() + PATIENCE;
        while !condition(self)? {
            if Instant::now() > deadline {
                return Err(BenchError::TooLate {
                    condition: what.to_owned(),
                });
            }
            for _ in 0..8 {
                there.send()?;
                back.send()?;
            }
            thread::sleep(Duration::from_millis(20));
        }
        there.drain(QUIET);
        back.drain(QUIET);
        Ok(())
    }

    fn lanes(&self, datagrams: u64) -> Result<[Lane; 2], BenchError> {
        let [a, b] = self.ulids();
        let (a, b) = ((&self.hosts.a, a), (&self.hosts.b, b));
        Ok([Lane::open(a, b, datagrams)?, Lane::open(b, a, datagrams)?])
    }

    /// Sends the datagrams, and adds up what became of them.
    fn account(
        &mut self,
        phase: Phase,
        datagrams: u64,
        bar: &ProgressBar,
    ) -> Result<Outcome, BenchError> {
        let [mut there, mut back] = self.lanes(datagrams)?;
        let before = Ledger::read(self.hosts, &self.daemons)?;
        let cycle: u64 = CYCLE.iter().map(|(_, datagrams)| datagrams).sum();
        while there.sent < datagrams {
            let left = (datagrams - there.sent).min(cycle);
            for (index, (part, share)) in CYCLE.into_iter().enumerate() {
                let is_last = index + 1 == CYCLE.len();
                let upto = if is_last && left < cycle {
                    datagrams
                } else {
                    there.sent + share * left / cycle
                };
                let sent = there.sent;
                self.play_part(part, upto, &mut there, &mut back)?;
                bar.inc(there.sent - sent);
            }
        }
        there.drain(QUIET);
        back.drain(QUIET);
        for daemon in &mut self.daemons {
            daemon.check()?;
        }
        let added = Ledger::read(self.hosts, &self.daemons)?.since(&before);
        Ok(Outcome::new(phase, [there.close()?, back.close()?], added))
    }

    /// Waits until nothing waits in the queues of a host.
    fn await_empty_queues(&self, host: usize) -> Result<(), BenchError> {
        let host = [&self.hosts.a, &self.hosts.b][host];
        let deadline = Instant::now() + PATIENCE;
        loop {
            let queues = host.enter(statistics)?;
            let queues = queues.map_err(BenchError::io("read the kernel's counters"))?;
            if queues.iter().all(|queue| queue.waiting == 0) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(BenchError::TooLate {
                    condition: "queues are empty".to_owned(),
                });
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends until the number `upto`, and waits until all that will arrive has arrived.
    fn play_part(
        &mut self,
        part: Part,
        upto: u64,
        there: &mut Lane,
        back: &mut Lane,
    ) -> Result<(), BenchError> {
        match part {
            Part::Steady => {
                while there.sent < upto {
                    for _ in 0..WINDOW.min(upto - there.sent) {
                        there.send_spread()?;
                    }
                    for _ in 0..WINDOW / 16 {
                        back.send_spread()?;
                    }
                    there.wait(PAUSE);
                    back.wait(PAUSE);
                }
            }
            Part::Blast => send_upto(there, upto)?,
            Part::Stopped(host) => {
                self.daemons[host].process().pause()?;
                let sent = send_upto(there, upto);
                // What waits in the other host is to get here, too.
                let emptied = self.await_empty_queues(1 - host);
                self.daemons[host].process().resume()?;
                sent.and(emptied)?;
            }
            Part::Held => {
                there.hold(true);
                let sent = send_upto(there, upto);
                there.drain(PAUSE);
                there.hold(false);
                sent?;
            }
        }
        there.drain(PAUSE);
        back.drain(PAUSE);
        Ok(())
    }
}

/// What a daemon answers to a command.
pub(crate) fn answer(daemon: &Shim<'_>, command: &str) -> Result<Value, BenchError> {
    let said = daemon.ask(command)?;
    serde_json::from_slice(&said).map_err(BenchError::io("read an answer of shimq"))
}

fn send_upto(lane: &mut Lane, upto: u64) -> Result<(), BenchError> {
    while lane.sent < upto {
        lane.send()?;
    }
    Ok(())
}

/// Datagrams on their way while they are sent steadily.
const WINDOW: u64 = 64;

/// How long nothing has to arrive before what is on its way counts as lost, between two parts; if it
/// arrives after all, it is delivered all the same.
const PAUSE: Duration = Duration::from_millis(200);

/// The same before all is added up.
const QUIET: Duration = Duration::from_secs(2);

/// How long a state may take to come about.
const PATIENCE: Duration = Duration::from_secs(60);
