//! UpdateAck message (RFC 5533 §5.11).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |       59      |  Hdr Ext Len  |0|  Type = 65  |  Reserved1  |0|
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |            Checksum           |R|                             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+                             |
//! |                      Receiver Context Tag                     |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                         Request Nonce                         |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                            Options                            |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use crate::error::WireError;
use crate::ids::{ContextTag, RequestNonce};
use crate::octets::{Reader, Writer};
use crate::option::Options;

/// Says that an Update Request arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpdateAck {
    /// Tag that the receiver allocated for the context.
    pub receiver_tag: ContextTag,
    /// From the request.
    pub request_nonce: RequestNonce,
}

impl UpdateAck {
    /// Octets of the fixed fields.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-10.5
    //= id=S-152
    //# A host MUST silently discard any received Update Acknowledgement messages that do not
    //# satisfy all of the following validity checks in addition to those specified in Section 12.3:
    //# o  The Hdr Ext Len field is at least 1, i.e., the length is at least 16 octets.
    pub(super) const MIN_LEN: usize = 16;

    pub(super) fn parse(mut fields: Reader<'_>) -> Result<Self, WireError> {
        //= https://www.rfc-editor.org/rfc/rfc5533#section-5.11
        //= id=S-041
        //# Reserved1:     7-bit field.  Reserved for future use.  Zero on transmit.  MUST be
        //# ignored on receipt.
        //= https://www.rfc-editor.org/rfc/rfc5533#section-5.11
        //= id=S-042
        //# R:             1-bit field.  Reserved for future use.  Zero on transmit.  MUST be
        //# ignored on receipt.
        let receiver_tag = fields.tag()?;
        let request_nonce = RequestNonce(fields.word()?);
        // None is defined; this looks for unknown ones with C = 1.
        Options::read(&fields, &[])?;
        Ok(Self {
            receiver_tag,
            request_nonce,
        })
    }

    pub(super) fn emit(&self, out: &mut Writer) {
        out.tag(self.receiver_tag).word(self.request_nonce.0);
    }
}

#[cfg(test)]
mod tests {
    use crate::message::MessageType;
    use crate::message::golden::{assert_bits_ignored, assert_too_short};

    //= https://www.rfc-editor.org/rfc/rfc5533#section-10.5
    //= id=S-152
    //= type=test
    //# A host MUST silently discard any received Update Acknowledgement messages that do not
    //# satisfy all of the following validity checks in addition to those specified in Section 12.3:
    //# o  The Hdr Ext Len field is at least 1, i.e., the length is at least 16 octets.
    #[test]
    fn a_message_shorter_than_its_fixed_fields_is_refused() {
        assert_too_short(MessageType::UpdateAck, 16);
    }

    //= https://www.rfc-editor.org/rfc/rfc5533#section-5.11
    //= id=S-041
    //= type=test
    //# Reserved1:     7-bit field.  Reserved for future use.  Zero on transmit.  MUST be ignored on
    //# receipt.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-5.11
    //= id=S-042
    //= type=test
    //# R:             1-bit field.  Reserved for future use.  Zero on transmit.  MUST be ignored on
    //# receipt.
    #[test]
    fn reserved_bits_are_ignored() {
        assert_bits_ignored(MessageType::UpdateAck, &[24..31, 48..49]);
    }
}
