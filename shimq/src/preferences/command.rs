//! `shimq locators set`: another preference, until the daemon ends.

use std::io::{self, Write};
use std::path::Path;

use clap::Args;
use serde_json::Value;

use super::{LocatorRule, Role, Subject};
use crate::control::{self, ControlError, Request};

/// What is said of the locators in a prefix; what is left out is as if never said.
#[derive(Args, Clone, Debug)]
pub(crate) struct SetArgs {
    /// A locator of this host, a prefix of several, or the interface that they are on.
    #[arg(value_name = "PREFIX|INTERFACE")]
    subject: Subject,
    /// Lower is tried first.
    #[arg(long, value_name = "N", default_value_t = 0)]
    priority: u8,
    /// Share among locators of equal priority.
    #[arg(long, value_name = "N", default_value_t = 0)]
    weight: u8,
    /// They are known not to work.
    #[arg(long)]
    broken: bool,
    /// They are less stable than others.
    #[arg(long, alias = "temporary")]
    transient: bool,
    /// What they are kept for, in place of a priority: backup is used when no other works, metered when
    /// not even a backup does.
    #[arg(long, conflicts_with = "priority")]
    role: Option<Role>,
}

/// Tells the daemon at `socket`, and prints what now holds for which locator.
///
/// # Errors
///
/// [`ControlError`].
pub(crate) fn set(args: &SetArgs, socket: &Path, json: bool) -> Result<(), ControlError> {
    let rule = LocatorRule {
        priority: args.priority,
        weight: args.weight,
        broken: args.broken,
        transient: args.transient,
        role: args.role,
        ..LocatorRule::about(args.subject.clone())
    };
    let locators = control::ask(socket, &Request::SetLocators(rule))?;
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &locators)?;
        writeln!(out)?;
        return Ok(());
    }
    for locator in locators.as_array().into_iter().flatten() {
        let address = locator["address"].as_str().unwrap_or_default();
        writeln!(out, "{address}{}", in_words(locator))?;
    }
    Ok(())
}

/// A preference as people read it; nothing if it is like any other.
pub(crate) fn in_words(preference: &Value) -> String {
    let numbers = ["priority", "weight"].into_iter().filter_map(|key| {
        let number = preference[key].as_u64().filter(|&number| number != 0)?;
        Some(format!(" {key} {number}"))
    });
    let flags = ["broken", "transient"].into_iter().filter_map(|flag| {
        let is_set = preference[flag] == Value::Bool(true);
        is_set.then(|| format!(" {flag}"))
    });
    numbers.chain(flags).collect()
}
