//! What a stretch of time cost: processor time and queued packets.
//!
//! Processor time is that of this process, which makes the traffic, of the programs that serve the
//! variant, and of the kernel's softirq threads. A packet's way through a veth pair runs in the
//! context of whoever sent it, so it is in there as well; what else runs on the machine is not.

use std::fs;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use shimq_testbed::Namespace;

use shimq_benches::error::BenchError;

/// Runs from [`Meter::start`] to [`Meter::stop`].
pub(crate) struct Meter<'a> {
    hosts: [&'a Namespace; 2],
    pids: Vec<u32>,
    before: Reading,
}

/// What a meter saw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    pub(crate) time: Duration,
    pub(crate) cpu: Duration,
    /// Packets that entered queues, of both hosts.
    pub(crate) queued: u64,
    /// Packets that the kernel dropped because a queue, or its reader's buffer, was full.
    pub(crate) dropped: u64,
}

impl<'a> Meter<'a> {
    /// Begins to count what `servers` and this process use.
    pub(crate) fn start(
        hosts: [&'a Namespace; 2],
        servers: &[rustix::process::Pid],
    ) -> Result<Self, BenchError> {
        let mut pids: Vec<u32> = servers
            .iter()
            .map(|pid| pid.as_raw_pid().cast_unsigned())
            .collect();
        pids.push(std::process::id());
        pids.extend(softirq_threads()?);
        let before = Reading::take(hosts, &pids)?;
        Ok(Self {
            hosts,
            pids,
            before,
        })
    }

    /// What happened since.
    pub(crate) fn stop(self) -> Result<Spent, BenchError> {
        let after = Reading::take(self.hosts, &self.pids)?;
        let before = self.before;
        Ok(Spent {
            time: after.at - before.at,
            cpu: after.cpu.saturating_sub(before.cpu),
            // The kernel counts in 32 bits.
            queued: u64::from((after.queued as u32).wrapping_sub(before.queued as u32)),
            dropped: after.dropped.saturating_sub(before.dropped),
        })
    }
}

struct Reading {
    at: Instant,
    cpu: Duration,
    queued: u64,
    dropped: u64,
}

impl Reading {
    fn take(hosts: [&Namespace; 2], pids: &[u32]) -> Result<Self, BenchError> {
        let mut reading = Self {
            at: Instant::now(),
            cpu: Duration::ZERO,
            queued: 0,
            dropped: 0,
        };
        for pid in pids {
            reading.cpu += cpu_of(*pid)?;
        }
        for host in hosts {
            let table = host.enter(|| fs::read_to_string(QUEUES))?;
            // Not there before the first queue, where it is a module.
            for (queued, dropped) in queues(&table.unwrap_or_default()) {
                reading.queued += queued;
                reading.dropped += dropped;
            }
        }
        Ok(reading)
    }
}

const QUEUES: &str = "/proc/thread-self/net/netfilter/nfnetlink_queue";

/// Packets queued and dropped, of each queue: the last id given, and the drops in the kernel and
/// before the reader.
fn queues(table: &str) -> impl Iterator<Item = (u64, u64)> {
    table.lines().filter_map(|line| {
        let columns: Vec<u64> = line
            .split_whitespace()
            .map_while(|column| column.parse().ok())
            .collect();
        let [_, _, _, _, _, queue_dropped, user_dropped, last_id, ..] = columns[..] else {
            return None;
        };
        Some((last_id, queue_dropped + user_dropped))
    })
}

/// User and system time of a process with all its threads, to the nanosecond: proc(5) counts in ticks,
/// of which a measurement has few.
fn cpu_of(pid: u32) -> Result<Duration, BenchError> {
    let pid = Pid::from_raw(pid.cast_signed());
    let time = ClockId::pid_cpu_clock_id(pid).and_then(clock_gettime);
    let failed = BenchError::io(format!("read the processor time of process {pid}"));
    time.map(Duration::from).map_err(failed)
}

fn softirq_threads() -> Result<Vec<u32>, BenchError> {
    let processes = fs::read_dir("/proc").map_err(BenchError::io("read /proc"))?;
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(pids
        .filter(|pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/comm"))
                .is_ok_and(|name| name.starts_with("ksoftirqd/"))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queued_and_dropped_packets_are_read_of_each_queue() {
        let table = "   77   7406     0 2   128     3     4    23909  1\n\
                     5533  12345     0 2 65531     0     0        7  1\n";
        assert_eq!(queues(table).collect::<Vec<_>>(), [(23_909, 7), (7, 0)]);
    }

    #[test]
    fn this_process_has_used_some_time() {
        let start = cpu_of(std::process::id()).unwrap();
        let mut waste = 0_u64;
        let until = Instant::now() + Duration::from_millis(1);
        while Instant::now() < until {
            waste = std::hint::black_box(waste.wrapping_add(1));
        }
        assert!(cpu_of(std::process::id()).unwrap() > start);
    }
}
