//! Why a tool failed, and what to do about it.

use std::io;
use std::path::PathBuf;

use shim6_cga::CgaError;

/// Why a tool failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    /// The user ended the command.
    #[error("interrupted; nothing was written")]
    Interrupted,
    /// A file would be overwritten.
    #[error("{0} exists and is not overwritten: move it away, or name another file with -o")]
    Exists(PathBuf),
    /// Where a file should be is no directory, or a closed one.
    #[error("cannot write into {path}: {error}; name a directory that is yours with -o")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {path}: {error}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A file could not be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A file holds no key.
    #[error("{path}: {error}; `shimq keygen -o FILE` makes a key")]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: CgaError,
    },
    /// A file holds no parameters.
    #[error("{path} holds no parameters: {error}")]
    Parameters {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: CgaError,
    },
    /// An HBA set with two addresses under one prefix.
    #[error("{0} is given twice: name each prefix once")]
    Twice(String),
    /// What was asked for cannot be made.
    #[error(transparent)]
    Cga(#[from] CgaError),
    /// Nothing can be printed, or the system gives no threads or signals.
    #[error(transparent)]
    Io(#[from] io::Error),
}
