//! Prints, for each requirement of the RFCs, the line that obeys it and the test that proves it.
//!
//! Requirements and deviations come from `tests/conformance/`, lines and tests from the annotations
//! in the tracked Rust and nftables files. The command fails where a requirement that binds has
//! neither both nor a reason, and where an annotation cannot be understood. Whether what is quoted
//! stands in the RFC is for the reviewer: their texts are not part of the project.

mod annotation;
mod list;
mod report;

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use clap::Parser;

use crate::report::Report;

/// Who obeys the RFCs where, and who proves it.
#[derive(Parser)]
struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Print only what is neither proved nor excused.
    #[arg(long)]
    missing: bool,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path}: {source}")]
    List {
        path: PathBuf,
        source: toml::de::Error,
    },
    #[error("git does not list the tracked files: {0}")]
    Git(String),
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
    #[error("cannot print: {0}")]
    Json(#[from] serde_json::Error),
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the list is complete.
fn run(args: &Args) -> Result<bool, Error> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = root.join("tests/conformance");
    let mut annotations = Vec::new();
    let mut faults = Vec::new();
    for file in tracked(&root)? {
        let path = root.join(&file);
        let text = fs::read_to_string(&path).map_err(|source| Error::Read { path, source })?;
        let (more, wrong) = annotation::parse(&file, &text);
        annotations.extend(more);
        faults.extend(wrong);
    }
    let mut report = Report::new(
        list::requirements(&folder)?,
        list::deviations(&folder)?,
        &annotations,
        &faults,
    );
    let passes = report.passes();
    if args.missing {
        report = report.only_lacking();
    }
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        write!(out, "{report}")?;
    }
    Ok(passes)
}

/// The tracked files that can be annotated, relative to `root`.
fn tracked(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let git = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(["ls-files", "-z", "--", "*.rs", "*.nft"])
        .output()
        .map_err(|error| Error::Git(error.to_string()))?;
    if !git.status.success() {
        return Err(Error::Git(
            String::from_utf8_lossy(&git.stderr).into_owned(),
        ));
    }
    let names = String::from_utf8_lossy(&git.stdout).into_owned();
    let names = names.split('\0').filter(|name| !name.is_empty());
    // A file may be deleted and not yet committed.
    Ok(names
        .map(PathBuf::from)
        .filter(|file| root.join(file).exists())
        .collect())
}
