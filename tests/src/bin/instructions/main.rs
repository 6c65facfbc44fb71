//! Counts the instructions that mapping a packet takes, and fails where they have grown.
//!
//! Time depends on the machine and on what else it does; instructions do not. Valgrind runs this
//! program again, on a fixed trace, and counts what our own functions execute between the buffer that a
//! queue hands over and the one that it gets back. What the C library does in between (copying) depends
//! on the processor and is left out; that it is asked for no memory is checked. The figure is in
//! `tests/instructions.toml`, with the compiler it is of: another compiler's is told, and judged by nobody.

mod callgrind;
mod trace;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Parser;
use serde::{Deserialize, Serialize};

/// Who may grow, and by how much.
const GROWTH_MAX: f64 = 1.05;

/// How many instructions mapping a packet takes.
#[derive(Parser)]
struct Args {
    /// Record the figures instead of judging them.
    #[arg(long)]
    record: bool,
    /// Only map the packets of the trace: what is counted.
    #[arg(long, hide = true)]
    trace: Option<trace::Direction>,
}

/// `tests/instructions.toml`: instructions a packet, and who compiled them.
#[derive(Debug, Deserialize, Serialize)]
struct Record {
    compiler: String,
    outgoing: f64,
    incoming: f64,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{action}: {source}")]
    Io {
        action: &'static str,
        source: io::Error,
    },
    #[error("valgrind: {0}")]
    Valgrind(String),
    #[error("{path}: {source}: record it with --record", path = .path.display())]
    Record {
        path: PathBuf,
        source: toml::de::Error,
    },
    #[error("cannot write the record: {0}")]
    Write(#[from] toml::ser::Error),
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(direction) = args.trace {
        trace::run(direction);
        return ExitCode::SUCCESS;
    }
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether nothing has grown.
fn run(args: &Args) -> Result<bool, Error> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.toml");
    let outgoing = callgrind::count(trace::Direction::Outgoing)?;
    let incoming = callgrind::count(trace::Direction::Incoming)?;
    let now = Record {
        compiler: compiler()?,
        outgoing: outgoing.ours / f64::from(trace::PACKETS),
        incoming: incoming.ours / f64::from(trace::PACKETS),
    };
    let mut fine = true;
    for (direction, count) in [("outgoing", &outgoing), ("incoming", &incoming)] {
        if !count.allocators.is_empty() {
            println!("{direction}: memory is asked for: {:?}", count.allocators);
            fine = false;
        }
    }
    if args.record {
        let text = toml::to_string(&now)?;
        fs::write(&path, format!("{HEADER}{text}")).map_err(io("write the record"))?;
        return Ok(fine);
    }
    let text = fs::read_to_string(&path).map_err(io("read the record"))?;
    let recorded: Record =
        toml::from_str(&text).map_err(|source| Error::Record { path, source })?;
    let same_compiler = recorded.compiler == now.compiler;
    for (direction, now, recorded) in [
        ("outgoing", now.outgoing, recorded.outgoing),
        ("incoming", now.incoming, recorded.incoming),
    ] {
        let ratio = now / recorded;
        println!("{direction}: {now:.1} instructions a packet, {ratio:.3} of what is recorded");
        fine &= ratio <= GROWTH_MAX || !same_compiler;
    }
    if !same_compiler {
        println!(
            "Not judged: recorded with {}, this is {}.",
            recorded.compiler, now.compiler
        );
    } else if !fine {
        println!(
            "That is too many. Where it is worth its price, `--record` takes the new figures."
        );
    }
    Ok(fine)
}

/// The compiler that cargo uses here.
fn compiler() -> Result<String, Error> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .arg("--version")
        .output()
        .map_err(io("run rustc"))?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(format!("{version} {}", std::env::consts::ARCH))
}

fn io(action: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { action, source }
}

const HEADER: &str = "\
# Instructions of our own functions that mapping a packet takes, on the trace of
# tests/src/bin/instructions/trace.rs. `make instructions` compares; ARGS=--record records.
";
