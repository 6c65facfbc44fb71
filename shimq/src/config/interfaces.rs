//! What the sections `[[interface]]` may say.

use std::ffi::OsStr;
use std::path::Path;

use super::{Addresses, ConfigError};
use crate::host::{self, AddressKind, InterfaceRule};

/// Refuses rules that cannot be, or that never hold.
pub(super) fn validate(rules: &[InterfaceRule], addresses: Addresses) -> Result<(), ConfigError> {
    if addresses == Addresses::AsConfigured && !rules.is_empty() {
        return Err(ConfigError::Value {
            key: "addresses",
            value: "as-configured".into(),
            reason: "not with [[interface]], which is about addresses that shimq forms",
        });
    }
    for (number, rule) in rules.iter().enumerate() {
        check(rule, &rules[..number]).map_err(|error| error.in_section(number))?;
    }
    Ok(())
}

fn check(rule: &InterfaceRule, earlier: &[InterfaceRule]) -> Result<(), ConfigError> {
    let refuse = |key, value: String, reason| Err(ConfigError::Value { key, value, reason });
    if !host::is_interface_pattern(&rule.name) {
        let name = format!("{:?}", rule.name);
        return refuse("interface.name", name, "the name of an interface, or eth*");
    }
    if earlier
        .iter()
        .any(|other| host::matches(&other.name, &rule.name))
    {
        return refuse(
            "interface.name",
            rule.name.clone(),
            "before the section above that matches all of these as well: the first that matches holds",
        );
    }
    if let Some(key) = rule.key.as_deref().filter(|key| !can_be_key(key)) {
        return refuse(
            "interface.key",
            format!("{:?}", key.display().to_string()),
            "a file of state-dir such as isp-a.pem, or an absolute path",
        );
    }
    if rule.kind == AddressKind::Hba
        && let Some(key) = &rule.key
    {
        return refuse(
            "interface.key",
            format!("{:?}", key.display().to_string()),
            "not with kind = \"hba\", whose addresses have no key; those of \"cga-hba\" have one",
        );
    }
    if let Some(sec) = rule.sec.filter(|sec| *sec > 2) {
        return refuse("interface.sec", sec.to_string(), "0, 1 or 2 (RFC 4982 §5)");
    }
    Ok(())
}

/// An absolute path, or the mere name of a key file as the state directory has them.
fn can_be_key(key: &Path) -> bool {
    let is_name = key.file_name() == Some(key.as_os_str());
    key.is_absolute() || (is_name && key.extension() == Some(OsStr::new("pem")))
}
