//! Writes what arrives at a host to a pcap file.
//!
//! Not left to tcpdump, which insists on becoming another user, and in a user namespace there is
//! none. A packet socket for IPv6 alone is shown packets as they arrive and none that leave, so
//! that a router's capture has each packet once, also those that its rules drop.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_recv_buffer_size_force, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, eth, recv, socket_with};

use crate::{Namespace, TestbedError};

/// A running capture; ends, with a complete file, when stopped or dropped.
#[derive(Debug)]
pub struct Capture {
    stopping: Arc<AtomicBool>,
    writer: Option<JoinHandle<io::Result<()>>>,
}

impl Capture {
    /// Captures the IPv6 packets that arrive at `host` from now on into `file`, as raw IP.
    pub(crate) fn start(host: &Namespace, file: &Path) -> Result<Self, TestbedError> {
        let failure = |action: &str| format!("{action} {}", file.display());
        let socket = host
            .enter(packet_socket)?
            .map_err(TestbedError::io("open a packet socket"))?;
        let mut pcap = File::create(file)
            .map(BufWriter::new)
            .map_err(TestbedError::io(failure("create")))?;
        pcap.write_all(&file_header())
            .map_err(TestbedError::io(failure("write")))?;
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        let writer = thread::Builder::new()
            .name(format!("capture at {}", host.name()))
            .spawn(move || copy(&socket, pcap, &stop))
            .map_err(TestbedError::io("start a thread"))?;
        Ok(Self {
            stopping,
            writer: Some(writer),
        })
    }

    /// Ends the capture; what has arrived is in the file.
    ///
    /// # Errors
    ///
    /// [`TestbedError::Io`] if packets could not be received or written.
    pub fn stop(mut self) -> Result<(), TestbedError> {
        self.finish().map_err(TestbedError::io("capture packets"))
    }

    fn finish(&mut self) -> io::Result<()> {
        self.stopping.store(true, Ordering::Relaxed);
        match self.writer.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Err(io::Error::other("the capturing thread panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // Who wants to know of errors calls `stop`.
        let _ = self.finish();
    }
}

/// The packets of a file that a [`Capture`] has written, each from its IPv6 header on, in the order of
/// their arrival. One that is not written to its end yet is not among them.
pub fn packets(pcap: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = pcap.get(FILE_HEADER..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (header, after) = rest.split_first_chunk::<PACKET_HEADER>()?;
        let [.., a, b, c, d, _, _, _, _] = *header;
        let length = u32::from_ne_bytes([a, b, c, d]) as usize;
        let (packet, after) = after.split_at_checked(length)?;
        rest = after;
        Some(packet)
    })
}

fn packet_socket() -> io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::PACKET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(eth::IPV6),
    )?;
    set_socket_timeout(&socket, Timeout::Recv, Some(IDLE))?;
    // Only root of the whole machine may go beyond the system's limit.
    let _ = set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER);
    Ok(socket)
}

/// Copies packets until told to stop and none that arrived before is waiting.
fn copy(socket: &OwnedFd, mut pcap: impl Write, stopping: &AtomicBool) -> io::Result<()> {
    let mut packet = vec![0; LARGEST];
    // All that can be waiting when the stop comes; more than that arrived later.
    let mut left = WAITING;
    // Until when packets that are still on their way are waited for.
    let mut last_wait = None;
    loop {
        // Asked for before the wait, so that nothing that arrived before the stop is missed.
        let stop = stopping.load(Ordering::Relaxed);
        if left == 0 {
            return pcap.flush();
        }
        if stop {
            last_wait = last_wait.or_else(|| Some(Instant::now() + IDLE));
        }
        // A receiver that goes on waiting would never end where packets arrive steadily.
        let flags = if last_wait.is_some_and(|end| Instant::now() >= end) {
            RecvFlags::DONTWAIT
        } else {
            RecvFlags::empty()
        };
        match recv(socket, &mut packet[..], flags) {
            Ok((length, _)) => {
                if stop {
                    left = left.saturating_sub(length.max(1));
                }
                pcap.write_all(&packet_header(SystemTime::now(), length as u32))?;
                pcap.write_all(&packet[..length])?;
            }
            Err(Errno::AGAIN) if stop => return pcap.flush(),
            Err(Errno::AGAIN | Errno::INTR) => pcap.flush()?,
            Err(error) => return Err(error.into()),
        }
    }
}

/// The header of a pcap file in this machine's octet order, times in microseconds.
fn file_header() -> [u8; FILE_HEADER] {
    let mut header = [0; FILE_HEADER];
    header[..4].copy_from_slice(&0xa1b2_c3d4_u32.to_ne_bytes());
    header[4..6].copy_from_slice(&2_u16.to_ne_bytes());
    header[6..8].copy_from_slice(&4_u16.to_ne_bytes());
    header[16..20].copy_from_slice(&(LARGEST as u32).to_ne_bytes());
    header[20..].copy_from_slice(&LINKTYPE_RAW.to_ne_bytes());
    header
}

/// The header of one packet of `length` octets that arrived at `time`.
fn packet_header(time: SystemTime, length: u32) -> [u8; PACKET_HEADER] {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let fields = [
        since.as_secs() as u32,
        since.subsec_micros(),
        length,
        length,
    ];
    let mut header = [0; PACKET_HEADER];
    for (place, field) in header.chunks_exact_mut(4).zip(fields) {
        place.copy_from_slice(&field.to_ne_bytes());
    }
    header
}

/// How long a capture waits for a packet before it looks whether it shall stop.
const IDLE: Duration = Duration::from_millis(50);

/// Octets of the longest packet, segmentation offload included.
const LARGEST: usize = 1 << 18;

/// Octets that may wait while the file is written.
const RECEIVE_BUFFER: usize = 8 << 20;

/// Octets that can be waiting: the kernel doubles what it is asked for.
const WAITING: usize = 2 * RECEIVE_BUFFER;

/// Octets before the first packet of a file.
const FILE_HEADER: usize = 24;

/// Octets before each packet: seconds, microseconds, octets in the file, octets of the packet.
const PACKET_HEADER: usize = 16;

/// pcap's LINKTYPE_RAW: each packet begins with its IP header.
const LINKTYPE_RAW: u32 = 101;
