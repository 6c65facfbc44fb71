//! One network with its daemons and an application, and the failures that it is made to bear.

use std::thread;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use shimq_benches::application::{Application, Pattern, Transport};
use shimq_benches::daemon::{Monitor, Program};
use shimq_benches::error::BenchError;
use shimq_testbed::{A3, B3, Emulator, Event, Moment, Path, Prefix, TwoHosts};

use crate::choice::Choices;
use crate::cuts::choose;
use crate::scene::Manner;

/// A one-way path, by its prefixes.
type OneWay = (Prefix, Prefix);

/// What a receiver got, and how long it got nothing.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Curve {
    /// Seconds since the measurement began, and Mbit/s in the half second around it.
    pub(super) rates: Vec<(f64, f64)>,
    /// The longest silence, seconds.
    pub(super) gap_s: f64,
    /// Mbit/s in the seconds before the cut, and in the last ones.
    pub(super) before: f64,
    pub(super) after: f64,
}

/// What is played on.
pub(super) struct Stage<'n> {
    emulator: &'n Emulator,
    application: Application,
    monitors: [Monitor; 2],
    rng: ChaCha8Rng,
}

/// Builds a network whose pairs have these delays each way, by number; starts daemons that explore in
/// this manner and an application with a context; and plays.
pub(super) fn on_stage<T>(
    program: &Program,
    (seed, manner): (u64, Manner),
    pattern: Pattern,
    delay: impl Fn(u64) -> Duration,
    play: impl FnOnce(&mut Stage<'_>) -> T,
) -> Result<T, BenchError> {
    let hosts = TwoHosts::with_three_providers()?;
    let emulator = hosts.emulate(seed)?;
    for (number, (source, destination)) in (0..).zip(paths()) {
        let path = Path {
            delay: delay(number % PAIRS),
            rate: Some(20_000_000),
            in_order: true,
            ..Path::default()
        };
        emulator.set(source, destination, path);
    }
    let folder = tempfile::tempdir().map_err(BenchError::io("make a folder"))?;
    let start = |host, name| program.start(host, name, folder.path(), &manner.toml());
    let (mut at_a, mut at_b) = (start(&hosts.a, "A")?, start(&hosts.b, "B")?);
    let (of_a, of_b) = (at_a.wait_until_ready(&A3)?, at_b.wait_until_ready(&B3)?);
    let monitors = [Monitor::follow(&at_a)?, Monitor::follow(&at_b)?];
    let ends = ((&hosts.a, of_a[0]), (&hosts.b, of_b[0]));
    let application = Application::start(pattern, Transport::Plain, ends.0, ends.1)?;
    let mut stage = Stage {
        emulator: &emulator,
        application,
        monitors,
        rng: ChaCha8Rng::seed_from_u64(seed),
    };
    stage.wait("both hosts have a context", PATIENCE, |stage| {
        let has = |monitor: &Monitor| monitor.has("context-established");
        stage.monitors.iter().all(has)
    })?;
    stage.rest();
    let result = play(&mut stage);
    at_a.check()?;
    at_b.check()?;
    Ok(result)
}

/// Every one-way path, pairs in the same order there and then back.
fn paths() -> impl Iterator<Item = OneWay> {
    let pairs = || {
        A3.into_iter()
            .flat_map(|a| B3.map(|b| (a.prefix, b.prefix)))
    };
    pairs().chain(pairs().map(|(a, b)| (b, a)))
}

impl Stage<'_> {
    fn wait(
        &self,
        what: &str,
        patience: Duration,
        condition: impl Fn(&Self) -> bool,
    ) -> Result<(), BenchError> {
        let start = Moment::now();
        while !condition(self) {
            if Moment::now().since(start) > patience {
                return Err(BenchError::TooLate {
                    condition: what.to_owned(),
                });
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn rest(&mut self) {
        let more = Duration::from_micros(self.rng.next_u64() % 500_000);
        thread::sleep(Duration::from_millis(1_500) + more);
    }

    /// The paths that carry most there and back, found by looking for a moment.
    fn current(&self) -> [OneWay; 2] {
        let passed = || -> Vec<u64> {
            let counts = paths().map(|(source, destination)| {
                self.emulator.counts(source, destination).passed.octets
            });
            counts.collect()
        };
        let before = passed();
        thread::sleep(Duration::from_millis(100));
        let grown = passed()
            .into_iter()
            .zip(before)
            .map(|(now, before)| now - before);
        let grown: Vec<(u64, OneWay)> = grown.zip(paths()).collect();
        let (there, back) = grown.split_at(PAIRS as usize);
        [there, back].map(|direction| {
            let most = direction.iter().max_by_key(|(grown, _)| *grown);
            most.map_or((A3[0].prefix, B3[0].prefix), |(_, path)| *path)
        })
    }

    /// Cuts paths, or mends them, and returns when.
    fn switch(&self, paths: &[OneWay], up: bool) -> Moment {
        let at = Moment::now();
        for &(source, destination) in paths {
            self.emulator
                .change(source, destination, |path| path.up = up);
        }
        at
    }

    /// Waits until both hosts have explored because of a failure `since`, and returns how long the one
    /// that noticed it did; infinite if that does not end.
    fn exploration(&self, since: Moment) -> f64 {
        let ended = |stage: &Self| {
            let mut spans = stage.monitors.iter().map(|monitor| span(monitor, since));
            spans.all(|span| span.is_some_and(|(_, end)| end.is_some()))
        };
        if self.wait("the exploration ends", LONGEST, ended).is_err() {
            return f64::INFINITY;
        }
        let spans = self
            .monitors
            .iter()
            .filter_map(|monitor| span(monitor, since));
        match spans.min_by_key(|(began, _)| *began) {
            Some((began, Some(end))) => end.since(began).as_secs_f64(),
            Some((_, None)) | None => f64::INFINITY,
        }
    }

    /// Has `failures` failures of `broken` paths, and returns how long each was explored, seconds.
    pub(super) fn explorations(&mut self, broken: usize, failures: usize) -> Vec<f64> {
        let all: Vec<OneWay> = paths().collect();
        let mut seconds = Vec::new();
        for _ in 0..failures {
            let current = self.current();
            let mut random = |below| self.rng.next_u64() % below;
            let broken = choose(&all, current, broken, &mut random);
            let cut_at = self.switch(&broken, false);
            seconds.push(self.exploration(cut_at));
            self.switch(&broken, true);
            self.rest();
        }
        seconds
    }

    /// Has the paths in use fail `failures` times, and returns what was chosen instead.
    pub(super) fn choices(&mut self, failures: usize) -> Choices {
        let mut choices = Choices::default();
        for _ in 0..failures {
            let failing = self.current();
            let cut_at = self.switch(&failing, false);
            let found = self.exploration(cut_at);
            let chosen = self.current();
            let number = |path: OneWay| paths().position(|other| other == path);
            match chosen.map(number) {
                [Some(there), Some(back)] if found.is_finite() => {
                    choices.chosen.push([there, back % PAIRS as usize]);
                }
                [_, _] => choices.lost += 1,
            }
            self.switch(&failing, true);
            self.rest();
        }
        choices
    }

    /// Cuts the current pair both ways, and returns the silence of the receiver, seconds.
    pub(super) fn recovery(&mut self) -> f64 {
        let cut_at = self.switch(&self.current(), false);
        let receives = |stage: &Self| {
            let moments = stage.application.moments();
            let last = moments.first().and_then(|end| end.last().copied());
            last.is_some_and(|last| last > cut_at + Duration::from_millis(100))
        };
        if self
            .wait("the receiver receives again", LONGEST, receives)
            .is_err()
        {
            return f64::INFINITY;
        }
        let moments = self.application.moments();
        longest_silence(moments.first().map_or(&[], Vec::as_slice))
    }

    /// Cuts the current pair both ways after 10 s, and returns what the receiver got in 25 s.
    pub(super) fn throughput(&mut self) -> Curve {
        let began = Moment::now();
        let until = |seconds: u64| {
            let end = began + Duration::from_secs(seconds);
            thread::sleep(end.since(Moment::now()));
        };
        until(10);
        self.switch(&self.current(), false);
        until(25);
        let mut arrivals = self.application.arrivals().swap_remove(0);
        arrivals.retain(|arrival| arrival.at >= began);
        let mut rates: Vec<(f64, f64)> = (0..50).map(|half| (f64::from(half) / 2.0, 0.0)).collect();
        for arrival in &arrivals {
            let half = arrival.at.since(began).as_millis() / 500;
            if let Some((_, rate)) = rates.get_mut(half as usize) {
                *rate += arrival.octets as f64 * 16.0 / 1e6;
            }
        }
        let mean = |from: usize, to: usize| {
            rates[from..to].iter().map(|(_, rate)| rate).sum::<f64>() / (to - from) as f64
        };
        let (before, after) = (mean(8, 18), mean(38, 48));
        let moments: Vec<Moment> = arrivals.iter().map(|arrival| arrival.at).collect();
        Curve {
            gap_s: if after > 0.0 {
                longest_silence(&moments)
            } else {
                f64::INFINITY
            },
            before,
            after,
            rates,
        }
    }
}

/// When a host's first exploration after `since` began, and ended.
fn span(monitor: &Monitor, since: Moment) -> Option<(Moment, Option<Moment>)> {
    let events = monitor.events();
    let mut after = events.iter().filter(|event| event.at() >= since);
    let is = |name: &str, names: &[&str]| names.contains(&name);
    let began = after.find(|event| is(&event.name, &["failure-detected", "exploring"]))?;
    let ended = after.find(|event| is(&event.name, &["pair-changed", "pair-confirmed"]));
    Some((began.at(), ended.map(Event::at)))
}

/// Seconds.
fn longest_silence(moments: &[Moment]) -> f64 {
    let silences = moments.windows(2).map(|two| two[1].since(two[0]));
    silences.max().unwrap_or_default().as_secs_f64()
}

/// Pairs of addresses.
const PAIRS: u64 = crate::choice::PAIRS as u64;

/// How long a context may take: a bulk transfer fills the queue of the path, and messages of the exchange
/// get lost in it; the third repetition comes after up to 42 s (RFC 5533 §7.8).
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a recovery is waited for.
const LONGEST: Duration = Duration::from_secs(120);
