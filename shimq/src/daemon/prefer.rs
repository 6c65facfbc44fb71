//! Preferences of the running daemon: the configuration's, until the operator says otherwise.

use serde_json::Value;
use shim6_core::LocalLocator;

use super::Daemon;
use crate::clock;
use crate::host::LocatorStatus;
use crate::preferences::{LocatorRule, PreferenceReport};

impl Daemon {
    /// Applies a rule and tells the peers; answers with what now holds for the locators it is about.
    pub(super) fn set_preference(&mut self, rule: LocatorRule) -> Result<Value, String> {
        let is_about = |locator: &&LocalLocator| rule.prefix.contains(locator.address);
        if !self.locators.iter().any(|locator| is_about(&locator)) {
            return Err(format!(
                "no locator of this host is in {}: `shimq locators` lists them",
                rule.prefix
            ));
        }
        self.preferences.set(rule);
        tracing::info!(prefix = %rule.prefix, ?rule, "locators are preferred otherwise");
        self.prefer();
        let report =
            |locator: &LocalLocator| PreferenceReport::new(locator.address, locator.preference);
        let reports: Vec<_> = self.locators.iter().filter(is_about).map(report).collect();
        serde_json::to_value(reports).map_err(|error| error.to_string())
    }

    /// Applies the preferences, and tells the peers of what changed.
    pub(super) fn prefer(&mut self) {
        for locator in &mut self.locators {
            locator.preference = self.preferences.of(locator.address);
        }
        self.endpoint
            .handle_local_locators(clock::now(), &self.locators);
    }

    /// `shimq locators`: what the kernel and the files tell, and the preferences.
    pub(super) fn with_preferences(
        &self,
        locators: Vec<LocatorStatus>,
    ) -> serde_json::Result<Value> {
        let with = |status: LocatorStatus| {
            let preference = self.preferences.of(status.address);
            let report = PreferenceReport::new(status.address, preference);
            let mut value = serde_json::to_value(status)?;
            value["preference"] = serde_json::to_value(report)?;
            Ok(value)
        };
        let all: serde_json::Result<Vec<Value>> = locators.into_iter().map(with).collect();
        all.map(Value::Array)
    }
}
