//! What can keep the host's addresses from being taken care of, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use shim6_cga::CgaError;

/// Why the host's addresses cannot be taken care of. Each text says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum HostError {
    /// The kernel has no IPv6.
    #[error("the kernel has no IPv6: boot without ipv6.disable=1, or load the module ipv6")]
    NoIpv6,
    /// The administrator switched IPv6 off on all interfaces.
    #[error(
        "IPv6 is switched off: run `sysctl net.ipv6.conf.all.disable_ipv6=0`, and look for a file \
         in /etc/sysctl.d that sets it to 1"
    )]
    Ipv6Disabled,
    /// No chosen interface has a global or unique local /64 prefix.
    #[error(
        "no chosen interface has a global /64 prefix: wait for a router advertisement, configure \
         an address, or choose other interfaces"
    )]
    NoGlobalPrefix,
    /// The process may not configure the network.
    #[error(
        "the capability CAP_NET_ADMIN is missing: run as root, give the service \
         AmbientCapabilities=CAP_NET_ADMIN, or try it inside `unshare -rn`"
    )]
    MissingCapability,
    /// The configuration names an interface that is not there.
    #[error("interface {0} is not there: correct its name in the configuration, see `ip link`")]
    NoSuchInterface(String),
    /// The key file cannot be read, or holds no usable key. It is never overwritten.
    #[error(
        "key file {path}: {reason}: restore it, or move it away to have a new key (and with it \
         new addresses) made"
    )]
    KeyUnreadable {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The configuration names a key outside the state directory that is not there.
    #[error(
        "key file {0} is not there: make it with `shimq keygen --output {0}`, or correct `key` in the \
         configuration; only keys of the state directory are made by themselves"
    )]
    NoSuchKey(PathBuf),
    /// The state directory cannot be used.
    #[error("state directory: {path}: {source}: let this user own and write it, mode 0700")]
    Store {
        /// The file or directory that was being used.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The configured key length or Sec value has no key or address.
    #[error("cannot make a key or an address: {0}: correct the configuration")]
    Cga(#[from] CgaError),
    /// The kernel refused a request, or the netlink socket failed.
    #[error("{doing}: {source}: see `ip -6 address`, `ip -6 route` and the kernel log")]
    Netlink {
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl HostError {
    /// The kernel's answer to a request. A lack of permission is told as such.
    pub(super) fn netlink(doing: &'static str, source: io::Error) -> Self {
        match Errno::from_io_error(&source) {
            Some(Errno::PERM) => Self::MissingCapability,
            Some(Errno::AFNOSUPPORT | Errno::OPNOTSUPP) => Self::NoIpv6,
            _ => Self::Netlink { doing, source },
        }
    }

    /// For `map_err` on work with a file or directory of the state directory.
    pub(super) fn store(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Store {
            path: path.to_owned(),
            source,
        }
    }
}
