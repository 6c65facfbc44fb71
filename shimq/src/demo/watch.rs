//! Watches a transfer from its first byte to its end, and cuts its path on the way.
//!
//! The router is the judge: which path carries the file, before and after the cut, is read from its
//! counters, not from what the daemons say of themselves.

use std::process::ExitStatus;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use shimq_testbed::{A, Counters, Event, Moment, Pair, Shim, TwoHosts};

use super::DemoError;
use super::datapath::{Datapath, Taken};
use super::shim::{self, Host};
use super::timeline::{Path, Timeline};
use super::transfer::Transfer;
use super::trial::{self, Plan};

/// What one run showed.
pub(super) struct Observation {
    pub(super) timeline: Timeline,
    pub(super) ending: Ending,
    /// Octets that the application had received, each time that they had become more.
    pub(super) received: Vec<(Moment, u64)>,
    /// The path of the file that was cut, and when.
    pub(super) cut: (Moment, Path),
    /// When a daemon first reported the failure.
    pub(super) failure_detected: Option<Moment>,
    /// When a daemon first reported a new current pair.
    pub(super) pair_changed: Option<Moment>,
    /// The path that the router saw the file on after the cut, if another one.
    pub(super) new_path: Option<Path>,
    pub(super) counters: Counters,
    /// Of each daemon.
    pub(super) datapaths: Vec<Taken>,
    /// SHA-256 of the file as served and as received, once the client has ended.
    pub(super) digests: Option<(String, String)>,
}

/// How the transfer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The client ended, with this complaint if it failed.
    Exited(ExitStatus, String),
    /// The client had received nothing for so long, and was given up.
    Stalled(Duration),
}

/// A transfer under observation.
pub(super) struct Watch<'a> {
    plan: &'a Plan,
    network: &'a TwoHosts,
    shims: Vec<(Host, Shim<'a>)>,
    transfer: Transfer,
    timeline: Timeline,
    cut_delay: Duration,
    received: Vec<(Moment, u64)>,
    /// Of the silences that were told; every longer one is.
    longest_silence: Duration,
    /// Hosts whose daemon has reported the context.
    established: Vec<Host>,
    /// Since when the connection is fit to be cut.
    ready: Option<Moment>,
    looked_at_router: Moment,
    counters: Counters,
    /// The path that carries the file, as the router last saw it.
    path: Option<Path>,
    cut: Option<(Moment, Path)>,
    failure_detected: Option<Moment>,
    pair_changed: Option<Moment>,
    new_path: Option<Path>,
}

