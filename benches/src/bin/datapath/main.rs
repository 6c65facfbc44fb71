//! `make bench`: what shimq costs, side by side with what else there is.
//!
//! Both hosts are network namespaces of this machine. Each turn measures every variant once, and all
//! that is said in the end are ratios to another variant of the same turn: absolute figures, which
//! are kept as well, are of this machine and this hour. `--quick` is a quick look.

#![expect(
    clippy::cast_precision_loss,
    reason = "figures have three digits that count"
)]

mod campaign;
mod meter;
mod network;
mod report;
mod results;
mod scale;
mod small_flows;
mod targets;
mod traffic;
mod variant;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use campaign::Plan;
use report::Setting;
use shimq_benches::daemon;
use shimq_benches::error::BenchError;
use shimq_benches::machine::Machine;
use shimq_benches::progress_bar;
use variant::{Tools, Variant};

/// Measures what packets cost, with shimq and otherwise.
#[derive(Debug, Parser)]
struct Arguments {
    /// How often everything is set up; each time it is measured in ten turns.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each measurement takes.
    #[arg(long, default_value_t = 0.12)]
    seconds: f64,
    /// One round of three turns: whether all of it works, and what is grossly wrong.
    #[arg(long, conflicts_with = "rounds")]
    quick: bool,
    /// Measures only variants whose title contains one of these words, and "no rules".
    #[arg(long)]
    only: Vec<String>,
    /// The program; the one beside this one if not given.
    #[arg(long)]
    shimq: Option<PathBuf>,
    /// Where tables and plots go.
    #[arg(long, default_value = "bench-out")]
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
    let folder = tempfile::tempdir().map_err(BenchError::io("make a folder"))?;
    let shimq = daemon::find(arguments.shimq.as_deref())?;
    let floors = match variant::compile(folder.path()) {
        Ok(floors) => Some(floors),
        Err(error) => {
            eprintln!("WITHOUT the C programs, which are what shimq is compared with: {error}");
            None
        }
    };
    let machine = Machine::look();
    let (rounds, turns) = if arguments.quick {
        (1, 3)
    } else {
        (arguments.rounds, 10)
    };
    let seconds = arguments.seconds;
    let plan = Plan {
        variants: Variant::ALL
            .into_iter()
            .filter(|variant| floors.is_some() || !variant.is_floor())
            .filter(|variant| arguments.wants(*variant))
            .collect(),
        rounds,
        turns,
        time: Duration::from_secs_f64(seconds),
    };
    let tools = Tools {
        shimq,
        floors,
        folder: folder.path().to_owned(),
    };
    let progress = progress_bar(plan.steps());
    let mut setting = Setting {
        rounds,
        turns,
        seconds,
        machine,
    };
    let results = plan.run(&tools, &progress);
    progress.finish_and_clear();
    setting.machine.look_again();
    let table = report::write(&results, &setting, &arguments.out)?;
    println!("{table}");
    println!("All of it, and plots, in {}.", arguments.out.display());
    Ok(())
}

impl Arguments {
    fn wants(&self, variant: Variant) -> bool {
        let named = |word: &String| variant.title().contains(word.as_str());
        self.only.is_empty() || variant == Variant::NoRules || self.only.iter().any(named)
    }
}
