//! shimq: IPv6 host multihoming (Shim6, RFC 5533 and RFC 5534) as an ordinary Linux program.

mod check;
mod clock;
mod commands;
mod config;
mod control;
mod daemon;
mod demo;
mod fork;
mod host;
mod operate;
mod preferences;
mod search;
mod tools;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    commands::Cli::parse().run()
}
