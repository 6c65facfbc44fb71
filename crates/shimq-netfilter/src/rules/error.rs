//! Why a ruleset is not in force, and what to do about it.

use std::io;

/// Why a ruleset could not be loaded, changed or found right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    /// The configuration asks for what no ruleset can do.
    #[error("ruleset configuration: {0}")]
    Config(String),
    /// The process may not change rules.
    #[error("changing nf_tables needs CAP_NET_ADMIN: run as root or grant that capability")]
    Capability,
    /// The kernel has no nf_tables.
    #[error(
        "this kernel has no nf_tables: load the module nf_tables or build with CONFIG_NF_TABLES"
    )]
    NoKernelSupport,
    /// The kernel has nf_tables, but no way to queue from it.
    #[error(
        "this kernel's nf_tables cannot queue: load the module nft_queue (CONFIG_NFT_QUEUE), \
         or nft_compat with xt_NFQUEUE"
    )]
    NoQueueStatement,
    /// Another running program owns the table, most likely another shimq.
    #[error(
        "table ip6 shimq is owned by netlink port id {port_id} (often a process id): \
         stop that program, most likely another shimq"
    )]
    Owned {
        /// Netlink port id of the owner.
        port_id: u32,
    },
    /// Somebody loaded the table by hand.
    #[error(
        "table ip6 shimq exists without an owner: use it as it is (attach) \
         or remove it with `nft delete table ip6 shimq`"
    )]
    Exists,
    /// The table is not there.
    #[error("table ip6 shimq is not there: it was never loaded, or somebody removed it")]
    Missing,
    /// An operator's table is another one than is needed.
    #[error(
        "table ip6 shimq is not what `shimq rules` prints for this version and configuration ({0}): \
         remove it with `nft delete table ip6 shimq`, and load that"
    )]
    Unlike(String),
    /// What the kernel lists is not what was asked for.
    #[error("table ip6 shimq is not as it should be: {0}")]
    Differs(String),
    /// The kernel refused a part of a transaction; none of it is in force.
    #[error("the kernel refused {part}: {source}{}", .reason.as_deref().map(|r| format!(" ({r})")).unwrap_or_default())]
    Refused {
        /// The refused part, in nft's words.
        part: String,
        /// The kernel's own words, where it has any.
        reason: Option<String>,
        /// Its error number.
        #[source]
        source: io::Error,
    },
    /// The socket failed.
    #[error("nf_tables socket: {0}")]
    Io(#[source] io::Error),
}

impl RulesError {
    /// The meaning of an error number that concerns nf_tables as a whole, from a request that only asks.
    pub(super) fn general(source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::EPERM) => Self::Capability,
            Some(libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT) => Self::NoKernelSupport,
            _ => Self::Io(source),
        }
    }
}
