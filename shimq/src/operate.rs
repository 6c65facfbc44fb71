//! What operators and outside programs tell a running daemon to do.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;
use shim6_core::ExplorationPolicy;

use crate::config::DEFAULT_SOCKET;
use crate::control::{self, ControlError, PolicyWord, Request};

/// How to reach the daemon, and how to answer.
#[derive(Args, Debug)]
pub(crate) struct DaemonArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// The daemon's control socket.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SetCommand {
    /// In which order pairs are probed, until the daemon ends.
    Exploration {
        /// random, disjoint-first, preference, or rtt.
        policy: ExplorationPolicy,
        #[command(flatten)]
        daemon: DaemonArgs,
    },
}

/// Changes a setting of the running daemon.
///
/// # Errors
///
/// [`ControlError`].
pub(crate) fn set(command: &SetCommand) -> Result<ExitCode, ControlError> {
    match command {
        SetCommand::Exploration { policy, daemon } => {
            let policy = *policy;
            let value = control::ask(
                &daemon.socket,
                Request::SetExploration {
                    policy: PolicyWord(policy),
                },
            )?;
            tell(daemon, &value, || format!("exploration {policy}"))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn tell(args: &DaemonArgs, value: &Value, words: impl FnOnce() -> String) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{value}")
    } else {
        writeln!(out, "{}", words())
    }
}
