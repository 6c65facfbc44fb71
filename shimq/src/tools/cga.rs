//! `shimq cga`: addresses that hash a key (RFC 3972), and what is in any parameters file.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;
use shim6_cga::{Kind, Pds, form_address, verify_cga};

use super::files::{self, NewFiles};
use super::generate::{AddressFile, GenerateArgs, Generated};
use super::prefix::Prefix;
use super::{KEY_BITS, ToolError, VerifyArgs, keygen, kind_name, print, verify, work};

/// What `shimq cga` can do.
#[derive(Debug, Subcommand)]
pub(crate) enum CgaCommand {
    /// Generate an address.
    New(NewArgs),
    /// Does an address belong to parameters? The exit status tells.
    Verify(VerifyArgs),
    /// Show what is in a parameters file of any kind.
    Show(ShowArgs),
}

#[derive(Args, Debug)]
pub(crate) struct NewArgs {
    /// The prefix of the address, as in 2001:db8:1:2::/64.
    #[arg(long)]
    prefix: Prefix,
    /// Private key (PEM). Without it, one is made and kept beside the parameters, in FILE.pem.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The parameters file to make. In a directory it is named after the address, as `shimq run`
    /// wants it.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    generate: GenerateArgs,
}

#[derive(Args, Debug)]
pub(crate) struct ShowArgs {
    /// Parameters (RFC 3972 section 3 octets).
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &CgaCommand) -> Result<ExitCode, ToolError> {
    match command {
        CgaCommand::New(args) => new(args),
        CgaCommand::Verify(args) => verify(args, verify_cga),
        CgaCommand::Show(args) => {
            let pds = files::read_parameters(&args.file)?;
            print(args.json, &Shown::new(&pds)?)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn new(args: &NewArgs) -> Result<ExitCode, ToolError> {
    let in_directory = args.output.is_dir();
    if in_directory {
        files::check_directory(&args.output)?;
    } else {
        files::check_new(&args.output)?;
        if args.key.is_none() {
            files::check_new(&key_beside(&args.output))?;
        }
    }
    let given = args.key.as_deref().map(files::read_key).transpose()?;
    let key_is_new = given.is_none();
    let generate = args.generate.clone();
    let (key, found) = work::run(move |interrupted| {
        let key = given.map_or_else(|| keygen::new_key(KEY_BITS), Ok)?;
        let found = generate.find(key.public_key(), &[], interrupted)?;
        Ok((key, found))
    })?;

    let sec = args.generate.sec;
    let (address, pds) =
        form_address(found.modifier, args.prefix.0, 0, key.public_key(), &[], sec)?;
    let file = if in_directory {
        files::parameters_path(&args.output, address)
    } else {
        args.output.clone()
    };
    let key_file = key_is_new.then(|| key_beside(&file));
    let mut files = NewFiles::default();
    files.add_parameters(&file, &pds)?;
    if let Some(key_file) = &key_file {
        files.add_key(key_file, &key)?;
    }
    files.commit()?;
    let addresses = vec![AddressFile { address, file }];
    let generated = Generated::new(Kind::Cga, sec, key_file, addresses, found);
    print(args.generate.json, &generated)?;
    Ok(ExitCode::SUCCESS)
}

/// Where a new key goes.
fn key_beside(parameters: &Path) -> PathBuf {
    let mut name = parameters.as_os_str().to_owned();
    name.push(".pem");
    name.into()
}

/// What is in a parameters file.
#[derive(Debug, Serialize)]
struct Shown {
    kind: &'static str,
    /// Hexadecimal.
    modifier: String,
    subnet_prefix: Prefix,
    collision_count: u8,
    /// Length of the field, in octets.
    public_key_octets: usize,
    /// `None` for a nonce.
    rsa_bits: Option<usize>,
    /// The HBA set, in its order.
    prefixes: Vec<Prefix>,
    /// The highest security parameter that the modifier was good for.
    sec: u8,
    /// The address under this prefix with this security parameter.
    address: Ipv6Addr,
}

impl Shown {
    fn new(pds: &Pds) -> Result<Self, ToolError> {
        // The file does not say which Sec its address has. The modifier was searched for one, and is
        // good for that and the lower ones; Sec 0 is always good.
        let mut best = address_of(pds, 0)?;
        let mut sec = 0;
        for higher in 1..=2 {
            let address = address_of(pds, higher)?;
            if verify_cga(address, pds).is_ok() {
                (sec, best) = (higher, address);
            }
        }
        let prefixes = pds.multi_prefix().map_or(&[][..], |set| &set.prefixes);
        Ok(Self {
            kind: kind_name(pds.kind()),
            modifier: format!("{:032x}", u128::from_be_bytes(pds.modifier())),
            subnet_prefix: Prefix(pds.subnet_prefix()),
            collision_count: pds.collision_count(),
            public_key_octets: pds.public_key().len(),
            rsa_bits: pds.rsa_bits(),
            prefixes: prefixes.iter().copied().map(Prefix).collect(),
            sec,
            address: best,
        })
    }
}

fn address_of(pds: &Pds, sec: u8) -> Result<Ipv6Addr, ToolError> {
    let (address, _) = form_address(
        pds.modifier(),
        pds.subnet_prefix(),
        pds.collision_count(),
        pds.public_key(),
        pds.extensions(),
        sec,
    )?;
    Ok(address)
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "kind             {}", self.kind)?;
        writeln!(f, "address          {} (Sec {})", self.address, self.sec)?;
        writeln!(f, "modifier         {}", self.modifier)?;
        writeln!(f, "subnet prefix    {}", self.subnet_prefix)?;
        writeln!(f, "collision count  {}", self.collision_count)?;
        let key = self.rsa_bits.map_or_else(
            || "no RSA key".to_owned(),
            |bits| format!("RSA, {bits} bits"),
        );
        writeln!(
            f,
            "public key       {key} ({} octets)",
            self.public_key_octets
        )?;
        for prefix in &self.prefixes {
            writeln!(f, "in the set       {prefix}")?;
        }
        Ok(())
    }
}
