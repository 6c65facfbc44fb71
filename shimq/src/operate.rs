//! What operators and outside programs tell a running daemon to do.

use std::io::{self, Write};
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;
use shim6_core::ExplorationPolicy;

use crate::config::DEFAULT_SOCKET;
use crate::control::{
    self, ControlError, DatapathChoice, PolicyWord, Request, SetDatapathRequest, SwitchRequest,
    Whom,
};

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
    /// Who maps contexts, until the daemon ends.
    ///
    /// The choice belongs to the two ULIDs: it can be made before the context is mapped, and holds when the
    /// context is lost and comes back. Of ULIDs that have no context, the latest 256 choices are kept. The
    /// devices that `bpf` needs are made when they are first wanted, and stay until the daemon ends. Fails if
    /// the kernel cannot map one of the contexts; the queues then do, and `shimq contexts` says why.
    Datapath {
        #[arg(value_name = "bpf|queue|default")]
        choice: DatapathChoice,
        /// A context by its local tag, as `shimq contexts --json` shows it, or all contexts with a peer by
        /// its address.
        #[arg(value_name = "CONTEXT|PEER")]
        whom: Whom,
        #[command(flatten)]
        daemon: DaemonArgs,
    },
}

#[derive(Args, Debug)]
pub(crate) struct SwitchArgs {
    /// A context by its local tag, as `shimq contexts --json` shows it, or all contexts with a peer by
    /// its address.
    #[arg(value_name = "CONTEXT|PEER")]
    whom: Whom,
    /// Where to; without it, the pair that would be tried first if the present one failed.
    #[arg(long, value_name = "LOCAL,PEER", value_parser = parse_pair)]
    pair: Option<(Ipv6Addr, Ipv6Addr)>,
    #[command(flatten)]
    daemon: DaemonArgs,
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
    let request = SwitchRequest {
        whom: args.whom,
        pair: args.pair,
    };
    let value = control::ask(&args.daemon.socket, &Request::Switch(request))?;
    report(&args.daemon, &value, switch_in_words, |report| {
        report["switched"] == true
    })
}

/// Tells what became of each context, in a line each; fails unless all is well with all.
fn report(
    args: &DaemonArgs,
    value: &Value,
    in_words: impl Fn(&Value) -> String,
    is_well: impl Fn(&Value) -> bool,
) -> Result<ExitCode, ControlError> {
    let reports = value.as_array().map(Vec::as_slice).unwrap_or_default();
    tell(args, value, || {
        let lines: Vec<_> = reports.iter().map(in_words).collect();
        lines.join("\n")
    })?;
    Ok(if reports.iter().all(is_well) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A field of a report, or a dash.
fn text<'v>(report: &'v Value, pointer: &str) -> &'v str {
    let field = report.pointer(pointer);
    field.and_then(Value::as_str).unwrap_or("-")
}

fn ulids(report: &Value) -> String {
    let end = |pointer| text(report, pointer);
    format!("{} - {}", end("/ulids/local"), end("/ulids/peer"))
}

fn mapper_in_words(report: &Value) -> String {
    let (ulids, datapath) = (ulids(report), text(report, "/datapath"));
    if let Some(reason) = report["kernel_refusal"].as_str() {
        return format!("{ulids}: {datapath} is not to be had, so queues map: {reason}");
    }
    match report["mapped_by"].as_str() {
        Some(mapper) => format!("{ulids}: {datapath}, mapped by {mapper}"),
        None => format!("{ulids}: {datapath}, once it is mapped"),
    }
}

fn switch_in_words(report: &Value) -> String {
    let text = |pointer| text(report, pointer);
    let ulids = ulids(report);
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
        SetCommand::Datapath {
            choice,
            whom,
            daemon,
        } => {
            let (choice, whom) = (*choice, *whom);
            let request = SetDatapathRequest { choice, whom };
            let value = control::ask(&daemon.socket, &Request::SetDatapath(request))?;
            report(daemon, &value, mapper_in_words, |report| {
                report["kernel_refusal"].is_null()
            })
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
