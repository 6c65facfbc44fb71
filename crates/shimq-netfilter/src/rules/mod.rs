//! The nf_tables rules that decide which packets reach a queue, and what the kernel counts about the others.
//!
//! [`RulesetConfig`] says what is wanted. [`print()`] writes it as nft text; [`Ruleset::load`] asks the kernel for the
//! same, in one transaction, in a table of our own (`ip6 shimq`) that no other program can change and that vanishes
//! with the socket that made it. Both come from one description ([`design`]), so that what an operator reads is what
//! runs. Nothing outside that table is ever touched.
//!
//! Printed rules prove nothing about loaded ones (an nft without the right plugin leaves the queue statement out of a
//! listing), so a loaded ruleset is read back over netlink and compared with what was sent, octet for octet.

mod chains;
mod config;
mod counts;
mod design;
mod elements;
mod error;
mod expression;
mod listing;
mod statement;
mod text;
mod transaction;
mod wire;

use std::ffi::CStr;

use nftnl::{Chain, ChainType, Policy, ProtoFamily, Rule, Table};

pub use self::config::{Exclusions, InputHook, Mode, Prefix, RulesetConfig, Trigger};
pub use self::counts::ContextCount;
pub use self::elements::{AddressPair, Change, Direction};
pub use self::error::RulesError;
pub use self::statement::Statement;
pub use self::text::print;

use self::design::{Design, SetName};
use self::listing::Listing;
use self::transaction::Transaction;
use crate::netlink::Socket;

/// A ruleset in force. See the module's description.
///
/// Dropping one that was loaded removes its table; dropping one that was attached leaves the operator's table, with
/// the elements that are in it.
pub struct Ruleset {
    socket: Socket,
    config: RulesetConfig,
    statement: Statement,
    ownership: Ownership,
    /// What [`Ruleset::verify`] compares with: the listing that was found right when the ruleset came into force.
    listed: Listing,
    /// Reused for everything that is received.
    buf: Vec<u8>,
}

/// Whose the table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ownership {
    Ours,
    Operators,
}

impl Ruleset {
    /// Loads the table in one transaction and checks that the kernel lists what was asked for.
    ///
    /// # Errors
    ///
    /// [`RulesError`], each with what to do; nothing is loaded then.
    pub fn load(config: &RulesetConfig) -> Result<Self, RulesError> {
        config.validate()?;
        let socket = open()?;
        let mut buf = vec![0; BUFFER];
        match Listing::read(&socket, &mut buf) {
            Err(RulesError::Missing) => {}
            Err(error) => return Err(error),
            Ok(listing) => {
                return Err(match listing.owner() {
                    Some(port_id) => RulesError::Owned { port_id },
                    None => RulesError::Exists,
                });
            }
        }
        let statement = Statement::probe()?;
        let sealed = build(&Design::new(config), statement, Ownership::Ours).seal();
        let expected = sealed.listing();
        sealed.commit(&socket, &mut buf)?;
        let listed = Listing::read(&socket, &mut buf)?;
        listed.covers(&expected)?;
        Ok(Self {
            socket,
            config: config.clone(),
            statement,
            ownership: Ownership::Ours,
            listed,
            buf,
        })
    }

    /// Uses the table that an operator loaded from the text of [`print()`], and empties its sets.
    ///
    /// # Errors
    ///
    /// [`RulesError::Missing`] without the table; [`RulesError::Unlike`] if it lacks a set or a chain of `config`, or
    /// queues to other numbers.
    pub fn attach(config: &RulesetConfig) -> Result<Self, RulesError> {
        config.validate()?;
        let socket = open()?;
        let mut buf = vec![0; BUFFER];
        let listed = Listing::read(&socket, &mut buf)?;
        let statement = listed
            .statement()
            .ok_or_else(|| RulesError::Unlike("none of its rules queues packets".to_owned()))?;
        let expected = build(&Design::new(config), statement, Ownership::Operators)
            .seal()
            .listing();
        listed.resembles(&expected).map_err(|error| match error {
            RulesError::Differs(how) => RulesError::Unlike(how),
            other => other,
        })?;
        let mut ruleset = Self {
            socket,
            config: config.clone(),
            statement,
            ownership: Ownership::Operators,
            listed,
            buf,
        };
        ruleset.clear()?;
        Ok(ruleset)
    }

