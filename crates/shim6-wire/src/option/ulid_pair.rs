//! ULID Pair option (RFC 5533 §5.15.6).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |           Type = 6          |0|        Length = 36            |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                       Reserved2                               |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! +                         Sender ULID                           +
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! +                        Receiver ULID                          +
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use std::net::Ipv6Addr;

/// The ULIDs of a context, when they are not the addresses of the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ulids {
    /// ULID of the host that sends the message.
    pub sender: Ipv6Addr,
    /// ULID of the host that receives it.
    pub receiver: Ipv6Addr,
}

impl Ulids {
    /// `None` if the Length is not 36.
    pub(super) fn parse(contents: &[u8]) -> Option<Self> {
        //= https://www.rfc-editor.org/rfc/rfc5533#section-5.15.6
        //= id=S-058
        //# Reserved2:     32-bit field.  Reserved for future use.  Zero on transmit.  MUST be
        //# ignored on receipt.
        let (_reserved, ulids) = contents.split_first_chunk::<4>()?;
        let (sender, receiver) = ulids.split_first_chunk::<16>()?;
        let receiver: [u8; 16] = receiver.try_into().ok()?;
        Some(Self {
            sender: (*sender).into(),
            receiver: receiver.into(),
        })
    }

    //= https://www.rfc-editor.org/rfc/rfc5533#section-5.15.6
    //= id=S-057
    //# Length = 36
    pub(super) fn contents(&self) -> Vec<u8> {
        [&[0; 4][..], &self.sender.octets(), &self.receiver.octets()].concat()
    }
}
