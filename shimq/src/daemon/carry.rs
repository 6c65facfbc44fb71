//! Carrying out what the core has to say: to queue threads and kernel, to the wire, to the operator.

use std::{io, mem};

use shim6_core::{Event, FlowUpdate};

use super::report::EventReport;
use super::{Daemon, log};
use crate::clock;

impl Daemon {
    /// Carries out what the core has to say.
    pub(super) async fn carry_out(&mut self) {
        while let Some(update) = self.endpoint.poll_flow_update() {
            let update = self.kernel_mapping.follow(update);
            self.publish(update);
        }
        self.settle_mappers();
        let remapped = self.kernel.take_remapped();
        if remapped.iter().any(|&(_, is_mapped)| is_mapped)
            && let Err(error) = self.host.have_sockets_look_again().await
        {
            tracing::warn!(%error, "sockets keep the routes that they have");
        }
        for (ulids, is_mapped) in remapped {
            // The link of the ULIDs may be the one that died: sockets keep a route all the same.
            let anchored = if is_mapped {
                self.host.set_anchor(ulids.local, ulids.peer, None).await
            } else {
                self.narrow_paths.forget(ulids);
                self.host.remove_anchor(ulids.local, ulids.peer).await
            };
            if let Err(error) = anchored {
                tracing::warn!(%ulids, %error, "no route is kept in reserve");
            }
        }
        for narrow in mem::take(&mut self.narrow_paths.told) {
            self.narrow(&narrow).await;
        }
        while let Some(transmit) = self.endpoint.poll_transmit() {
            if let Err(error) = self.injector.send(&transmit) {
                self.send_errors += 1;
                let (source, destination) = (transmit.source, transmit.destination);
                tracing::debug!(%source, %destination, %error, "cannot send");
                self.suspect_firewall(&error);
            }
        }
        while let Some(resend) = self.endpoint.poll_resend() {
            if let Err(error) = self.injector.resend(&resend) {
                self.send_errors += 1;
                tracing::info!(%error, "cannot send again");
            }
        }
        while let Some(event) = self.endpoint.poll_event() {
            log::event(&event);
            self.switches.note(&event);
            if let Event::PairConfirmed { ulids, .. } = event {
                self.kernel_mapping.look_again(ulids);
            }
            let report = EventReport::new(&event, clock::now());
            if let Ok(line) = serde_json::to_string(&report) {
                self.server.publish(&line);
            }
        }
        while let Some(news) = self.kernel_mapping.poll_news() {
            if let Ok(line) = serde_json::to_string(&news) {
                self.server.publish(&line);
            }
        }
        self.answer_choosings();
    }

    /// Says, once, that a firewall of this host is in the way: so the kernel puts that it dropped what we
    /// sent.
    fn suspect_firewall(&mut self, error: &io::Error) {
        let is_refusal = error.kind() == io::ErrorKind::PermissionDenied;
        if is_refusal && !mem::replace(&mut self.firewall_told, true) {
            tracing::warn!(
                "a firewall of this host drops what shimq sends: let next header 140 pass, \
                 as with `meta l4proto 140 accept` in an nft chain"
            );
        }
    }

    /// Tells of flows that are mapped by others than before; those that the kernel does not map any more it
    /// gives up only then.
    pub(super) fn settle_mappers(&mut self) {
        loop {
            while let Some(update) = self.kernel_mapping.poll_update() {
                self.publish(update);
            }
            self.kernel.commit();
            if !self.kernel_mapping.relieve() {
                return;
            }
        }
    }

    /// Tells the queue threads and the kernel's sets of a change.
    pub(super) fn publish(&mut self, update: FlowUpdate) {
        // Threads first: a packet that a set sends to a queue finds its flow there.
        for queue in &self.queues {
            queue.update(update.clone());
        }
        match update {
            FlowUpdate::Set(flow) => self.kernel.set(&flow),
            FlowUpdate::Remove(flow) => self.kernel.remove(&flow),
        }
    }
}
