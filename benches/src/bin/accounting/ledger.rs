//! What shimq and the kernel count, read at one moment, and what was added between two.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;
use shimq_benches::error::BenchError;
use shimq_netfilter::queue::statistics;
use shimq_testbed::{Namespace, Shim, TwoHosts};

use crate::stage::answer;

/// Counters by what they count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// Packets that went no further, by reason.
    pub(crate) drops: BTreeMap<String, u64>,
    /// Shim6 control messages that were sent.
    pub(crate) control_sent: u64,
    /// Those that arrived at a queue of shimq.
    pub(crate) control_arrived: u64,
    /// Packets that shimq's queue threads saw, at both hosts.
    pub(crate) judged: u64,
    /// Whatever else the kernel counts and may have to do with a difference.
    pub(crate) others: BTreeMap<String, u64>,
}

impl Ledger {
    /// Reads all of it.
    pub(crate) fn read(hosts: &TwoHosts, daemons: &[Shim<'_>; 2]) -> Result<Self, BenchError> {
        let mut ledger = Self::default();
        for (name, host, daemon) in [("A", &hosts.a, &daemons[0]), ("B", &hosts.b, &daemons[1])] {
            ledger.read_daemon(name, &answer(daemon, "status")?);
            ledger.read_host(name, host)?;
        }
        ledger.read_host("router", &hosts.router)?;
        let cut = hosts.counters()?.cut.packets;
        ledger.add_drop("router: cut".to_owned(), cut);
        ledger.read_links(hosts)?;
        Ok(ledger)
    }

    /// What was added since `before`; of drops only what there was.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let added = |now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>| {
            let added = now.iter().map(|(reason, &count)| {
                let former = before.get(reason).copied().unwrap_or_default();
                (reason.clone(), count.saturating_sub(former))
            });
            added.filter(|&(_, count)| count > 0).collect()
        };
        Self {
            drops: added(&self.drops, &before.drops),
            control_sent: self.control_sent - before.control_sent,
            control_arrived: self.control_arrived - before.control_arrived,
            judged: self.judged - before.judged,
            others: added(&self.others, &before.others),
        }
    }

    fn add_drop(&mut self, reason: String, count: u64) {
        *self.drops.entry(reason).or_default() += count;
    }

    /// What `shimq status` says.
    fn read_daemon(&mut self, name: &str, status: &Value) {
        let count = |value: &Value| value.as_u64().unwrap_or_default();
        let counters = &status["counters"];
        self.control_sent += count(&counters["messages_sent"]);
        self.control_sent -= count(&counters["send_errors"]);
        for queue in status["queues"].as_array().into_iter().flatten() {
            for (reason, dropped) in queue["dropped"].as_object().into_iter().flatten() {
                // The ordinary end of a control message.
                if reason == "consumed" {
                    self.control_arrived += count(dropped);
                } else {
                    self.add_drop(format!("{name}, shimq: {reason}"), count(dropped));
                }
            }
            self.judged += count(&queue["packets"]);
            let late = count(&queue["verdicts_too_late"]);
            self.add_drop(format!("{name}, shimq: verdict too late"), late);
        }
        let mapped = &status["datapath"]["kernel"]["dropped"];
        for (reason, dropped) in mapped.as_object().into_iter().flatten() {
            self.add_drop(
                format!("{name}, shimq in the kernel: {reason}"),
                count(dropped),
            );
        }
    }

    /// What the kernel says of a host's queues and protocols.
    fn read_host(&mut self, name: &str, host: &Namespace) -> Result<(), BenchError> {
        let failed = || BenchError::io("read the kernel's counters");
        // A router without queues has no such file.
        for queue in host.enter(statistics)?.unwrap_or_default() {
            self.add_drop(format!("{name}, kernel: queue full"), queue.queue_dropped);
            let reason = format!("{name}, kernel: queue's receive buffer full");
            self.add_drop(reason, queue.user_dropped);
        }
        let read = || fs::read_to_string("/proc/thread-self/net/snmp6");
        let table = host.enter(read)?.map_err(failed())?;
        let value = |key| column(&table, key);
        let (errors, full) = (value("Udp6InErrors"), value("Udp6RcvbufErrors"));
        self.add_drop(
            format!("{name}, kernel: socket's receive buffer full"),
            full,
        );
        let other = errors.saturating_sub(full);
        self.add_drop(format!("{name}, kernel: other UDP errors"), other);
        self.add_drop(
            format!("{name}, kernel: no such port"),
            value("Udp6NoPorts"),
        );
        for key in DISCARDS {
            self.add_drop(format!("{name}, kernel: {key}"), value(key));
        }
        for key in ALSO_COUNTED {
            self.others.insert(format!("{name}: {key}"), value(key));
        }
        Ok(())
    }

    /// What the devices at both ends of each link dropped.
    fn read_links(&mut self, hosts: &TwoHosts) -> Result<(), BenchError> {
        let router = devices(&hosts.router)?;
        for host in [&hosts.a, &hosts.b] {
            for (link, device) in devices(host)? {
                let Some(other) = router.get(&link).filter(|_| link != "lo") else {
                    // A device pair within one host, or none at all.
                    self.add_drop(format!("device {link}"), device.receive_dropped);
                    continue;
                };
                for (from, to) in [(&device, other), (other, &device)] {
                    // What finds no room at the receiving end is counted at both.
                    let dropped = from.transmit_dropped.max(to.receive_dropped);
                    self.add_drop(format!("link {link}"), dropped);
                }
            }
        }
        Ok(())
    }
}

