//! What waits for the endpoint, and who gives way when too much does.
//!
//! Everything a queue thread tells the endpoint waits in one of two bounded channels. What names a
//! context (which takes its 47-bit tag), or is about payload that a lookup found, waits apart from what
//! anybody can send, so that no stranger keeps a context from its messages. Among strangers each /64
//! has a share, so that a flood from one of them leaves room for the others. What finds no room is
//! treated as if the endpoint were not there, and counted by reason.

use std::hash::{BuildHasher, RandomState};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::mpsc;

use super::queues::FromQueue;

/// Notices about contexts and their payload that may wait.
const KNOWN: usize = 4096;

/// Packets of strangers that may wait.
const STRANGERS: usize = 1024;

/// Of these, how many may be of sources that share a place.
const SHARE: usize = STRANGERS / 16;

/// Places that sources are spread over.
const PLACES: usize = 256;

/// How often a stranger has its turn although contexts have something to say.
const STRANGERS_TURN: u32 = 8;

/// Why there was no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// Too much is known of contexts.
    Known,
    /// Too many strangers.
    Strangers,
    /// Too much from this source.
    Source,
}

/// Makes the two ends.
pub(crate) fn intake() -> (ToEndpoint, Intake) {
    let (known, known_waiting) = mpsc::channel(KNOWN);
    let (strangers, strangers_waiting) = mpsc::channel(STRANGERS);
    let shares = Arc::new(Shares::new());
    let to_endpoint = ToEndpoint {
        known,
        strangers,
        shares: Arc::clone(&shares),
    };
    let intake = Intake {
        known: known_waiting,
        strangers: strangers_waiting,
        shares,
        turn: 0,
    };
    (to_endpoint, intake)
}

/// The queue threads' end.
#[derive(Clone, Debug)]
pub(crate) struct ToEndpoint {
    known: mpsc::Sender<FromQueue>,
    strangers: mpsc::Sender<Stranger>,
    shares: Arc<Shares>,
}

/// A packet, and the place whose share it takes.
#[derive(Debug)]
struct Stranger {
    place: usize,
    packet: Vec<u8>,
}

impl ToEndpoint {
    /// Tells something about a context, or about payload between two ULIDs.
    pub(crate) fn tell(&self, told: FromQueue) -> Result<(), Full> {
        self.known.try_send(told).map_err(|_| Full::Known)
    }

    /// Hands over a packet that names no context, from its IPv6 header on.
    pub(crate) fn hand_over(&self, packet: &[u8]) -> Result<(), Full> {
        let place = self.shares.place(packet);
        if !self.shares.take(place) {
            return Err(Full::Source);
        }
        let stranger = Stranger {
            place,
            packet: packet.to_vec(),
        };
        self.strangers.try_send(stranger).map_err(|refused| {
            self.shares.give_back(refused.into_inner().place);
            Full::Strangers
        })
    }
}

/// The endpoint's end.
#[derive(Debug)]
pub(crate) struct Intake {
    known: mpsc::Receiver<FromQueue>,
    strangers: mpsc::Receiver<Stranger>,
    shares: Arc<Shares>,
    turn: u32,
}

impl Intake {
    /// Waits for the next; `None` if all queue threads are gone.
    pub(crate) async fn recv(&mut self) -> Option<FromQueue> {
        if let Some(next) = self.try_recv() {
            return Some(next);
        }
        tokio::select! {
            Some(told) = self.known.recv() => Some(told),
            Some(stranger) = self.strangers.recv() => Some(self.admit(stranger)),
            else => None,
        }
    }

    /// The next, if it is there.
    pub(crate) fn try_recv(&mut self) -> Option<FromQueue> {
        self.turn = self.turn.wrapping_add(1);
        if self.turn.is_multiple_of(STRANGERS_TURN)
            && let Ok(stranger) = self.strangers.try_recv()
        {
            return Some(self.admit(stranger));
        }
        if let Ok(told) = self.known.try_recv() {
            return Some(told);
        }
        let stranger = self.strangers.try_recv().ok()?;
        Some(self.admit(stranger))
    }

