//! `shimq demo`: a TCP connection whose path is cut, on two hosts made for the occasion.
//!
//! The hosts, their providers and the router are network namespaces ([`shimq_testbed`]); the
//! application is curl and a web server, which know nothing of Shim6. The demo decides only *when*
//! to cut (by a seed), watches, and reports; whether the connection survives is up to the daemons.
//! The same with `--without-shim` shows what happens to a connection that has none.

mod datapath;
mod error;
mod plot;
mod report;
mod shim;
mod tally;
mod timeline;
mod transfer;
mod trial;
mod watch;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use clap::{Args, ValueEnum};
use ring::rand::{SecureRandom, SystemRandom};
use serde::Serialize;
use shimq_testbed::{Direction, gain_privilege, require};
use tokio::signal::unix::{SignalKind, signal};

use datapath::Datapath;
pub(crate) use error::DemoError;
use report::{Report, Verdict};
use tally::Tally;
use timeline::Voice;
use trial::Plan;

/// Shows a TCP connection that survives the failure of its path.
#[derive(Args, Clone, Debug)]
pub(crate) struct DemoArgs {
    /// Do the same without shimq: the connection dies.
    #[arg(long)]
    without_shim: bool,
    /// How packets are mapped.
    #[arg(long, value_enum, default_value_t = Datapath::Queue)]
    datapath: Datapath,
    /// Which way the cut holds.
    #[arg(long, value_enum, default_value_t = Cut::Both)]
    cut: Cut,
    /// Repeat a run: decides the moment of the cut, the pair and the content of the file.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How often to run, with seeds counting up; more than one prints a tally.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// How many runs at a time, each on a network of its own.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    parallel: u64,
    /// Folder for demo.json, the plots and the logs.
    #[arg(long, value_name = "DIR", default_value = "demo-out")]
    out: PathBuf,
    /// Size of the file, MiB.
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=4096))]
    size: u64,
    /// Rate of each provider, Mbit/s.
    #[arg(long, value_name = "MBIT", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    rate: u64,
    /// Write what reaches the router to router.pcap.
    #[arg(long)]
    capture: bool,
    /// Print the report as JSON; the story goes to standard error.
    #[arg(long)]
    json: bool,
}

/// Which way a cut holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Cut {
    /// Both ways.
    Both,
    /// From the client A to the server B: requests and acknowledgments.
    Forward,
    /// From the server B to the client A: the file.
    Backward,
}

impl From<Cut> for Direction {
    fn from(cut: Cut) -> Self {
        match cut {
            Cut::Both => Self::Both,
            Cut::Forward => Self::AToB,
            Cut::Backward => Self::BToA,
        }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Both => "both ways",
            Self::Forward => "from client to server",
            Self::Backward => "from server to client",
        })
    }
}

/// Holds the demonstration. Call it early: as an ordinary user it starts the program again, as
/// root of a user namespace.
///
/// Succeeds if every connection survived; a connection that did not is no error but a failure.
///
/// # Errors
///
/// [`DemoError`], if there is no verdict.
pub(crate) fn run(args: &DemoArgs) -> Result<ExitCode, DemoError> {
    gain_privilege()?;
    require(&["ip", "tc", "nft", "setpriv", "unshare", "curl", "python3"])?;
    let interrupted = watch_for_interrupts()?;
    let seed = args.seed.unwrap_or_else(any_seed);
    let voice = if args.json {
        Voice::Stderr
    } else {
        Voice::Stdout
    };
    let plan = Plan {
        seed,
        with_shim: !args.without_shim,
        datapath: args.datapath,
        cut: args.cut,
        file_octets: args.size << 20,
        rate: args.rate * 1_000_000,
        out: args.out.clone(),
        capture: args.capture,
        voice,
        progress: true,
    };
    let all_survived = if args.runs == 1 {
        let report = hold(&plan, &interrupted)?;
        voice.say(&conclusion(&report));
        voice.say(&format!(
            "Report, plots and logs are in {}.",
            plan.out.display()
        ));
        print_if(args.json, &report);
        report.verdict == Verdict::Survived
    } else {
        let tally = Tally::take(&plan, args.runs, args.parallel, &interrupted)?;
        voice.say(&tally.to_string());
        write_json(&args.out.join("tally.json"), &tally)?;
        print_if(args.json, &tally);
        tally.all_survived()
    };
    Ok(if all_survived {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// One run with its files.
fn hold(plan: &Plan, interrupted: &AtomicBool) -> Result<Report, DemoError> {
    plan.voice
        .say(&format!("Seed {}; --seed {0} repeats this run.", plan.seed));
    let observation = trial::run(plan, interrupted)?;
    let report = Report::new(plan, observation);
    write_json(&plan.out.join("demo.json"), &report)?;
    plot::write(&report, &plan.out)?;
    Ok(report)
}

fn conclusion(report: &Report) -> String {
    match &report.reason {
        None => format!("{}\nThe connection SURVIVED.", report.recovery),
        Some(reason) => format!("The connection DID NOT SURVIVE: {reason}."),
    }
}

fn write_json(file: &Path, value: &impl Serialize) -> Result<(), DemoError> {
    fs::write(file, json(value)).map_err(DemoError::io(format!("write {}", file.display())))
}

fn print_if(wanted: bool, value: &impl Serialize) {
    if wanted {
        print!("{}", json(value));
    }
}

fn json(value: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(value);
    // Reports have no maps with odd keys, the only thing that could fail.
    text.expect("a report is JSON") + "\n"
}

/// A seed that is short enough to type.
fn any_seed() -> u64 {
    let mut octets = [0; 2];
    // Without randomness the demo is still one; it just starts the same.
    let _ = SystemRandom::new().fill(&mut octets);
    u16::from_ne_bytes(octets).into()
}

/// Returns what becomes true on SIGINT or SIGTERM; every run then cleans up and ends.
fn watch_for_interrupts() -> Result<Arc<AtomicBool>, DemoError> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    let failure = || DemoError::io("watch for interrupts");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(failure())?;
    let (mut interrupt, mut terminate) = {
        let _context = runtime.enter();
        let signal = |kind| signal(kind).map_err(failure());
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        )
    };
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => (),
                _ = terminate.recv() => (),
            }
        });
        flag.store(true, Ordering::Relaxed);
    });
    Ok(interrupted)
}
