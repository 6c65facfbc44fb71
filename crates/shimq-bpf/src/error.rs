//! Why the kernel does not map: each variant leads to the queue path, and to a line for the operator.

use std::error::Error;
use std::io;
use std::net::Ipv6Addr;

use aya::EbpfError;
use aya::programs::ProgramError;
use rustix::io::Errno;

/// Why a rewriter cannot be had, or cannot take a flow.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BpfError {
    /// This process may not load programs into the kernel: it lacks CAP_BPF or CAP_NET_ADMIN, or
    /// has them in a user namespace only.
    #[error(
        "not permitted to load BPF programs (needs CAP_BPF and CAP_NET_ADMIN, outside user namespaces)"
    )]
    NotPermitted,
    /// The kernel lacks something: BPF itself, a helper function, veth or clsact.
    #[error("{doing}: the kernel cannot")]
    Unsupported {
        /// What was tried.
        doing: &'static str,
        /// What the kernel or the loader said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A network device of somebody else's has the name of an end of the pair.
    #[error("the name {name} is taken by another network device")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The kernel refused a request about devices, addresses, routes or rules.
    #[error("{doing}")]
    Netlink {
        /// What was tried.
        doing: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The path of the locators does not start at an Ethernet interface.
    #[error("interface {index} does not speak Ethernet")]
    NotEthernet {
        /// Index of the interface.
        index: u32,
    },
    /// No interface of this host leads from the local to the peer's locator.
    #[error("no route from {local} to {peer}")]
    NoRoute {
        /// Lp(local).
        local: Ipv6Addr,
        /// Lp(peer).
        peer: Ipv6Addr,
    },
    /// There are as many flows, or local ULIDs, as there is room for.
    #[error("no room for another {what}")]
    Full {
        /// What there are too many of.
        what: &'static str,
    },
}

impl BpfError {
    /// Takes "not permitted" out of what the loader reports, wherever it hides.
    pub(crate) fn from_load(doing: &'static str, error: impl Into<EbpfError>) -> Self {
        let error = error.into();
        // The verifier says EACCES, too, but has something to say.
        let refused = matches!(
            &error,
            EbpfError::ProgramError(ProgramError::LoadError { verifier_log, .. })
                if !verifier_log.to_string().is_empty()
        );
        let mut cause: Option<&(dyn Error + 'static)> = if refused { None } else { Some(&error) };
        while let Some(current) = cause {
            if let Some(io) = current.downcast_ref::<io::Error>()
                && let Some(Errno::PERM | Errno::ACCESS) = Errno::from_io_error(io)
            {
                return Self::NotPermitted;
            }
            cause = current.source();
        }
        Self::Unsupported {
            doing,
            source: error.into(),
        }
    }

    pub(crate) fn netlink(doing: &'static str, source: io::Error) -> Self {
        Self::Netlink { doing, source }
    }
}
