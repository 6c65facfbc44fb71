//! One nf_tables transaction: all of it comes into force, or none.

use std::collections::BTreeSet;
use std::ffi::{CStr, c_void};
use std::io::{self, IoSlice};

use nftnl::{Batch, FinalizedBatch, MsgType, NlMsg};

use super::design::{Key, SetDesign, SetKind, SetName};
use super::elements::Element;
use super::listing::Listing;
use super::{Ownership, RulesError, TABLE, wire};
use crate::netlink::{Answer, Builder, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, Socket, messages};

/// Changes being gathered.
pub(super) struct Transaction {
    batch: Batch,
    /// What each message of the batch is, in nft's words, for whoever must explain its refusal.
    parts: Vec<String>,
}

impl Transaction {
    pub(super) fn new() -> Self {
        Self {
            batch: Batch::new(),
            parts: Vec::new(),
        }
    }

    /// Adds an object of the crate `nftnl`.
    pub(super) fn add(&mut self, object: &impl NlMsg, part: String) {
        self.batch.add(object, MsgType::Add);
        self.parts.push(part);
    }

    /// Adds a message that `fill` completes.
    fn add_message(
        &mut self,
        kind: u16,
        flags: u16,
        part: String,
        fill: impl FnOnce(&mut Builder<'_>),
    ) {
        let mut octets = Vec::new();
        let flags = flags | NLM_F_ACK;
        let mut message = Builder::new(&mut octets, kind, flags, 0, wire::NFPROTO_IPV6, 0);
        fill(&mut message);
        drop(message);
        self.add(&Encoded(octets), part);
    }

    /// Makes a table, which may belong to the socket; the crate `nftnl` knows no table flags.
    pub(super) fn new_table(&mut self, name: &CStr, ownership: Ownership) {
        let part = format!("table ip6 {}", name.to_string_lossy());
        let flags = match ownership {
            Ownership::Ours => wire::NFT_TABLE_F_OWNER,
            Ownership::Operators => 0,
        };
        self.add_message(wire::NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, part, |message| {
            message
                .name(wire::NFTA_TABLE_NAME, name)
                .attr(wire::NFTA_TABLE_FLAGS, &flags.to_be_bytes());
        });
    }

    /// Makes a set; the crate `nftnl` knows no concatenations, timeouts and counters in sets.
    pub(super) fn new_set(&mut self, set: &SetDesign) {
        let part = format!("set {}", set.name);
        // Only has to differ from the others of the transaction; references go by name.
        let id = self.parts.len() as u32;
        self.add_message(wire::NEWSET, NLM_F_CREATE, part, |message| {
            message
                .name(wire::NFTA_SET_TABLE, TABLE)
                .name(wire::NFTA_SET_NAME, set.name.as_c_str())
                .attr(wire::NFTA_SET_FLAGS, &set.kind.flags().to_be_bytes())
                .attr(wire::NFTA_SET_KEY_TYPE, &set.key.nft_type().to_be_bytes())
                .attr(wire::NFTA_SET_KEY_LEN, &set.key.octets().to_be_bytes())
                .attr(wire::NFTA_SET_ID, &id.to_be_bytes());
            if matches!(set.key, Key::Mark | Key::User) {
                message.attr(wire::NFTA_SET_USERDATA, &wire::KEY_IN_HOST_ORDER);
            }
            match set.kind {
                SetKind::Plain | SetKind::Interval | SetKind::Timeout => {}
                SetKind::Verdicts => {
                    message
                        .attr(
                            wire::NFTA_SET_DATA_TYPE,
                            &wire::NFT_DATA_VERDICT.to_be_bytes(),
                        )
                        .nest(wire::NFTA_SET_EXPR, |expression| {
                            expression
                                .name(wire::NFTA_EXPR_NAME, c"counter")
                                .nest(wire::NFTA_EXPR_DATA, |_| {});
                        });
                }
                SetKind::Dynamic(age) => {
                    let milliseconds = age.as_millis() as u64;
                    message
                        .nest(wire::NFTA_SET_DESC, |desc| {
                            let size = SetKind::DYNAMIC_SIZE.to_be_bytes();
                            desc.attr(wire::NFTA_SET_DESC_SIZE, &size);
                        })
                        .attr(wire::NFTA_SET_TIMEOUT, &milliseconds.to_be_bytes());
                }
            }
        });
    }

    /// Adds elements to a set; those that are there stay as they are.
    pub(super) fn add_elements(&mut self, set: SetName, elements: &[Element]) {
        self.add_element_messages(wire::NEWSETELEM, NLM_F_CREATE, set, elements);
    }

    /// Removes elements from a set. Is refused if one of them is missing, without telling which.
    pub(super) fn remove_elements(&mut self, set: SetName, elements: &[Element]) {
        self.add_element_messages(wire::DELSETELEM, 0, set, elements);
    }

    fn add_element_messages(&mut self, kind: u16, flags: u16, set: SetName, elements: &[Element]) {
        for chunk in elements.chunks(ELEMENTS_PER_MESSAGE) {
            self.add_message(kind, flags, format!("elements of set {set}"), |message| {
                message
                    .name(wire::NFTA_SET_ELEM_LIST_TABLE, TABLE)
                    .name(wire::NFTA_SET_ELEM_LIST_SET, set.as_c_str())
                    .nest(wire::NFTA_SET_ELEM_LIST_ELEMENTS, |list| {
                        for element in chunk {
                            element.write(list);
                        }
                    });
            });
        }
    }

    /// Removes all rules of a chain.
    pub(super) fn flush_chain(&mut self, name: &CStr) {
        let part = format!("rules of chain {}", name.to_string_lossy());
        self.add_message(wire::DELRULE, 0, part, |message| {
            message
                .name(wire::NFTA_RULE_TABLE, TABLE)
                .name(wire::NFTA_RULE_CHAIN, name);
        });
    }

    /// Removes a set to which no rule refers.
    pub(super) fn remove_set(&mut self, set: SetName) {
        self.add_message(wire::DELSET, 0, format!("set {set}"), |message| {
            message
                .name(wire::NFTA_SET_TABLE, TABLE)
                .name(wire::NFTA_SET_NAME, set.as_c_str());
        });
    }

    /// Removes all elements of a set.
    pub(super) fn flush_set(&mut self, set: SetName) {
        self.add_message(wire::DELSETELEM, 0, format!("set {set}"), |message| {
            message
                .name(wire::NFTA_SET_ELEM_LIST_TABLE, TABLE)
                .name(wire::NFTA_SET_ELEM_LIST_SET, set.as_c_str());
        });
    }

    /// Ends the gathering.
    pub(super) fn seal(self) -> Sealed {
        Sealed {
            batch: self.batch.finalize(),
            parts: self.parts,
        }
    }

    /// Sends the transaction.
    ///
    /// # Errors
    ///
    /// See [`Sealed::commit`].
    pub(super) fn commit(self, socket: &Socket, buf: &mut [u8]) -> Result<(), RulesError> {
        self.seal().commit(socket, buf)
    }
}

/// A transaction that is ready to be sent.
pub(super) struct Sealed {
    batch: FinalizedBatch,
    parts: Vec<String>,
}

/// A message that was refused, by its position in the transaction.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) index: usize,
    pub(super) answer: Answer,
    part: String,
}

