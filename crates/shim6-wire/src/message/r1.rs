//! R1 message (RFC 5533 §5.5).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |       59      |  Hdr Ext Len  |0|   Type = 2  |  Reserved1  |0|
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |            Checksum           |           Reserved2           |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                        Initiator Nonce                        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                        Responder Nonce                        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                            Options                            |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use crate::error::WireError;
use crate::ids::{InitiatorNonce, ResponderNonce, Validator};
use crate::octets::{Reader, Writer};
use crate::option::{OptionType, Options};

/// Answers I1; the responder kept nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct R1 {
    /// From the I1.
    pub initiator_nonce: InitiatorNonce,
    /// Picked by the responder.
    pub responder_nonce: ResponderNonce,
    /// Comes back in I2.
    pub validator: Validator,
}

impl R1 {
    /// Octets of the fixed fields.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.11
    //= id=S-084
    //# A host MUST silently discard any received R1 messages that do not satisfy all of the
    //# following validity checks in addition to those specified in Section 12.3: o  The Hdr Ext Len
    //# field is at least 1, i.e., the length is at least 16 octets.
    pub(super) const MIN_LEN: usize = 16;

    pub(super) fn parse(mut fields: Reader<'_>) -> Result<Self, WireError> {
        //= https://www.rfc-editor.org/rfc/rfc5533#section-5.5
        //= id=S-015
        //# Reserved1:     7-bit field.  Reserved for future use.  Zero on transmit.  MUST be
        //# ignored on receipt.
        //= https://www.rfc-editor.org/rfc/rfc5533#section-5.5
        //= id=S-016
        //# Reserved2:     16-bit field.  Reserved for future use.  Zero on transmit.  MUST be
        //# ignored on receipt.
        fields.reserved::<2>()?;
        let initiator_nonce = InitiatorNonce(fields.word()?);
        let responder_nonce = ResponderNonce(fields.word()?);
        let mut options = Options::read(&fields, &[OptionType::ResponderValidator])?;
        //= https://www.rfc-editor.org/rfc/rfc5533#section-5.5
        //= id=S-017
        //# Variable length option.  This option MUST be included in the R1 message.
        let validator = options.validator(&fields)?;
        Ok(Self {
            initiator_nonce,
            responder_nonce,
            validator,
        })
    }

    pub(super) fn emit(&self, out: &mut Writer) {
        out.reserved::<2>()
            .word(self.initiator_nonce.0)
            .word(self.responder_nonce.0);
        out.option(OptionType::ResponderValidator, &self.validator.0);
    }
}

#[cfg(test)]
mod tests {
    use crate::message::MessageType;
    use crate::message::golden::{assert_bits_ignored, assert_too_short};

    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.11
    //= id=S-084
    //= type=test
    //# A host MUST silently discard any received R1 messages that do not satisfy all of the
    //# following validity checks in addition to those specified in Section 12.3: o  The Hdr Ext Len
    //# field is at least 1, i.e., the length is at least 16 octets.
    #[test]
    fn a_message_shorter_than_its_fixed_fields_is_refused() {
        assert_too_short(MessageType::R1, 16);
    }

    //= https://www.rfc-editor.org/rfc/rfc5533#section-5.5
    //= id=S-015
    //= type=test
    //# Reserved1:     7-bit field.  Reserved for future use.  Zero on transmit.  MUST be ignored on
    //# receipt.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-5.5
    //= id=S-016
    //= type=test
    //# Reserved2:     16-bit field.  Reserved for future use.  Zero on transmit.  MUST be ignored
    //# on receipt.
    #[test]
    fn reserved_bits_are_ignored() {
        assert_bits_ignored(MessageType::R1, &[24..31, 48..64]);
    }
}
