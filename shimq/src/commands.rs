//! The command line: what each command takes, and what it prints.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use serde_json::Value;
use tracing_subscriber::EnvFilter;

use crate::check::{self, CheckArgs};
use crate::config::{Config, DEFAULT_SOCKET};
use crate::control::{self, Request};
use crate::demo::{self, DemoArgs};
use crate::fork::{self, ForkArgs};
use crate::operate::{self, DaemonArgs, SetCommand, SwitchArgs};
use crate::tools::{self, CgaCommand, HbaCommand, KeygenArgs, ToolError};
use crate::{daemon, host, preferences};

/// IPv6 host multihoming: connections outlive their path (Shim6, RFC 5533).
#[derive(Debug, Parser)]
#[command(name = "shimq", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground. No configuration file is needed.
    Run(RunArgs),
    /// Show a TCP connection that survives the failure of its path, on two hosts made for it.
    Demo(DemoArgs),
    /// The daemon, its queues and counters.
    Status(AskArgs),
    /// Every context: who with, on which pair, in which state.
    Contexts(AskArgs),
    /// This host's addresses that peers can verify.
    Locators(LocatorsArgs),
    /// Send packets of sockets with a mark on a context of their own, over a pair of their own.
    Fork(ForkArgs),
    /// Events as they happen, until interrupted.
    Monitor(AskArgs),
    /// Move a context to another pair of addresses, if that answers.
    Switch(SwitchArgs),
    /// Change a setting of the running daemon, until it ends.
    #[command(subcommand)]
    Set(SetCommand),
    /// Have the daemon read its configuration file again (as SIGHUP does).
    Reload(DaemonArgs),
    /// Would this configuration file be taken? The exit status tells.
    Check(CheckArgs),
    /// Print the nftables ruleset, for hosts that load it themselves.
    Rules(RulesArgs),
    /// Make a private key.
    Keygen(KeygenArgs),
    /// Addresses that hash a key (CGA, RFC 3972): generate, verify, show.
    #[command(subcommand)]
    Cga(CgaCommand),
    /// Sets of addresses that hash each other's prefixes (HBA, RFC 5535): generate, verify.
    #[command(subcommand)]
    Hba(HbaCommand),
}

#[derive(Args, Debug)]
struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
}

/// What most commands need to know of the daemon's configuration.
#[derive(Args, Debug)]
struct ConfigArgs {
    /// Configuration file (TOML). Without it, the defaults.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Where key and parameters are kept [default: /var/lib/shimq].
    #[arg(long, value_name = "DIR", global = true)]
    state_dir: Option<PathBuf>,
    /// The daemon's control socket [default: /run/shimq/control.sock].
    #[arg(long, value_name = "PATH", global = true)]
    socket: Option<PathBuf>,
}

impl ConfigArgs {
    fn read(&self) -> Result<Config, Failure> {
        let mut config = Config::read(self.config.as_deref())?;
        if let Some(state_dir) = &self.state_dir {
            config.state_dir.clone_from(state_dir);
        }
        if let Some(socket) = &self.socket {
            config.socket.clone_from(socket);
        }
        Ok(config)
    }
}

#[derive(Args, Debug)]
struct AskArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// The daemon's control socket.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
}

#[derive(Args, Debug)]
struct LocatorsArgs {
    #[command(subcommand)]
    action: Option<LocatorsAction>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Clone, Debug, Subcommand)]
enum LocatorsAction {
    /// Remove the addresses, rules, routes and devices that shimq added. Stop the daemon first.
    Release,
    /// Tell peers how gladly this host is reached where, until the daemon ends.
    Set(preferences::SetArgs),
}

