//! `make accounting`: what is sent is delivered, or counted as dropped, to the last packet.
//!
//! Numbered datagrams cross two hosts with shimq, steadily and in bursts that overflow queues and
//! buffers on purpose, in every way that shimq treats packets. Then all is added up:
//!
//! ```text
//! datagrams sent + control messages sent
//!     = datagrams delivered + control messages arrived + drops by reason
//! ```
//!
//! Reasons are shimq's own counters and the kernel's columns: those of the queues, sockets and devices.
//! A difference, a datagram that comes twice, or one with other octets ends the program with status 1.

mod ledger;
mod numbered;
mod phase;
mod report;
mod stage;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use phase::Phase;
use report::Results;
use shimq_benches::daemon::Program;
use shimq_benches::error::BenchError;
use shimq_benches::progress_bar;

/// Accounts for every packet.
#[derive(Debug, Parser)]
struct Arguments {
    /// Datagrams from host A to host B; about a twentieth as many come back beside them.
    #[arg(long, default_value_t = 10_000_000)]
    packets: u64,
    /// The program; the one beside this one if not given.
    #[arg(long)]
    shimq: Option<PathBuf>,
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = run(&arguments).and_then(|results| {
        if arguments.json {
            let json = serde_json::to_string_pretty(&results);
            println!("{}", json.map_err(BenchError::io("write JSON"))?);
        } else {
            print!("{results}");
        }
        Ok(results.is_complete())
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<Results, BenchError> {
    shimq_testbed::gain_privilege()?;
    let program = Program::prepare(arguments.shimq.as_deref())?;
    let bar = progress_bar(arguments.packets);
    let mut results = Results::default();
    for phase in Phase::ALL {
        let datagrams = arguments.packets * phase.share() / 100;
        bar.set_message(phase.title());
        match stage::play(&program, phase, datagrams, &bar)? {
            Ok(outcome) => results.phases.push(outcome),
            Err(reason) => {
                bar.suspend(|| eprintln!("SKIPPED, {}: {reason}", phase.title()));
                bar.inc(datagrams);
            }
        }
    }
    bar.finish_and_clear();
    Ok(results)
}
