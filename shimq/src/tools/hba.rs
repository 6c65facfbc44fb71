//! `shimq hba`: sets of addresses that hash each other's prefixes (RFC 5535).

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use shim6_cga::{Kind, MultiPrefix, form_hba_set, random_nonce, verify_hba};

use super::files::{self, NewFiles};
use super::generate::{self, AddressFile, GenerateArgs, Generated};
use super::prefix::Prefix;
use super::{ToolError, VerifyArgs, print, verify, work};

/// What `shimq hba` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum HbaCommand {
    /// Generate a set: an address for each prefix.
    New(NewArgs),
    /// Is an address in the set of parameters? Those of any member do. The exit status tells.
    Verify(VerifyArgs),
}

#[derive(Args, Debug)]
pub(crate) struct NewArgs {
    /// A prefix of the set, as in 2001:db8:1:2::/64; once for each, the preferred first.
    #[arg(long = "prefix", value_name = "PREFIX", required = true)]
    prefixes: Vec<Prefix>,
    /// Private key (PEM), for a set that is CGA-compatible. Without it, the set stands on a nonce.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Directory for the parameters, made if need be. Each file is named after its address, as
    /// `shimq run` wants it.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    generate: GenerateArgs,
}

pub(super) fn run(command: &HbaCommand) -> Result<ExitCode, ToolError> {
    match command {
        HbaCommand::New(args) => new(args),
        HbaCommand::Verify(args) => verify(args, verify_hba),
    }
}

fn new(args: &NewArgs) -> Result<ExitCode, ToolError> {
    let mut seen = BTreeSet::new();
    if let Some(twice) = args.prefixes.iter().find(|prefix| !seen.insert(prefix.0)) {
        return Err(ToolError::Twice(twice.to_string()));
    }
    let directory_is_new = !args.output.exists();
    if directory_is_new {
        files::check_new(&args.output)?;
    } else {
        files::check_directory(&args.output)?;
    }
    let set = MultiPrefix {
        has_public_key: args.key.is_some(),
        prefixes: args.prefixes.iter().map(|prefix| prefix.0).collect(),
    };
    let public_key = match &args.key {
        Some(path) => files::read_key(path)?.public_key().to_owned(),
        None => random_nonce(&mut generate::rng()?),
    };
    let extension = set.to_extension()?;
    let generate = args.generate.clone();
    let (public_key, found) = work::run(move |interrupted| {
        let found = generate.find(&public_key, &extension, interrupted)?;
        Ok((public_key, found))
    })?;

    let sec = args.generate.sec;
    let members = form_hba_set(found.modifier, &set, 0, &public_key, sec)?;
    if directory_is_new {
        fs::create_dir(&args.output).map_err(files::write_error(&args.output))?;
    }
    let mut files = NewFiles::default();
    let mut addresses = Vec::new();
    for (address, pds) in &members {
        let file = files::parameters_path(&args.output, *address);
        files.add_parameters(&file, pds)?;
        addresses.push(AddressFile {
            address: *address,
            file,
        });
    }
    files.commit()?;
    let kind = if set.has_public_key {
        Kind::CgaCompatibleHba
    } else {
        Kind::Hba
    };
    let generated = Generated::new(kind, sec, None, addresses, found);
    print(args.generate.json, &generated)?;
    Ok(ExitCode::SUCCESS)
}
