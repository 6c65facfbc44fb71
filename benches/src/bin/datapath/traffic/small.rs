//! UDP datagrams of 64 octets, one system call each, as fast as one thread can.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use socket2::{Domain, Socket, Type};

use super::{Course, LOOK_UP, Sample};
use crate::network::Side;
use shimq_benches::error::{BenchError, is_patience};

/// Octets of each datagram, headers not counted.
const DATAGRAM: usize = 64;

/// Octets that may wait for the receiving program, where we may ask for so much.
const BUFFER: usize = 8 << 20;

/// Measures the packets that the receiver gets.
pub(super) fn measure(course: &Course<'_>, time: Duration) -> Result<Sample, BenchError> {
    let failed = || BenchError::io("open UDP sockets");
    let bind = |side| {
        let socket = Socket::new(Domain::IPV6, Type::DGRAM, None)?;
        socket.bind(&SocketAddr::from((course.end(side), 0)).into())?;
        socket.set_read_timeout(Some(LOOK_UP))?;
        socket.set_write_timeout(Some(LOOK_UP))?;
        // Refused outside of the first user namespace; a smaller buffer drops more of a burst.
        let _ = set_socket_recv_buffer_size_force(&socket, BUFFER);
        Ok::<_, std::io::Error>(socket)
    };
    let open = |side| course.network.host(side).enter(|| bind(side));
    let receiver = open(Side::B)?.map_err(failed())?;
    let sender = open(Side::A)?.map_err(failed())?;
    let address = receiver.local_addr().map_err(failed())?;
    sender.connect(&address).map_err(failed())?;

    let done = AtomicBool::new(false);
    let received = AtomicU64::new(0);
    let send = || {
        while !done.load(Ordering::Relaxed) {
            // A full queue is no reason to end.
            let _ = sender.send(&[0; DATAGRAM]);
        }
    };
    let receive = || {
        let mut datagram = [0; DATAGRAM];
        while !done.load(Ordering::Relaxed) {
            match (&receiver).read(&mut datagram) {
                Ok(_) => {
                    received.fetch_add(1, Ordering::Relaxed);
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
        sample
    })
}
