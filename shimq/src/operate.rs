//! What operators and outside programs tell a running daemon to do.

use std::io::{self, Write};
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;
use shim6_core::ExplorationPolicy;

use crate::config::DEFAULT_SOCKET;
use crate::control::{self, ControlError, PolicyWord, Request, SwitchRequest};

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

#[derive(Args, Debug)]
pub(crate) struct SwitchArgs {
    /// A context by its local tag, as `shimq contexts --json` shows it, or all contexts with a peer by
    /// its address.
    #[arg(value_name = "CONTEXT|PEER", value_parser = parse_whom)]
    whom: Whom,
    /// Where to; without it, the pair that would be tried first if the present one failed.
    #[arg(long, value_name = "LOCAL,PEER", value_parser = parse_pair)]
    pair: Option<(Ipv6Addr, Ipv6Addr)>,
    #[command(flatten)]
    daemon: DaemonArgs,
}

#[derive(Clone, Copy, Debug)]
enum Whom {
    Context(u64),
    Peer(Ipv6Addr),
}

fn parse_whom(text: &str) -> Result<Whom, String> {
    if let Ok(peer) = text.parse() {
        return Ok(Whom::Peer(peer));
    }
    u64::from_str_radix(text, 16)
        .map(Whom::Context)
        .map_err(|_| "neither an IPv6 address nor the 12 digits of a tag".to_owned())
}

fn parse_pair(text: &str) -> Result<(Ipv6Addr, Ipv6Addr), String> {
    let parsed = text.split_once(',');
    let parsed = parsed.and_then(|(local, peer)| local.parse().ok().zip(peer.parse().ok()));
    parsed.ok_or_else(|| "two IPv6 addresses with a comma between: this host's first".to_owned())
}

/// Moves contexts to another pair, if that answers; says so, or why not. Fails unless all moved.
///
/// # Errors
///
/// [`ControlError`].
pub(crate) fn switch(args: &SwitchArgs) -> Result<ExitCode, ControlError> {
    let (context, peer) = match args.whom {
        Whom::Context(tag) => (Some(tag), None),
        Whom::Peer(peer) => (None, Some(peer)),
    };
    let request = SwitchRequest {
        context,
        peer,
        pair: args.pair,
    };
    let value = control::ask(&args.daemon.socket, &Request::Switch(request))?;
    let reports = value.as_array().map(Vec::as_slice).unwrap_or_default();
    tell(&args.daemon, &value, || {
        let lines: Vec<_> = reports.iter().map(in_words).collect();
        lines.join("\n")
    })?;
    let all = reports.iter().all(|report| report["switched"] == true);
    Ok(if all {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn in_words(report: &Value) -> String {
    let text = |pointer| {
        report
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or("-")
    };
    let ulids = format!("{} - {}", text("/ulids/local"), text("/ulids/peer"));
    let pair = format!("{} > {}", text("/locators/local"), text("/locators/peer"));
    if report["switched"] == true {
        let took = report["explored_us"].as_f64().unwrap_or_default() / 1e3;
        format!("{ulids}: now on {pair}, which answered after {took:.1} ms")
    } else {
        format!("{ulids}: not on {pair}: {}", text("/reason"))
    }
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
                &Request::SetExploration {
                    policy: PolicyWord(policy),
                },
            )?;
            tell(daemon, &value, || format!("exploration {policy}"))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Has the daemon read its configuration file again.
///
/// # Errors
///
/// [`ControlError`]; the daemon then goes on as it was.
pub(crate) fn reload(daemon: &DaemonArgs) -> Result<ExitCode, ControlError> {
    let value = control::ask(&daemon.socket, &Request::Reload)?;
    tell(daemon, &value, || {
        let list = |key: &str| {
            let keys = value[key].as_array().into_iter().flatten();
            let keys: Vec<_> = keys.filter_map(Value::as_str).collect();
            match keys.as_slice() {
                [] => "nothing".to_owned(),
                keys => keys.join(", "),
            }
        };
        format!(
            "changed: {}\nwaits for the next start: {}",
            list("applied"),
            list("next-start")
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

fn tell(args: &DaemonArgs, value: &Value, words: impl FnOnce() -> String) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{value}")
    } else {
        writeln!(out, "{}", words())
    }
}
