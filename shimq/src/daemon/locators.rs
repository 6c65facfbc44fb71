//! This host's locators in the running daemon, and how gladly it is reached at each: as the
//! configuration says, until the operator says otherwise.

use std::net::Ipv6Addr;

use serde_json::Value;
use shim6_core::LocalLocator;

use super::Daemon;
use crate::clock;
use crate::host::{self, LocatorStatus, LocatorsChanged};
use crate::preferences::{LocatorRule, PreferenceReport};

impl Daemon {
    /// Takes over this host's addresses, and tells endpoint, kernel and peers.
    pub(super) fn handle_locators(&mut self, changed: &LocatorsChanged) {
        let provable = |locator: &&host::LocalLocator| {
            locator.key.is_some() || locator.pds.kind() != shim6_cga::Kind::Cga
        };
        let provable = || changed.locators.iter().filter(provable);
        self.interfaces = provable()
            .map(|locator| (locator.address, locator.interface_name.clone()))
            .collect();
        self.locators = provable()
            .map(|locator| LocalLocator {
                address: locator.address,
                pds: locator.pds.clone(),
                key: locator.key.clone(),
                usable: locator.usable,
                preference: self
                    .preferences
                    .of(locator.address, Some(&locator.interface_name)),
            })
            .collect();
        let is_news = |_: &&host::LocalLocator| changed.doubtful.is_empty();
        for locator in changed.locators.iter().filter(is_news) {
            tracing::info!(
                address = %locator.address,
                interface = %locator.interface_name,
                usable = locator.usable,
                "locator"
            );
        }
        let addresses = self.addresses();
        self.kernel.set_identities(&addresses);
        self.kernel_mapping.set_locators(&addresses);
        self.injector.retain(&addresses);
        let now = clock::now();
        self.endpoint.handle_local_locators(now, &self.locators);
        for &address in &changed.doubtful {
            tracing::debug!(%address, "the way out has become doubtful");
            self.endpoint.handle_doubtful_locator(now, address);
        }
    }

    pub(super) fn addresses(&self) -> Vec<Ipv6Addr> {
        let all = self.locators.iter();
        all.map(|locator| locator.address).collect()
    }

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