/// What a device dropped.
#[derive(Clone, Copy, Debug)]
struct Device {
    receive_dropped: u64,
    transmit_dropped: u64,
}

/// The devices of a host, by name.
fn devices(host: &Namespace) -> Result<BTreeMap<String, Device>, BenchError> {
    let read = || fs::read_to_string("/proc/thread-self/net/dev");
    let table = host
        .enter(read)?
        .map_err(BenchError::io("read the devices' counters"))?;
    Ok(table.lines().filter_map(parse_device).collect())
}

/// A line of /proc/net/dev: a name, eight columns about what was received, eight about what was sent.
fn parse_device(line: &str) -> Option<(String, Device)> {
    let (name, columns) = line.split_once(':')?;
    let columns: Vec<u64> = columns
        .split_whitespace()
        .map_while(|n| n.parse().ok())
        .collect();
    let device = Device {
        receive_dropped: *columns.get(3)?,
        transmit_dropped: *columns.get(11)?,
    };
    Some((name.trim().to_owned(), device))
}

/// A value of /proc/net/snmp6; 0 if the kernel does not know it.
fn column(table: &str, key: &str) -> u64 {
    let mut lines = table.lines().map(str::split_whitespace);
    let value = lines.find_map(|mut words| (words.next()? == key).then(|| words.next()));
    value
        .flatten()
        .and_then(|n| n.parse().ok())
        .unwrap_or_default()
}

/// Of snmp6, what each stands for a packet that IPv6 itself gave up.
const DISCARDS: [&str; 9] = [
    "Ip6InHdrErrors",
    "Ip6InTooBigErrors",
    "Ip6InNoRoutes",
    "Ip6InAddrErrors",
    "Ip6InUnknownProtos",
    "Ip6InTruncatedPkts",
    "Ip6InDiscards",
    "Ip6OutNoRoutes",
    "Ip6FragFails",
];

/// Of snmp6, what counts again what is counted elsewhere, or might.
const ALSO_COUNTED: [&str; 5] = [
    "Ip6OutDiscards",
    "Ip6ReasmFails",
    "Udp6SndbufErrors",
    "Icmp6OutMsgs",
    "Icmp6InErrors",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_the_kernel_are_read_by_name_and_place() {
        let table = "Ip6InReceives  \t12\nUdp6InErrors  \t7\nUdp6RcvbufErrors  \t5\n";
        assert_eq!(column(table, "Udp6InErrors"), 7);
        assert_eq!(column(table, "Udp6NoPorts"), 0);
        let line = "    a1: 100 1 0 3 0 0 0 0   200 2 0 4 0 0 0 0";
        let (name, device) = parse_device(line).expect("a device");
        assert_eq!(name, "a1");
        assert_eq!((device.receive_dropped, device.transmit_dropped), (3, 4));
        assert!(parse_device(" face |bytes    packets errs drop").is_none());
    }
}
