//! UpdateRequest message (RFC 5533 §5.10).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |       59      |  Hdr Ext Len  |0|  Type = 64  |  Reserved1  |0|
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
use crate::option::{self, KeepaliveTimeout, LocatorOptions, Options};

/// Replaces the sender's locator list, its preferences, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateRequest {
    /// Tag that the receiver allocated for the context.
    pub receiver_tag: ContextTag,
    /// Comes back in the acknowledgement.
    pub request_nonce: RequestNonce,
    /// The new locators and their proof.
    pub locators: LocatorOptions,
    /// Asked of the receiver.
    pub keepalive_timeout: Option<KeepaliveTimeout>,
}

impl UpdateRequest {
    /// Octets of the fixed fields.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-10.4
    //= id=S-143
    //# A host MUST silently discard any received Update Request messages that do not satisfy all of
    //# the following validity checks in addition to those specified in Section 12.3: o  The Hdr Ext
    //# Len field is at least 1, i.e., the length is at least 16 octets.
    pub(super) const MIN_LEN: usize = 16;

    pub(super) fn parse(mut fields: Reader<'_>) -> Result<Self, WireError> {
        //= https://www.rfc-editor.org/rfc/rfc5533#section-5.10
        //= id=S-038
        //# Reserved1:     7-bit field.  Reserved for future use.  Zero on transmit.  MUST be
        //# ignored on receipt.
        //= https://www.rfc-editor.org/rfc/rfc5533#section-5.10
        //= id=S-039
        //# R:             1-bit field.  Reserved for future use.  Zero on transmit.  MUST be
        //# ignored on receipt.
        let receiver_tag = fields.tag()?;
        let request_nonce = RequestNonce(fields.word()?);
        let options = Options::read(&fields, &option::LOCATORS_AND_KEEPALIVE_TIMEOUT)?;
        Ok(Self {
            receiver_tag,
            request_nonce,
            locators: options.locators,
            keepalive_timeout: options.keepalive_timeout,
        })
    }

    pub(super) fn emit(&self, out: &mut Writer) {
        out.tag(self.receiver_tag).word(self.request_nonce.0);
        self.locators.emit(out);
        option::emit_keepalive_timeout(self.keepalive_timeout, out);
    }
}

#[cfg(test)]
mod tests {
    use crate::message::MessageType;
    use crate::message::golden::{assert_bits_ignored, assert_too_short};

    //= https://www.rfc-editor.org/rfc/rfc5533#section-10.4
    //= id=S-143
    //= type=test
    //# A host MUST silently discard any received Update Request messages that do not satisfy all of
    //# the following validity checks in addition to those specified in Section 12.3: o  The Hdr Ext
    //# Len field is at least 1, i.e., the length is at least 16 octets.
    #[test]
    fn a_message_shorter_than_its_fixed_fields_is_refused() {
        assert_too_short(MessageType::UpdateRequest, 16);
    }

    //= https://www.rfc-editor.org/rfc/rfc5533#section-5.10
    //= id=S-038
    //= type=test
    //# Reserved1:     7-bit field.  Reserved for future use.  Zero on transmit.  MUST be ignored on
    //# receipt.
    //= https://www.rfc-editor.org/rfc/rfc5533#section-5.10
    //= id=S-039
    //= type=test
    //# R:             1-bit field.  Reserved for future use.  Zero on transmit.  MUST be ignored on
    //# receipt.
    #[test]
    fn reserved_bits_are_ignored() {
        assert_bits_ignored(MessageType::UpdateRequest, &[24..31, 48..49]);
    }
}
