//! 64 octets there and back again, over one TCP connection, nothing else under way.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use super::{Course, Latency, PATIENCE, Sample, WARM_UP};
use crate::meter::Meter;
use shimq_benches::error::BenchError;

/// Octets of question and answer.
const MESSAGE: usize = 64;

/// Measures each exchange.
pub(super) fn measure(course: &Course<'_>, time: Duration) -> Result<Sample, BenchError> {
    let failed = || BenchError::io("exchange messages");
    let (asking, answering) = course.connect()?;
    for socket in [&asking, &answering] {
        socket.set_tcp_nodelay(true).map_err(failed())?;
        socket.set_read_timeout(Some(PATIENCE)).map_err(failed())?;
    }
    let answer = || {
        let mut message = [0; MESSAGE];
        while (&answering).read_exact(&mut message).is_ok() {
            if (&answering).write_all(&message).is_err() {
                break;
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(answer);
        let outcome = ask(course, &asking, time);
        // Ends the other's wait for a question.
        let _ = asking.shutdown(Shutdown::Both);
        outcome
    })
}

fn ask(
    course: &Course<'_>,
    mut asking: &socket2::Socket,
    time: Duration,
) -> Result<Sample, BenchError> {
    let mut message = [0; MESSAGE];
    let mut exchange = || {
        let start = Instant::now();
        asking.write_all(&message)?;
        asking.read_exact(&mut message)?;
        Ok::<_, std::io::Error>(start.elapsed())
    };
    let failed = || BenchError::io("exchange messages");
    let warm = Instant::now() + WARM_UP;
    while Instant::now() < warm {
        exchange().map_err(failed())?;
    }
    let meter = Meter::start(course.hosts(), &course.servers)?;
    let end = Instant::now() + time;
    let mut times = Vec::new();
    while Instant::now() < end {
        times.push(exchange().map_err(failed())?);
    }
    let spent = meter.stop()?;
    times.sort_unstable();
    Ok(Sample {
        latency: Some(Latency {
            p50: quantile(&times, 500),
            p99: quantile(&times, 990),
            p999: quantile(&times, 999),
        }),
        ..Sample::new(times.len() as u64, spent)
    })
}

/// Microseconds that so many of a thousand of `sorted` do not exceed.
fn quantile(sorted: &[Duration], per_mille: usize) -> f64 {
    let index = sorted.len() * per_mille / 1000;
    let time = sorted.get(index.min(sorted.len().saturating_sub(1)));
    time.map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_a_hundred_times_are_those_times() {
        let times: Vec<_> = (1..=100).map(Duration::from_micros).collect();
        assert!((quantile(&times, 500) - 51.0).abs() < 1e-6);
        assert!((quantile(&times, 990) - 100.0).abs() < 1e-6);
        assert!((quantile(&times, 1000) - 100.0).abs() < 1e-6);
        assert!(quantile(&[], 500).is_nan());
    }
}
