//! Why the daemon cannot run, and what to do about it.

use std::io;
use std::path::PathBuf;

use shimq_netfilter::queue::QueueError;
use shimq_netfilter::rules::RulesError;

use crate::config::ConfigError;
use crate::host::HostError;

/// Why the daemon did not start, or stopped. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DaemonError {
    /// There is one already.
    #[error("a daemon already listens at {0}: stop it, or give this one another --socket")]
    Running(PathBuf),
    /// The control socket cannot be made.
    #[error("cannot listen at {path}: {source}: choose another --socket")]
    Socket {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Raw sockets are not to be had.
    #[error(
        "cannot open a raw socket: {0}: run as root, give the service \
         AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW, or try it inside `unshare -rn`"
    )]
    RawSocket(io::Error),
    /// The system gives no randomness.
    #[error("the system gives no random numbers: is /dev/urandom there?")]
    Randomness,
    /// No thread, descriptor or signal handler.
    #[error("the system has no room for another thread or descriptor: {0}: see `ulimit -a`")]
    Thread(io::Error),
    /// A queue thread ended.
    #[error(
        "queue {number} ended: {source}: packets bypass it if they may; start the daemon again"
    )]
    Queue {
        /// Its number.
        number: u16,
        /// What it ended with.
        source: io::Error,
    },
    /// A queue thread does not come back.
    #[error(
        "the thread of queue {0} hangs; packets bypass it if they may: start the daemon again, and report this"
    )]
    Hangs(u16),
    /// The configuration cannot be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A queue cannot be had.
    #[error(transparent)]
    QueueOpen(#[from] QueueError),
    /// The rules cannot be had, or were taken away.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// The addresses cannot be taken care of.
    #[error(transparent)]
    Host(#[from] HostError),
}

impl DaemonError {
    /// What the kernel said to a raw socket.
    pub(crate) fn raw_socket(source: io::Error) -> Self {
        if source.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) {
            return Self::Host(HostError::NoIpv6);
        }
        Self::RawSocket(source)
    }
}