#[derive(Args, Debug)]
struct RulesArgs {
    /// Configuration file (TOML). Without it, the defaults.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    #[error(transparent)]
    Control(#[from] control::ControlError),
    #[error(transparent)]
    Daemon(#[from] daemon::DaemonError),
    #[error(transparent)]
    Demo(#[from] demo::DemoError),
    #[error(transparent)]
    Host(#[from] host::HostError),
    #[error(transparent)]
    Tool(#[from] ToolError),
    #[error("a daemon runs at {0} and would add them again: stop it first")]
    Running(PathBuf),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Json(#[from] serde_json::Error),
}

impl Cli {
    /// Does what was asked; errors go to standard error, with what to do.
    pub(crate) fn run(self) -> ExitCode {
        match self.command.run() {
            Ok(code) => code,
            Err(Failure::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                ExitCode::SUCCESS
            }
            Err(failure) => {
                // Nothing is left to tell if standard error is gone.
                let _ = writeln!(io::stderr(), "shimq: {failure}");
                ExitCode::FAILURE
            }
        }
    }
}

impl Command {
    fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Run(args) => run_daemon(&args),
            Self::Demo(args) => Ok(demo::run(&args)?),
            Self::Status(args) => show(&args, &Request::Status, print_status),
            Self::Contexts(args) => show(&args, &Request::Contexts, print_contexts),
            Self::Locators(args) => locators(&args),
            Self::Fork(args) => Ok(fork::run(&args)?),
            Self::Monitor(args) => monitor(&args),
            Self::Switch(args) => Ok(operate::switch(&args)?),
            Self::Set(command) => Ok(operate::set(&command)?),
            Self::Rules(args) => {
                let rules = Config::read(args.config.as_deref())?.rules()?;
                write!(io::stdout(), "{}", shimq_netfilter::rules::print(&rules))?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Reload(args) => Ok(operate::reload(&args)?),
            Self::Check(args) => Ok(check::check(&args)?),
            Self::Keygen(args) => Ok(tools::keygen(&args)?),
            Self::Cga(command) => Ok(tools::cga(&command)?),
            Self::Hba(command) => Ok(tools::hba(&command)?),
        }
    }
}

fn run_daemon(args: &RunArgs) -> Result<ExitCode, Failure> {
    let filter = EnvFilter::try_from_env("SHIMQ_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    let config = args.config.read()?;
    runtime()?.block_on(daemon::run(config))?;
    Ok(ExitCode::SUCCESS)
}

/// One thread: what is fast runs in the queue threads.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

fn show(
    args: &AskArgs,
    request: &Request,
    print: impl FnOnce(&Value, &mut dyn Write) -> io::Result<()>,
) -> Result<ExitCode, Failure> {
    let value = control::ask(&args.socket, request)?;
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &value)?;
        writeln!(out)?;
    } else {
        print(&value, &mut out)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn locators(args: &LocatorsArgs) -> Result<ExitCode, Failure> {
    let config = args.config.read()?;
    match &args.action {
        Some(LocatorsAction::Release) => return release(&config, args.json),
        Some(LocatorsAction::Set(set)) => {
            preferences::set(set, &config.socket, args.json)?;
            return Ok(ExitCode::SUCCESS);
        }
        None => {}
    }
    // The daemon knows its state directory; without one the kernel and the files tell.
    let value = if control::is_running(&config.socket) {
        control::ask(&config.socket, &Request::Locators)?
    } else {
        serde_json::to_value(runtime()?.block_on(host::status(&config.host()))?)?
    };
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &value)?;
        writeln!(out)?;
    } else {
        print_locators(&value, &mut out)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn release(config: &Config, json: bool) -> Result<ExitCode, Failure> {
    if control::is_running(&config.socket) {
        return Err(Failure::Running(config.socket.clone()));
    }
    let removed = runtime()?.block_on(host::release(&config.host()))?;
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &removed)?;
        writeln!(out)?;
    } else if removed.is_empty() {
        writeln!(out, "nothing to remove")?;
    }
    for item in removed.iter().filter(|_| !json) {
        writeln!(out, "removed {item}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn monitor(args: &AskArgs) -> Result<ExitCode, Failure> {
    let mut failed = None;
    control::follow(&args.socket, |line| {
        let mut out = io::stdout().lock();
        let written = if args.json {
            writeln!(out, "{line}")
        } else {
            print_event(line, &mut out)
        };
        failed = written.and_then(|()| out.flush()).err();
        failed.is_none()
    })?;
    failed.map_or(Ok(ExitCode::SUCCESS), |error| Err(error.into()))
}

/// A field as text: strings without their quotes, and a dash for what is not there.
fn text(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn print_status(status: &Value, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "shimq {}, up {} s",
        text(status, "/version"),
        text(status, "/uptime_s")
    )?;
    writeln!(out, "rules      {}", text(status, "/ruleset"))?;
    print_datapath(&status["datapath"], out)?;
    writeln!(
        out,
        "contexts   {} ({} established, {} exploring, {} on other locators)",
        text(status, "/contexts"),
        text(status, "/established"),
        text(status, "/exploring"),
        text(status, "/mapped"),
    )?;
    for locator in status["locators"].as_array().into_iter().flatten() {
        writeln!(out, "locator    {}", locator.as_str().unwrap_or_default())?;
    }
    for queue in status["queues"].as_array().into_iter().flatten() {
        writeln!(
            out,
            "queue {}  {} packets, {} rewritten, {} wakes, lost {} + {}",
            text(queue, "/number"),
            text(queue, "/packets"),
            text(queue, "/rewritten"),
            text(queue, "/wakes"),
            text(queue, "/kernel_queue_dropped"),
            text(queue, "/kernel_user_dropped"),
        )?;
        print_counts(&queue["dropped"], "  dropped ", out)?;
    }
    writeln!(
        out,
        "messages   {} received, {} sent, {} pair changes",
        text(status, "/counters/messages_received"),
        text(status, "/counters/messages_sent"),
        text(status, "/counters/pair_changes"),
    )?;
    print_counts(&status["counters"]["dropped"], "  dropped ", out)
}

fn print_datapath(datapath: &Value, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "data path  {}", text(datapath, "/in_force"))?;
    if let Some(reason) = datapath["reason"].as_str() {
        // The configuration wants it, or the operator for some contexts.
        write!(out, ", not bpf: {reason}")?;
    }
    writeln!(out)?;
    let chosen = &datapath["chosen"];
    if chosen.is_object() {
        let (other, pairs) = (text(chosen, "/datapath"), text(chosen, "/pairs"));
        writeln!(out, "chosen     {other} for {pairs} pairs of ULIDs")?;
    }
    let kernel = &datapath["kernel"];
    if kernel.is_object() {
        writeln!(
            out,
            "kernel     maps {} contexts, leaves {} to queues; {} packets sent, {} received",
            text(kernel, "/contexts"),
            text(kernel, "/left_to_queues"),
            text(kernel, "/sent/packets"),
            text(kernel, "/received/packets"),
        )?;
    }
    print_counts(&kernel["dropped"], "  dropped ", out)
}

fn print_counts(counts: &Value, label: &str, out: &mut dyn Write) -> io::Result<()> {
    for (reason, count) in counts.as_object().into_iter().flatten() {
        writeln!(out, "{label} {count} {reason}")?;
    }
    Ok(())
}

fn print_contexts(contexts: &Value, out: &mut dyn Write) -> io::Result<()> {
    for context in contexts.as_array().into_iter().flatten() {
        writeln!(
            out,
            "{} - {}{}\n  {}, {}, {}",
            text(context, "/ulids/local"),
            text(context, "/ulids/peer"),
            fork_of(context),
            text(context, "/state"),
            text(context, "/reap"),
            if context["mapped"] == Value::Bool(true) {
                format!(
                    "on {} > {} by {}",
                    text(context, "/locators/local"),
                    text(context, "/locators/peer"),
                    text(context, "/mapped_by"),
                )
            } else {
                "on its ULIDs".to_owned()
            },
        )?;
        writeln!(
            out,
            "  sent {} packets, {} octets; received {}, {}; idle {} s",
            text(context, "/packets_sent"),
            text(context, "/bytes_sent"),
            text(context, "/packets_received"),
            text(context, "/bytes_received"),
            text(context, "/idle_s"),
        )?;
        if let Some(datapath) = context["chosen_datapath"].as_str() {
            write!(out, "  {datapath} is chosen")?;
            if let Some(reason) = context["kernel_refusal"].as_str() {
                write!(out, ", and not to be had: {reason}")?;
            }
            writeln!(out)?;
        }
        for end in ["local", "peer"] {
            let told = &context[format!("{end}_preferences")];
            for preference in told.as_array().into_iter().flatten() {
                let address = text(preference, "/address");
                let words = preferences::in_words(preference);
                writeln!(out, "  {end} {address}{words}")?;
            }
        }
    }
    Ok(())
}

/// Which fork a context is, if it is one.
fn fork_of(context: &Value) -> String {
    match (context["mark"].as_u64(), context["fii"].as_u64()) {
        (Some(mark), _) => format!(" (fork for mark {mark:#x})"),
        (None, Some(fii)) if fii != 0 => format!(" (fork {fii:#x} of the peer)"),
        (None, _) => String::new(),
    }
}

fn print_locators(locators: &Value, out: &mut dyn Write) -> io::Result<()> {
    for locator in locators.as_array().into_iter().flatten() {
        writeln!(
            out,
            "{} dev {} {} sec {} {}{}{}",
            text(locator, "/address"),
            text(locator, "/interface"),
            text(locator, "/kind"),
            text(locator, "/sec"),
            text(locator, "/state"),
            routers_in_words(locator),
            preferences::in_words(&locator["preference"]),
        )?;
    }
    Ok(())
}

/// Whom the packets of a locator leave by, if it has routers of its own.
fn routers_in_words(locator: &Value) -> String {
    let routers = locator["routers"].as_array().into_iter().flatten();
    let routers: Vec<_> = routers.filter_map(Value::as_str).collect();
    if routers.is_empty() {
        return String::new();
    }
    format!(" via {}", routers.join(", "))
}

/// One event for people: when, what, whose, and what else it says.
fn print_event(line: &str, out: &mut dyn Write) -> io::Result<()> {
    let event: Value = serde_json::from_str(line)?;
    let seconds = event["t_us"].as_f64().unwrap_or_default() / 1e6;
    write!(out, "{seconds:.6} {}", text(&event, "/event"))?;
    if event["ulids"].is_object() {
        let (local, peer) = (text(&event, "/ulids/local"), text(&event, "/ulids/peer"));
        write!(out, " {local} - {peer}")?;
    }
    if let Some(datapath) = event["in_force"].as_str() {
        write!(out, " to {datapath}")?;
    }
    if event["locators"].is_object() {
        let (local, peer) = (
            text(&event, "/locators/local"),
            text(&event, "/locators/peer"),
        );
        write!(out, " on {local} > {peer}")?;
    }
    if let Some(cause) = event["cause"].as_str() {
        write!(out, " ({cause})")?;
    }
    for (key, unit) in [
        ("silence_us", "unanswered for"),
        ("explored_us", "explored for"),
    ] {
        if let Some(micros) = event[key].as_f64() {
            write!(out, ", {unit} {:.1} ms", micros / 1e3)?;
        }
    }
    writeln!(out)
}
