//! What can be wrong with a configuration, and what to correct.

use std::io;
use std::path::{Path, PathBuf};

/// Why a configuration is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error(
        "cannot read {path}: {source}: name another file with --config, or none for the defaults"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not TOML of this form.
    #[error("{path}: {reason}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, column, what is wrong there.
        reason: String,
    },
    /// A value that cannot be, in a file.
    #[error("{path}:{line}: {error}")]
    Located {
        /// The file.
        path: PathBuf,
        /// The line, from 1 on.
        line: usize,
        /// What is wrong there.
        error: Box<ConfigError>,
    },
    /// A value that cannot be.
    #[error("{key} = {value}: {reason}")]
    Value {
        /// The key, with its table.
        key: &'static str,
        /// What was given.
        value: String,
        /// What is possible.
        reason: &'static str,
    },
}

impl ConfigError {
    /// The same with the place in `text`, the content of `path`, where the key is; as it is if that
    /// cannot be told.
    pub(super) fn located(self, path: &Path, text: &str) -> Self {
        let Self::Value { key, .. } = &self else {
            return self;
        };
        match line_of(text, key) {
            Some(line) => Self::Located {
                path: path.to_owned(),
                line,
                error: Box::new(self),
            },
            None => self,
        }
    }
}

/// The line, from 1 on, on which a key of a table is set.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let (wanted_table, wanted_key) = key.rsplit_once('.').unwrap_or(("", key));
    let mut table = "";
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if let Some(header) = line.strip_prefix('[') {
            table = header.trim_matches(['[', ']', ' ']);
        } else if let Some((name, _)) = line.split_once('=') {
            let name = name.trim();
            let is_wanted = table == wanted_table && name == wanted_key;
            if is_wanted || (table.is_empty() && name == key) {
                return Some(number);
            }
        }
    }
    None
}
