//! Spoils one line that obeys the RFCs at a time, and sees whether the test that is to prove it fails.
//!
//! `tests/conformance/mutations.toml` says which line becomes what, and which test has to notice. Each
//! change is made in a copy of the tracked files, so the working tree stays as it is; only the named test
//! is built and run. A line that is not there any more, a change that does not compile and a test that
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
    /// Only the changes for this requirement, such as S-148.
    #[arg(long, value_name = "ID")]
    only: Option<String>,
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
    #[error("no change for {0} in the table")]
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

/// Whether every change was caught.
fn run(args: &Args) -> Result<bool, Error> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut mutations = table::read(&root.join("tests/conformance/mutations.toml"))?;
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
                "{:<12} {id:<6} {file}\n             {test}",
                outcome.as_str()
            )?;
        }
        writeln!(out, "{caught} of {} caught", findings.len())?;
    }
    Ok(caught == findings.len())
}
