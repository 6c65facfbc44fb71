//! `make figures`: the figures of the papers on REAP and LinShim6, drawn anew.
//!
//! First in the simulator, where ten thousands of failures take seconds; then, scaled down, in network
//! namespaces with real timers, kernels and TCP. The papers' own figures are pictures, so what they
//! state in words is marked in the plots and checked in the report.

#![expect(
    clippy::cast_precision_loss,
    reason = "figures have three digits that count"
)]

mod arrivals;
mod choice;
mod costs;
mod cuts;
mod live;
mod plots;
mod report;
mod scene;
mod simulated;
mod timeout;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use shimq_benches::daemon::Program;
use shimq_benches::error::BenchError;
use shimq_benches::machine::Machine;
use shimq_benches::progress_bar;

use live::Lab;

/// Draws the papers' figures from runs of our own.
#[derive(Debug, Parser)]
struct Arguments {
    /// Simulated failures of each kind.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    runs: u64,
    /// Leaves out the runs in network namespaces, which take some minutes and need privilege.
    #[arg(long)]
    simulated_only: bool,
    /// Networks at a time.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=64))]
    jobs: u64,
    /// The program; the one beside this one if not given.
    #[arg(long)]
    shimq: Option<PathBuf>,
    /// What `make costs` has measured; without it two figures are left out.
    #[arg(long, default_value = "target/costs/costs.json")]
    costs: PathBuf,
    /// Where the report, the plots and the data go.
    #[arg(long, default_value = "target/figures")]
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
    if !arguments.simulated_only {
        shimq_testbed::gain_privilege()?;
    }
    let folder = &arguments.out;
    fs::create_dir_all(folder).map_err(BenchError::io(format!("make {}", folder.display())))?;
    let mut machine = Machine::look();
    let live_steps = if arguments.simulated_only {
        0
    } else {
        live::steps()
    };
    let progress = progress_bar(simulated::steps(arguments.runs) + live_steps);
    let mut sections = vec![
        simulated::cuts(arguments.runs, folder, &progress)?,
        simulated::choices(arguments.runs, folder, &progress)?,
        simulated::timeouts(folder, &progress)?,
        simulated::arrivals(folder, &progress)?,
    ];
    if !arguments.simulated_only {
        let lab = Lab {
            program: &Program::prepare(arguments.shimq.as_deref())?,
            jobs: arguments.jobs as usize,
            folder,
            progress: &progress,
        };
        sections.extend([
            lab.throughput()?,
            lab.cuts()?,
            lab.choices()?,
            lab.timeouts()?,
        ]);
    }
    sections.extend(costs::sections(&arguments.costs, folder)?);
    progress.finish_and_clear();
    machine.look_again();
    let told = report::write(&sections, &machine, folder)?;
    print!("{told}");
    println!("The report is {}.", folder.join("report.md").display());
    Ok(())
}
