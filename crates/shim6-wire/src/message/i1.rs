//! I1 message (RFC 5533 §5.4).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |       59      |  Hdr Ext Len  |0|   Type = 1  |  Reserved1  |0|
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |            Checksum           |R|                             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+                             |
//! |                     Initiator Context Tag                     |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                        Initiator Nonce                        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                            Options                            |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use crate::error::WireError;
use crate::ids::{ContextTag, Fii, InitiatorNonce};
use crate::octets::{Reader, Writer};
use crate::option::{self, OptionType, Options, Ulids};

/// Asks for a context; the first message of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct I1 {
    /// Tag that the initiator allocated for the context.
    pub initiator_tag: ContextTag,
    /// Picked by the initiator.
    pub initiator_nonce: InitiatorNonce,
    /// The ULIDs, when they are not the addresses of the packet.
    pub ulids: Option<Ulids>,
    /// Set when another context of the ULID pair is asked for.
    pub fii: Option<Fii>,
}

impl I1 {
    /// Octets of the fixed fields.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-5.4
    //= id=S-010
    //# At least 1, since the header is 16 octets when there are no options.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.9
    //= id=S-077
    //# A host MUST silently discard any received I1 messages that do not satisfy all of the
    //# following validity checks in addition to those specified in Section 12.3: o  The Hdr Ext Len
    //# field is at least 1, i.e., the length is at least 16 octets.
    pub(super) const MIN_LEN: usize = 16;

    pub(super) fn parse(mut fields: Reader<'_>) -> Result<Self, WireError> {
        //= https://www.rfc-editor.org/rfc/rfc5533#section-5.4
        //= id=S-011
        //# Reserved1:     7-bit field.  Reserved for future use.  Zero on transmit.  MUST be
        //# ignored on receipt.
        //= https://www.rfc-editor.org/rfc/rfc5533#section-5.4
        //= id=S-012
        //# R:             1-bit field.  Reserved for future use.  Zero on transmit.  MUST be
        //# ignored on receipt.
        let initiator_tag = fields.tag()?;
        let initiator_nonce = InitiatorNonce(fields.word()?);
        let options = Options::read(&fields, &[OptionType::UlidPair, OptionType::Fii])?;
        Ok(Self {
            initiator_tag,
            initiator_nonce,
            ulids: options.ulids,
            fii: options.fii,
        })
    }

    pub(super) fn emit(&self, out: &mut Writer) {
        out.tag(self.initiator_tag).word(self.initiator_nonce.0);
        option::emit_context(self.ulids.as_ref(), self.fii, out);
    }
}

#[cfg(test)]
mod tests {
    use crate::message::MessageType;
    use crate::message::golden::{assert_bits_ignored, assert_too_short};

    //= https://www.rfc-editor.org/rfc/rfc5533#section-5.4
    //= id=S-010
    //= type=test
    //# At least 1, since the header is 16 octets when there are no options.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-7.9
    //= id=S-077
    //= type=test
    //# A host MUST silently discard any received I1 messages that do not satisfy all of the
    //# following validity checks in addition to those specified in Section 12.3: o  The Hdr Ext Len
    //# field is at least 1, i.e., the length is at least 16 octets.
    #[test]
    fn a_message_shorter_than_its_fixed_fields_is_refused() {
        assert_too_short(MessageType::I1, 16);
    }

    //= https://www.rfc-editor.org/rfc/rfc5533#section-5.4
    //= id=S-011
    //= type=test
    //# Reserved1:     7-bit field.  Reserved for future use.  Zero on transmit.  MUST be ignored on
    //# receipt.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-5.4
    //= id=S-012
    //= type=test
    //# R:             1-bit field.  Reserved for future use.  Zero on transmit.  MUST be ignored on
    //# receipt.
    #[test]
    fn reserved_bits_are_ignored() {
        assert_bits_ignored(MessageType::I1, &[24..31, 48..49]);
    }
}
