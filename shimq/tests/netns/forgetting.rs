//! A host forgets all of its contexts; no transfer that they carry is lost.

use std::net::Ipv6Addr;

use shimq_testbed::Direction;

use crate::support::{Crowd, Daemon, FAST, Network, Side, Stream, eventually};

/// Transfers each way on two contexts, one of which has moved and maps its packets.
struct Transfers {
    streams: Vec<Stream>,
    crowd: Crowd,
    /// ULIDs of the context that maps, host A's first, which is also the pair that is cut.
    moved: (Ipv6Addr, Ipv6Addr),
    /// ULIDs of the context that does not.
    settled: (Ipv6Addr, Ipv6Addr),
}

impl Transfers {
    fn start(network: &Network, a: &Daemon<'_>, b: &Daemon<'_>) -> Self {
        let ([a1, a2], [b1, b2]) = (a.locators(), b.locators());
        let (moved, settled) = ((a1, b1), (a2, b2));
        let mut crowd = Crowd::new();
        let mut streams = Vec::new();
        for (at_a, at_b) in [moved, settled] {
            crowd.join(network, at_a, at_b, 4);
            for sender in [Side::A, Side::B] {
                streams.push(Stream::start_from(sender, network, at_a, at_b));
            }
        }
        let transfers = Self {
            streams,
            crowd,
            moved,
            settled,
        };
        eventually("both have both contexts", || transfers.have_contexts(a, b));
        let mut events = b.events();
        network.hosts.cut(a1, b1, Direction::Both).unwrap();
        events.wait_for("pair-changed");
        transfers.wait_for_more();
        assert_eq!(a.current_pair(a2, b2), (a2, b2));
        transfers
    }

    fn have_contexts(&self, a: &Daemon<'_>, b: &Daemon<'_>) -> bool {
        [self.moved, self.settled]
            .iter()
            .all(|&(at_a, at_b)| a.has_context(at_a, at_b) && b.has_context(at_b, at_a))
    }

    fn wait_for_more(&self) {
        for stream in &self.streams {
            stream.wait_for_more();
        }
        self.crowd.wait_for_more();
    }

    fn finish(self) {
        for stream in self.streams {
            stream.finish();
        }
        assert_eq!(self.crowd.finish(), 8);
    }
}

/// Kills the daemon of one side under transfers and starts it again.
fn survives_forgetting(side: Side) {
    let Some(network) = Network::new() else {
        return;
    };
    let (mut a, mut b) = Daemon::pair(&network, FAST);
    let transfers = Transfers::start(&network, &a, &b);

    match side {
        Side::A => {
            a.kill();
            a = Daemon::start(&network, Side::A, FAST);
        }
        Side::B => {
            b.kill();
            b = Daemon::start(&network, Side::B, FAST);
        }
    }
    transfers.wait_for_more();
    // Both contexts are there again, and the one that moved is not back on the pair that is cut.
    eventually("both have both contexts", || {
        transfers.have_contexts(&a, &b)
    });
    let (at_a, at_b) = transfers.moved;
    assert_ne!(a.current_pair(at_a, at_b), (at_a, at_b));
    assert_ne!(b.current_pair(at_b, at_a), (at_b, at_a));
    transfers.finish();
}

//= https://www.rfc-editor.org/rfc/rfc5533#section-7.5
//= type=test
//# We need to be able to recover this state at the end that has lost it
//# before we can use it.
#[test]
fn no_transfer_is_lost_when_the_initiator_forgets_its_contexts() {
    survives_forgetting(Side::A);
}

#[test]
fn no_transfer_is_lost_when_the_responder_forgets_its_contexts() {
    survives_forgetting(Side::B);
}
