//! Probe message (RFC 5534 §5.2).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |  Next Header  |  Hdr Ext Len  |0|  Type = 67  |   Reserved  |0|
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |            Checksum           |R|                             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+                             |
//! |                      Receiver Context Tag                     |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | Precvd| Psent |Sta|                 Reserved2                 |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                   Source address (128 bits)                   ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                 Destination address (128 bits)                ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                          Probe Nonce                          |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                           Probe Data                          |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~        these four Psent times in all, then Precvd times       ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                            Options                            |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use std::net::Ipv6Addr;

use crate::error::WireError;
use crate::ids::{ContextTag, ProbeNonce};
use crate::octets::{Reader, Writer};
use crate::option::Options;

/// Tries an address pair, and reports which probes were sent and received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Tag that the receiver allocated for the context.
    pub receiver_tag: ContextTag,
    /// State of the sender, after sending.
    pub state: ProbeState,
    /// Probes sent: the first describes this probe. 1 to 15.
    pub sent: Vec<ProbeReport>,
    /// Probes received. At most 15.
    pub received: Vec<ProbeReport>,
}

/// State of the sender of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeState {
    /// Nothing is wrong in either direction.
    Operational,
    /// Nothing has arrived although something should have.
    Exploring,
    /// Packets arrive, but the peer may not know or may not hear.
    InboundOk,
}

/// One probe, as its sender described it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProbeReport {
    /// Address that the probe was sent from.
    pub source: Ipv6Addr,
    /// Address that the probe was sent to.
    pub destination: Ipv6Addr,
    /// Tells the probe from others.
    pub nonce: ProbeNonce,
    /// Without meaning yet; copied back unchanged.
    pub data: u32,
}

impl Probe {
    /// Octets of the fields before the first report.
    pub(super) const MIN_LEN: usize = 16;

    pub(super) fn parse(mut fields: Reader<'_>) -> Result<Self, WireError> {
        //= https://www.rfc-editor.org/rfc/rfc5534#section-5.2
        //= id=R-024
        //# Reserved This is a 7-bit field reserved for future use.  It is set to zero on transmit
        //# and MUST be ignored on receipt.
        //= https://www.rfc-editor.org/rfc/rfc5534#section-5.2
        //= id=R-025
        //# R This is a 1-bit field reserved for future use.  It is set to zero on transmit and MUST
        //# be ignored on receipt.
        let receiver_tag = fields.tag()?;
        //= https://www.rfc-editor.org/rfc/rfc5534#section-5.2
        //= id=R-030
        //# Reserved2 MUST be set to zero upon transmission and MUST be ignored upon reception.
        let [counts, state, ..] = fields.array::<4>()?;
        let (sent, received) = split_counts(counts);
        //= https://www.rfc-editor.org/rfc/rfc5534#section-5.2
        //= id=R-026
        //# The first set of Probe fields pertains to the current message and MUST be present, so
        //# the minimum value for this field is 1.
        if sent == 0 {
            return Err(WireError::NoProbeSent);
        }
        let state = ProbeState::from_bits(state >> STATE_SHIFT).ok_or(WireError::ProbeState)?;
        let sent = reports(&mut fields, sent)?;
        let received = reports(&mut fields, received)?;
        // None is defined; this looks for unknown ones with C = 1.
        Options::read(&fields, &[])?;
        Ok(Self {
            receiver_tag,
            state,
            sent,
            received,
        })
    }

    pub(super) fn emit(&self, out: &mut Writer) {
        let sent = &self.sent[..self.sent.len().min(MAX_REPORTS)];
        let received = &self.received[..self.received.len().min(MAX_REPORTS)];
        // Precvd is the upper half, as in the figure, although the text has Psent first.
        let counts = (received.len() << 4 | sent.len()) as u8;
        //= https://www.rfc-editor.org/rfc/rfc5534#section-5.2
        //= id=R-029
        //# Reserved2 MUST be set to zero upon transmission and MUST be ignored upon reception.
        out.tag(self.receiver_tag)
            .put(&[counts, self.state.bits() << STATE_SHIFT])
            .reserved::<2>();
        for report in sent.iter().chain(received) {
            report.emit(out);
        }
    }
}

impl ProbeState {
    /// The state that these two bits mean; 3 means nothing.
    fn from_bits(bits: u8) -> Option<Self> {
        //= https://www.rfc-editor.org/rfc/rfc5534#section-5.2
        //= id=R-033
        //# This 2-bit State field is used to inform the peer about the state of the sender.  It has
        //# three legal values:
        match bits {
            0 => Some(Self::Operational),
            1 => Some(Self::Exploring),
            2 => Some(Self::InboundOk),
            _ => None,
        }
    }

    fn bits(self) -> u8 {
        match self {
            Self::Operational => 0,
            Self::Exploring => 1,
            Self::InboundOk => 2,
        }
    }
}

impl ProbeReport {
    /// Octets of a report.
    const LEN: usize = 40;

    fn parse(fields: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            source: fields.address()?,
            destination: fields.address()?,
            nonce: ProbeNonce(fields.word()?),
            data: fields.word()?,
        })
    }

    fn emit(&self, out: &mut Writer) {
        out.put(&self.source.octets())
            .put(&self.destination.octets());
        out.word(self.nonce.0).word(self.data);
    }
}

/// Offset of the first option of the Probe in `message`.
pub(super) fn options_at(message: &[u8]) -> Option<usize> {
    let (sent, received) = split_counts(*message.get(COUNTS_AT)?);
    Some(Probe::MIN_LEN + (sent + received) * ProbeReport::LEN)
}

fn reports(fields: &mut Reader<'_>, count: usize) -> Result<Vec<ProbeReport>, WireError> {
    (0..count).map(|_| ProbeReport::parse(fields)).collect()
}

/// Psent and Precvd.
fn split_counts(counts: u8) -> (usize, usize) {
    (usize::from(counts & 0x0f), usize::from(counts >> 4))
}

/// Reports of either kind that four bits can count.
const MAX_REPORTS: usize = 15;

/// Offset of Precvd and Psent.
const COUNTS_AT: usize = 12;

/// The state is the upper two bits of its octet.
const STATE_SHIFT: u32 = 6;

#[cfg(test)]
mod tests {
    use crate::message::MessageType;
    use crate::message::golden::{assert_bits_ignored, assert_too_short};

    #[test]
    fn a_message_shorter_than_its_fixed_fields_is_refused() {
        assert_too_short(MessageType::Probe, 16);
    }

    //= https://www.rfc-editor.org/rfc/rfc5534#section-5.2
    //= id=R-024
    //= type=test
    //# Reserved This is a 7-bit field reserved for future use.  It is set to zero on transmit and
    //# MUST be ignored on receipt.
    //= https://www.rfc-editor.org/rfc/rfc5534#section-5.2
    //= id=R-025
    //= type=test
    //# R This is a 1-bit field reserved for future use.  It is set to zero on transmit and MUST be
    //# ignored on receipt.
    //= https://www.rfc-editor.org/rfc/rfc5534#section-5.2
    //= id=R-030
    //= type=test
    //# Reserved2 MUST be set to zero upon transmission and MUST be ignored upon reception.
    #[test]
    fn reserved_bits_are_ignored() {
        assert_bits_ignored(MessageType::Probe, &[24..31, 48..49, 106..128]);
    }
}
