//! What the log says of events.

use shim6_core::{Cause, Event};

/// Each change for the log: what an operator would act upon at `info`.
//= https://www.rfc-editor.org/rfc/rfc5534#section-9
//= id=R-061
//# where logging mechanisms are available on the node, these events should be recorded in event
//# logs.
pub(super) fn event(event: &Event) {
    match event {
        Event::Established {
            ulids,
            peer_locators,
            initiated,
            ..
        } => {
            tracing::info!(%ulids, peer_locators, initiated, "context established");
        }
        Event::Declined { ulids, cause, hold } => {
            tracing::debug!(%ulids, cause = cause.as_str(), ?hold, "plain IPv6");
        }
        Event::Exploring {
            ulids,
            pair,
            cause,
            silence,
        } => {
            if *cause == Cause::PeerExploring {
                tracing::info!(%ulids, %pair, "peer explores");
            } else if *cause == Cause::Silence {
                tracing::info!(%ulids, %pair, "pair suspected");
            } else if matches!(cause, Cause::Preference | Cause::Operator) {
                tracing::info!(%ulids, %pair, cause = cause.as_str(), "another pair is tried");
            } else {
                tracing::warn!(%ulids, %pair, cause = cause.as_str(), ?silence, "failure detected");
            }
        }
        Event::Unreachable { ulids, explored } => {
            tracing::warn!(%ulids, ?explored, "peer unreachable: no pair answers");
        }
        Event::PairChanged {
            ulids,
            from,
            to,
            cause,
            explored,
        } => {
            tracing::warn!(%ulids, %from, %to, cause = cause.as_str(), ?explored, "pair changed");
        }
        Event::PairConfirmed {
            ulids,
            pair,
            explored,
        } => {
            tracing::info!(%ulids, %pair, ?explored, "pair confirmed");
        }
        Event::PairDeclined {
            ulids,
            pair,
            cause,
            explored,
        } => {
            tracing::info!(
                %ulids, %pair, cause = cause.as_str(), ?explored, "the pair did not answer"
            );
        }
        Event::LocatorsUpdated { ulids, peer } => {
            tracing::debug!(%ulids, peer, "locators updated");
        }
        Event::Recovering { ulids } => tracing::info!(%ulids, "peer lost the context"),
        Event::Discarded { ulids, cause, .. } => {
            tracing::info!(%ulids, cause = cause.as_str(), "context discarded");
        }
    }
}
