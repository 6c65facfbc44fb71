//! Keys and addresses without the daemon: `shimq keygen`, `shimq cga` and `shimq hba`.
//!
//! Decides what the commands take and print. Private keys are PKCS#8 in PEM; parameters are the
//! octets of RFC 3972 section 3, as other implementations write and read them. Files appear whole or
//! not at all, and nothing is overwritten ([`files`]). An interrupt ends a command at once
//! ([`work`]).

mod cga;
mod error;
mod files;
mod generate;
mod hba;
mod keygen;
mod prefix;
mod work;

use std::fmt;
use std::io::{self, Write};
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use shim6_cga::{CgaError, Kind, Pds};

pub(crate) use cga::CgaCommand;
pub(crate) use error::ToolError;
pub(crate) use hba::HbaCommand;
pub(crate) use keygen::KeygenArgs;

/// Bits of an RSA key unless the user says otherwise; the daemon makes the same.
const KEY_BITS: u16 = 2048;

/// Does what was asked.
pub(crate) fn keygen(args: &KeygenArgs) -> Result<ExitCode, ToolError> {
    keygen::run(args)
}

/// Does what was asked.
pub(crate) fn cga(command: &CgaCommand) -> Result<ExitCode, ToolError> {
    cga::run(command)
}

/// Does what was asked.
pub(crate) fn hba(command: &HbaCommand) -> Result<ExitCode, ToolError> {
    hba::run(command)
}

/// What `verify` takes, for both kinds of addresses.
#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// The address.
    address: Ipv6Addr,
    /// Its parameters (RFC 3972 section 3 octets).
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What `verify` found.
#[derive(Debug, Serialize)]
struct Verified {
    address: Ipv6Addr,
    file: PathBuf,
    valid: bool,
    /// What is wrong, if something is.
    reason: Option<String>,
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, file) = (self.address, self.file.display());
        match &self.reason {
            None => writeln!(f, "{address} belongs to {file}"),
            Some(reason) => writeln!(f, "{address} does not belong to {file}: {reason}"),
        }
    }
}

/// Verifies with `check`; the exit status says whether the address is good.
fn verify(
    args: &VerifyArgs,
    check: fn(Ipv6Addr, &Pds) -> Result<(), CgaError>,
) -> Result<ExitCode, ToolError> {
    let pds = files::read_parameters(&args.file)?;
    let reason = check(args.address, &pds).err();
    let verified = Verified {
        address: args.address,
        file: args.file.clone(),
        valid: reason.is_none(),
        reason: reason.map(|reason| reason.to_string()),
    };
    print(args.json, &verified)?;
    Ok(if verified.valid {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Prints an answer for a program, or for people.
fn print(json: bool, answer: &(impl Serialize + fmt::Display)) -> Result<(), ToolError> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, answer).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        write!(out, "{answer}")?;
    }
    out.flush()?;
    Ok(())
}

/// The kind of a structure, as answers name it; `shimq locators` uses the same names.
fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Cga => "cga",
        Kind::Hba => "hba",
        Kind::CgaCompatibleHba => "cga-compatible-hba",
    }
}
