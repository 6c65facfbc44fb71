//! ICMPv6 errors about what this host sent: hints, never proof (RFC 5533 §8, RFC 5534 §8).

use shim6_wire::{ContextTag, Fii, IcmpError, IcmpKind};

use crate::context::State;
use crate::endpoint::Endpoint;
use crate::event::{Cause, DropReason};
use crate::pair::{LocatorPair, UlidPair};
use crate::time::Instant;

impl Endpoint {
    pub(crate) fn on_icmp(&mut self, error: &IcmpError, now: Instant) {
        if let (Some(peer_tag), None) = (error.tag, error.control) {
            self.on_icmp_about_payload(error, peer_tag, now);
            return;
        }
        let ulids = UlidPair {
            local: error.quoted_source,
            peer: error.quoted_destination,
        };
        let found = self
            .table
            .by_ulids(ulids, Fii::DEFAULT)
            .and_then(|id| self.table.take(id));
        let Some(mut context) = found else {
            self.counters.drop(DropReason::IcmpForeign);
            return;
        };
        //= https://www.rfc-editor.org/rfc/rfc5533#section-7.8
        //= id=S-076
        //# If the host receives an ICMP error with "Unrecognized Next Header" type (type 4, code
        //# 1) and the included packet is the I1 message it just sent, then this is a more
        //# reliable indication that the peer ULID does not implement Shim6.
        if context.state == State::I1Sent
            && matches!(error.kind, IcmpKind::ParameterProblem { code: 1, .. })
            && error.initiator_nonce == Some(context.initiator_nonce)
        {
            let hold = self.config.icmp_holddown;
            self.hold_down(
                &mut context,
                State::NoSupport,
                Cause::NotSupported,
                hold,
                now,
            );
        } else {
            self.counters.drop(DropReason::IcmpActedUpon);
        }
        self.settle(context, now);
    }

    /// A router could not forward a mapped packet: a hint, which anybody can forge, so it raises a
    /// question and decides nothing.
    //= https://www.rfc-editor.org/rfc/rfc5534#section-8
    //= id=R-058
    //# Unprotected
    //# indications SHOULD NOT be taken as a proof of connectivity problems.
    fn on_icmp_about_payload(&mut self, error: &IcmpError, peer_tag: ContextTag, now: Instant) {
        let pair = LocatorPair {
            local: error.quoted_source,
            peer: error.quoted_destination,
        };
        let found = self.table.by_peer(peer_tag, pair.peer).filter(|&id| {
            let context = self.table.get(id);
            context.is_some_and(|context| context.current.pair() == pair)
        });
        let Some(mut context) = found.and_then(|id| self.table.take(id)) else {
            self.counters.drop(DropReason::IcmpForeign);
            return;
        };
        self.counters.drop(DropReason::IcmpActedUpon);
        self.test_current_pair(&mut context, now);
        self.settle(context, now);
    }
}
