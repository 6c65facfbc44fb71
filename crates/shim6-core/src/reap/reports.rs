//! Which probes went where, and which came back: the reports of RFC 5534 §5.2.

use std::collections::VecDeque;
use std::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::RngCore;
use shim6_wire::{ProbeNonce, ProbeReport};

use crate::pair::LocatorPair;
use crate::time::Instant;

/// Reports that one Probe can carry of each kind: a four-bit count (RFC 5534 §5.2), and three of each
/// keep the message well below 1280 octets while telling all that a few lost probes leave unsaid.
const REPORTED_MAX: usize = 3;

/// Probes that are remembered: a minute of exploration at full pace and its back-off.
const REMEMBERED_MAX: usize = 16;

#[derive(Clone, Copy, Debug)]
struct SentProbe {
    pair: LocatorPair,
    nonce: ProbeNonce,
    at: Instant,
    reported: bool,
}

impl SentProbe {
    /// What is reported of it. Its Probe Data is not needed: the time of sending is remembered here.
    fn report(&self) -> ProbeReport {
        let LocatorPair {
            local: source,
            peer: destination,
        } = self.pair;
        ProbeReport {
            source,
            destination,
            nonce: self.nonce,
            data: 0,
        }
    }
}

/// What a peer's reports of our probes tell.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Arrivals {
    /// A pair on which a probe arrived: the wanted one if it is among them, else the latest probed.
    pub(super) pair: Option<LocatorPair>,
    /// Round trips of those that had not been reported before, in the order of sending.
    pub(super) measured: Vec<(LocatorPair, Duration)>,
}

/// What was probed, and what the peer probed. Most contexts never explore, and keep none.
#[derive(Debug, Default)]
pub(super) struct Reports(Option<Box<Lists>>);

#[derive(Debug, Default)]
struct Lists {
    /// Most recent first.
    sent: VecDeque<SentProbe>,
    /// Most recent first.
    received: VecDeque<ProbeReport>,
}

