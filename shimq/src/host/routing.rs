//! Each locator leaves by its own provider.
//!
//! Decides which rules and routes bring that about. For a locator on an interface there are two
//! rules, both with [`PROTOCOL`], and both before the kernel's for the main table:
//!
//! ```text
//! 14000: from LOCATOR lookup main suppress_prefixlength 0   routes that say more than "default"
//! 14001: from LOCATOR lookup 14002                          default routes of its interface
//! ```
//!
//! so destinations that the host has a route of their own for (on the link, in a VPN) are reached as
//! ever, and everything else goes to the routers of the locator's interface, whatever the main
//! table prefers. The table of a locator holds the default routes of its interface as they are in the
//! main table, and follows them there. No two locators share one, although their routes may be the
//! same: the kernel keeps the path MTU to a destination with the route that leads there. Packets that
//! a context will move must be 8 octets shorter than those that it has moved, and if both looked at
//! one route, two contexts that moved to each other's locators would shrink it for ever. Rules and routes stay when the daemon stops, because connections live on
//! the locators; a restart finds and adopts them. Nobody else's rules and routes are touched: if
//! they use these numbers, others are taken.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;

use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::netlink::Kernel;
use super::routes::{DefaultRoute, MAIN_TABLE, default_routes, dump_table, is_ours, table_of};
use super::{HostError, PROTOCOL, Removed};

/// Priorities that our rules may have; the first two that nobody else uses are taken.
const PRIORITIES: RangeInclusive<u32> = 14_000..=14_099;

/// Tables that may be ours. A locator gets the one at its interface's index, or the next that is free.
const TABLES: RangeInclusive<u32> = 14_000..=14_999;

/// One of our rules: packets from a locator look into a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rule {
    priority: u32,
    from: Ipv6Addr,
    table: u32,
}

/// All IPv6 rules, those of others reduced to what must not be used twice.
#[derive(Debug, Default)]
struct Rules {
    ours: BTreeSet<Rule>,
    other_priorities: BTreeSet<u32>,
    other_tables: BTreeSet<u32>,
}

/// Which table each locator has.
pub(super) type Tables = BTreeMap<Ipv6Addr, u32>;

/// Makes rules and routes what `locators` (with their interface) need; returns the tables in use.
pub(super) async fn route(
    kernel: &Kernel,
    locators: &BTreeMap<Ipv6Addr, u32>,
) -> Result<Tables, HostError> {
    let rules = dump_rules(kernel).await?;
    let defaults = default_routes(&dump_table(kernel, MAIN_TABLE).await?, |_| true);
    let mut tables = adopt(&rules.ours, locators);
    for (&locator, &interface) in locators {
        if !tables.contains_key(&locator) {
            let table = free_table(kernel, interface, &rules, &tables).await?;
            tables.insert(locator, table);
        }
    }
    // Routes before rules, so that no packet finds an empty table.
    for (locator, &table) in &tables {
        let interface = locators.get(locator);
        let wanted = defaults
            .iter()
            .filter(|route| interface == Some(&route.interface))
            .cloned();
        fill(kernel, table, wanted.collect()).await?;
    }
    let wanted = wanted_rules(&rules, &tables);
    for &rule in wanted.difference(&rules.ours) {
        let request = RouteNetlinkMessage::NewRule(rule_message(rule));
        kernel.add("adding a routing rule", request).await?;
    }
    let mut emptied = BTreeSet::new();
    for &rule in rules.ours.difference(&wanted) {
        remove_rule(kernel, rule).await?;
        emptied.insert(rule.table);
    }
    for table in emptied {
        if table != MAIN_TABLE && !tables.values().any(|&used| used == table) {
            fill(kernel, table, Vec::new()).await?;
        }
    }
    Ok(tables)
}

/// Removes all rules and routes of ours, and lists them.
pub(super) async fn release(kernel: &Kernel) -> Result<Vec<Removed>, HostError> {
    let mut removed = Vec::new();
    for rule in dump_rules(kernel).await?.ours {
        remove_rule(kernel, rule).await?;
        removed.push(Removed::Rule {
            from: rule.from,
            table: rule.table,
        });
    }
    // All tables: a daemon that was killed may have left one without a rule.
    for route in dump_table(kernel, 0).await? {
        let table = table_of(&route);
        if TABLES.contains(&table) && is_ours(&route) {
            let request = RouteNetlinkMessage::DelRoute(route);
            kernel.remove("removing a route", request).await?;
            removed.push(Removed::Route { table });
        }
    }
    Ok(removed)
}

/// The table that packets from each locator look into for default routes.
pub(super) async fn tables_by_locator(
    kernel: &Kernel,
) -> Result<BTreeMap<Ipv6Addr, u32>, HostError> {
    let ours = dump_rules(kernel).await?.ours;
    let own_table = |rule: &&Rule| rule.table != MAIN_TABLE;
    Ok(ours
        .iter()
        .filter(own_table)
        .map(|rule| (rule.from, rule.table))
        .collect())
}

/// Tables that an earlier run of the daemon gave to these locators.
fn adopt(ours: &BTreeSet<Rule>, locators: &BTreeMap<Ipv6Addr, u32>) -> Tables {
    let mut tables = Tables::new();
    for rule in ours.iter().filter(|rule| TABLES.contains(&rule.table)) {
        let taken = tables.values().any(|&table| table == rule.table);
        if !taken && locators.contains_key(&rule.from) {
            tables.entry(rule.from).or_insert(rule.table);
        }
    }
    tables
}

