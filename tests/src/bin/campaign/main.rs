//! `make campaign`: more random lives than `make test` has time for.
//!
//! A life that goes wrong is told with its seed, its trace and the command that repeats it; the others
//! go on. Now and then a life is lived twice, since a seed that does not repeat would be worth nothing.

mod report;
mod runs;

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use shimq_tests::Life;

use report::Report;
use runs::Failure;

/// Lives through random faults, and tells which lives went wrong.
#[derive(Debug, Parser)]
struct Args {
    /// Lives.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// The first seed; those of the other lives follow it.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// This life alone; its trace is printed, whatever comes of it.
    #[arg(long, conflicts_with_all = ["runs", "first", "json"])]
    seed: Option<u64>,
    /// Lives at a time; as many as there are processors if not given.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1024))]
    jobs: Option<u64>,
    /// Ends early when so many lives went wrong.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    failures: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Where the traces of lives go that went wrong.
    #[arg(long, default_value = "target/campaign")]
    out: PathBuf,
}

/// Why nothing was found out.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
    #[error("cannot print: {0}")]
    Json(#[from] serde_json::Error),
}

fn main() -> ExitCode {
    let args = Args::parse();
    runs::note_panics();
    let done = match args.seed {
        Some(seed) => one(seed),
        None => many(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

/// Tells all of one life; says whether it went well.
fn one(seed: u64) -> Result<bool, Error> {
    let mut life = Life::new(seed);
    let outcome = runs::live(&mut life);
    let mut out = io::stdout().lock();
    write!(out, "{}", life.trace())?;
    match &outcome {
        Ok(story) => writeln!(out, "seed {seed}: {story:?}")?,
        Err(what) => writeln!(out, "seed {seed}: {what}")?,
    }
    Ok(outcome.is_ok())
}

/// Lives many lives; says whether all went well.
fn many(args: &Args) -> Result<bool, Error> {
    let jobs = args.jobs.map_or_else(
        || thread::available_parallelism().map_or(1, usize::from),
        |jobs| jobs as usize,
    );
    let progress = ProgressBar::new(args.runs);
    let template = "{bar:40} {pos}/{len} lives  {per_sec}  {eta} left  {msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        progress.set_style(style);
    }
    let seeds = args.first..args.first.saturating_add(args.runs);
    let tally = runs::live_all(seeds, jobs, args.failures, &progress);
    progress.finish_and_clear();
    let report = Report::of(&tally, progress.elapsed(), |failure| keep(args, failure))?;
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        write!(out, "{report}")?;
    }
    if let Some(first) = tally.failures.first().filter(|_| !args.json) {
        write!(out, "\n{}", last_lines(&first.trace, LINES_TOLD))?;
        let hint = "the whole trace is in its file";
        writeln!(out, "(the end of seed {}: {hint})", first.seed)?;
    }
    Ok(tally.failures.is_empty())
}

/// Writes the trace of a life that went wrong to a file, and returns which.
fn keep(args: &Args, failure: &Failure) -> Result<PathBuf, Error> {
    let path = args.out.join(format!("seed-{}.txt", failure.seed));
    let told = format!("{}{}\n", failure.trace, failure.what);
    let written = fs::create_dir_all(&args.out).and_then(|()| fs::write(&path, told));
    written.map_err(|source| Error::Write {
        path: path.clone(),
        source,
    })?;
    Ok(path)
}

/// Lines of a trace that are printed.
const LINES_TOLD: usize = 40;

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(count)..];
    last.iter().flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_trace_is_told() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc\n");
        assert_eq!(last_lines("a\n", 2), "a\n");
    }
}
