//! Finds the programs that testbeds use, and says which package brings one that is missing.

use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::TestbedError;

/// Returns the path of `program`.
///
/// Looks where `PATH` says, then where Debian keeps the programs of administrators, which the
/// `PATH` of an ordinary user leaves out. An absolute path is only checked.
///
/// # Errors
///
/// [`TestbedError::MissingPrograms`] with the package to install.
pub fn find(program: impl AsRef<Path>) -> Result<PathBuf, TestbedError> {
    let program = program.as_ref();
    lookup(program).ok_or_else(|| missing(&[&program.to_string_lossy()]))
}

/// Checks that all of `programs` are there, so that a user learns of every missing one at once.
///
/// # Errors
///
/// [`TestbedError::MissingPrograms`] with all that are missing.
pub fn require(programs: &[&str]) -> Result<(), TestbedError> {
    let absent: Vec<&str> = programs
        .iter()
        .copied()
        .filter(|program| lookup(program.as_ref()).is_none())
        .collect();
    if absent.is_empty() {
        Ok(())
    } else {
        Err(missing(&absent))
    }
}

fn lookup(program: &Path) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file() && access(file, Access::EXEC_OK).is_ok())
}

fn missing(programs: &[&str]) -> TestbedError {
    let packages: BTreeSet<&str> = programs.iter().map(|program| package(program)).collect();
    TestbedError::MissingPrograms {
        programs: programs.iter().map(ToString::to_string).collect(),
        packages: packages.into_iter().map(str::to_owned).collect(),
    }
}

/// The Debian package of a program; most are named alike.
fn package(program: &str) -> &str {
    match program {
        "ip" | "tc" => "iproute2",
        "nft" => "nftables",
        "ping" => "iputils-ping",
        "setpriv" | "unshare" => "util-linux",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_missing_programs_are_named_with_each_package_once() {
        let error = missing(&["tc", "nft", "ip"]);
        assert_eq!(
            error.to_string(),
            "missing tc, nft, ip; install with: apt-get install iproute2 nftables"
        );
    }

    #[test]
    fn a_program_is_found_and_a_nonexistent_one_is_not() {
        assert!(find("sh").unwrap().is_absolute());
        assert!(require(&["sh", "no-such-program"]).is_err());
    }
}