/// The first table, counted from the interface's index, that nobody else uses.
async fn free_table(
    kernel: &Kernel,
    interface: u32,
    rules: &Rules,
    taken: &Tables,
) -> Result<u32, HostError> {
    let count = TABLES.end() - TABLES.start() + 1;
    let candidates = (0..count).map(|step| TABLES.start() + (interface % count + step) % count);
    for table in candidates {
        let free = !rules.other_tables.contains(&table)
            && !taken.values().any(|&other| other == table)
            && dump_table(kernel, table).await?.iter().all(is_ours);
        if free {
            return Ok(table);
        }
    }
    Err(HostError::netlink(
        "looking for a free routing table",
        rustix::io::Errno::NOSPC.into(),
    ))
}

/// The rules that locators with these tables need, at priorities that nobody else uses.
fn wanted_rules(rules: &Rules, tables: &Tables) -> BTreeSet<Rule> {
    // If others fill the whole range, sharing priorities with them does no harm either.
    let specific = PRIORITIES
        .step_by(2)
        .find(|first| {
            !rules.other_priorities.contains(first)
                && !rules.other_priorities.contains(&(first + 1))
        })
        .unwrap_or(*PRIORITIES.start());
    let mut wanted = BTreeSet::new();
    for (&from, &table) in tables {
        for (priority, table) in [(specific, MAIN_TABLE), (specific + 1, table)] {
            wanted.insert(Rule {
                priority,
                from,
                table,
            });
        }
    }
    wanted
}

/// Makes the routes of ours in a table equal to `wanted`.
async fn fill(kernel: &Kernel, table: u32, wanted: Vec<DefaultRoute>) -> Result<(), HostError> {
    let present = default_routes(&dump_table(kernel, table).await?, is_ours);
    for route in present.iter().filter(|route| !wanted.contains(route)) {
        let request = RouteNetlinkMessage::DelRoute(route.to_message(table));
        kernel.remove("removing a route", request).await?;
    }
    for route in wanted.iter().filter(|route| !present.contains(route)) {
        let request = RouteNetlinkMessage::NewRoute(route.to_message(table));
        kernel.append("adding a route", request).await?;
    }
    Ok(())
}

async fn dump_rules(kernel: &Kernel) -> Result<Rules, HostError> {
    let mut request = RuleMessage::default();
    request.header.family = AddressFamily::Inet6;
    let request = RouteNetlinkMessage::GetRule(request);
    let mut rules = Rules::default();
    for answer in kernel.dump("listing routing rules", request).await? {
        if let RouteNetlinkMessage::NewRule(message) = answer {
            rules.sort_in(&message);
        }
    }
    Ok(rules)
}

impl Rules {
    fn sort_in(&mut self, message: &RuleMessage) {
        let mut from = None;
        let mut priority = 0;
        let mut table = message.header.table.into();
        let mut ours = false;
        for attribute in &message.attributes {
            if let RuleAttribute::Source(IpAddr::V6(address)) = attribute {
                from = Some(*address);
            } else if let RuleAttribute::Priority(number) = attribute {
                priority = *number;
            } else if let RuleAttribute::Table(number) = attribute {
                table = *number;
            } else if let RuleAttribute::Protocol(protocol) = attribute {
                ours = *protocol == RouteProtocol::Other(PROTOCOL);
            }
        }
        match from {
            Some(from)
                if ours && message.header.src_len == 128 && PRIORITIES.contains(&priority) =>
            {
                self.ours.insert(Rule {
                    priority,
                    from,
                    table,
                });
            }
            _ => {
                self.other_priorities.insert(priority);
                self.other_tables.insert(table);
            }
        }
    }
}

fn rule_message(rule: Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = AddressFamily::Inet6;
    message.header.src_len = 128;
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![
        RuleAttribute::Source(rule.from.into()),
        RuleAttribute::Priority(rule.priority),
        RuleAttribute::Table(rule.table),
        RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)),
    ];
    if rule.table == MAIN_TABLE {
        message.attributes.push(RuleAttribute::SuppressPrefixLen(0));
    }
    message
}

async fn remove_rule(kernel: &Kernel, rule: Rule) -> Result<(), HostError> {
    let request = RouteNetlinkMessage::DelRule(rule_message(rule));
    kernel
        .remove("removing a routing rule", request)
        .await
        .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    #[test]
    fn priorities_that_others_use_are_left_to_them() {
        let tables = Tables::from([(address("2001:db8::c"), 14_002)]);
        let priorities = |rules: &Rules| -> Vec<u32> {
            let wanted = wanted_rules(rules, &tables);
            wanted.iter().map(|rule| rule.priority).collect()
        };
        let mut rules = Rules::default();
        assert_eq!(priorities(&rules), [14_000, 14_001]);
        rules.other_priorities.insert(14_001);
        assert_eq!(priorities(&rules), [14_002, 14_003]);
    }

    #[test]
    fn a_restart_adopts_the_table_of_a_locator_but_never_one_for_two() {
        let rule = |from: &str| Rule {
            priority: 14_001,
            from: address(from),
            table: 14_007,
        };
        let ours = BTreeSet::from([rule("2001:db8::c"), rule("2001:db8:1::c")]);
        let locators = BTreeMap::from([(address("2001:db8::c"), 2), (address("2001:db8:1::c"), 2)]);
        let first = address("2001:db8::c");
        assert_eq!(adopt(&ours, &locators), Tables::from([(first, 14_007)]));
    }
}
