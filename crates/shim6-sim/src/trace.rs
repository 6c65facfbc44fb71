//! What happened, in order: the last of it to be read, all of it as a hash.

use std::collections::VecDeque;
use std::fmt::Write as _;

use shim6_core::{Event, Instant};
use shim6_wire::{Class, Message, classify};

use crate::host::HostId;
use crate::packet;

/// Records kept for a reader.
const KEPT: usize = 2_000;

/// One thing that happened.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    /// A host sent this packet; what became of it.
    Sent(HostId, Vec<u8>, &'static str),
    /// This packet reached a host.
    Arrived(HostId, Vec<u8>),
    /// A host's endpoint has something to tell.
    Told(HostId, Event),
    /// The script did something.
    Fault(String),
}

#[derive(Debug)]
pub(crate) struct Trace {
    kept: VecDeque<(Instant, Record)>,
    hash: u64,
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            kept: VecDeque::new(),
            hash: FNV_OFFSET,
        }
    }
}

impl Trace {
    pub(crate) fn note(&mut self, now: Instant, record: Record) {
        self.mix(&now.as_micros().to_be_bytes());
        match &record {
            Record::Sent(host, octets, fate) => {
                self.mix(&[1, host.0 as u8]);
                self.mix(octets);
                self.mix(fate.as_bytes());
            }
            Record::Arrived(host, octets) => {
                self.mix(&[2, host.0 as u8]);
                self.mix(octets);
            }
            Record::Told(host, event) => {
                self.mix(&[3, host.0 as u8]);
                self.mix(format!("{event:?}").as_bytes());
            }
            Record::Fault(what) => {
                self.mix(&[4]);
                self.mix(what.as_bytes());
            }
        }
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back((now, record));
    }

    /// FNV-1a over everything noted so far.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// FNV-1a, a word at a time: payload is most of what there is.
    fn mix(&mut self, octets: &[u8]) {
        let mut words = octets.chunks_exact(8);
        for word in &mut words {
            let mut bits = [0; 8];
            bits.copy_from_slice(word);
            self.step(u64::from_be_bytes(bits));
        }
        for &octet in words.remainder() {
            self.step(u64::from(octet));
        }
    }

    fn step(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(FNV_PRIME);
        self.hash ^= self.hash >> 29;
    }

    /// The last records, one a line.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (at, record) in &self.kept {
            let (seconds, micros) = (at.as_micros() / 1_000_000, at.as_micros() % 1_000_000);
            let _ = match record {
                Record::Sent(host, octets, fate) => {
                    writeln!(
                        text,
                        "{seconds:6}.{micros:06} {host} sends {} [{fate}]",
                        say(octets)
                    )
                }
                Record::Arrived(host, octets) => {
                    writeln!(text, "{seconds:6}.{micros:06} {host} gets  {}", say(octets))
                }
                Record::Told(host, event) => {
                    writeln!(text, "{seconds:6}.{micros:06} {host} tells {event:?}")
                }
                Record::Fault(what) => writeln!(text, "{seconds:6}.{micros:06} -- {what}"),
            };
        }
        text
    }
}

/// A packet in a few words.
fn say(octets: &[u8]) -> String {
    let (source, destination) = (packet::source(octets), packet::destination(octets));
    let what = match classify(octets) {
        Class::Payload => "payload".to_owned(),
        Class::PayloadExt { tag, .. } => format!("payload {tag:?}"),
        Class::Control { at } => match Message::parse(&octets[at..]) {
            Ok(Message::Probe(probe)) => {
                let sent: Vec<_> = probe.sent.iter().map(|report| report.nonce).collect();
                let received: Vec<_> = probe.received.iter().map(|report| report.nonce).collect();
                format!(
                    "Probe {:?} sent {sent:?} received {received:?}",
                    probe.state
                )
            }
            Ok(message) => format!("{:?}", message.message_type()),
            Err(error) => format!("bad message: {error:?}"),
        },
        Class::IcmpError(error) => format!("ICMPv6 {:?}", error.kind),
        Class::Malformed(error) => format!("malformed: {error:?}"),
    };
    format!("{source} > {destination} {what}")
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;
