//! `shimq set datapath`: commands that are answered when the kernel has taken over, or refused.

use std::collections::BTreeSet;

use serde::Serialize;
use shim6_core::{SwitchRefusal, UlidPair};
use shim6_wire::Fii;
use tokio::sync::oneshot;

use super::Daemon;
use super::report::Pair;
use crate::control::{Response, SetDatapathRequest};

/// What became of one context.
#[derive(Serialize)]
struct ChoiceReport {
    ulids: Pair,
    /// Who shall map it: `bpf` or `queue`.
    datapath: &'static str,
    /// Who does: `kernel` or `queue`, if it is mapped.
    mapped_by: Option<&'static str>,
    /// Why the kernel does not, or would not, though it shall.
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel_refusal: Option<String>,
}

/// A client that waits for what becomes of contexts.
pub(super) struct Choosing {
    chosen: BTreeSet<UlidPair>,
    answer: oneshot::Sender<Response>,
}

impl Daemon {
    /// Has contexts mapped by whom the operator chose; `answer` is sent once it is known who does.
    pub(super) fn set_datapath(
        &mut self,
        request: SetDatapathRequest,
        answer: oneshot::Sender<Response>,
    ) {
        match self.choose_datapath(request) {
            Ok(chosen) => self.choosings.push(Choosing { chosen, answer }),
            Err(reason) => {
                // A client that left needs no answer.
                let _ = answer.send(Response::Error(reason));
            }
        }
    }

    /// Returns the ULID pairs that the choice is about.
    fn choose_datapath(
        &mut self,
        SetDatapathRequest { choice, whom }: SetDatapathRequest,
    ) -> Result<BTreeSet<UlidPair>, String> {
        if let Some(reason) = self.config.all_is_queued() {
            return Err(reason.to_owned());
        }
        let contexts = self.endpoint.contexts();
        let (default, forks): (Vec<_>, Vec<_>) =
            contexts.iter().partition(|view| view.fii == Fii::DEFAULT);
        let meant = default.iter().filter(|view| whom.means(view));
        let chosen: BTreeSet<_> = meant.map(|view| view.ulids).collect();
        if chosen.is_empty() {
            return Err(if forks.iter().any(|view| whom.means(view)) {
                "queues map forks in any case: name the context without a mark".to_owned()
            } else {
                format!("{}: see `shimq contexts`", SwitchRefusal::NoContext)
            });
        }
        let with_context = default.iter().map(|view| view.ulids).collect();
        self.kernel_mapping.choose(&chosen, choice, &with_context);
        tracing::info!(
            ?choice,
            contexts = chosen.len(),
            "the operator chose who maps"
        );
        Ok(chosen)
    }

    /// Answers those who know by now what became of their contexts.
    pub(super) fn answer_choosings(&mut self) {
        // The last has its turn last.
        let is_pending = |ulids: &UlidPair| self.kernel_mapping.is_pending(*ulids);
        let is_settled = |choosing: &mut Choosing| !choosing.chosen.iter().rev().any(is_pending);
        let settled: Vec<_> = self.choosings.extract_if(.., is_settled).collect();
        for Choosing { chosen, answer } in settled {
            let reports: Vec<_> = chosen.iter().map(|&ulids| self.choice(ulids)).collect();
            let response = match serde_json::to_value(&reports) {
                Ok(value) => Response::Ok(value),
                Err(error) => Response::Error(error.to_string()),
            };
            // A client that left needs no answer.
            let _ = answer.send(response);
        }
    }

    fn choice(&self, ulids: UlidPair) -> ChoiceReport {
        let mapper = self.kernel_mapping.mapper(ulids);
        let is_mapped = self.kernel.is_mapped(ulids);
        ChoiceReport {
            ulids: ulids.into(),
            datapath: self.kernel_mapping.datapath(ulids),
            mapped_by: is_mapped.then_some(mapper.mapper),
            kernel_refusal: mapper.refusal,
        }
    }
}