impl<'a> Watch<'a> {
    /// Prepares to cut the path `cut_delay` after the context is up; without shim, after the
    /// first byte.
    pub(super) fn new(
        plan: &'a Plan,
        network: &'a TwoHosts,
        shims: Vec<(Host, Shim<'a>)>,
        transfer: Transfer,
        timeline: Timeline,
        cut_delay: Duration,
    ) -> Self {
        Self {
            plan,
            network,
            shims,
            transfer,
            looked_at_router: timeline.start(),
            timeline,
            cut_delay,
            received: Vec::new(),
            longest_silence: SILENCE,
            established: Vec::new(),
            ready: None,
            counters: Counters::default(),
            path: None,
            cut: None,
            failure_detected: None,
            pair_changed: None,
            new_path: None,
        }
    }

    /// Watches until the client ends or has stalled for too long.
    pub(super) fn run(
        mut self,
        events: &Receiver<(Host, Event)>,
        interrupted: &AtomicBool,
    ) -> Result<Observation, DemoError> {
        let ending = loop {
            trial::go_on_unless(interrupted)?;
            // Without daemons nobody sends, and this is the pause.
            let first = events.recv_timeout(TICK).ok();
            for (host, event) in first.into_iter().chain(events.try_iter()) {
                self.hear(host, &event);
            }
            let now = Moment::now();
            self.look_at_application(now);
            if now.since(self.looked_at_router) >= ROUTER_INTERVAL {
                self.look_at_router(now)?;
                for (_, shim) in &mut self.shims {
                    shim.check()?;
                }
            }
            if self.cut.is_none() {
                self.cut_when_due(now)?;
            }
            if let Some(ending) = self.ending(now)? {
                break ending;
            }
        };
        self.conclude(ending)
    }

    fn hear(&mut self, host: Host, event: &Event) {
        let after_cut = self.cut.is_some_and(|(cut, _)| event.at() >= cut);
        match event.name.as_str() {
            "context-established" => {
                if !self.established.contains(&host) {
                    self.established.push(host);
                }
                if self.established.len() == self.shims.len() {
                    self.ready.get_or_insert(event.at());
                }
            }
            "failure-detected" | "pair-suspected" if after_cut => {
                self.failure_detected.get_or_insert(event.at());
            }
            "pair-changed" if after_cut => {
                self.pair_changed.get_or_insert(event.at());
            }
            // Told below, like the others.
            _ => (),
        }
        let mut text = format!("{host}: {}", event.name.replace('-', " "));
        if let Some(Pair { local, peer }) = event.locators {
            let path = Path {
                source: local,
                destination: peer,
            };
            text = format!("{text}, {path}");
        }
        if let Some(cause) = &event.cause {
            text = format!("{text}: {cause}");
        }
        self.timeline.note(event.at(), text);
    }

    fn look_at_application(&mut self, now: Moment) {
        let octets = self.transfer.received();
        let (before, had) = self.received.last().copied().unwrap_or((now, 0));
        if octets == had {
            return;
        }
        if self.received.is_empty() {
            self.timeline.note(now, "first byte of the file");
            if !self.plan.with_shim {
                self.ready = Some(now);
            }
        }
        let silence = now.since(before);
        if silence > self.longest_silence && self.cut.is_some() {
            self.longest_silence = silence;
            let silence = silence.as_millis();
            let text = format!("application receives again, after {silence} ms of silence");
            self.timeline.note(now, text);
        }
        self.received.push((now, octets));
        self.timeline.progress(octets);
    }

    /// Finds out which path towards host A the file is on.
    fn look_at_router(&mut self, now: Moment) -> Result<(), DemoError> {
        let counters = self.network.counters()?;
        let busiest = counters
            .paths
            .iter()
            .filter(|((_, to), _)| A.iter().any(|provider| provider.prefix.contains(*to)))
            .map(|(&(source, destination), count)| {
                let before = self.counters.path(source, destination);
                (
                    count.octets - before.octets,
                    Path {
                        source,
                        destination,
                    },
                )
            })
            .max_by_key(|(grown, _)| *grown);
        if let Some((grown, path)) = busiest
            && grown >= FILE_OCTETS
        {
            let cut_path = self.cut.map(|(_, path)| path);
            if self.new_path.is_none() && cut_path.is_some_and(|cut| cut != path) {
                self.new_path = Some(path);
                self.timeline
                    .note(now, format!("router: the file is now on {path}"));
            }
            self.path = Some(path);
        }
        self.counters = counters;
        self.looked_at_router = now;
        Ok(())
    }

    fn cut_when_due(&mut self, now: Moment) -> Result<(), DemoError> {
        if let (Some(ready), Some(path)) = (self.ready, self.path)
            && now >= ready + self.cut_delay
        {
            let (a, b) = (path.destination, path.source);
            self.network.cut(a, b, self.plan.cut.into())?;
            let cut = Moment::now();
            self.cut = Some((cut, path));
            let text = format!("CUT {} {path}, in silence", self.plan.cut);
            self.timeline.note(cut, text);
        } else if let Some((first_byte, _)) = self.received.first()
            && self.ready.is_none()
            && now.since(*first_byte) >= CONTEXT_PATIENCE
        {
            return Err(DemoError::NoContext {
                waited: CONTEXT_PATIENCE,
            });
        }
        Ok(())
    }

    fn ending(&mut self, now: Moment) -> Result<Option<Ending>, DemoError> {
        if let Some(status) = self.transfer.try_wait()? {
            // What it wrote last.
            self.look_at_application(now);
            return Ok(Some(Ending::Exited(status, self.transfer.complaint())));
        }
        let last = self
            .received
            .last()
            .map_or(self.timeline.start(), |(last, _)| *last);
        let patience = if self.plan.with_shim {
            PATIENCE_WITH_SHIM
        } else {
            PATIENCE_WITHOUT_SHIM
        };
        let has_stalled = now.since(last) >= patience;
        Ok(has_stalled.then_some(Ending::Stalled(patience)))
    }

    fn conclude(mut self, ending: Ending) -> Result<Observation, DemoError> {
        let now = Moment::now();
        let text = match &ending {
            Ending::Exited(status, _) if status.success() => "transfer finished".to_owned(),
            Ending::Exited(status, complaint) => format!("transfer failed: {status}: {complaint}"),
            Ending::Stalled(silence) => format!("given up: not a byte for {silence:?}"),
        };
        self.timeline.note(now, text.clone());
        let Some(cut) = self.cut else {
            return Err(DemoError::EndedEarly { ending: text });
        };
        let digests = match &ending {
            Ending::Exited(..) => Some(self.transfer.digests()?),
            Ending::Stalled(_) => None,
        };
        if let Some((served, received)) = &digests {
            let text = if served == received {
                format!("SHA-256 of the received file is right: {received}")
            } else {
                format!("SHA-256 of the received file is WRONG: {received}, not {served}")
            };
            self.timeline.note(Moment::now(), text);
        }
        let datapaths = self.shims.iter();
        let datapaths = datapaths.map(|(host, shim)| shim::datapath(*host, shim));
        let datapaths: Vec<_> = datapaths.collect::<Result<_, _>>()?;
        // The default needs no word.
        let unusual = self.plan.datapath != Datapath::Queue;
        for datapath in datapaths.iter().filter(|_| unusual) {
            self.timeline.note(Moment::now(), datapath.to_string());
        }
        Ok(Observation {
            timeline: self.timeline,
            ending,
            received: self.received,
            cut,
            failure_detected: self.failure_detected,
            pair_changed: self.pair_changed,
            new_path: self.new_path,
            counters: self.network.counters()?,
            datapaths,
            digests,
        })
    }
}

/// How often the application is looked at, and so how exact its times are.
const TICK: Duration = Duration::from_millis(5);

/// How often the router is asked, which costs it more.
const ROUTER_INTERVAL: Duration = Duration::from_millis(200);

/// More octets than any control message in one interval: it is the file that a path carries.
const FILE_OCTETS: u64 = 10_000;

/// Pacing and losses alone make silences as long as this.
const SILENCE: Duration = Duration::from_millis(100);

/// How long the daemons may take to set up a context.
const CONTEXT_PATIENCE: Duration = Duration::from_secs(30);

/// How long a silent connection may still come back. With a shim: the detection (15 s at most),
/// the exploration, and TCP's own back-off, which may have doubled meanwhile.
const PATIENCE_WITH_SHIM: Duration = Duration::from_secs(120);
const PATIENCE_WITHOUT_SHIM: Duration = Duration::from_secs(30);
