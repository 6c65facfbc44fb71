//! R2 message (RFC 5533 §5.7).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |       59      |  Hdr Ext Len  |0|   Type = 4  |  Reserved1  |0|
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |            Checksum           |R|                             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+                             |
//! |                     Responder Context Tag                     |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                        Initiator Nonce                        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                            Options                            |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use crate::error::WireError;
use crate::ids::{ContextTag, InitiatorNonce};
use crate::octets::{Reader, Writer};
use crate::option::{self, KeepaliveTimeout, LocatorOptions, Options};

/// Answers I2 or I2bis, and tells the responder's locators: the context stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct R2 {
    /// Tag that the responder allocated for the context.
    pub responder_tag: ContextTag,
    /// From the I2 or I2bis.
    pub initiator_nonce: InitiatorNonce,
    /// The responder's locators and their proof.
    pub locators: LocatorOptions,
    /// Asked of the initiator.
    pub keepalive_timeout: Option<KeepaliveTimeout>,
}

impl R2 {
    /// Octets of the fixed fields.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.16
    //= id=S-109
    //# A host MUST silently discard any received R2 messages that do not satisfy all of the
    //# following validity checks in addition to those specified in Section 12.3: o  The Hdr Ext Len
    //# field is at least 1, i.e., the length is at least 16 octets.
    pub(super) const MIN_LEN: usize = 16;

    pub(super) fn parse(mut fields: Reader<'_>) -> Result<Self, WireError> {
        //= https://www.rfc-editor.org/rfc/rfc5533#section-5.7
        //= id=S-028
        //# Reserved1:     7-bit field.  Reserved for future use.  Zero on transmit.  MUST be
        //# ignored on receipt.
        //= https://www.rfc-editor.org/rfc/rfc5533#section-5.7
        //= id=S-029
        //# R:             1-bit field.  Reserved for future use.  Zero on transmit.  MUST be
        //# ignored on receipt.
        let responder_tag = fields.tag()?;
        let initiator_nonce = InitiatorNonce(fields.word()?);
        let options = Options::read(&fields, &option::LOCATORS_AND_KEEPALIVE_TIMEOUT)?;
        Ok(Self {
            responder_tag,
            initiator_nonce,
            locators: options.locators,
            keepalive_timeout: options.keepalive_timeout,
        })
    }

    pub(super) fn emit(&self, out: &mut Writer) {
        out.tag(self.responder_tag).word(self.initiator_nonce.0);
        self.locators.emit(out);
        option::emit_keepalive_timeout(self.keepalive_timeout, out);
    }
}

#[cfg(test)]
mod tests {
    use crate::message::MessageType;
    use crate::message::golden::{assert_bits_ignored, assert_too_short};

    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.16
    //= id=S-109
    //= type=test
    //# A host MUST silently discard any received R2 messages that do not satisfy all of the
    //# following validity checks in addition to those specified in Section 12.3: o  The Hdr Ext Len
    //# field is at least 1, i.e., the length is at least 16 octets.
    #[test]
    fn a_message_shorter_than_its_fixed_fields_is_refused() {
        assert_too_short(MessageType::R2, 16);
    }

    //= https://www.rfc-editor.org/rfc/rfc5533#section-5.7
    //= id=S-028
    //= type=test
    //# Reserved1:     7-bit field.  Reserved for future use.  Zero on transmit.  MUST be ignored on
    //# receipt.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-5.7
    //= id=S-029
    //= type=test
    //# R:             1-bit field.  Reserved for future use.  Zero on transmit.  MUST be ignored on
    //# receipt.
    #[test]
    fn reserved_bits_are_ignored() {
        assert_bits_ignored(MessageType::R2, &[24..31, 48..49]);
    }
}
