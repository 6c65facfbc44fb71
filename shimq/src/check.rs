//! `shimq check`: whether a configuration file would be taken.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use crate::config::Config;

/// Takes what `shimq check` is given.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// The configuration file (TOML).
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Checked<'a> {
    file: &'a PathBuf,
    valid: bool,
    /// What is wrong and where, if something is.
    error: Option<String>,
    /// Advice that is not followed.
    warnings: Vec<String>,
}

/// Says what a start with this file would say of it; the exit status tells whether it is good.
pub(crate) fn check(args: &CheckArgs) -> io::Result<ExitCode> {
    let read = Config::read(Some(&args.file));
    let checked = Checked {
        file: &args.file,
        valid: read.is_ok(),
        warnings: read.as_ref().map(Config::warnings).unwrap_or_default(),
        error: read.err().map(|error| error.to_string()),
    };
    let mut out = io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &checked)?;
        writeln!(out)?;
    } else {
        match &checked.error {
            Some(error) => writeln!(out, "{error}")?,
            None => writeln!(out, "{} is good", args.file.display())?,
        }
        for warning in &checked.warnings {
            writeln!(out, "advice: {warning}")?;
        }
    }
    Ok(if checked.valid {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
