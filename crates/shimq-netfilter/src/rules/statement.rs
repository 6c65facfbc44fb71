//! The two ways to queue from nf_tables, and which of them this kernel has.

use std::fmt;

use nftnl::{Chain, ProtoFamily, Rule, Table};

use super::design::{Part, QueueTarget, RuleDesign};
use super::transaction::Transaction;
use super::{BUFFER, Ownership, RulesError, open};

/// How a rule queues a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statement {
    /// nf_tables' own `queue` expression.
    Native,
    /// The xtables target NFQUEUE by way of nft_compat. nft lists such a rule as if made by iptables-nft, or without
    /// its last part.
    XtCompat,
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native queue expression",
            Self::XtCompat => "xtables target NFQUEUE through nft_compat",
        })
    }
}

impl Statement {
    /// Asks the kernel for the better way that it has.
    ///
    /// Tries each in a table of its own that no packet passes and that is gone on return.
    ///
    /// # Errors
    ///
    /// [`RulesError::NoQueueStatement`] if it has neither.
    pub fn probe() -> Result<Self, RulesError> {
        for statement in [Self::Native, Self::XtCompat] {
            match try_out(statement) {
                Ok(()) => return Ok(statement),
                Err(RulesError::Refused { source, .. })
                    if source.raw_os_error() == Some(libc::ENOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Err(RulesError::NoQueueStatement)
    }
}

fn try_out(statement: Statement) -> Result<(), RulesError> {
    let socket = open()?;
    let mut transaction = Transaction::new();
    let table = Table::new(c"shimq-probe", ProtoFamily::Ipv6);
    let chain = Chain::new(c"probe", &table);
    let design = RuleDesign {
        parts: vec![Part::Queue(QueueTarget {
            numbers: 0..1,
            bypass: true,
        })],
        why: "",
    };
    let mut rule = Rule::new(&chain);
    for expression in design.expressions(statement) {
        rule.add_expr(&expression);
    }
    transaction.new_table(c"shimq-probe", Ownership::Ours);
    transaction.add(&chain, "the probing chain".to_owned());
    transaction.add(&rule, "the probing rule".to_owned());
    // The table belongs to this socket and goes with it.
    transaction.commit(&socket, &mut vec![0; BUFFER])
}
