//! What of a configuration can change while the daemon runs.

use super::{Config, ConfigError};

/// What becomes of a file that was read again.
#[derive(Debug)]
pub(crate) struct Reread {
    /// The configuration to run by from now on.
    pub(crate) config: Config,
    /// Keys and tables that were taken over.
    pub(crate) applied: Vec<&'static str>,
    /// Those that differ, and wait for the next start.
    pub(crate) next_start: Vec<&'static str>,
}

impl Config {
    /// Reads the file again that this came from.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], as at a start; this configuration then goes on.
    pub(crate) fn reread(&self) -> Result<Reread, ConfigError> {
        let new = Self::read(self.file.as_deref())?;
        let changes = [
            ("exclude", self.exclude != new.exclude),
            ("locators", self.locators != new.locators),
            (
                "reap.exploration",
                self.reap.exploration != new.reap.exploration,
            ),
        ];
        // The command line may have set these two, and stands.
        let mut config = Self {
            state_dir: self.state_dir.clone(),
            socket: self.socket.clone(),
            ..new.clone()
        };
        let waits = [
            ("interfaces", self.interfaces != new.interfaces),
            (
                "exclude-interfaces",
                self.exclude_interfaces != new.exclude_interfaces,
            ),
            ("addresses", self.addresses != new.addresses),
            ("sec", self.sec != new.sec),
            ("key-bits", self.key_bits != new.key_bits),
            ("ruleset", self.ruleset != new.ruleset),
            ("datapath", self.datapath != new.datapath),
            ("trigger", self.trigger != new.trigger),
            ("reap", !self.reap.differs_in_order_only(&new.reap)),
            ("limits", self.limits != new.limits),
            ("interface", self.interface != new.interface),
        ];
        let differing = |keys: &[(&'static str, bool)]| {
            let differing = keys.iter().filter(|(_, differs)| *differs);
            differing.map(|(key, _)| *key).collect()
        };
        // What runs stays what is told of it.
        (config.datapath, config.limits) = (self.datapath.clone(), self.limits.clone());
        (config.trigger, config.ruleset) = (self.trigger.clone(), self.ruleset);
        (config.addresses, config.sec, config.key_bits) = (self.addresses, self.sec, self.key_bits);
        config.interfaces.clone_from(&self.interfaces);
        config.interface.clone_from(&self.interface);
        config
            .exclude_interfaces
            .clone_from(&self.exclude_interfaces);
        config.reap = self.reap.in_the_order_of(&new.reap);
        // What is taken over must go with what waits, too.
        config.validate()?;
        Ok(Reread {
            config,
            applied: differing(&changes),
            next_start: differing(&waits),
        })
    }
}