    /// How this kernel was told to queue.
    #[must_use]
    pub fn statement(&self) -> Statement {
        self.statement
    }

    /// Lists the table again and compares it with the listing at the time it came into force.
    ///
    /// Elements are not compared: they come and go.
    ///
    /// # Errors
    ///
    /// [`RulesError::Missing`] if the table is gone, [`RulesError::Differs`] with the first difference.
    pub fn verify(&mut self) -> Result<(), RulesError> {
        let now = Listing::read(&self.socket, &mut self.buf)?;
        now.equals(&self.listed)
    }

    /// Changes elements of the sets, all in one transaction.
    ///
    /// Adding what is there and removing what is not there change nothing and are no errors. If something to remove
    /// is found missing, the rest follows in smaller transactions.
    ///
    /// # Errors
    ///
    /// The kernel's refusal, for instance of a table that is gone.
    pub fn apply(&mut self, changes: &[Change]) -> Result<(), RulesError> {
        let (counts, declines) = (self.config.mode == Mode::Queue, self.config.declines());
        if counts && declines {
            return elements::apply(&self.socket, &mut self.buf, changes);
        }
        let matters = |change: &Change| match change {
            Change::Count(..) | Change::CountOnly(..) | Change::StopCounting(..) => counts,
            Change::Decline(..) => declines,
            _ => true,
        };
        let changes: Vec<_> = changes.iter().copied().filter(matters).collect();
        elements::apply(&self.socket, &mut self.buf, &changes)
    }

    /// Replaces what is left alone.
    ///
    /// Rules that look for exclusions are there only while there are some, so this may replace the rules. All
    /// else stays: counters, elements, and packets that wait in queues.
    ///
    /// # Errors
    ///
    /// See [`Self::apply`], and [`RulesError::Config`] for what cannot be excluded and for an operator's table that
    /// lacks the rules for it.
    pub fn set_exclusions(&mut self, excluded: &Exclusions) -> Result<(), RulesError> {
        let config = RulesetConfig {
            excluded: excluded.clone(),
            ..self.config.clone()
        };
        config.validate()?;
        let [old, new] = [&self.config, &config].map(Design::new);
        let same_sets = old.has_sets_of(&new) && new.has_sets_of(&old);
        if !same_sets && self.ownership == Ownership::Operators {
            let how = "there were no exclusions of this kind when the table was loaded: load what \
                       `shimq rules` prints now, and start the daemon again";
            return Err(RulesError::Config(how.to_owned()));
        }
        let mut transaction = Transaction::new();
        if !same_sets {
            for chain in &old.chains {
                transaction.flush_chain(chain.name);
            }
        }
        for set in old.exclusions() {
            transaction.flush_set(set.name);
            if new.exclusions().all(|kept| kept.name != set.name) {
                transaction.remove_set(set.name);
            }
        }
        for set in new.exclusions() {
            transaction.new_set(set);
            transaction.add_elements(set.name, &set.elements);
        }
        if !same_sets {
            add_rules(&mut transaction, &new, self.statement);
        }
        transaction.commit(&self.socket, &mut self.buf)?;
        self.config = config;
        if !same_sets {
            let expected = build(&new, self.statement, self.ownership).seal().listing();
            self.listed = Listing::read(&self.socket, &mut self.buf)?;
            self.listed.covers(&expected)?;
        }
        Ok(())
    }

    /// Reads how much each context sent or received since it was added, into `out`, which is cleared first.
    ///
    /// While the kernel moves a grown set to a larger hash table (milliseconds after many contexts
    /// were added), a walk of it can miss elements or meet them twice. Counters only ever grow, so a
    /// reader that takes differences is right with the next reading.
    ///
    /// # Errors
    ///
    /// What the dump reports.
    pub fn read_contexts(
        &mut self,
        direction: Direction,
        out: &mut Vec<ContextCount>,
    ) -> Result<(), RulesError> {
        counts::read_contexts(&self.socket, &mut self.buf, direction, out)
    }

