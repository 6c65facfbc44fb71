//! What becomes of each packet, and when: the emulator without its sockets and without a clock.
//!
//! Decides, by a seed, whether a packet is lost, doubled, delayed, overtaken or cut off. Who hands
//! packets over, and takes them when they are due, brings the time along.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::Ipv6Addr;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

use crate::{Count, Prefix};

/// How packets of one direction between two prefixes fare. The default does nothing to them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Path {
    /// Whether anything comes out at the far end: a cut takes along what is on its way.
    pub up: bool,
    /// Shortest time in transit.
    pub delay: Duration,
    /// Longest addition to `delay`, drawn evenly for each packet.
    pub jitter: Duration,
    /// Whether a packet waits for those before it. Without, jitter makes packets change places.
    pub in_order: bool,
    /// Share of packets that is lost, 0 to 1.
    pub loss: f64,
    /// Share of packets that arrives twice, 0 to 1, each time with a delay of its own.
    pub duplication: f64,
    /// Share of packets that takes no time and so overtakes the others, 0 to 1.
    pub reordering: f64,
    /// Bits per second, counted from the IPv6 header on; `None` for no limit.
    pub rate: Option<u64>,
    /// How long packets may wait for their turn under `rate`; those that would wait longer are lost.
    pub queue: Duration,
}

impl Default for Path {
    fn default() -> Self {
        Self {
            up: true,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            in_order: false,
            loss: 0.0,
            duplication: 0.0,
            reordering: 0.0,
            rate: None,
            queue: Duration::from_millis(50),
        }
    }
}

/// What came of the packets of one path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathCounts {
    /// Came out, duplicates included.
    pub passed: Count,
    /// Lost by chance.
    pub lost: u64,
    /// Lost because the queue before the limited rate was full.
    pub overflowed: u64,
    /// Cut off.
    pub cut: u64,
}

/// A path, between which prefixes it lies, and what is remembered of its packets.
#[derive(Debug)]
struct Lane {
    source: Prefix,
    destination: Prefix,
    path: Path,
    counts: PathCounts,
    /// When the packet that was handed over last will have been sent at the limited rate.
    busy_until: Duration,
    /// When the latest of the packets that keep their order leaves.
    last_departure: Duration,
}

/// Paths and the packets on them. Times are since a beginning of the caller's choice.
#[derive(Debug)]
pub(super) struct Model {
    rng: ChaCha8Rng,
    /// The first one is for all that no other matches.
    lanes: Vec<Lane>,
    waiting: BinaryHeap<Reverse<Waiting>>,
    accepted: u64,
}

/// A packet on its way, ordered by when it leaves, then by when it was handed over.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    departure: Duration,
    number: u64,
    lane: usize,
    packet: Vec<u8>,
}

