//! The program `shimq`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod demo;
mod host;

/// IPv6 host multihoming (Shim6) as an ordinary Linux program.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
}

fn main() -> ExitCode {
    let Cli { command } = Cli::parse();
    let outcome = match command {
        Command::Demo(args) => demo::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("shimq: {error}");
        ExitCode::from(2)
    })
}
