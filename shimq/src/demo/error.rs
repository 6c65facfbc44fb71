//! Why a demonstration could not be held; a connection that dies in it is a result, no error.

use std::io;
use std::time::Duration;

use shimq_testbed::TestbedError;

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    /// The network could not be built, or a program in it not be started.
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
    /// No context came up between the hosts, so there was nothing to show.
    #[error("no shim context was established within {waited:?} of the first byte")]
    NoContext {
        /// How long the demo waited.
        waited: Duration,
    },
    /// The transfer ended before anything was cut.
    #[error("the transfer ended ({ending}) before the cut; try a larger --size")]
    EndedEarly {
        /// How the application ended, and what it said.
        ending: String,
    },
    /// The plot could not be drawn.
    #[error("draw {file}: {reason}")]
    Plot {
        /// The file.
        file: String,
        /// What the drawing library said.
        reason: String,
    },
    /// Interrupted by the user; everything was cleaned up.
    #[error("interrupted")]
    Interrupted,
}

impl DemoError {
    /// Returns a closure for `map_err` that says what was attempted.
    pub(super) fn io<E: Into<io::Error>>(action: impl Into<String>) -> impl FnOnce(E) -> Self {
        let action = action.into();
        move |source| Self::Io {
            action,
            source: source.into(),
        }
    }
}
