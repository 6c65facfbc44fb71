//! What the kernel lists of our table, and whether it is what was asked for.
//!
//! The messages of a transaction and those of a dump have the same form, so both are read into a [`Listing`] by the
//! same code. Elements are left out: they come and go.

use std::io;

use super::{RulesError, Statement, TABLE, wire};
use crate::netlink::{Attr, Attrs, Builder, Message, NLM_F_DUMP, Socket, attrs};

/// The table, as far as it can be asked for. A number that is left out in a message is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    table: Option<Table>,
    chains: Vec<Chain>,
    sets: Vec<Set>,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Table {
    flags: u32,
    owner: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Chain {
    name: String,
    kind: String,
    hook: Option<u32>,
    priority: Option<u32>,
    policy: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Set {
    name: String,
    flags: u32,
    key_type: u32,
    key_len: u32,
    /// Of a map.
    data_type: u32,
    /// In milliseconds.
    timeout: u64,
    /// In elements.
    size: u32,
    /// What each element carries.
    expression: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rule {
    chain: String,
    /// Value of NFTA_RULE_EXPRESSIONS.
    expressions: Vec<u8>,
}

impl Listing {
    /// Asks the kernel.
    ///
    /// # Errors
    ///
    /// [`RulesError::Missing`] without the table, and what keeps one from asking.
    pub(super) fn read(socket: &Socket, buf: &mut [u8]) -> Result<Self, RulesError> {
        let mut listing = Self::default();
        repeat_if_interrupted(|| {
            listing = Self::default();
            for kind in [wire::GETTABLE, wire::GETCHAIN, wire::GETSET, wire::GETRULE] {
                let mut request = Vec::new();
                Builder::new(&mut request, kind, NLM_F_DUMP, 0, wire::NFPROTO_IPV6, 0);
                socket.ask(&request, buf, |message| listing.note(&message))?;
            }
            Ok(())
        })?;
        match listing.table {
            Some(_) => Ok(listing),
            None => Err(RulesError::Missing),
        }
    }

    /// Notes what `message` says, if it is about our table.
    pub(super) fn note(&mut self, message: &Message<'_>) {
        // The table's name is the first attribute of all four.
        if message
            .attrs()
            .next()
            .is_none_or(|attr| attr.text().as_bytes() != TABLE.to_bytes())
        {
            return;
        }
        match message.kind {
            wire::NEWTABLE => self.table = Some(Table::read(&message.attrs())),
            wire::NEWCHAIN => self.chains.push(Chain::read(message.attrs())),
            wire::NEWSET => self.sets.push(Set::read(message.attrs())),
            wire::NEWRULE => self.rules.push(Rule::read(message.attrs())),
            _ => {}
        }
    }

    /// The port id of the socket that the table belongs to.
    pub(super) fn owner(&self) -> Option<u32> {
        self.table.as_ref()?.owner
    }

    /// How the rules queue, told from the first that does.
    pub(super) fn statement(&self) -> Option<Statement> {
        Some(self.queueing().next()?.1.statement)
    }

    /// Checks that this listing has everything that was `sent`, in its order, and no more chains, sets or rules.
    ///
    /// The kernel lists more about each than it is told: attributes of its own are passed over.
    pub(super) fn covers(&self, sent: &Self) -> Result<(), RulesError> {
        let flags = |listing: &Self| listing.table.as_ref().map(|table| table.flags);
        same("the table's flags", &flags(self), &flags(sent))?;
        self.same_frame(sent)?;
        same("the number of rules", &self.rules.len(), &sent.rules.len())?;
        for (listed, sent) in self.rules.iter().zip(&sent.rules) {
            same("the chain of a rule", &listed.chain, &sent.chain)?;
            if !covers(&listed.expressions, &sent.expressions) {
                return differs(format!(
                    "a rule in chain {} has the expressions {:?} instead of {:?}",
                    sent.chain,
                    listed.names(),
                    sent.names()
                ));
            }
        }
        Ok(())
    }

    /// Checks that this listing has the same chains and sets and queues in the same places to the same numbers.
    ///
    /// An operator's nft may have put the rest in other words.
    pub(super) fn resembles(&self, sent: &Self) -> Result<(), RulesError> {
        self.same_frame(sent)?;
        let targets = |listing: &Self| -> Vec<_> {
            let targets = listing.queueing();
            targets
                .map(|(chain, target)| (chain.to_owned(), target))
                .collect()
        };
        same("where packets are queued", &targets(self), &targets(sent))
    }

    /// Checks that nothing has changed since `before`.
    pub(super) fn equals(&self, before: &Self) -> Result<(), RulesError> {
        same("the table", &self.table, &before.table)?;
        self.same_frame(before)?;
        same(
            "the number of rules",
            &self.rules.len(),
            &before.rules.len(),
        )?;
        for (now, before) in self.rules.iter().zip(&before.rules) {
            if now != before {
                return differs(format!("a rule in chain {} has changed", before.chain));
            }
        }
        Ok(())
    }

    fn same_frame(&self, other: &Self) -> Result<(), RulesError> {
        for other in &other.chains {
            let name = format!("chain {}", other.name);
            match self.chains.iter().find(|chain| chain.name == other.name) {
                Some(chain) => same(&name, chain, other)?,
                None => return differs(format!("there is no {name}")),
            }
        }
        for other in &other.sets {
            let name = format!("set {}", other.name);
            match self.sets.iter().find(|set| set.name == other.name) {
                Some(set) => same(&name, set, other)?,
                None => return differs(format!("there is no {name}")),
            }
        }
        Ok(())
    }

    /// The queueing expressions in order, each with the name of its chain.
    fn queueing(&self) -> impl Iterator<Item = (&str, Target)> {
        self.rules.iter().flat_map(|rule| {
            attrs(&rule.expressions)
                .filter_map(|expression| Target::read(&expression))
                .map(|target| (rule.chain.as_str(), target))
        })
    }
}

/// Where a rule queues to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Target {
    statement: Statement,
    first: u16,
    total: u16,
    flags: u16,
}

impl Target {
    fn read(expression: &Attr<'_>) -> Option<Self> {
        let name = find(expression.attrs(), wire::NFTA_EXPR_NAME)?.text();
        let data = find(expression.attrs(), wire::NFTA_EXPR_DATA)?.attrs();
        match name {
            "queue" => {
                let number = |kind| {
                    let value = find(data.clone(), kind)?.value;
                    value.try_into().ok().map(u16::from_be_bytes)
                };
                Some(Self {
                    statement: Statement::Native,
                    first: number(wire::NFTA_QUEUE_NUM)?,
                    total: number(wire::NFTA_QUEUE_TOTAL)?,
                    flags: number(wire::NFTA_QUEUE_FLAGS)?,
                })
            }
            "target" if find(data.clone(), wire::NFTA_TARGET_NAME)?.text() == "NFQUEUE" => {
                let info = find(data, wire::NFTA_TARGET_INFO)?.value;
                let [n0, n1, t0, t1, f0, f1] = *info.first_chunk()?;
                Some(Self {
                    statement: Statement::XtCompat,
                    first: u16::from_ne_bytes([n0, n1]),
                    total: u16::from_ne_bytes([t0, t1]),
                    flags: u16::from_ne_bytes([f0, f1]),
                })
            }
            _ => None,
        }
    }
}

impl Table {
    fn read(attrs: &Attrs<'_>) -> Self {
        let number = |kind| find(attrs.clone(), kind)?.be32();
        Self {
            flags: number(wire::NFTA_TABLE_FLAGS).unwrap_or_default(),
            owner: number(wire::NFTA_TABLE_OWNER),
        }
    }
}

impl Chain {
    fn read(attrs: Attrs<'_>) -> Self {
        let mut chain = Self::default();
        for attr in attrs {
            match attr.kind {
                wire::NFTA_CHAIN_NAME => attr.text().clone_into(&mut chain.name),
                wire::NFTA_CHAIN_TYPE => attr.text().clone_into(&mut chain.kind),
                wire::NFTA_CHAIN_POLICY => chain.policy = attr.be32(),
                wire::NFTA_CHAIN_HOOK => {
                    let number = |kind| find(attr.attrs(), kind)?.be32();
                    chain.hook = number(wire::NFTA_HOOK_HOOKNUM);
                    chain.priority = number(wire::NFTA_HOOK_PRIORITY);
                }
                _ => {}
            }
        }
        chain
    }
}

impl Set {
    fn read(attrs: Attrs<'_>) -> Self {
        let mut set = Self::default();
        for attr in attrs {
            match attr.kind {
                wire::NFTA_SET_NAME => attr.text().clone_into(&mut set.name),
                wire::NFTA_SET_FLAGS => set.flags = attr.be32().unwrap_or_default(),
                wire::NFTA_SET_KEY_TYPE => set.key_type = attr.be32().unwrap_or_default(),
                wire::NFTA_SET_KEY_LEN => set.key_len = attr.be32().unwrap_or_default(),
                wire::NFTA_SET_DATA_TYPE => set.data_type = attr.be32().unwrap_or_default(),
                wire::NFTA_SET_TIMEOUT => set.timeout = attr.be64().unwrap_or_default(),
                wire::NFTA_SET_DESC => {
                    let size = find(attr.attrs(), wire::NFTA_SET_DESC_SIZE);
                    set.size = size.and_then(|size| size.be32()).unwrap_or_default();
                }
                wire::NFTA_SET_EXPR => {
                    let name = find(attr.attrs(), wire::NFTA_EXPR_NAME);
                    set.expression = name.map(|name| name.text().to_owned()).unwrap_or_default();
                }
                _ => {}
            }
        }
        set
    }
}

impl Rule {
    fn read(attrs: Attrs<'_>) -> Self {
        let mut rule = Self::default();
        for attr in attrs {
            match attr.kind {
                wire::NFTA_RULE_CHAIN => attr.text().clone_into(&mut rule.chain),
                wire::NFTA_RULE_EXPRESSIONS => attr.value.clone_into(&mut rule.expressions),
                _ => {}
            }
        }
        rule
    }

    /// The names of the rule's expressions, for an error's text.
    fn names(&self) -> Vec<&str> {
        attrs(&self.expressions)
            .filter_map(|expression| find(expression.attrs(), wire::NFTA_EXPR_NAME))
            .map(|name| name.text())
            .collect()
    }
}

/// Whether each attribute in `sent` is `listed` with the same value, each kind as often and in the same order.
fn covers(listed: &[u8], sent: &[u8]) -> bool {
    attrs(sent).enumerate().all(|(index, wanted)| {
        let same_kind = |other: &Attr<'_>| other.kind == wanted.kind;
        let earlier = attrs(sent).take(index).filter(same_kind).count();
        let as_often =
            attrs(sent).filter(same_kind).count() == attrs(listed).filter(same_kind).count();
        let found = attrs(listed).filter(same_kind).nth(earlier);
        as_often
            && found.is_some_and(|found| {
                if wanted.nested {
                    covers(found.value, wanted.value)
                } else {
                    found.value == wanted.value
                }
            })
    })
}

fn find(mut attrs: Attrs<'_>, kind: u16) -> Option<Attr<'_>> {
    attrs.find(|attr| attr.kind == kind)
}

fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    listed: &T,
    wanted: &T,
) -> Result<(), RulesError> {
    if listed == wanted {
        Ok(())
    } else {
        differs(format!("{what}: {listed:?} instead of {wanted:?}"))
    }
}

fn differs(how: String) -> Result<(), RulesError> {
    Err(RulesError::Differs(how))
}

/// Repeats `dump` while somebody else's changes interrupt it, and explains its failure.
///
/// # Errors
///
/// [`RulesError::Missing`] where the table is gone, and what [`RulesError::general`] makes of others.
pub(super) fn repeat_if_interrupted(
    mut dump: impl FnMut() -> io::Result<()>,
) -> Result<(), RulesError> {
    let mut result = dump();
    for _ in 1..ATTEMPTS {
        match &result {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => result = dump(),
            _ => break,
        }
    }
    result.map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT) => RulesError::Missing,
        _ => RulesError::general(error),
    })
}

