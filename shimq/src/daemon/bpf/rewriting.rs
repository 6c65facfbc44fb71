//! Whether there is a rewriter: had when it is wanted, lost, and had back.

use std::error::Error;
use std::ops::Bound;
use std::sync::Arc;

use shim6_core::FlowUpdate;
use shimq_bpf::{BpfError, LEASE, Rewriter};

use super::retry::Retry;
use super::{DatapathChanged, KernelMapping, Mapper, WATCH};

/// Flows that are looked over each second: routes may have changed, and refusals with them.
const LOOKED_OVER: usize = 8;

/// Parts in which flows are renewed, one part a second: well within the lease.
const RENEWAL_PARTS: usize = 3;

const _: () = assert!(WATCH.as_secs() * (RENEWAL_PARTS as u64) * 2 < LEASE.as_secs());

/// Whether there is a rewriter.
#[derive(Debug)]
pub(super) enum Rewriting {
    /// Nobody wants one.
    Unwanted,
    /// It is to be had, and this is it.
    InForce(Box<Rewriter>),
    /// It is not to be had, for this reason.
    Refused(String),
    /// It was lost, for this reason, and is to be had back.
    Lost(String),
}

impl KernelMapping {
    /// Has a rewriter for a flow that the operator wants the kernel to map. One that was refused is asked
    /// for again, since the operator may have done something about the reason; one that was lost comes
    /// back by itself.
    pub(super) fn have_rewriter(&mut self) {
        if let Rewriting::InForce(_) | Rewriting::Lost(_) = self.rewriter {
            return;
        }
        self.attach();
        if let Rewriting::InForce(_) = self.rewriter {
            tracing::info!("the kernel maps");
            self.retry = Retry::default();
            self.news.push_back(DatapathChanged::new("bpf", None));
            self.offer_all();
        }
    }

    /// Asks for a rewriter for the first time.
    pub(super) fn attach(&mut self) {
        self.rewriter = match Rewriter::attach(&self.config) {
            Ok(rewriter) => Rewriting::InForce(Box::new(rewriter)),
            Err(error) => {
                let reason = in_full(&error);
                tracing::warn!(reason, "the kernel does not map; queues do");
                Rewriting::Refused(reason)
            }
        };
    }

    /// Keeps what the kernel has, and looks over some flows; to be called every [`WATCH`].
    pub(crate) fn look_after(&mut self) {
        let is_in_force = matches!(self.rewriter, Rewriting::InForce(_));
        if !is_in_force && !self.choices.kernel_is_wanted() {
            self.rewriter = Rewriting::Unwanted;
        }
        if let Rewriting::Lost(_) = self.rewriter
            && self.retry.is_due()
        {
            self.try_again();
        }
        let Rewriting::InForce(rewriter) = &mut self.rewriter else {
            return;
        };
        self.retry.note_in_force();
        let part = self.flows.len().div_ceil(RENEWAL_PARTS);
        if let Err(error) = rewriter.renew(part) {
            self.lose(&error);
            return;
        }
        let after = self.looked_over.map_or(Bound::Unbounded, Bound::Excluded);
        let turn = self.flows.range((after, Bound::Unbounded));
        let turn = turn.map(|(&ulids, _)| ulids);
        let turn = turn.filter(|&ulids| self.choices.kernel_shall_map(ulids));
        let turn: Vec<_> = turn.take(LOOKED_OVER).collect();
        // At the end of the list it begins again.
        self.looked_over = turn.last().copied();
        self.waiting.extend(turn);
    }

    /// The rewriter is of no use any more; the queues take over.
    pub(super) fn lose(&mut self, error: &BpfError) {
        for mapped in self.flows.values_mut() {
            if std::mem::replace(&mut mapped.mapper, Mapper::Queues(None)) == Mapper::Kernel {
                let flow = Arc::clone(&mapped.flow);
                self.updates.push_back(FlowUpdate::Set(flow));
            }
        }
        self.set_back(in_full(error));
    }

    /// Tries to have the rewriter back.
    fn try_again(&mut self) {
        match Rewriter::attach(&self.config) {
            Ok(rewriter) => {
                tracing::info!("the kernel maps again");
                self.rewriter = Rewriting::InForce(Box::new(rewriter));
                self.retry.note_success();
                self.news.push_back(DatapathChanged::new("bpf", None));
                self.offer_all();
            }
            Err(error) => self.set_back(in_full(&error)),
        }
    }

    /// There is no rewriter, and perhaps there will be.
    pub(super) fn set_back(&mut self, reason: String) {
        let news = DatapathChanged::new("queue", Some(reason.clone()));
        self.news.push_back(news);
        self.waiting.clear();
        self.rewriter = if self.retry.note_setback() {
            tracing::warn!(reason, "the kernel does not map; queues do, for the moment");
            Rewriting::Lost(reason)
        } else {
            tracing::error!(
                reason,
                "the kernel maps no more; queues do, until `shimq set datapath` or a new start \
                 asks for it again"
            );
            Rewriting::Refused(reason)
        };
    }
}

/// Whether an error is about more than one flow.
pub(super) fn is_about_the_rewriter(error: &BpfError) -> bool {
    !matches!(
        error,
        BpfError::NotEthernet { .. } | BpfError::NoRoute { .. } | BpfError::Full { .. }
    )
}

/// The error and what caused it.
pub(super) fn in_full(error: &BpfError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
