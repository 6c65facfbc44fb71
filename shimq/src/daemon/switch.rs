//! `shimq switch`: commands that are answered when the pair that they ask for is, or is not.

use std::time::Duration;

use serde::Serialize;
use shim6_core::{Cause, Endpoint, Event, Instant, LocatorPair, SwitchRefusal, UlidPair};
use tokio::sync::oneshot;

use super::report::Pair;
use crate::control::{Response, SwitchRequest};

/// How long a pair may take to answer: the probes to it go out within half a second.
const PATIENCE: Duration = Duration::from_secs(5);

/// What became of one context.
#[derive(Serialize)]
struct SwitchReport {
    ulids: Pair,
    /// The pair that was asked for, or that was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    locators: Option<Pair>,
    switched: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// How long the answer took.
    #[serde(skip_serializing_if = "Option::is_none")]
    explored_us: Option<u64>,
}

impl SwitchReport {
    fn failed(ulids: UlidPair, pair: Option<LocatorPair>, reason: impl Into<String>) -> Self {
        Self {
            ulids: ulids.into(),
            locators: pair.map(Into::into),
            switched: false,
            reason: Some(reason.into()),
            explored_us: None,
        }
    }
}

/// A client that waits.
struct Waiting {
    answer: oneshot::Sender<Response>,
    deadline: Instant,
    /// Contexts whose probes are out, and to where.
    pending: Vec<(UlidPair, LocatorPair)>,
    reports: Vec<SwitchReport>,
}

/// The clients that wait for pairs to answer.
#[derive(Default)]
pub(super) struct Switches(Vec<Waiting>);

impl Switches {
    /// Probes what is asked for; `answer` is sent once every context has an outcome.
    pub(super) fn begin(
        &mut self,
        endpoint: &mut Endpoint,
        request: SwitchRequest,
        answer: oneshot::Sender<Response>,
        now: Instant,
    ) {
        let pair = request
            .pair
            .map(|(local, peer)| LocatorPair { local, peer });
        let mut waiting = Waiting {
            answer,
            deadline: now + PATIENCE,
            pending: Vec::new(),
            reports: Vec::new(),
        };
        let contexts = endpoint.contexts();
        for view in contexts.iter().filter(|view| request.whom.means(view)) {
            match endpoint.switch(now, view.local_tag, pair) {
                Ok(target) => waiting.pending.push((view.ulids, target)),
                Err(refusal) => {
                    let report = SwitchReport::failed(view.ulids, pair, refusal.to_string());
                    waiting.reports.push(report);
                }
            }
        }
        if waiting.pending.is_empty() && waiting.reports.is_empty() {
            let reason = format!("{}: see `shimq contexts`", SwitchRefusal::NoContext);
            // A client that left needs no answer.
            let _ = waiting.answer.send(Response::Error(reason));
            return;
        }
        self.0.push(waiting);
        self.send_finished();
    }

    /// Takes in what became of a context.
    pub(super) fn note(&mut self, event: &Event) {
        if self.0.is_empty() {
            return;
        }
        let (whose, report) = match *event {
            Event::PairChanged {
                ulids,
                to,
                cause,
                explored,
                ..
            } => {
                let report = SwitchReport {
                    ulids: ulids.into(),
                    locators: Some(to.into()),
                    switched: cause == Cause::Operator,
                    reason: (cause != Cause::Operator).then(|| cause.as_str().to_owned()),
                    explored_us: u64::try_from(explored.as_micros()).ok(),
                };
                (ulids, report)
            }
            Event::PairDeclined { ulids, pair, .. } => {
                let reason = "no answer on that pair: payload stays where it is";
                (ulids, SwitchReport::failed(ulids, Some(pair), reason))
            }
            Event::Discarded { ulids, cause, .. } => {
                (ulids, SwitchReport::failed(ulids, None, cause.as_str()))
            }
            Event::Established { .. }
            | Event::Declined { .. }
            | Event::Exploring { .. }
            | Event::Unreachable { .. }
            | Event::PairConfirmed { .. }
            | Event::LocatorsUpdated { .. }
            | Event::Recovering { .. } => return,
        };
        let waiting = self.0.iter_mut().find_map(|waiting| {
            let index = waiting
                .pending
                .iter()
                .position(|(ulids, _)| *ulids == whose)?;
            waiting.pending.swap_remove(index);
            Some(waiting)
        });
        if let Some(waiting) = waiting {
            waiting.reports.push(report);
        }
        self.send_finished();
    }

    /// Answers those who waited long enough.
    pub(super) fn expire(&mut self, now: Instant) {
        for waiting in self.0.iter_mut().filter(|waiting| now >= waiting.deadline) {
            let late = waiting.pending.drain(..).map(|(ulids, pair)| {
                SwitchReport::failed(ulids, Some(pair), "neither that pair nor another answers")
            });
            waiting.reports.extend(late);
        }
        self.send_finished();
    }

    fn send_finished(&mut self) {
        for waiting in self.0.extract_if(.., |waiting| waiting.pending.is_empty()) {
            let response = match serde_json::to_value(&waiting.reports) {
                Ok(value) => Response::Ok(value),
                Err(error) => Response::Error(error.to_string()),
            };
            // A client that left needs no answer.
            let _ = waiting.answer.send(response);
        }
    }
}
