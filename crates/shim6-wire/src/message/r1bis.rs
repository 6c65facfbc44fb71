//! R1bis message (RFC 5533 §5.8).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |       59      |  Hdr Ext Len  |0|   Type = 5  |  Reserved1  |0|
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |            Checksum           |R|                             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+                             |
//! |                       Packet Context Tag                      |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                        Responder Nonce                        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                            Options                            |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use crate::error::WireError;
use crate::ids::{ContextTag, ResponderNonce, Validator};
use crate::octets::{Reader, Writer};
use crate::option::{OptionType, Options};

/// Says that there is no context for a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct R1bis {
    /// The tag of the packet that had no context.
    pub packet_tag: ContextTag,
    /// Picked by the responder.
    pub responder_nonce: ResponderNonce,
    /// Comes back in I2bis.
    pub validator: Validator,
}

impl R1bis {
    /// Octets of the fixed fields.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.18
    //= id=S-115
    //# A host MUST silently discard any received R1bis messages that do not satisfy all of the
    //# following validity checks in addition to those specified in Section 12.3: o  The Hdr Ext Len
    //# field is at least 1, i.e., the length is at least 16 octets.
    pub(super) const MIN_LEN: usize = 16;

    pub(super) fn parse(mut fields: Reader<'_>) -> Result<Self, WireError> {
        //= https://www.rfc-editor.org/rfc/rfc5533#section-5.8
        //= id=S-031
        //# Reserved1:     7-bit field.  Reserved for future use.  Zero on transmit.  MUST be
        //# ignored on receipt.
        //= https://www.rfc-editor.org/rfc/rfc5533#section-5.8
        //= id=S-032
        //# R:             1-bit field.  Reserved for future use.  Zero on transmit.  MUST be
        //# ignored on receipt.
        let packet_tag = fields.tag()?;
        let responder_nonce = ResponderNonce(fields.word()?);
        let mut options = Options::read(&fields, &[OptionType::ResponderValidator])?;
        let validator = options.validator(&fields)?;
        Ok(Self {
            packet_tag,
            responder_nonce,
            validator,
        })
    }

    pub(super) fn emit(&self, out: &mut Writer) {
        out.tag(self.packet_tag).word(self.responder_nonce.0);
        out.option(OptionType::ResponderValidator, &self.validator.0);
    }
}

#[cfg(test)]
mod tests {
    use crate::message::MessageType;
    use crate::message::golden::{assert_bits_ignored, assert_too_short};

    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.18
    //= id=S-115
    //= type=test
    //# A host MUST silently discard any received R1bis messages that do not satisfy all of the
    //# following validity checks in addition to those specified in Section 12.3: o  The Hdr Ext Len
    //# field is at least 1, i.e., the length is at least 16 octets.
    #[test]
    fn a_message_shorter_than_its_fixed_fields_is_refused() {
        assert_too_short(MessageType::R1bis, 16);
    }

    //= https://www.rfc-editor.org/rfc/rfc5533#section-5.8
    //= id=S-031
    //= type=test
    //# Reserved1:     7-bit field.  Reserved for future use.  Zero on transmit.  MUST be ignored on
    //# receipt.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-5.8
    //= id=S-032
    //= type=test
    //# R:             1-bit field.  Reserved for future use.  Zero on transmit.  MUST be ignored on
    //# receipt.
    #[test]
    fn reserved_bits_are_ignored() {
        assert_bits_ignored(MessageType::R1bis, &[24..31, 48..49]);
    }
}
