//! One TCP connection that carries as much as it can.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::{Course, LOOK_UP, Sample};
use crate::network::Side;
use shimq_benches::error::{BenchError, is_patience};

/// Octets of one system call.
const CHUNK: usize = 256 << 10;

/// Measures what the receiver gets.
pub(super) fn measure(
    course: &Course<'_>,
    from: Side,
    time: Duration,
) -> Result<Sample, BenchError> {
    let (a, b) = course.connect()?;
    let (sender, receiver) = match from {
        Side::A => (a, b),
        Side::B => (b, a),
    };
    let failed = || BenchError::io("set a time limit");
    sender.set_write_timeout(Some(LOOK_UP)).map_err(failed())?;
    receiver.set_read_timeout(Some(LOOK_UP)).map_err(failed())?;
    let done = AtomicBool::new(false);
    let received = AtomicU64::new(0);
    let send = || {
        let chunk = vec![0; CHUNK];
        while !done.load(Ordering::Relaxed) {
            match (&sender).write(&chunk) {
                Ok(_) => {}
                Err(error) if is_patience(&error) => {}
                Err(_) => break,
            }
        }
    };
    let receive = || {
        let mut chunk = vec![0; CHUNK];
        while !done.load(Ordering::Relaxed) {
            match (&receiver).read(&mut chunk) {
                Ok(0) => break,
                Ok(octets) => {
                    received.fetch_add(octets as u64, Ordering::Relaxed);
                }
                Err(error) if is_patience(&error) => {}
                Err(_) => break,
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(send);
        scope.spawn(receive);
        let sample = course.count(&received, time);
        done.store(true, Ordering::Relaxed);
        // Whoever blocks returns; that the other end is gone already is no matter.
        let _ = sender.shutdown(Shutdown::Both);
        sample
    })
}
