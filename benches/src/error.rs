//! Why a measurement cannot go on.

use std::path::PathBuf;
use std::{fmt, io};

use shimq_testbed::TestbedError;

/// What went wrong, and what to do about it where that is known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// Namespaces, programs.
    #[error(transparent)]
    Testbed(#[from] TestbedError),
    /// The operating system refused.
    #[error("{action}: {source}")]
    Io {
        /// What was attempted.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
    /// There is no program to measure.
    #[error(
        "there is no program {path}: build it with `cargo build --release -p shimq`, or name another with --shimq"
    )]
    NoProgram {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// `--only` names nothing there is.
    #[error("--only matches nothing; there are:\n{}", titles.join("\n"))]
    NoSuchTitle {
        /// All that could be measured.
        titles: Vec<String>,
    },
    /// Something did not come true in time.
    #[error("waited in vain until {condition}")]
    TooLate {
        /// What did not.
        condition: String,
    },
    /// A program did not do what it is for.
    #[error("{program}: {complaint}")]
    Program {
        /// The program.
        program: String,
        /// What it said.
        complaint: String,
    },
    /// A plot cannot be drawn.
    #[error("cannot draw {file}: {reason}")]
    Plot {
        /// The file.
        file: PathBuf,
        /// What the drawing library said.
        reason: String,
    },
}

impl BenchError {
    /// Returns a closure for `map_err` that says what was attempted.
    pub fn io<E: Into<io::Error>>(action: impl Into<String>) -> impl FnOnce(E) -> Self {
        let action = action.into();
        move |source| Self::Io {
            action,
            source: source.into(),
        }
    }

    /// What a program, or a part of one, complains about.
    pub fn program(program: impl Into<String>, complaint: impl fmt::Display) -> Self {
        Self::Program {
            program: program.into(),
            complaint: complaint.to_string(),
        }
    }
}

/// Whether a call only took its patience: it reached its timeout, or the machine stood still for a moment.
#[must_use]
pub fn is_patience(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}
