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
