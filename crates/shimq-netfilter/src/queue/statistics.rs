//! What the kernel says about the queues of this network namespace.

use std::{fs, io};

/// One bound queue, from `/proc/net/netfilter/nfnetlink_queue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueStatistics {
    /// Queue number.
    pub number: u16,
    /// Netlink port id of the socket that bound it.
    pub port_id: u32,
    /// Packets that wait for a verdict.
    pub waiting: u32,
    /// Octets copied of each packet.
    pub copy_range: u32,
    /// Packets dropped because the queue was full.
    pub queue_dropped: u64,
    /// Packets dropped because the receive buffer was full.
    pub user_dropped: u64,
    /// Packets queued since the binding.
    pub queued: u64,
}

/// Reads the statistics of every bound queue in the calling thread's network namespace.
///
/// # Errors
///
/// That the file cannot be read: `NotFound` means that the kernel has no NFQUEUE.
pub fn statistics() -> io::Result<Vec<QueueStatistics>> {
    // Not /proc/net, which is that of the process's first thread.
    let text = fs::read_to_string("/proc/thread-self/net/netfilter/nfnetlink_queue")?;
    Ok(text.lines().filter_map(parse_line).collect())
}

fn parse_line(line: &str) -> Option<QueueStatistics> {
    let mut columns = line.split_ascii_whitespace().map(str::parse::<u64>);
    let mut next = || columns.next()?.ok();
    let (number, port_id, waiting) = (next()?, next()?, next()?);
    let (_copy_mode, copy_range) = (next()?, next()?);
    Some(QueueStatistics {
        number: number.try_into().ok()?,
        port_id: port_id.try_into().ok()?,
        waiting: waiting.try_into().ok()?,
        copy_range: copy_range.try_into().ok()?,
        queue_dropped: next()?,
        user_dropped: next()?,
        queued: next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernel_is_read_by_its_columns() {
        let line = "  100 4294963096     3 2 65531     7    11     5024  1";
        let read = parse_line(line).unwrap();
        assert_eq!(
            read,
            QueueStatistics {
                number: 100,
                port_id: 4_294_963_096,
                waiting: 3,
                copy_range: 65531,
                queue_dropped: 7,
                user_dropped: 11,
                queued: 5024,
            }
        );
    }

    #[test]
    fn a_short_or_foreign_line_is_left_out() {
        assert_eq!(parse_line("100 12 3"), None);
        assert_eq!(parse_line("queue portid"), None);
    }
}
