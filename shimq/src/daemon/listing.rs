//! `shimq contexts`, a few at a time: however many there are, packets and timers go first.

use std::vec;

use shim6_core::ContextId;
use shim6_wire::Fii;
use tokio::sync::oneshot;

use super::Daemon;
use super::bpf::MapperReport;
use super::report::ContextReport;
use crate::clock;
use crate::control::Response;

/// Contexts that are looked at between two turns of the loop: a fraction of a millisecond.
const AT_ONCE: usize = 128;

/// A list in the making.
pub(super) struct Listing {
    left: vec::IntoIter<ContextId>,
    reports: Vec<ContextReport>,
    answer: oneshot::Sender<Response>,
}

impl Daemon {
    /// Begins a list of the contexts that there are now.
    pub(super) fn begin_listing(&mut self, answer: oneshot::Sender<Response>) {
        self.listings.push_back(Listing {
            left: self.endpoint.context_ids().into_iter(),
            reports: Vec::new(),
            answer,
        });
    }

    /// Goes on with the first list, and sends it off once it is whole.
    pub(super) fn go_on_listing(&mut self) {
        let Some(mut listing) = self.listings.pop_front() else {
            return;
        };
        let now = clock::now();
        for id in listing.left.by_ref().take(AT_ONCE) {
            // One that has gone meanwhile is not listed.
            if let Some(view) = self.endpoint.context(id) {
                let mapper = if view.fii == Fii::DEFAULT {
                    self.kernel_mapping.mapper(view.ulids)
                } else {
                    MapperReport::of_fork()
                };
                listing.reports.push(ContextReport::new(&view, mapper, now));
            }
        }
        if listing.left.len() > 0 {
            self.listings.push_front(listing);
            return;
        }
        // Making text of it takes as long again, and needs nothing of the daemon.
        tokio::task::spawn_blocking(move || {
            let response = match serde_json::to_value(listing.reports) {
                Ok(value) => Response::Ok(value),
                Err(error) => Response::Error(error.to_string()),
            };
            // A client that left needs no answer.
            let _ = listing.answer.send(response);
        });
    }
}
