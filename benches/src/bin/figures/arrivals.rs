//! Figure 11 of the journal paper: how many contexts a server holds at a time.
//!
//! The paper replayed a week of its campus' traffic, which nobody else has. Here peers arrive at
//! random, more by day than by night, and stay as long as web and mail clients do: most for seconds,
//! a few for hours. A context begins with the first packet and is collected after a time without use.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// One server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server {
    pub(crate) name: &'static str,
    /// Peers that arrive in a second, over the day on average.
    pub(crate) arrivals: f64,
    /// Median of how long a peer stays, seconds.
    pub(crate) median_stay: f64,
    /// Standard deviation of its logarithm.
    pub(crate) spread: f64,
}

/// Servers as a campus has them.
pub(crate) const SERVERS: [Server; 3] = [
    Server {
        name: "web: 8 peers a second",
        arrivals: 8.0,
        median_stay: 4.0,
        spread: 1.6,
    },
    Server {
        name: "mail: 2 peers a second",
        arrivals: 2.0,
        median_stay: 20.0,
        spread: 1.8,
    },
    Server {
        name: "shell: 1 peer in 50 s",
        arrivals: 0.02,
        median_stay: 600.0,
        spread: 1.5,
    },
];

/// A server's week: contexts held at the end of each interval.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Week {
    pub(crate) server: &'static str,
    /// Seconds without use after which a context is collected.
    pub(crate) collected_after: u32,
    pub(crate) interval_s: u32,
    pub(crate) held: Vec<u32>,
    /// Contexts begun in the whole week.
    pub(crate) begun: u64,
    /// Most that began within one second.
    pub(crate) most_begun_a_second: u32,
}

/// Plays a week of one server.
pub(crate) fn week(server: Server, collected_after: u32, seed: u64) -> Week {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut changes = vec![0_i64; WEEK as usize + 1];
    let (mut begun, mut most) = (0, 0);
    for second in 0..WEEK {
        // Between a fifth and nine fifths of the average, most at two in the afternoon.
        let hour = f64::from(second % DAY) / 3_600.0;
        let phase = (hour - 14.0) / 24.0 * std::f64::consts::TAU;
        let rate = server.arrivals * (1.0 + 0.8 * phase.cos());
        let arriving = poisson(rate, &mut rng);
        most = most.max(arriving);
        begun += u64::from(arriving);
        for _ in 0..arriving {
            let stay = server.median_stay * (server.spread * normal(&mut rng)).exp();
            changes[second as usize] += 1;
            if let Some(end) = ending(second + collected_after, stay) {
                changes[end as usize] -= 1;
            }
        }
    }
    let mut now = 0_i64;
    let mut held = Vec::new();
    for (second, change) in changes.iter().enumerate() {
        now += change;
        if second % INTERVAL as usize == 0 {
            held.push(u32::try_from(now).unwrap_or_default());
        }
    }
    Week {
        server: server.name,
        collected_after,
        interval_s: INTERVAL,
        held,
        begun,
        most_begun_a_second: most,
    }
}

/// The second that is `stay` after `from`, if it is in this week.
fn ending(from: u32, stay: f64) -> Option<u32> {
    let stay = std::time::Duration::try_from_secs_f64(stay).ok()?;
    let stay = u32::try_from(stay.as_secs()).ok()?;
    from.checked_add(stay).filter(|end| *end < WEEK)
}

/// In 0 to 1, both excluded.
fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (f64::from(rng.next_u32()) + 0.5) / (f64::from(u32::MAX) + 1.0)
}

fn poisson(mean: f64, rng: &mut ChaCha8Rng) -> u32 {
    let limit = (-mean).exp();
    let (mut product, mut count) = (uniform(rng), 0);
    while product > limit {
        product *= uniform(rng);
        count += 1;
    }
    count
}

/// Box and Muller's.
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (one, other) = (uniform(rng), uniform(rng));
    (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * other).cos()
}

const DAY: u32 = 86_400;
const WEEK: u32 = 7 * DAY;
/// Between two points of the curve, seconds.
const INTERVAL: u32 = 600;
