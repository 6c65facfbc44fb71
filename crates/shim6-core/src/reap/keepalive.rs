//! What a host owes to a peer that it only hears: keepalives (RFC 5534 §4.1).

use shim6_wire::{Keepalive, Message};

use super::{Reap, Surroundings};
use crate::config::Config;
use crate::time::Instant;

impl Reap {
    /// When the next keepalive of a timer that was started at `started` is due.
    ///
    //= https://www.rfc-editor.org/rfc/rfc5534#section-6.1
    //= id=R-009,R-045
    //# While the Keepalive Timer is running, the node SHOULD send Keepalive
    //# messages to the peer with an interval of Keepalive Interval seconds.
    pub(super) fn next_keepalive(&self, started: Instant) -> Instant {
        let sent = if self.keepalives.0 == started {
            self.keepalives.1
        } else {
            0
        };
        let interval = Config::keepalive_interval(self.keepalive_timeout);
        started + interval * sent.saturating_add(1)
    }

    pub(super) fn keep_alive(&mut self, cx: &mut Surroundings<'_>) {
        let Some(started) = cx.account.owed_to_peer() else {
            return;
        };
        //= https://www.rfc-editor.org/rfc/rfc5534#section-4.1
        //= id=R-010
        //# Keepalives are not sent at all if one or more payload packets were sent within the
        //# Keepalive Interval.
        if cx.now < self.next_keepalive(started) {
            return;
        }
        // A host that slept through several sends one for all. A peer may have announced no time at all.
        let interval = Config::keepalive_interval(self.keepalive_timeout);
        let number = cx.now.since(started).as_micros() / interval.as_micros().max(1);
        self.keepalives = (started, u32::try_from(number).unwrap_or(u32::MAX));
        cx.outbox.push((
            cx.current,
            Message::Keepalive(Keepalive {
                receiver_tag: cx.peer_tag,
            }),
        ));
        //= https://www.rfc-editor.org/rfc/rfc5534#section-6.3
        //= id=R-047
        //# Upon a timeout on the Keepalive Timer, the node sends one last
        //# Keepalive message.
        if cx.now >= started + self.keepalive_timeout {
            cx.account.stop_keepalive_timer();
        }
    }
}