/// How often a dump is tried.
const ATTEMPTS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// The attributes that `fill` writes.
    fn written(fill: impl FnOnce(&mut Builder<'_>)) -> Vec<u8> {
        let mut out = Vec::new();
        fill(&mut Builder::new(&mut out, 0, 0, 0, 0, 0));
        out.split_off(crate::netlink::HEADER_LEN + crate::netlink::NFGEN_LEN)
    }

    #[test]
    fn a_listing_may_say_more_than_was_sent_but_not_less_or_else() {
        let sent = written(|message| {
            message.nest(1, |nest| {
                nest.attr(1, b"cmp").attr(2, b"old");
            });
        });
        let more = written(|message| {
            message.nest(1, |nest| {
                nest.attr(1, b"cmp").attr(9, b"flags").attr(2, b"old");
            });
        });
        let less = written(|message| {
            message.nest(1, |nest| {
                nest.attr(1, b"cmp");
            });
        });
        let other = written(|message| {
            message.nest(1, |nest| {
                nest.attr(1, b"cmp").attr(2, b"new");
            });
        });
        let twice = [sent.as_slice(), &sent].concat();
        assert!(covers(&sent, &sent));
        assert!(covers(&more, &sent));
        assert!(!covers(&less, &sent));
        assert!(!covers(&other, &sent));
        assert!(!covers(&twice, &sent), "an expression more is another rule");
        assert!(!covers(&sent, &twice));
    }
}
