//! Keepalive message (RFC 5534 §5.1).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |       59      |  Hdr Ext Len  |0|  Type = 66  |  Reserved1  |0|
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |            Checksum           |R|                             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+                             |
//! |                      Receiver Context Tag                     |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                           Reserved2                           |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                            Options                            |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use crate::error::WireError;
use crate::ids::ContextTag;
use crate::octets::{Reader, Writer};
use crate::option::Options;

/// Says that packets arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Tag that the receiver allocated for the context.
    pub receiver_tag: ContextTag,
}

impl Keepalive {
    /// Octets of the fixed fields.
    pub(super) const MIN_LEN: usize = 16;

    pub(super) fn parse(mut fields: Reader<'_>) -> Result<Self, WireError> {
        //= https://www.rfc-editor.org/rfc/rfc5534#section-5.1
        //= id=R-018
        //# Reserved1 This is a 7-bit field reserved for future use.  It is set to zero on transmit
        //# and MUST be ignored on receipt.
        //= https://www.rfc-editor.org/rfc/rfc5534#section-5.1
        //= id=R-019
        //# R This is a 1-bit field reserved for future use.  It is set to zero on transmit and MUST
        //# be ignored on receipt.
        let receiver_tag = fields.tag()?;
        //= https://www.rfc-editor.org/rfc/rfc5534#section-5.1
        //= id=R-020
        //# Reserved2 This is a 32-bit field reserved for future use.  It is set to zero on transmit
        //# and MUST be ignored on receipt.
        fields.reserved::<4>()?;
        //= https://www.rfc-editor.org/rfc/rfc5534#section-5.1
        //= id=R-021
        //# However, there are currently no defined options that are useful in a Keepalive message.
        Options::read(&fields, &[])?;
        Ok(Self { receiver_tag })
    }

    pub(super) fn emit(self, out: &mut Writer) {
        out.tag(self.receiver_tag).reserved::<4>();
    }
}

#[cfg(test)]
mod tests {
    use crate::message::MessageType;
    use crate::message::golden::{assert_bits_ignored, assert_too_short};

    #[test]
    fn a_message_shorter_than_its_fixed_fields_is_refused() {
        assert_too_short(MessageType::Keepalive, 16);
    }

    //= https://www.rfc-editor.org/rfc/rfc5534#section-5.1
    //= id=R-018
    //= type=test
    //# Reserved1 This is a 7-bit field reserved for future use.  It is set to zero on transmit and
    //# MUST be ignored on receipt.
    //= https://www.rfc-editor.org/rfc/rfc5534#section-5.1
    //= id=R-019
    //= type=test
    //# R This is a 1-bit field reserved for future use.  It is set to zero on transmit and MUST be
    //# ignored on receipt.
    //= https://www.rfc-editor.org/rfc/rfc5534#section-5.1
    //= id=R-020
    //= type=test
    //# Reserved2 This is a 32-bit field reserved for future use.  It is set to zero on transmit and
    //# MUST be ignored on receipt.
    #[test]
    fn reserved_bits_are_ignored() {
        assert_bits_ignored(MessageType::Keepalive, &[24..31, 48..49, 96..128]);
    }
}