    fn admit(&self, stranger: Stranger) -> FromQueue {
        self.shares.give_back(stranger.place);
        FromQueue::Packet(stranger.packet)
    }
}

/// How many packets of each place wait.
#[derive(Debug)]
struct Shares {
    /// Strangers choose their addresses, so it is keyed.
    hasher: RandomState,
    waiting: Vec<AtomicUsize>,
}

impl Shares {
    fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            waiting: (0..PLACES).map(|_| AtomicUsize::new(0)).collect(),
        }
    }

    /// The place of a packet's source, told by its /64: who has one has all addresses in it.
    fn place(&self, packet: &[u8]) -> usize {
        let prefix = packet.get(SOURCE..SOURCE + PREFIX).unwrap_or_default();
        (self.hasher.hash_one(prefix) % PLACES as u64) as usize
    }

    fn take(&self, place: usize) -> bool {
        let taken = self.waiting[place].fetch_add(1, Relaxed) < SHARE;
        if !taken {
            self.give_back(place);
        }
        taken
    }

    fn give_back(&self, place: usize) {
        self.waiting[place].fetch_sub(1, Relaxed);
    }
}

/// Octets of an IPv6 header in front of the source address.
const SOURCE: usize = 8;
/// Octets of a /64.
const PREFIX: usize = size_of::<Ipv6Addr>() / 2;

#[cfg(test)]
mod tests {
    use super::*;
    use shim6_wire::ContextTag;

    fn packet(site: u16) -> Vec<u8> {
        let mut packet = vec![0; 48];
        let source = Ipv6Addr::new(0x2001, 0xdb8, site, 0, 0, 0, 0, 1);
        packet[SOURCE..SOURCE + 16].copy_from_slice(&source.octets());
        packet
    }

    #[test]
    fn one_source_fills_its_share_and_others_still_have_room() {
        let (to_endpoint, mut intake) = intake();
        let flood = (0..100_000).filter(|_| to_endpoint.hand_over(&packet(1)).is_ok());
        assert_eq!(flood.count(), SHARE);
        assert_eq!(to_endpoint.hand_over(&packet(1)), Err(Full::Source));
        let others = (2..10).filter(|&site| to_endpoint.hand_over(&packet(site)).is_ok());
        // Some other may share the place.
        assert!(others.count() >= 6);
        // What was taken out makes room again.
        assert!(intake.try_recv().is_some());
        assert_eq!(to_endpoint.hand_over(&packet(1)), Ok(()));
    }

    #[test]
    fn strangers_from_everywhere_leave_contexts_their_room_and_their_turn() {
        let (to_endpoint, mut intake) = intake();
        let mut refused = 0;
        for site in 0..10_000 {
            refused += u32::from(to_endpoint.hand_over(&packet(site)).is_err());
        }
        assert!(refused >= 10_000 - STRANGERS as u32);
        let tag = ContextTag::from_bits(7);
        assert_eq!(to_endpoint.tell(FromQueue::Payload(tag)), Ok(()));
        let mut next = || intake.try_recv();
        let turns = [next(), next()];
        assert!(
            turns
                .iter()
                .any(|told| matches!(told, Some(FromQueue::Payload(_))))
        );
    }

    #[test]
    fn contexts_leave_strangers_a_turn() {
        let (to_endpoint, mut intake) = intake();
        to_endpoint.hand_over(&packet(1)).unwrap();
        while to_endpoint
            .tell(FromQueue::Payload(ContextTag::from_bits(7)))
            .is_ok()
        {}
        let mut turns = (0..STRANGERS_TURN).map(|_| intake.try_recv());
        assert!(turns.any(|told| matches!(told, Some(FromQueue::Packet(_)))));
    }
}
