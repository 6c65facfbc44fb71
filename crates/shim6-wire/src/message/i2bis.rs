//! I2bis message (RFC 5533 §5.9).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |       59      |  Hdr Ext Len  |0|   Type = 6  |  Reserved1  |0|
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |            Checksum           |R|                             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+                             |
//! |                     Initiator Context Tag                     |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                        Initiator Nonce                        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                        Responder Nonce                        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                       Reserved2                               |
//! |                                 +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                                 |                             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+                             |
//! |                       Packet Context Tag                      |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                            Options                            |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use crate::error::WireError;
use crate::ids::{ContextTag, Fii, InitiatorNonce, ResponderNonce, Validator};
use crate::octets::{Reader, Writer};
use crate::option::{self, KeepaliveTimeout, LocatorOptions, OptionType, Options, Ulids};

/// Answers R1bis: sets the lost context up again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct I2bis {
    /// Tag that the initiator allocated for the context.
    pub initiator_tag: ContextTag,
    /// Picked by the initiator.
    pub initiator_nonce: InitiatorNonce,
    /// From the R1bis.
    pub responder_nonce: ResponderNonce,
    /// From the R1bis.
    pub packet_tag: ContextTag,
    /// From the R1bis, unchanged.
    pub validator: Validator,
    /// The ULIDs, when they are not the addresses of the packet.
    pub ulids: Option<Ulids>,
    /// Set when the context is not the default one of its ULID pair.
    pub fii: Option<Fii>,
    /// The initiator's locators and their proof.
    pub locators: LocatorOptions,
    /// Asked of the responder.
    pub keepalive_timeout: Option<KeepaliveTimeout>,
}

impl I2bis {
    /// Octets of the fixed fields.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.20
    //= id=S-122
    //# A host MUST silently discard any received I2bis messages that do not satisfy all of the
    //# following validity checks in addition to those specified in Section 12.3: o  The Hdr Ext Len
    //# field is at least 3, i.e., the length is at least 32 octets.
    pub(super) const MIN_LEN: usize = 32;

    pub(super) fn parse(mut fields: Reader<'_>) -> Result<Self, WireError> {
        //= https://www.rfc-editor.org/rfc/rfc5533#section-5.9
        //= id=S-033
        //# Reserved1:     7-bit field.  Reserved for future use.  Zero on transmit.  MUST be
        //# ignored on receipt.
        //= https://www.rfc-editor.org/rfc/rfc5533#section-5.9
        //= id=S-034
        //# R:             1-bit field.  Reserved for future use.  Zero on transmit.  MUST be
        //# ignored on receipt.
        let initiator_tag = fields.tag()?;
        let initiator_nonce = InitiatorNonce(fields.word()?);
        let responder_nonce = ResponderNonce(fields.word()?);
        //= https://www.rfc-editor.org/rfc/rfc5533#section-5.9
        //= id=S-035
        //# Reserved2:     49-bit field.  Reserved for future use.  Zero on transmit.  MUST be
        //# ignored on receipt.
        fields.reserved::<6>()?;
        let packet_tag = fields.tag()?;
        let mut options = Options::read(&fields, &option::OF_I2)?;
        Ok(Self {
            initiator_tag,
            initiator_nonce,
            responder_nonce,
            packet_tag,
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
        out.reserved::<6>().tag(self.packet_tag);
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

    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.20
    //= id=S-122
    //= type=test
    //# A host MUST silently discard any received I2bis messages that do not satisfy all of the
    //# following validity checks in addition to those specified in Section 12.3: o  The Hdr Ext Len
    //# field is at least 3, i.e., the length is at least 32 octets.
    #[test]
    fn a_message_shorter_than_its_fixed_fields_is_refused() {
        assert_too_short(MessageType::I2bis, 32);
    }

    //= https://www.rfc-editor.org/rfc/rfc5533#section-5.9
    //= id=S-033
    //= type=test
    //# Reserved1:     7-bit field.  Reserved for future use.  Zero on transmit.  MUST be ignored on
    //# receipt.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-5.9
    //= id=S-034
    //= type=test
    //# R:             1-bit field.  Reserved for future use.  Zero on transmit.  MUST be ignored on
    //# receipt.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-5.9
    //= id=S-035
    //= type=test
    //# Reserved2:     49-bit field.  Reserved for future use.  Zero on transmit.  MUST be ignored
    //# on receipt.
    #[test]
    fn reserved_bits_are_ignored() {
        assert_bits_ignored(MessageType::I2bis, &[24..31, 48..49, 160..209]);
    }
}
