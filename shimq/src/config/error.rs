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
    /// A section that says too little.
    #[error("[[{section}]] needs {what}")]
    Incomplete {
        /// The section's name.
        section: &'static str,
        /// What has to be in it.
        what: &'static str,
    },
    /// A value that cannot be, in one of several sections with the same name.
    #[error("{error}")]
    InSection {
        /// The section, from 0 on.
        number: usize,
        /// What is wrong there.
        error: Box<ConfigError>,
    },
}

impl ConfigError {
    /// The same in the section `number`, from 0 on, of those that have the name of the key's table.
    pub(super) fn in_section(self, number: usize) -> Self {
        Self::InSection {
            number,
            error: Box::new(self),
        }
    }

    /// The same with the place in `text`, the content of `path`, where the key is; as it is if that
    /// cannot be told.
    pub(super) fn located(self, path: &Path, text: &str) -> Self {
        let line = self
            .place()
            .and_then(|(table, key, number)| line_of(text, table, key, number));
        match line {
            Some(line) => Self::Located {
                path: path.to_owned(),
                line,
                error: Box::new(self),
            },
            None => self,
        }
    }

    /// The table, the key in it unless all of the table is wrong, and in which of several tables;
    /// `None` if it is about neither.
    fn place(&self) -> Option<(&'static str, Option<&'static str>, usize)> {
        match self {
            Self::Value { key, .. } => {
                let (table, key) = key.rsplit_once('.').unwrap_or(("", key));
                Some((table, Some(key), 0))
            }
            Self::Incomplete { section, .. } => Some((section, None, 0)),
            Self::InSection { number, error } => {
                error.place().map(|(table, key, _)| (table, key, *number))
            }
            Self::Unreadable { .. } | Self::Syntax { .. } | Self::Located { .. } => None,
        }
    }
}

/// The line, from 1 on, on which a key of a table is set, or the table begins: of several with one
/// name, of the table `number`, from 0 on.
fn line_of(
    text: &str,
    wanted_table: &str,
    wanted_key: Option<&str>,
    number: usize,
) -> Option<usize> {
    let dotted = wanted_key.map(|key| format!("{wanted_table}.{key}"));
    let (mut table, mut before) = ("", 0);
    for (line_number, line) in (1..).zip(text.lines().map(str::trim)) {
        let is_it = if let Some(header) = line.strip_prefix('[') {
            before += usize::from(table == wanted_table);
            let header = header.trim_start_matches('[');
            table = header.split(']').next().unwrap_or(header).trim();
            table == wanted_table && before == number && wanted_key.is_none()
        } else if let Some((name, _)) = line.split_once('=') {
            let name = Some(name.trim());
            let in_place = table == wanted_table && before == number && name == wanted_key;
            let in_root = name == dotted.as_deref() || name == Some(wanted_table);
            in_place || (table.is_empty() && in_root)
        } else {
            false
        };
        if is_it {
            return Some(line_number);
        }
    }
    None
}
