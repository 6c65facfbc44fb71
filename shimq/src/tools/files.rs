//! Keys and parameters in files.
//!
//! New files appear with all their octets or not at all, also over a power failure, and never in
//! the place of another.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::net::Ipv6Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use shim6_cga::{Pds, SigningKey};
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use super::ToolError;

/// For keys: their owner alone.
const PRIVATE: u32 = 0o600;
/// For parameters: everyone, as far as the umask lets them.
const PUBLIC: u32 = 0o666;

/// Reads a private key.
pub(super) fn read_key(path: &Path) -> Result<SigningKey, ToolError> {
    let pem = fs::read_to_string(path)
        .map(Zeroizing::new)
        .map_err(read_error(path))?;
    SigningKey::from_pem(&pem).map_err(|error| ToolError::Key {
        path: path.to_owned(),
        error,
    })
}

/// Reads parameters.
pub(super) fn read_parameters(path: &Path) -> Result<Pds, ToolError> {
    let octets = fs::read(path).map_err(read_error(path))?;
    Pds::parse(&octets).map_err(|error| ToolError::Parameters {
        path: path.to_owned(),
        error,
    })
}

/// The name of a parameters file in a directory, by which `shimq run` knows its address.
pub(super) fn parameters_path(directory: &Path, address: Ipv6Addr) -> PathBuf {
    directory.join(format!("{address}.cga"))
}

/// Whether a new file can be made there, to know before work of hours.
pub(super) fn check_new(path: &Path) -> Result<(), ToolError> {
    if path.symlink_metadata().is_ok() {
        return Err(ToolError::Exists(path.to_owned()));
    }
    check_directory(directory_of(path))
}

/// Whether new files can be made in a directory.
pub(super) fn check_directory(path: &Path) -> Result<(), ToolError> {
    let refused = |error| ToolError::Directory {
        path: path.to_owned(),
        error,
    };
    if !fs::metadata(path).map_err(refused)?.is_dir() {
        return Err(refused(ErrorKind::NotADirectory.into()));
    }
    access(path, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| refused(error.into()))
}

/// Files that appear together.
#[derive(Debug, Default)]
pub(super) struct NewFiles(Vec<(NamedTempFile, PathBuf)>);

impl NewFiles {
    /// Takes a key for a file `path`.
    pub(super) fn add_key(&mut self, path: &Path, key: &SigningKey) -> Result<(), ToolError> {
        self.add(path, key.to_pem()?.as_bytes(), PRIVATE)
    }

    /// Takes parameters for a file `path`.
    pub(super) fn add_parameters(&mut self, path: &Path, pds: &Pds) -> Result<(), ToolError> {
        self.add(path, pds.octets(), PUBLIC)
    }

    /// Writes under another name, which is gone again unless [`Self::commit`] follows.
    fn add(&mut self, path: &Path, octets: &[u8], mode: u32) -> Result<(), ToolError> {
        let write = || {
            let mut file = tempfile::Builder::new()
                .prefix(".shimq-")
                .permissions(Permissions::from_mode(mode))
                .tempfile_in(directory_of(path))?;
            file.write_all(octets)?;
            file.as_file().sync_all()?;
            Ok(file)
        };
        self.0
            .push((write().map_err(write_error(path))?, path.to_owned()));
        Ok(())
    }

    /// Makes all files appear, or none.
    ///
    /// # Errors
    ///
    /// [`ToolError::Exists`] or [`ToolError::Write`]; then those that had appeared are gone again.
    pub(super) fn commit(self) -> Result<(), ToolError> {
        let mut done = Vec::new();
        let result =
            self.0
                .into_iter()
                .try_for_each(|(file, path)| match file.persist_noclobber(&path) {
                    Ok(_) => {
                        done.push(path);
                        Ok(())
                    }
                    Err(refused) if refused.error.kind() == ErrorKind::AlreadyExists => {
                        Err(ToolError::Exists(path))
                    }
                    Err(refused) => Err(write_error(&path)(refused.error)),
                });
        if result.is_err() {
            for path in &done {
                fs::remove_file(path).map_err(write_error(path))?;
            }
        }
        for path in &done {
            let directory = File::open(directory_of(path));
            directory
                .and_then(|directory| directory.sync_all())
                .map_err(write_error(path))?;
        }
        result
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn read_error(path: &Path) -> impl FnOnce(io::Error) -> ToolError {
    let path = path.to_owned();
    |error| ToolError::Read { path, error }
}

pub(super) fn write_error(path: &Path) -> impl FnOnce(io::Error) -> ToolError {
    let path = path.to_owned();
    |error| ToolError::Write { path, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn nothing_is_there_before_the_commit_or_without_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("one");
        let mut files = NewFiles::default();
        files.add(&path, b"octets", PUBLIC).unwrap();
        assert!(!path.exists());
        drop(files);
        assert!(names(directory.path()).is_empty());
    }

    #[test]
    fn all_files_appear_or_none() {
        let directory = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| directory.path().join(name));
        let commit = || {
            let mut files = NewFiles::default();
            files.add(&one, b"1", PUBLIC).unwrap();
            files.add(&two, b"2", PUBLIC).unwrap();
            files.commit()
        };
        fs::write(&two, "old").unwrap();
        assert!(matches!(commit(), Err(ToolError::Exists(path)) if path == two));
        assert_eq!(names(directory.path()), ["two"]);
        assert_eq!(fs::read(&two).unwrap(), b"old");
        fs::remove_file(&two).unwrap();
        commit().unwrap();
        assert_eq!(names(directory.path()), ["one", "two"]);
        assert_eq!(fs::read(&two).unwrap(), b"2");
    }

    #[test]
    fn a_key_is_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        let mut files = NewFiles::default();
        files.add(&path, b"key", PRIVATE).unwrap();
        files.commit().unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn what_cannot_be_written_is_known_beforehand() {
        let directory = tempfile::tempdir().unwrap();
        let there = directory.path().join("there");
        fs::write(&there, "").unwrap();
        assert!(matches!(check_new(&there), Err(ToolError::Exists(_))));
        assert!(matches!(
            check_new(&there.join("x")),
            Err(ToolError::Directory { .. })
        ));
        let nowhere = directory.path().join("nowhere/x");
        assert!(matches!(
            check_new(&nowhere),
            Err(ToolError::Directory { .. })
        ));
        assert!(check_new(&directory.path().join("new")).is_ok());
    }
}
