//! Why a queue cannot be had, and what to do about it.

use std::io;

use super::statistics;

/// Why a queue could not be bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// Another socket holds the number; the kernel knows it as `port_id`, usually the process id of its program.
    #[error(
        "queue {number} is taken by netlink port id {port_id} (often its process id): \
         stop that program or configure another queue number"
    )]
    Taken {
        /// The queue number asked for.
        number: u16,
        /// Netlink port id of the holder.
        port_id: u32,
    },
    /// The process may not bind queues.
    #[error("binding queue {number} needs CAP_NET_ADMIN: run as root or grant that capability")]
    Capability {
        /// The queue number asked for.
        number: u16,
    },
    /// The kernel has no NFQUEUE.
    #[error(
        "this kernel has no NFQUEUE: load the module nfnetlink_queue \
         or build the kernel with CONFIG_NETFILTER_NETLINK_QUEUE"
    )]
    NoKernelSupport,
    /// Anything else.
    #[error("cannot {action} for queue {number}: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The queue number asked for.
        number: u16,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl QueueError {
    /// Wraps the failure of `action` in the way of opening queue `number`.
    pub(super) fn io(action: &'static str, number: u16) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            number,
            source,
        }
    }

    /// Explains why the kernel refused to bind `number`.
    pub(super) fn refused(number: u16, source: io::Error) -> Self {
        match source.raw_os_error() {
            // EPERM stands for a missing capability and for a number that is taken; the list of queues tells which.
            Some(libc::EPERM | libc::EBUSY) => match holder(number) {
                Some(port_id) => Self::Taken { number, port_id },
                None => Self::Capability { number },
            },
            // nfnetlink is there and does not know the subsystem, or is not there at all.
            Some(libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT) => Self::NoKernelSupport,
            _ => Self::io("bind", number)(source),
        }
    }
}

/// The port id that holds queue `number`, if one does.
fn holder(number: u16) -> Option<u32> {
    statistics()
        .ok()?
        .into_iter()
        .find(|queue| queue.number == number)
        .map(|queue| queue.port_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_nfqueue_is_told_from_other_refusals() {
        // nfnetlink without the subsystem answers the first; a kernel without nfnetlink the last.
        for error in [libc::EINVAL, libc::EOPNOTSUPP, libc::EPROTONOSUPPORT] {
            let refused = QueueError::refused(0, io::Error::from_raw_os_error(error));
            assert!(matches!(refused, QueueError::NoKernelSupport), "{refused}");
            assert!(refused.to_string().contains("nfnetlink_queue"), "{refused}");
        }
        let refused = QueueError::refused(7, io::Error::from_raw_os_error(libc::ENOMEM));
        assert_eq!(
            refused.to_string(),
            "cannot bind for queue 7: Cannot allocate memory (os error 12)"
        );
    }
}
