//! The configuration file, read again while the daemon runs.

use serde_json::Value;

use super::{Daemon, DaemonError};
use crate::config::Reread;

impl Daemon {
    /// Takes over what can change while the daemon runs; answers with what did, and with what waits for
    /// the next start.
    ///
    /// # Errors
    ///
    /// The file cannot be taken, or the kernel refuses: everything goes on as it was.
    pub(super) fn reload(&mut self) -> Result<Value, DaemonError> {
        let Reread {
            config,
            applied,
            next_start,
        } = self.config.reread()?;
        self.kernel.set_exclusions(config.rules()?.excluded)?;
        self.endpoint.set_exploration(config.core().exploration);
        self.preferences = config.preferences();
        self.config = config;
        self.prefer();
        for warning in self.config.warnings() {
            tracing::warn!("{warning}");
        }
        tracing::info!(?applied, ?next_start, "configuration read again");
        Ok(serde_json::json!({ "applied": applied, "next-start": next_start }))
    }

    /// Does so because of a signal: nobody waits for an answer.
    pub(super) fn reload_for_signal(&mut self) {
        if let Err(error) = self.reload() {
            tracing::error!("{error}; the former configuration goes on");
        }
    }
}