impl Reports {
    /// Begins anew: what an earlier exploration found out proves nothing today.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    fn lists(&mut self) -> &mut Lists {
        self.0.get_or_insert_default()
    }

    /// Notes a probe about to be sent on `pair`; returns what it says of itself and of others that
    /// have not been reported as seen.
    ///
    //= https://www.rfc-editor.org/rfc/rfc5534#section-5.2
    //= id=R-026
    //# The first set of Probe fields pertains to the current message and MUST be present, so the
    //# minimum value for this field is 1.
    pub(super) fn send(
        &mut self,
        pair: LocatorPair,
        now: Instant,
        rng: &mut ChaCha20Rng,
    ) -> Vec<ProbeReport> {
        //= https://www.rfc-editor.org/rfc/rfc5534#section-5.2
        //= id=R-031,R-032
        //# It is highly RECOMMENDED that the Nonce field be at least moderately hard to guess so
        //# that even on-path attackers can't deduce the next nonce value that will be used.
        let nonce = ProbeNonce(rng.next_u32());
        let probe = SentProbe {
            pair,
            nonce,
            at: now,
            reported: false,
        };
        let sent = &mut self.lists().sent;
        sent.push_front(probe);
        sent.truncate(REMEMBERED_MAX);
        sent.iter()
            .filter(|probe| !probe.reported)
            .take(REPORTED_MAX)
            .map(SentProbe::report)
            .collect()
    }

    /// Notes a probe of the peer's.
    pub(super) fn received(&mut self, report: ProbeReport) {
        let received = &mut self.lists().received;
        received.retain(|known| known.nonce != report.nonce);
        received.push_front(report);
        received.truncate(REPORTED_MAX);
    }

    /// Pairs that were probed at least `patience` ago without the peer having seen it.
    pub(super) fn unseen(
        &self,
        now: Instant,
        patience: Duration,
    ) -> impl Iterator<Item = LocatorPair> + '_ {
        let unseen = move |probe: &&SentProbe| !probe.reported && now.since(probe.at) >= patience;
        let sent = self.0.iter().flat_map(|lists| &lists.sent);
        sent.filter(unseen).map(|probe| probe.pair)
    }

    /// Whether `pair` was probed less than `span` ago.
    pub(super) fn probed_within(&self, pair: LocatorPair, span: Duration, now: Instant) -> bool {
        let mut sent = self.0.iter().flat_map(|lists| &lists.sent);
        sent.any(|probe| probe.pair == pair && now.since(probe.at) < span)
    }

    /// What the peer is told of its probes.
    //= https://www.rfc-editor.org/rfc/rfc5534#section-5.2
    //= id=R-027,R-028
    //# When a sender is in state InboundOk it MUST include copies of the fields of at least one
    //# of the inbound probes.
    pub(super) fn to_report(&self) -> Vec<ProbeReport> {
        let received = self.0.iter().flat_map(|lists| &lists.received);
        received.copied().collect()
    }

    /// Takes in which of our probes the peer has seen.
    ///
    /// A report counts only with the nonce of a probe that was sent, and stands for the pair on which
    /// that probe was sent: what addresses the peer writes in it does not matter. Pairs that are not
    /// `usable` any more prove nothing.
    pub(super) fn arrived(
        &mut self,
        reports: &[ProbeReport],
        now: Instant,
        wanted: LocatorPair,
        usable: impl Fn(LocatorPair) -> bool,
    ) -> Arrivals {
        let mut arrivals = Arrivals::default();
        // Oldest first, so that the latest sent remains.
        let sent = self.0.iter_mut().flat_map(|lists| &mut lists.sent);
        for probe in sent.rev() {
            if reports.iter().any(|report| report.nonce == probe.nonce) {
                if !probe.reported {
                    arrivals.measured.push((probe.pair, now.since(probe.at)));
                }
                probe.reported = true;
                if arrivals.pair != Some(wanted) && usable(probe.pair) {
                    arrivals.pair = Some(probe.pair);
                }
            }
        }
        arrivals
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::SeedableRng;
    use std::net::Ipv6Addr;

    fn pair(last: u16) -> LocatorPair {
        let address = |host: u16| Ipv6Addr::new(0x2001, 0xdb8, host, 0, 0, 0, 0, last);
        LocatorPair {
            local: address(1),
            peer: address(2),
        }
    }

    #[test]
    fn a_report_with_a_nonce_of_ours_proves_the_pair_it_was_sent_on_whatever_it_claims() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut reports = Reports::default();
        let sent = reports.send(pair(1), Instant::from_micros(5), &mut rng)[0];
        let lying = ProbeReport {
            source: Ipv6Addr::LOCALHOST,
            ..sent
        };
        let later = Instant::from_micros(25);
        let arrivals = reports.arrived(&[lying], later, pair(2), |_| true);
        assert_eq!(arrivals.pair, Some(pair(1)));
        assert_eq!(arrivals.measured, [(pair(1), Duration::from_micros(20))]);
    }

    #[test]
    fn a_report_with_a_foreign_nonce_proves_nothing() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut reports = Reports::default();
        let sent = reports.send(pair(1), Instant::from_micros(5), &mut rng)[0];
        let forged = ProbeReport {
            nonce: ProbeNonce(sent.nonce.0 ^ 1),
            ..sent
        };
        let arrivals = reports.arrived(&[forged], Instant::from_micros(25), pair(2), |_| true);
        assert_eq!(arrivals, Arrivals::default());
    }

    //= https://www.rfc-editor.org/rfc/rfc5534#section-5.2
    //= type=test
    //= id=R-026
    //# The first set of Probe fields pertains to the current message and MUST be present, so the
    //# minimum value for this field is 1.
    #[test]
    fn the_first_report_describes_the_probe_itself_and_reported_ones_are_left_out() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let mut reports = Reports::default();
        let first = reports.send(pair(1), Instant::from_micros(5), &mut rng)[0];
        let second = reports.send(pair(2), Instant::from_micros(6), &mut rng);
        assert_eq!(second.len(), 2);
        assert_eq!(second[0].source, pair(2).local);
        reports.arrived(&[first], Instant::from_micros(25), pair(9), |_| true);
        assert_eq!(
            reports
                .send(pair(3), Instant::from_micros(7), &mut rng)
                .len(),
            2
        );
    }
}
