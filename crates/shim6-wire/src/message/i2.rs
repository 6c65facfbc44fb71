//! I2 message (RFC 5533 §5.6).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |       59      |  Hdr Ext Len  |0|   Type = 3  |  Reserved1  |0|
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |            Checksum           |R|                             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+                             |
//! |                     Initiator Context Tag                     |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                        Initiator Nonce                        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                        Responder Nonce                        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                           Reserved2                           |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                            Options                            |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use crate::error::WireError;
use crate::ids::{ContextTag, Fii, InitiatorNonce, ResponderNonce, Validator};
use crate::octets::{Reader, Writer};
use crate::option::{self, KeepaliveTimeout, LocatorOptions, OptionType, Options, Ulids};

/// Answers R1, and tells the initiator's locators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct I2 {
    /// Tag that the initiator allocated for the context.
    pub initiator_tag: ContextTag,
    /// Picked by the initiator.
    pub initiator_nonce: InitiatorNonce,
    /// From the R1.
    pub responder_nonce: ResponderNonce,
    /// From the R1, unchanged.
    pub validator: Validator,
    /// The ULIDs, when they are not the addresses of the packet.
    pub ulids: Option<Ulids>,
    /// Set when another context of the ULID pair is asked for.
    pub fii: Option<Fii>,
    /// The initiator's locators and their proof.
    pub locators: LocatorOptions,
    /// Asked of the responder.
    pub keepalive_timeout: Option<KeepaliveTimeout>,
}

impl I2 {
    /// Octets of the fixed fields.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.13
    //= id=S-093
    //# A host MUST silently discard any received I2 messages that do not satisfy all of the
    //# following validity checks in addition to those specified in Section 12.3: o  The Hdr Ext Len
    //# field is at least 2, i.e., the length is at least 24 octets.
    pub(super) const MIN_LEN: usize = 24;

    pub(super) fn parse(mut fields: Reader<'_>) -> Result<Self, WireError> {
        //= https://www.rfc-editor.org/rfc/rfc5533#section-5.6
        //= id=S-018
        //# Reserved1:     7-bit field.  Reserved for future use.  Zero on transmit.  MUST be
        //# ignored on receipt.
        //= https://www.rfc-editor.org/rfc/rfc5533#section-5.6
        //= id=S-019
        //# R:             1-bit field.  Reserved for future use.  Zero on transmit.  MUST be
        //# ignored on receipt.
        let initiator_tag = fields.tag()?;
        let initiator_nonce = InitiatorNonce(fields.word()?);
        let responder_nonce = ResponderNonce(fields.word()?);
        //= https://www.rfc-editor.org/rfc/rfc5533#section-5.6
        //= id=S-020
        //# Reserved2:     32-bit field.  Reserved for future use.  Zero on transmit.  MUST be
        //# ignored on receipt.
        fields.reserved::<4>()?;
        let mut options = Options::read(&fields, &option::OF_I2)?;
        Ok(Self {
            initiator_tag,
            initiator_nonce,
            responder_nonce,
            validator: options.validator(&fields)?,
            ulids: options.ulids,
            fii: options.fii,
            locators: options.locators,
            keepalive_timeout: options.keepalive_timeout,
        })
    }

    pub(super) fn emit(&self, out: &mut Writer) {
        out.tag(self.initiator_tag)
            .word(self.initiator_nonce.0)
            .word(self.responder_nonce.0);
        out.reserved::<4>();
        out.option(OptionType::ResponderValidator, &self.validator.0);
        option::emit_context(self.ulids.as_ref(), self.fii, out);
        self.locators.emit(out);
        option::emit_keepalive_timeout(self.keepalive_timeout, out);
    }
}

#[cfg(test)]
mod tests {
    use crate::message::MessageType;
    use crate::message::golden::{assert_bits_ignored, assert_too_short};

    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.13
    //= id=S-093
    //= type=test
    //# A host MUST silently discard any received I2 messages that do not satisfy all of the
    //# following validity checks in addition to those specified in Section 12.3: o  The Hdr Ext Len
    //# field is at least 2, i.e., the length is at least 24 octets.
    #[test]
    fn a_message_shorter_than_its_fixed_fields_is_refused() {
        assert_too_short(MessageType::I2, 24);
    }

    //= https://www.rfc-editor.org/rfc/rfc5533#section-5.6
    //= id=S-018
    //= type=test
    //# Reserved1:     7-bit field.  Reserved for future use.  Zero on transmit.  MUST be ignored on
    //# receipt.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-5.6
    //= id=S-019
    //= type=test
    //# R:             1-bit field.  Reserved for future use.  Zero on transmit.  MUST be ignored on
    //# receipt.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-5.6
    //= id=S-020
    //= type=test
    //# Reserved2:     32-bit field.  Reserved for future use.  Zero on transmit.  MUST be ignored
    //# on receipt.
    #[test]
    fn reserved_bits_are_ignored() {
        assert_bits_ignored(MessageType::I2, &[24..31, 48..49, 160..192]);
    }
}
