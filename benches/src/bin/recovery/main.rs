//! `make recovery`: how long an application notices that its path failed.
//!
//! Two hosts with two providers each, a round trip of 20 ms on every path, a daemon on each host with
//! all of its timers at their defaults. An application runs for a while, then the pair of addresses
//! that carries its data fails, and the silence of the receiving end is measured. Over the same
//! network, in the same trial, the same is done to the kernel's MPTCP with two subflows; and over another
//! one to daemons that see every packet (`queue-all`), which shows what it costs that the kernel counts
//! instead. Trials mostly wait, so that several are played at a time; on a machine that is busy otherwise,
//! figures are worse than they should be, and the report names the load.

#![expect(
    clippy::cast_precision_loss,
    reason = "figures have three digits that count"
)]

mod healthy;
mod report;
mod results;
mod scenario;
mod silence;
mod stage;
mod trial;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use clap::Parser;
use indicatif::ProgressBar;
use shimq_benches::application::Pattern;
use shimq_benches::daemon::Program;
use shimq_benches::error::BenchError;
use shimq_benches::machine::Machine;
use shimq_benches::progress_bar;

use report::Setting;
use results::Results;
use scenario::Scenario;

/// Measures how long applications notice failed paths.
#[derive(Debug, Parser)]
struct Arguments {
    /// Runs of each scenario.
    #[arg(long, default_value_t = 45)]
    runs: u64,
    /// Trials at a time, each on a network of its own.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=64))]
    jobs: u64,
    /// Only faults and rough paths whose title contains one of these words.
    #[arg(long)]
    only: Vec<String>,
    /// How long each application uses a healthy but rough path, seconds; 0 leaves it out.
    #[arg(long, default_value_t = 120)]
    healthy: u64,
    /// The program; the one beside this one if not given.
    #[arg(long)]
    shimq: Option<PathBuf>,
    /// Where the files go.
    #[arg(long, default_value = "target/recovery")]
    out: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), BenchError> {
    shimq_testbed::gain_privilege()?;
    let mut machine = Machine::look();
    let program = Program::prepare(arguments.shimq.as_deref())?;
    let (scenarios, healthy) = arguments.select()?;
    let trials: VecDeque<(Scenario, u64)> = (0..arguments.runs)
        .flat_map(|run| scenarios.iter().map(move |scenario| (*scenario, run)))
        .collect();

    let steps = trials.len() as u64 + arguments.healthy * healthy.len() as u64;
    let progress = progress_bar(steps);
    let results = Mutex::new(Results::default());
    let time = Duration::from_secs(arguments.healthy);
    thread::scope(|scope| {
        for pattern in healthy {
            let (results, program, progress) = (&results, &program, &progress);
            scope.spawn(move || use_rough_path(pattern, time, results, program, progress));
        }
    });
    let trials = Mutex::new(trials);
    thread::scope(|scope| {
        for _ in 0..arguments.jobs {
            scope.spawn(|| work(&trials, &results, &program, &progress));
        }
    });
    progress.finish_and_clear();
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    machine.look_again();
    let setting = Setting {
        runs: arguments.runs,
        jobs: arguments.jobs as usize,
        machine,
    };
    let table = report::write(&results, &setting, &arguments.out)?;
    println!("{table}");
    println!("All of it in {}.", arguments.out.display());
    Ok(())
}

/// Has an application use a rough path for `time`, on a network of its own.
fn use_rough_path(
    pattern: Pattern,
    time: Duration,
    results: &Mutex<Results>,
    program: &Program,
    progress: &ProgressBar,
) {
    progress.set_message("healthy but rough paths");
    let outcome = healthy::observe(pattern, time, program, progress);
    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
    match outcome {
        Ok(healthy) => results.healthy.push(healthy),
        Err(error) => {
            let failure = format!("{}: {error}", healthy::title(pattern));
            progress.suspend(|| eprintln!("{failure}"));
            results.failures.push(failure);
        }
    }
}

/// Plays trials until none is left.
fn work(
    trials: &Mutex<VecDeque<(Scenario, u64)>>,
    results: &Mutex<Results>,
    program: &Program,
    progress: &ProgressBar,
) {
    // A panic elsewhere leaves neither list half changed.
    let next = || {
        trials
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    };
    while let Some((scenario, run)) = next() {
        progress.set_message(format!("run {}: {}", run + 1, scenario.title()));
        let outcome = trial::play(scenario, run, program);
        let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(outcomes) => results.outcomes.extend(outcomes),
            Err(error) => {
                let failure = format!("run {}, {}: {error}", run + 1, scenario.title());
                progress.suspend(|| eprintln!("{failure}"));
                results.failures.push(failure);
            }
        }
        progress.inc(1);
    }
}

impl Arguments {
    /// What is to be measured: faults, and patterns of applications on a rough path.
    fn select(&self) -> Result<(Vec<Scenario>, Vec<Pattern>), BenchError> {
        let rough = [Pattern::Paced, Pattern::Call];
        let mut scenarios = Scenario::all();
        let mut titles: Vec<String> = scenarios.iter().copied().map(Scenario::title).collect();
        titles.extend(rough.map(healthy::title));
        if !titles.iter().any(|title| self.wants(title)) {
            return Err(BenchError::NoSuchTitle { titles });
        }

        scenarios.retain(|scenario| self.wants(&scenario.title()));
        let wanted = |pattern: &Pattern| self.healthy > 0 && self.wants(&healthy::title(*pattern));
        Ok((scenarios, rough.into_iter().filter(wanted).collect()))
    }

    fn wants(&self, title: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|word| title.contains(word.as_str()))
    }
}
