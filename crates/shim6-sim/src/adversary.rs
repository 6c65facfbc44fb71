//! What a test needs to play a host by hand ([`crate::Kind::Puppet`]).

use shim6_core::Transmit;
use shim6_wire::{Class, Message, classify};

use crate::net::Pair;
use crate::packet::{control_packet, destination, source};

/// A control message that reached a puppet.
#[derive(Clone, Debug)]
pub struct Received {
    /// From where, to where.
    pub pair: Pair,
    /// What.
    pub message: Message,
}

/// The control message in `packet`; `None` if it is payload.
#[must_use]
pub fn message_of(packet: &[u8]) -> Option<Received> {
    let Class::Control { at } = classify(packet) else {
        return None;
    };
    Some(Received {
        pair: Pair {
            source: source(packet),
            destination: destination(packet),
        },
        message: Message::parse(&packet[at..]).ok()?,
    })
}

/// The packet that carries `message` over `pair`.
#[must_use]
pub fn send_message(pair: Pair, message: &Message) -> Vec<u8> {
    control_packet(&Transmit {
        source: pair.source,
        destination: pair.destination,
        message: message.emit(),
    })
}
