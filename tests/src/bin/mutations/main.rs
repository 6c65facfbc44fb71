//! Spoils one line that obeys the RFCs at a time, and sees whether the test that is to prove it fails.
//!
//! `tests/conformance/mutations.toml` says for requirements, `tests/conformance/transitions.toml` for the
//! transitions of the state machines, which line becomes what, and which test has to notice, or how many
//! random lives. Each change is made in a copy of the tracked files, so the working tree stays as it is;
//! only the named test is built and run. A line that is not there any more, a change that does not compile and a test that
//! fails without any change are faults of the table, and fail the command as a missed change does.

mod table;
mod workshop;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use table::Mutation;
use workshop::{Outcome, Workshop};

/// Whether the tests notice lines that do not obey.
#[derive(Parser)]
struct Args {
    /// Only the changes for this requirement or transition, such as S-148 or "I1-SENT, R1".
    #[arg(long, value_name = "ID")]
    only: Option<String>,
    /// Only the changes of this table.
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Why nothing was found out.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path}: {source}")]
    Table {
        path: PathBuf,
        source: toml::de::Error,
    },
    #[error("no change for {0} in a table")]
    NoSuch(String),
    #[error("git does not list the tracked files: {0}")]
    Git(String),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("cannot print: {0}")]
    Json(#[from] serde_json::Error),
}

/// One change, and what became of it.
#[derive(Serialize)]
struct Finding<'a> {
    #[serde(flatten)]
    mutation: &'a Mutation,
    outcome: Outcome,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

/// Lines that obey requirements, and those that are transitions of the state machines.
const TABLES: [&str; 2] = [
    "tests/conformance/mutations.toml",
    "tests/conformance/transitions.toml",
];

/// Whether every change was caught.
fn run(args: &Args) -> Result<bool, Error> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let tables = match &args.file {
        Some(file) => vec![file.clone()],
        None => TABLES.map(|table| root.join(table)).to_vec(),
    };
    let mut mutations = Vec::new();
    for table in tables {
        mutations.extend(table::read(&table)?);
    }
    if let Some(id) = &args.only {
        mutations.retain(|mutation| mutation.id == *id);
        if mutations.is_empty() {
            return Err(Error::NoSuch(id.clone()));
        }
    }
    let workshop = Workshop::new(&root)?;
    let progress = ProgressBar::new(mutations.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {eta} left  {msg}") {
        progress.set_style(style);
    }
    progress.set_message("the copy, unchanged");
    let mut findings = Vec::new();
    for mutation in &mutations {
        progress.set_message(format!("{} in {}", mutation.id, mutation.file));
        let outcome = workshop.try_out(mutation)?;
        findings.push(Finding { mutation, outcome });
        progress.inc(1);
    }
    progress.finish_and_clear();
    let caught = findings
        .iter()
        .filter(|finding| finding.outcome == Outcome::Caught)
        .count();
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &findings)?;
        writeln!(out)?;
    } else {
        for Finding { mutation, outcome } in &findings {
            let Mutation { id, file, test, .. } = mutation;
            writeln!(
                out,
                "{:<12} {id} {file}\n             {test}",
                outcome.as_str()
            )?;
        }
        writeln!(out, "{caught} of {} caught", findings.len())?;
    }
    Ok(caught == findings.len())
}
