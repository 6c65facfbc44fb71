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
