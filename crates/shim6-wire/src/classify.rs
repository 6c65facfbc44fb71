//! What an IPv6 packet is to Shim6.
//!
//! Decides where a packet goes next, from its headers alone: no message is parsed, no context
//! looked up.

use crate::error::WireError;
use crate::icmp::{self, IcmpError};
use crate::ids::ContextTag;
use crate::ipv6::{self, DESTINATION, Headers, SHIM6, SOURCE};
use crate::message::{P_BIT, check_length};

/// What an IPv6 packet is to Shim6. Offsets are octets from the start of the IPv6 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Anything without a Shim6 header that is not about a packet with one.
    Payload,
    /// A payload packet whose addresses the receiver has to put back.
    PayloadExt {
        /// Tag that the receiver allocated.
        tag: ContextTag,
        /// Start of the Shim6 header.
        at: usize,
    },
    /// A control message, not parsed yet.
    Control {
        /// Start of the Shim6 header.
        at: usize,
    },
    /// An ICMPv6 error about a packet that carried a Shim6 header.
    IcmpError(IcmpError),
    /// Not IPv6, cut, or a Shim6 header that breaks a rule.
    Malformed(WireError),
}

/// Says what `packet` is, from its IPv6 header on.
///
/// A control message has then passed the checks of RFC 5533 §12.3 but for its checksum.
pub fn classify(packet: &[u8]) -> Class {
    match shim6_class(packet) {
        Ok(class) => class,
        // Longer than Payload Length can say, so never a packet that Shim6 has rewritten.
        Err(WireError::Jumbogram) => Class::Payload,
        Err(error) => Class::Malformed(error),
    }
}

fn shim6_class(packet: &[u8]) -> Result<Class, WireError> {
    let packet = &packet[..ipv6::packet_len(packet)?];
    let place = Headers::walk(packet)?.last;
    let at = place.at;
    if place.next_header == SHIM6 {
        //= https://www.rfc-editor.org/rfc/rfc5533#section-5.1
        //= id=S-005
        //# P:             A single bit to distinguish Shim6 Payload Extension headers from control
        //# messages.
        return match packet.get(at + 2) {
            Some(octet) if octet & P_BIT == 0 => {
                check_addresses(packet)?;
                check_length(&packet[at..])?;
                Ok(Class::Control { at })
            }
            _ => ipv6::payload_ext(packet, at).map(|(tag, _)| Class::PayloadExt { tag, at }),
        };
    }
    Ok(match icmp::about_shim6(packet, place)? {
        Some(error) => Class::IcmpError(error),
        None => Class::Payload,
    })
}

/// Checks the addresses that a control message goes between.
fn check_addresses(packet: &[u8]) -> Result<(), WireError> {
    //= https://www.rfc-editor.org/rfc/rfc5533#section-12.3
    //= id=S-162
    //# Finally, it checks that neither the IPv6 Destination field nor the IPv6 Source field is a
    //# multicast address or an unspecified address.
    for at in [SOURCE, DESTINATION] {
        let address = ipv6::address(packet, at);
        if address.is_multicast() || address.is_unspecified() {
            return Err(WireError::Address { at });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