    /// Reads how much these contexts sent or received since they were added, into `out`, which is cleared first.
    /// Those that are not there are left out.
    ///
    /// The kernel looks for each by its key. That takes longer than to list a few one after the other, but no
    /// longer the more there are; a dump, for each of its parts, counts from the beginning to where it was. A table
    /// that is gone looks like one without them: [`Self::verify`] tells.
    ///
    /// # Errors
    ///
    /// What keeps one from asking.
    pub fn read_these_contexts(
        &mut self,
        direction: Direction,
        pairs: &[AddressPair],
        out: &mut Vec<ContextCount>,
    ) -> Result<(), RulesError> {
        counts::read_these_contexts(&self.socket, &mut self.buf, direction, pairs, out)
    }

    /// Takes the ruleset out of force: a table of ours goes, an operator's is left with empty sets.
    ///
    /// # Errors
    ///
    /// What keeps an operator's sets from being emptied.
    pub fn remove(mut self) -> Result<(), RulesError> {
        match self.ownership {
            Ownership::Ours => Ok(()),
            Ownership::Operators => self.clear(),
        }
    }

    /// Empties the sets that the daemon fills.
    fn clear(&mut self) -> Result<(), RulesError> {
        let mut transaction = Transaction::new();
        for set in [SetName::Identities, SetName::Forks, SetName::Mapped] {
            transaction.flush_set(set);
        }
        if self.config.mode == Mode::Queue {
            transaction.flush_set(SetName::ContextsOut);
            transaction.flush_set(SetName::ContextsIn);
        }
        if self.config.declines() {
            transaction.flush_set(SetName::Declined);
        }
        transaction.commit(&self.socket, &mut self.buf)?;
        Ok(())
    }
}

/// Opens a socket that can take the answers to a long transaction.
fn open() -> Result<Socket, RulesError> {
    let open = || -> std::io::Result<Socket> {
        let socket = Socket::open()?;
        socket.set_receive_buffer(SOCKET_BUFFER)?;
        socket.set_send_buffer(SOCKET_BUFFER)?;
        Ok(socket)
    };
    open().map_err(RulesError::Io)
}

/// The transaction that makes the table.
fn build(design: &Design, statement: Statement, ownership: Ownership) -> Transaction {
    let mut transaction = Transaction::new();
    let table = Table::new(TABLE, ProtoFamily::Ipv6);
    transaction.new_table(TABLE, ownership);
    for set in &design.sets {
        transaction.new_set(set);
        transaction.add_elements(set.name, &set.elements);
    }
    for chain_design in &design.chains {
        let mut chain = Chain::new(chain_design.name, &table);
        if let Some((hook, priority)) = chain_design.hook {
            chain.set_type(ChainType::Filter);
            chain.set_hook(hook, priority);
            chain.set_policy(Policy::Accept);
        }
        transaction.add(
            &chain,
            format!("chain {}", chain.get_name().to_string_lossy()),
        );
    }
    add_rules(&mut transaction, design, statement);
    transaction
}

/// Fills the chains.
fn add_rules(transaction: &mut Transaction, design: &Design, statement: Statement) {
    let table = Table::new(TABLE, ProtoFamily::Ipv6);
    for chain_design in &design.chains {
        let chain = Chain::new(chain_design.name, &table);
        for rule_design in &chain_design.rules {
            let mut rule = Rule::new(&chain);
            for expression in rule_design.expressions(statement) {
                rule.add_expr(&expression);
            }
            transaction.add(&rule, format!("rule \"{rule_design}\""));
        }
    }
}

