//! Answering commands.

use shim6_core::Instant;

use super::Daemon;
use super::report::{CountersReport, QueueReport, SCHEMA, StatusReport};
use crate::control::{Asked, PolicyWord, Request, Response};
use crate::{clock, host};

impl Daemon {
    /// Does what a command asks for, and answers it, now or when there is something to say.
    pub(super) async fn answer(&mut self, Asked { request, answer }: Asked) {
        let now = clock::now();
        let value = match request {
            Request::Status => in_json(serde_json::to_value(self.status(now))),
            Request::Contexts => return self.begin_listing(answer),
            Request::Locators => match host::status(&self.config.host()).await {
                Ok(locators) => in_json(self.with_preferences(locators)),
                Err(error) => Err(error.to_string()),
            },
            Request::SetLocators(rule) => self.set_preference(&rule),
            Request::Fork { name, pair } => self.fork(name, pair),
            Request::EndFork(name) => self.end_fork(name),
            Request::Monitor => Ok(serde_json::Value::Null),
            Request::Switch(switch) => {
                self.switches.begin(&mut self.endpoint, switch, answer, now);
                return;
            }
            Request::SetDatapath(request) => return self.set_datapath(request, answer),
            Request::Reload => self.reload().map_err(|error| error.to_string()),
            Request::SetExploration {
                policy: PolicyWord(policy),
            } => {
                self.endpoint.set_exploration(policy);
                tracing::info!(%policy, "pairs are probed in another order");
                Ok(serde_json::json!({ "exploration": policy.as_str() }))
            }
        };
        let response = match value {
            Ok(value) => Response::Ok(value),
            Err(reason) => Response::Error(reason),
        };
        // A client that left needs no answer.
        let _ = answer.send(response);
    }

    fn status(&self, now: Instant) -> StatusReport {
        let census = self.endpoint.census();
        let kernel = shimq_netfilter::queue::statistics().unwrap_or_default();
        StatusReport {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            uptime_s: now.since(self.started).as_secs(),
            ruleset: self.kernel.statement().to_string(),
            ruleset_losses: self.kernel.losses().0,
            ruleset_lost: self.kernel.losses().1,
            contexts: census.contexts,
            established: census.established,
            exploring: census.exploring,
            mapped: census.mapped,
            exploration: self.endpoint.exploration().as_str(),
            locators: self.addresses(),
            datapath: self.kernel_mapping.report(self.config.datapath_mode()),
            queues: self
                .queues
                .iter()
                .map(|queue| QueueReport::new(queue, &kernel))
                .collect(),
            counters: CountersReport::new(
                self.endpoint.counters(),
                self.send_errors,
                self.kernel.polls(),
            ),
        }
    }
}

fn in_json(value: serde_json::Result<serde_json::Value>) -> Result<serde_json::Value, String> {
    value.map_err(|error| error.to_string())
}