impl Model {
    /// Every path does nothing to its packets.
    pub(super) fn new(seed: u64) -> Self {
        let mut model = Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            lanes: Vec::new(),
            waiting: BinaryHeap::new(),
            accepted: 0,
        };
        model.set(Prefix::ANY, Prefix::ANY, Path::default());
        model
    }

    /// Gives packets from `source` to `destination` this path from now on. Where several match a
    /// packet, the one that was added last wins; setting it again keeps its rank and its counts.
    pub(super) fn set(&mut self, source: Prefix, destination: Prefix, path: Path) {
        if let Some(lane) = self.find(source, destination) {
            self.lanes[lane].path = path;
            return;
        }
        self.lanes.push(Lane {
            source,
            destination,
            path,
            counts: PathCounts::default(),
            busy_until: Duration::ZERO,
            last_departure: Duration::ZERO,
        });
    }

    /// The path set for exactly these prefixes.
    pub(super) fn path(&self, source: Prefix, destination: Prefix) -> Option<Path> {
        self.find(source, destination)
            .map(|lane| self.lanes[lane].path)
    }

    /// What came of packets on the path set for exactly these prefixes.
    pub(super) fn counts(&self, source: Prefix, destination: Prefix) -> PathCounts {
        self.find(source, destination)
            .map(|lane| self.lanes[lane].counts)
            .unwrap_or_default()
    }

    fn find(&self, source: Prefix, destination: Prefix) -> Option<usize> {
        self.lanes
            .iter()
            .position(|lane| (lane.source, lane.destination) == (source, destination))
    }

    /// Takes over a packet that arrives `now`.
    pub(super) fn accept(
        &mut self,
        now: Duration,
        (source, destination): (Ipv6Addr, Ipv6Addr),
        packet: &[u8],
    ) {
        // The first lane matches everything.
        let lane = self
            .lanes
            .iter()
            .rposition(|lane| {
                lane.source.contains(source) && lane.destination.contains(destination)
            })
            .unwrap_or(0);
        let path = self.lanes[lane].path;
        if self.happens(path.loss) {
            self.lanes[lane].counts.lost += 1;
            return;
        }
        let Some(sent) = self.send(lane, now, packet.len()) else {
            self.lanes[lane].counts.overflowed += 1;
            return;
        };
        let copies = if self.happens(path.duplication) { 2 } else { 1 };
        for _ in 0..copies {
            let departure = self.departure(lane, sent);
            self.accepted += 1;
            self.waiting.push(Reverse(Waiting {
                departure,
                number: self.accepted,
                lane,
                packet: packet.to_vec(),
            }));
        }
    }

    /// When a packet of `octets` has been sent at the path's rate; `None` if the queue is full.
    fn send(&mut self, lane: usize, now: Duration, octets: usize) -> Option<Duration> {
        let lane = &mut self.lanes[lane];
        let Some(rate) = lane.path.rate else {
            return Some(now);
        };
        let start = lane.busy_until.max(now);
        if start.saturating_sub(now) > lane.path.queue {
            return None;
        }
        let nanoseconds = octets as u64 * 8 * 1_000_000_000 / rate.max(1);
        lane.busy_until = start + Duration::from_nanos(nanoseconds);
        Some(lane.busy_until)
    }

    fn departure(&mut self, lane: usize, sent: Duration) -> Duration {
        let path = self.lanes[lane].path;
        if self.happens(path.reordering) {
            return sent;
        }
        let jitter = u64::try_from(path.jitter.as_nanos()).unwrap_or(u64::MAX);
        let jitter = match jitter {
            0 => Duration::ZERO,
            most => Duration::from_nanos(self.rng.next_u64() % most),
        };
        let departure = sent + path.delay + jitter;
        if !path.in_order {
            return departure;
        }
        let lane = &mut self.lanes[lane];
        lane.last_departure = lane.last_departure.max(departure);
        lane.last_departure
    }

    /// Draws only where chance has a say, so that other paths' draws stay what they were.
    fn happens(&mut self, share: f64) -> bool {
        share > 0.0 && f64::from(self.rng.next_u32()) < share * f64::from(u32::MAX)
    }

    /// When [`Self::next_due`] will next have something; `None` while no packet is on its way.
    pub(super) fn next_departure(&self) -> Option<Duration> {
        let Reverse(first) = self.waiting.peek()?;
        Some(first.departure)
    }

    /// The next packet that is due, if its path still exists by then.
    pub(super) fn next_due(&mut self, now: Duration) -> Option<Vec<u8>> {
        while self.next_departure()? <= now {
            let Reverse(Waiting { lane, packet, .. }) = self.waiting.pop()?;
            let lane = &mut self.lanes[lane];
            if lane.path.up {
                lane.counts.passed.packets += 1;
                lane.counts.passed.octets += packet.len() as u64;
                return Some(packet);
            }
            lane.counts.cut += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{A, B};

    fn ends() -> (Ipv6Addr, Ipv6Addr) {
        (A[0].host(), B[0].host())
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// A model whose only path is `path`.
    fn model(path: Path) -> Model {
        let mut model = Model::new(7);
        model.set(Prefix::ANY, Prefix::ANY, path);
        model
    }

    /// Hands over `count` packets, `spacing` apart and numbered by their first octet, and returns
    /// the numbers and times of those that come out.
    fn cross(model: &mut Model, count: u8, spacing: Duration) -> Vec<(u8, Duration)> {
        for number in 0..count {
            let mut packet = vec![0; 1_000];
            packet[0] = number;
            model.accept(spacing * u32::from(number), ends(), &packet);
        }
        let mut out = Vec::new();
        while let Some(at) = model.next_departure() {
            out.extend(model.next_due(at).map(|packet| (packet[0], at)));
        }
        out
    }

    #[test]
    fn a_packet_leaves_after_the_delay_and_not_before() {
        let mut model = model(Path {
            delay: ms(10),
            ..Path::default()
        });
        model.accept(ms(5), ends(), b"packet");
        assert_eq!(model.next_departure(), Some(ms(15)));
        assert_eq!(model.next_due(Duration::from_micros(14_999)), None);
        assert_eq!(model.next_due(ms(15)).as_deref(), Some(&b"packet"[..]));
        assert_eq!(model.next_departure(), None);
    }

    #[test]
    fn jitter_adds_up_to_its_limit_and_reorders_unless_order_is_kept() {
        let path = Path {
            delay: ms(10),
            jitter: ms(50),
            ..Path::default()
        };
        let out = cross(&mut model(path), 200, ms(1));
        let transit = |(number, at): &(u8, Duration)| at.saturating_sub(ms(u64::from(*number)));
        let transits: Vec<Duration> = out.iter().map(transit).collect();
        assert!(transits.iter().all(|time| (ms(10)..ms(60)).contains(time)));
        assert!(transits.iter().any(|time| *time < ms(15)));
        assert!(transits.iter().any(|time| *time > ms(55)));
        assert!(!out.is_sorted_by_key(|(number, _)| *number));

        let in_order = Path {
            in_order: true,
            ..path
        };
        let out = cross(&mut model(in_order), 200, ms(1));
        assert!(out.is_sorted_by_key(|(number, _)| *number));
    }

    #[test]
    fn loss_and_duplication_have_their_shares() {
        let lossy = Path {
            loss: 0.25,
            ..Path::default()
        };
        let mut lossy = model(lossy);
        let arrived = (0..40)
            .map(|_| cross(&mut lossy, 250, ms(1)).len())
            .sum::<usize>();
        assert!((7_250..7_750).contains(&arrived), "{arrived} of 10000");
        let counts = lossy.counts(Prefix::ANY, Prefix::ANY);
        assert_eq!(counts.passed.packets + counts.lost, 10_000);

        let doubling = Path {
            duplication: 0.1,
            ..Path::default()
        };
        let mut doubling = model(doubling);
        let arrived = (0..40)
            .map(|_| cross(&mut doubling, 250, ms(1)).len())
            .sum::<usize>();
        assert!((10_800..11_200).contains(&arrived), "{arrived} of 10000");
    }

    #[test]
    fn a_reordered_packet_overtakes() {
        let path = Path {
            delay: ms(10),
            reordering: 0.1,
            ..Path::default()
        };
        let out = cross(&mut model(path), 200, ms(1));
        assert!(!out.is_sorted_by_key(|(number, _)| *number));
        assert_eq!(out.len(), 200);
    }

    #[test]
    fn a_rate_spaces_packets_and_its_queue_overflows() {
        let path = Path {
            rate: Some(8_000_000),
            queue: ms(20),
            ..Path::default()
        };
        let mut model = model(path);
        // 1000 octets take 1 ms; 21 packets need not wait more than 20 ms.
        let out = cross(&mut model, 100, Duration::ZERO);
        let times: Vec<Duration> = out.iter().map(|(_, at)| *at).collect();
        let expected: Vec<Duration> = (1..=21).map(ms).collect();
        assert_eq!(times, expected);
        assert_eq!(model.counts(Prefix::ANY, Prefix::ANY).overflowed, 79);
    }

    #[test]
    fn a_cut_takes_along_what_is_on_its_way_and_holds_one_way() {
        let mut model = model(Path {
            delay: ms(10),
            ..Path::default()
        });
        let (a, b) = (A[0].prefix, B[0].prefix);
        let there = Path {
            delay: ms(10),
            ..Path::default()
        };
        model.set(a, b, there);
        let (source, destination) = ends();
        model.accept(ms(0), (source, destination), b"there");
        model.accept(ms(0), (destination, source), b"back");
        model.set(a, b, Path { up: false, ..there });
        assert_eq!(model.next_due(ms(10)).as_deref(), Some(&b"back"[..]));
        assert_eq!(model.next_due(ms(10)), None);
        assert_eq!(model.counts(a, b).cut, 1);

        model.set(a, b, there);
        model.accept(ms(20), (source, destination), b"again");
        assert_eq!(model.next_due(ms(30)).as_deref(), Some(&b"again"[..]));
    }

    #[test]
    fn the_path_that_was_added_last_wins_and_others_are_left_alone() {
        let mut model = Model::new(7);
        model.set(
            A[0].prefix,
            Prefix::ANY,
            Path {
                delay: ms(20),
                ..Path::default()
            },
        );
        model.set(
            A[0].prefix,
            B[0].prefix,
            Path {
                delay: ms(30),
                ..Path::default()
            },
        );
        for (source, destination, delay) in [
            (A[0].host(), B[0].host(), 30),
            (A[0].host(), B[1].host(), 20),
            (A[1].host(), B[0].host(), 0),
        ] {
            model.accept(ms(0), (source, destination), b"?");
            assert_eq!(model.next_departure(), Some(ms(delay)));
            assert!(model.next_due(ms(delay)).is_some());
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_fates() {
        let path = Path {
            delay: ms(5),
            jitter: ms(20),
            loss: 0.1,
            duplication: 0.1,
            ..Path::default()
        };
        assert_eq!(
            cross(&mut model(path), 200, ms(1)),
            cross(&mut model(path), 200, ms(1))
        );
    }
}