impl From<Refusal> for RulesError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused {
            part: refusal.part,
            reason: refusal.answer.text,
            source: io::Error::from_raw_os_error(refusal.answer.errno),
        }
    }
}

impl Sealed {
    /// What the kernel should list once the transaction is in force.
    pub(super) fn listing(&self) -> Listing {
        let mut listing = Listing::default();
        for page in &self.batch {
            for message in messages(page) {
                listing.note(&message);
            }
        }
        listing
    }

    /// Sends the transaction and returns the messages that were refused; without any, all of it is in force.
    ///
    /// # Errors
    ///
    /// A failure that concerns no single message, or an answer that is missing.
    pub(super) fn send(self, socket: &Socket, buf: &mut [u8]) -> Result<Vec<Refusal>, RulesError> {
        // What an earlier transaction left would be taken for answers to this one.
        drain(socket, buf, |_| {})?;
        let pages: Vec<_> = self.batch.iter().map(IoSlice::new).collect();
        socket.send(&pages).map_err(RulesError::Io)?;

        let seqs = self.batch.sequence_numbers();
        // Since Linux 6.10 the messages that begin and end the batch are numbered and answered too.
        let brackets = (seqs.len() - self.parts.len()) as u32 / 2;
        let mut unanswered: BTreeSet<u32> = seqs.clone().collect();
        let mut refusals = Vec::new();
        let mut general = None;
        drain(socket, buf, |answer| {
            unanswered.remove(&answer.seq);
            if answer.errno == 0 {
                return;
            }
            let index = answer.seq.wrapping_sub(seqs.start + brackets) as usize;
            match self.parts.get(index) {
                Some(part) => refusals.push(Refusal {
                    index,
                    part: part.clone(),
                    answer,
                }),
                None => general = Some(io::Error::from_raw_os_error(answer.errno)),
            }
        })?;
        if let Some(error) = general {
            return Err(RulesError::general(error));
        }
        // The kernel had answered before `send` returned: what is missing now is lost.
        if refusals.is_empty() && !unanswered.is_empty() {
            return Err(RulesError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(refusals)
    }

    /// Sends the transaction and takes the first refusal for an error.
    ///
    /// # Errors
    ///
    /// Those of [`Self::send`], and [`RulesError::Refused`].
    pub(super) fn commit(self, socket: &Socket, buf: &mut [u8]) -> Result<(), RulesError> {
        match self.send(socket, buf)?.into_iter().next() {
            Some(refusal) => Err(refusal.into()),
            None => Ok(()),
        }
    }
}

/// Receives all answers that are there.
fn drain(socket: &Socket, buf: &mut [u8], mut each: impl FnMut(Answer)) -> Result<(), RulesError> {
    loop {
        match socket.receive(buf) {
            Ok(Some(datagram)) => messages(datagram)
                .filter_map(|message| message.answer())
                .for_each(&mut each),
            Ok(None) => return Ok(()),
            // Answers were lost; which, the caller finds out.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
            Err(error) => return Err(RulesError::Io(error)),
        }
    }
}

/// A message that is written already, except for its sequence number.
struct Encoded(Vec<u8>);

// SAFETY: `write` writes one whole netlink message, whose header tells its length, with the number asked for. It fits
// the `nft_nlmsg_maxsize` octets that a batch reserves: the longest, with ELEMENTS_PER_MESSAGE elements, has half.
unsafe impl NlMsg for Encoded {
    unsafe fn write(&self, buf: *mut c_void, seq: u32, _: MsgType) {
        let len = self.0.len();
        assert!(len <= nftnl::nft_nlmsg_maxsize() as usize);
        // SAFETY: the caller vouches for a buffer of `nft_nlmsg_maxsize` octets; nothing else refers to it.
        let out = unsafe {
            buf.copy_from_nonoverlapping(self.0.as_ptr().cast(), len);
            std::slice::from_raw_parts_mut(buf.cast::<u8>(), len)
        };
        out[SEQ_OFFSET..SEQ_OFFSET + 4].copy_from_slice(&seq.to_ne_bytes());
    }
}

impl Key {
    /// nft's number of the type, by which it prints elements; a concatenation has 6 bits for each part.
    fn nft_type(self) -> u32 {
        match self {
            Self::Address => NFT_IPV6_ADDR,
            Self::Port => NFT_INET_SERVICE,
            Self::Mark => NFT_MARK,
            Self::User => NFT_UID,
            Self::Pair => NFT_IPV6_ADDR << 6 | NFT_IPV6_ADDR,
            Self::MarkedPair => NFT_MARK << 12 | NFT_IPV6_ADDR << 6 | NFT_IPV6_ADDR,
        }
    }

    fn octets(self) -> u32 {
        match self {
            Self::Address => 16,
            Self::Port => 2,
            Self::Mark | Self::User => 4,
            Self::Pair => 32,
            Self::MarkedPair => 36,
        }
    }
}

impl SetKind {
    /// Pairs that rules may add to a set. Beyond that, pairs are not noticed.
    pub(super) const DYNAMIC_SIZE: u32 = 65535;

    fn flags(self) -> u32 {
        match self {
            Self::Plain => 0,
            Self::Verdicts => wire::NFT_SET_MAP,
            Self::Interval => wire::NFT_SET_INTERVAL,
            Self::Timeout => wire::NFT_SET_TIMEOUT,
            Self::Dynamic(_) => wire::NFT_SET_TIMEOUT | wire::NFT_SET_EVAL,
        }
    }
}

/// Offset of `nlmsghdr.nlmsg_seq`.
const SEQ_OFFSET: usize = 8;
/// nft's numbers of element types.
const NFT_IPV6_ADDR: u32 = 8;
const NFT_INET_SERVICE: u32 = 13;
const NFT_MARK: u32 = 19;
const NFT_UID: u32 = 24;
/// Elements take up to 72 octets, prefixes up to 112; the list is one attribute, of at most 65535 octets.
const ELEMENTS_PER_MESSAGE: usize = 256;
