//! What the upper layers do: flows of numbered datagrams, some of them answered.

use std::time::Duration;

use shim6_core::{Instant, UlidPair};

use crate::host::HostId;
use crate::packet::{Datagram, Direction};

/// Which flow of a world.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FlowId(pub u16);

/// How a flow sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pattern {
    /// Time between two datagrams.
    pub interval: Duration,
    /// Octets of each datagram's packet.
    pub length: usize,
    /// Every so many-th datagram is answered; 0 for none.
    pub answer_every: u64,
}

impl Pattern {
    /// A question each `interval`, and an answer to each.
    #[must_use]
    pub fn request_response(interval: Duration) -> Self {
        Self {
            interval,
            length: 400,
            answer_every: 1,
        }
    }

    /// Datagrams that nobody answers.
    #[must_use]
    pub fn one_way(interval: Duration) -> Self {
        Self {
            interval,
            length: 400,
            answer_every: 0,
        }
    }

    /// Large datagrams, close together, of which every second is acknowledged.
    #[must_use]
    pub fn bulk() -> Self {
        Self {
            interval: Duration::from_millis(10),
            length: 1400,
            answer_every: 2,
        }
    }
}

/// How a flow fared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FlowStats {
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams that reached the far upper layer, repetitions included.
    pub delivered: u64,
    /// Answers that came back, repetitions included.
    pub answered: u64,
    /// When the last datagram arrived.
    pub last_delivered: Option<Instant>,
    /// When the last answer arrived.
    pub last_answered: Option<Instant>,
    /// When the last datagram was sent that a link did not lose or change by chance.
    pub last_spared: Option<Instant>,
    /// When the last answer was sent that a link did not lose or change by chance.
    pub last_answer_spared: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) from: HostId,
    pub(crate) to: HostId,
    /// As `from` sees them.
    pub(crate) ulids: UlidPair,
    pub(crate) pattern: Pattern,
    /// The mark of the socket that sends; answers have none.
    pub(crate) mark: u32,
    pub(crate) running: bool,
    pub(crate) stats: FlowStats,
}

impl Flow {
    /// The next datagram.
    pub(crate) fn next(&mut self, id: FlowId) -> Datagram {
        let sequence = self.stats.sent;
        self.stats.sent += 1;
        self.datagram(id, Direction::Forth, sequence)
    }

    fn datagram(&self, id: FlowId, direction: Direction, sequence: u64) -> Datagram {
        let ulids = match direction {
            Direction::Forth => self.ulids,
            Direction::Back => UlidPair {
                local: self.ulids.peer,
                peer: self.ulids.local,
            },
        };
        Datagram {
            ulids,
            flow: id.0,
            direction,
            sequence,
            length: self.pattern.length,
        }
    }

    /// Notes that a datagram was sent, and that chance did not take it.
    pub(crate) fn spared(&mut self, direction: Direction, now: Instant) {
        match direction {
            Direction::Forth => self.stats.last_spared = Some(now),
            Direction::Back => self.stats.last_answer_spared = Some(now),
        }
    }

    /// Takes in what reached `host`'s upper layer; returns the answer, or why it is no packet of this
    /// flow.
    pub(crate) fn take(
        &mut self,
        id: FlowId,
        datagram: &Datagram,
        host: HostId,
        now: Instant,
    ) -> Result<Option<Datagram>, &'static str> {
        let sequence = datagram.sequence;
        if *datagram != self.datagram(id, datagram.direction, sequence) {
            return Err("addresses or length of another flow");
        }
        if sequence >= self.stats.sent {
            return Err("never sent");
        }
        match datagram.direction {
            Direction::Forth if host == self.to => {
                self.stats.delivered += 1;
                self.stats.last_delivered = Some(now);
                let every = self.pattern.answer_every;
                let due = every != 0 && (sequence + 1).is_multiple_of(every);
                Ok(due.then(|| self.datagram(id, Direction::Back, sequence)))
            }
            Direction::Back if host == self.from => {
                self.stats.answered += 1;
                self.stats.last_answered = Some(now);
                Ok(None)
            }
            Direction::Forth | Direction::Back => Err("delivered to somebody else"),
        }
    }
}
