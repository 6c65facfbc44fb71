//! Preferences of the running daemon: the configuration's, until the operator says otherwise.

use serde_json::Value;

use super::Daemon;
use crate::clock;
use crate::host::LocatorStatus;
use crate::preferences::{LocatorRule, PreferenceReport};

impl Daemon {
    /// Applies a rule and tells the peers; answers with what now holds for the locators it is about.
    pub(super) fn set_preference(&mut self, rule: &LocatorRule) -> Result<Value, String> {
        let subject = rule
            .subject()
            .ok_or("a rule is about a prefix or an interface, and not both")?;
        let interface_of = |address| self.interfaces.get(&address).map(String::as_str);
        let mut about = self.addresses();
        about.retain(|&address| subject.includes(address, interface_of(address)));
        if about.is_empty() {
            return Err(format!(
                "no locator of this host is in or on {subject}: `shimq locators` lists them"
            ));
        }
        tracing::info!(%subject, ?rule, "locators are preferred otherwise");
        self.preferences.set(subject, rule.into());
        self.prefer();
        let reports: Vec<_> = self
            .locators
            .iter()
            .filter(|locator| about.contains(&locator.address))
            .map(|locator| PreferenceReport::new(locator.address, locator.preference))
            .collect();
        serde_json::to_value(reports).map_err(|error| error.to_string())
    }

    /// Applies the preferences, and tells the peers of what changed.
    pub(super) fn prefer(&mut self) {
        for locator in &mut self.locators {
            let interface = self.interfaces.get(&locator.address).map(String::as_str);
            locator.preference = self.preferences.of(locator.address, interface);
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
            let interface = status.interface.as_deref();
            let preference = self.preferences.of(status.address, interface);
            let report = PreferenceReport::new(status.address, preference);
            let mut value = serde_json::to_value(status)?;
            value["preference"] = serde_json::to_value(report)?;
            Ok(value)
        };
        let all: serde_json::Result<Vec<Value>> = locators.into_iter().map(with).collect();
        all.map(Value::Array)
    }
}
