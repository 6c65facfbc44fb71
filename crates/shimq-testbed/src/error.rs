//! What can go wrong with a testbed, said so that the reader knows what to do next.

use std::io;
use std::process::ExitStatus;

/// Why a testbed could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestbedError {
    /// Programs are not installed; `packages` are the Debian packages that bring them.
    #[error("missing {}; install with: apt-get install {}", programs.join(", "), packages.join(" "))]
    MissingPrograms {
        /// The programs that were looked for in vain.
        programs: Vec<String>,
        /// The packages, each once, that hold them.
        packages: Vec<String>,
    },
    /// Neither root nor allowed to make a user namespace; `reason` is the kernel's word.
    #[error(
        "network namespaces need root or user namespaces, and this system allows neither here \
         ({reason}); run as root, or set sysctl kernel.unprivileged_userns_clone=1, or \
         kernel.apparmor_restrict_unprivileged_userns=0, whichever exists"
    )]
    NoPrivilege {
        /// What the attempt to make a user namespace said.
        reason: String,
    },
    /// A command ended with a failure.
    #[error("{command}: {status}: {stderr}")]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to standard error, trimmed.
        stderr: String,
    },
    /// A program wrote something other than what its format promises.
    #[error("{program} answered unexpectedly: {answer}")]
    UnexpectedAnswer {
        /// The program.
        program: &'static str,
        /// What it wrote.
        answer: String,
    },
    /// A daemon ended, or did not do what it is for.
    #[error("shimq on host {host} {problem}; its log ends:\n{log}")]
    Shim {
        /// Where it ran.
        host: String,
        /// What it did, or did not.
        problem: &'static str,
        /// The last lines of its log.
        log: String,
    },
    /// The operating system refused.
    #[error("{action}: {source}")]
    Io {
        /// What was attempted.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl TestbedError {
    /// Returns a closure for `map_err` that says what was attempted.
    pub(crate) fn io<E: Into<io::Error>>(action: impl Into<String>) -> impl FnOnce(E) -> Self {
        let action = action.into();
        move |source| Self::Io {
            action,
            source: source.into(),
        }
    }
}
