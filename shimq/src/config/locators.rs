//! What the sections `[[locators]]` may say.

use super::ConfigError;
use crate::host::InterfaceChoice;
use crate::preferences::{LocatorRule, Subject};

/// Refuses rules that contradict themselves or each other, or that never hold.
pub(super) fn validate(
    rules: &[LocatorRule],
    interfaces: &InterfaceChoice,
) -> Result<(), ConfigError> {
    for (number, rule) in rules.iter().enumerate() {
        check(rule, &rules[..number], interfaces).map_err(|error| error.in_section(number))?;
    }
    Ok(())
}

fn check(
    rule: &LocatorRule,
    earlier: &[LocatorRule],
    interfaces: &InterfaceChoice,
) -> Result<(), ConfigError> {
    let refuse = |key, value: String, reason| Err(ConfigError::Value { key, value, reason });
    let Some(subject) = rule.subject() else {
        return Err(ConfigError::Incomplete {
            section: "locators",
            what: "a prefix or an interface, and not both",
        });
    };
    let key = match &subject {
        Subject::Prefix(_) => "locators.prefix",
        Subject::Interface(_) => "locators.interface",
    };
    if rule.role.is_some() && rule.priority != 0 {
        return refuse(
            "locators.priority",
            rule.priority.to_string(),
            "not with a role, which is a priority: 100 or 250",
        );
    }
    if earlier
        .iter()
        .any(|other| other.subject().as_ref() == Some(&subject))
    {
        return refuse(key, subject.to_string(), "once only");
    }
    if let Subject::Interface(name) = &subject
        && name.single().is_some_and(|name| !interfaces.allows(name))
    {
        return refuse(
            key,
            subject.to_string(),
            "no locators there: an interface that `interfaces` and `exclude-interfaces` leave in use",
        );
    }
    Ok(())
}
