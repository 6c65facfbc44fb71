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