/// Our table's name.
const TABLE: &CStr = c"shimq";
/// Octets for one part of a dump; the kernel fills at most 32 KiB.
const BUFFER: usize = 64 << 10;
/// Octets of socket buffer: a transaction is one datagram, and its answers wait until it is through.
const SOCKET_BUFFER: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Moves this thread into a network namespace of its own; false without the privilege.
    fn enter_namespace() -> bool {
        // SAFETY: only this thread's network namespace changes; no descriptor or memory is unshared.
        let entered =
            unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) };
        if let Err(errno) = entered {
            eprintln!(
                "SKIPPED: needs a network namespace ({errno}): run as root or under `unshare -rn`"
            );
        }
        entered.is_ok()
    }

    fn nft(command: &str) {
        let words = command.split_ascii_whitespace();
        let status = Command::new("nft").args(words).status().unwrap();
        assert!(status.success(), "nft {command}");
    }

    /// Loads the table as `nft -f` does on a kernel with the queue expression: without an owner.
    fn load_as_operator(config: &RulesetConfig) {
        let statement = Statement::probe().unwrap();
        let transaction = build(&Design::new(config), statement, Ownership::Operators);
        transaction
            .commit(&open().unwrap(), &mut vec![0; BUFFER])
            .unwrap();
    }

    #[test]
    fn an_operators_table_is_used_watched_and_left() {
        if !enter_namespace() {
            return;
        }
        let config = RulesetConfig::default();
        assert!(matches!(
            Ruleset::attach(&config).err(),
            Some(RulesError::Missing)
        ));
        load_as_operator(&config);
        nft("add element ip6 shimq identities { 2001:db8::dead }");
        nft("add element ip6 shimq forks { 5 . 2001:db8::dead . 2001:db8::2 }");

        let mut rules = Ruleset::attach(&config).unwrap();
        rules.verify().unwrap();
        let list = || {
            let output = Command::new("nft")
                .args(["list", "table", "ip6", "shimq"])
                .output();
            String::from_utf8(output.unwrap().stdout).unwrap()
        };
        assert!(!list().contains("dead"), "what another run left is gone");
        let [local, peer] = ["2001:db8::1", "2001:db8::2"].map(|text| text.parse().unwrap());
        let fork = Change::Fork(5, AddressPair { local, peer });
        rules.apply(&[Change::AddIdentity(local), fork]).unwrap();
        assert_eq!(list().matches("2001:db8::1").count(), 2);
        rules.remove().unwrap();
        assert!(list().contains("set identities") && !list().contains("2001:db8::1"));
    }

    #[test]
    fn a_rule_more_or_a_table_less_is_noticed() {
        if !enter_namespace() {
            return;
        }
        let config = RulesetConfig::default();
        load_as_operator(&config);
        let mut rules = Ruleset::attach(&config).unwrap();
        nft("add rule ip6 shimq input accept");
        assert!(matches!(rules.verify(), Err(RulesError::Differs(_))));
        nft("delete table ip6 shimq");
        assert!(matches!(rules.verify(), Err(RulesError::Missing)));
    }

    #[test]
    fn a_table_for_another_configuration_is_refused() {
        if !enter_namespace() {
            return;
        }
        load_as_operator(&RulesetConfig::default());
        for other in [
            RulesetConfig {
                observe: 9000..9001,
                ..RulesetConfig::default()
            },
            RulesetConfig {
                input_hook: InputHook::Prerouting,
                ..RulesetConfig::default()
            },
            RulesetConfig {
                trigger: Trigger::Counted {
                    octets: 2048,
                    age: std::time::Duration::from_secs(30),
                },
                ..RulesetConfig::default()
            },
            RulesetConfig {
                keep: 9000..9001,
                ..RulesetConfig::default()
            },
            RulesetConfig {
                bypass: false,
                ..RulesetConfig::default()
            },
            RulesetConfig {
                excluded: Exclusions {
                    users: vec![1001],
                    ..Exclusions::default()
                },
                ..RulesetConfig::default()
            },
        ] {
            let refused = Ruleset::attach(&other).err();
            assert!(
                matches!(refused, Some(RulesError::Unlike(_))),
                "{refused:?}"
            );
        }
    }
}
