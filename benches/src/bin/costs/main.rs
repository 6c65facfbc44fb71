//! `make costs`: what the protocol costs, without a network: computing and memory.
//!
//! Everything that is compared takes turns in one run, so that ratios hold where the machine's speed
//! drifts; the figures are medians.

#![expect(
    clippy::cast_precision_loss,
    reason = "figures have three digits that count"
)]

mod exchange;
mod hashing;
mod memory;
mod negotiation;
mod report;
mod responding;

use std::alloc::System;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use shim6_cga::SigningKey;
use shimq_benches::machine::Machine;
use shimq_benches::progress_bar;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use negotiation::Security;
use report::Results;

/// Counts what is held.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Measures what the protocol costs.
#[derive(Debug, Parser)]
struct Arguments {
    /// Rounds of the negotiations and of the modifier search.
    #[arg(long, default_value_t = 50)]
    rounds: usize,
    /// Where the files go.
    #[arg(long, default_value = "target/costs")]
    out: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut machine = Machine::look();
    let steps = 2 + 3 + 3 * arguments.rounds as u64;
    let bar = progress_bar(steps);
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut key = |bits| Arc::new(SigningKey::generate(bits, &mut rng).expect("a fitting length"));
    let (small, large) = (key(1024), key(2048));
    bar.set_message("memory");
    let memory = memory::measure(10_000, &small, &mut rng, || bar.inc(1));
    bar.set_message("I2 messages");
    let responding = responding::measure(&small, &mut rng, || bar.inc(1));
    bar.set_message("negotiations");
    let securities = Security::all(&small, &large);
    let negotiation = negotiation::measure(&securities, arguments.rounds, &mut rng, || bar.inc(1));
    bar.set_message("modifier search");
    let hashing = hashing::measure(arguments.rounds, || bar.inc(1));
    bar.finish_and_clear();
    machine.look_again();
    let results = Results {
        machine,
        memory,
        responding,
        negotiation,
        hashing,
    };
    match results.write(&arguments.out) {
        Ok(table) => {
            println!("{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!(
                "cannot write to {}: {error}: name another folder with --out",
                arguments.out.display()
            );
            ExitCode::FAILURE
        }
    }
}

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
