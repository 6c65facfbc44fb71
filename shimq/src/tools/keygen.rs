//! `shimq keygen`: a private key.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;
use shim6_cga::SigningKey;

use super::files::{self, NewFiles};
use super::{KEY_BITS, ToolError, generate, print, work};

/// Takes what `shimq keygen` is given.
#[derive(Args, Debug)]
pub(crate) struct KeygenArgs {
    /// Bits of the RSA modulus: at least 1024 (RFC 5533 section 16), at most 3072 (section 5.1).
    #[arg(long, value_name = "N", default_value_t = KEY_BITS, value_parser = clap::value_parser!(u16).range(1024..=3072))]
    bits: u16,
    /// The file to make: PKCS#8 in PEM, for its owner alone.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Made {
    file: PathBuf,
    bits: u16,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, bits } = self;
        writeln!(f, "RSA key of {bits} bits in {}", file.display())
    }
}

pub(super) fn run(args: &KeygenArgs) -> Result<ExitCode, ToolError> {
    files::check_new(&args.output)?;
    let bits = args.bits;
    let key = work::run(move |_| new_key(bits))?;
    let mut files = NewFiles::default();
    files.add_key(&args.output, &key)?;
    files.commit()?;
    let file = args.output.clone();
    print(args.json, &Made { file, bits })?;
    Ok(ExitCode::SUCCESS)
}

/// Makes a key; seconds of work.
pub(super) fn new_key(bits: u16) -> Result<SigningKey, ToolError> {
    Ok(SigningKey::generate(bits.into(), &mut generate::rng()?)?)
}
