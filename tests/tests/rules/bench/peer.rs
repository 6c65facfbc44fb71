//! A peer that a test plays: what it says, and about what.

use std::net::Ipv6Addr;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use shim6_core::{LocalLocator, LocatorPair, State, UlidPair};
use shim6_sim::{cga, hba, prefix};
use shim6_wire::{
    ContextTag, Fii, Generation, I1, I2, I2bis, InitiatorNonce, ListedLocator, LocatorList,
    LocatorOptions, Message, R1, R1bis, R2, ResponderNonce, Ulids, Validator, VerificationMethod,
};

use super::{Subject, only};

/// A peer that a test plays.
pub(crate) struct Peer {
    pub(crate) locators: Vec<LocalLocator>,
    /// CT(peer), as the subject sees it.
    pub(crate) tag: ContextTag,
    pub(crate) nonce: InitiatorNonce,
    pub(crate) generation: Generation,
}

impl Peer {
    /// A host with HBAs, as many as `providers`.
    pub(crate) fn hba(providers: u16) -> Self {
        Self::of(hba(1, &prefixes(1, providers)))
    }

    /// A host with CGAs of one key.
    pub(crate) fn cga(providers: u16) -> Self {
        Self::of(cga(1, &prefixes(1, providers), 1))
    }

    fn of(locators: Vec<LocalLocator>) -> Self {
        Self {
            locators,
            tag: ContextTag::from_bits(0x2345_6789_abcd),
            nonce: InitiatorNonce(0x0b0b_0b0b),
            generation: Generation(77),
        }
    }

    pub(crate) fn address(&self, index: usize) -> Ipv6Addr {
        self.locators[index].address
    }

    /// All of its locators, and their proof.
    pub(crate) fn options(&self) -> LocatorOptions {
        self.listing(&self.locators.iter().map(|l| l.address).collect::<Vec<_>>())
    }

    /// A list of any addresses, proven as well as this host can.
    pub(crate) fn listing(&self, addresses: &[Ipv6Addr]) -> LocatorOptions {
        let ulid = &self.locators[0];
        let method = match ulid.key {
            Some(_) => VerificationMethod::Cga,
            None => VerificationMethod::Hba,
        };
        let locators = addresses
            .iter()
            .map(|&address| ListedLocator { address, method });
        let sign = |key: &shim6_cga::SigningKey| {
            key.sign(
                self.generation.0,
                addresses,
                &mut ChaCha20Rng::seed_from_u64(1),
            )
        };
        LocatorOptions {
            list: Some(LocatorList {
                generation: self.generation,
                locators: locators.collect(),
            }),
            preferences: None,
            pds: Some(ulid.pds.octets().to_vec()),
            signature: ulid.key.as_deref().map(sign),
        }
    }

    pub(crate) fn i1(&self, line: Line) -> Message {
        Message::I1(I1 {
            initiator_tag: self.tag,
            initiator_nonce: self.nonce,
            ulids: line.option(),
            fii: line.fii,
        })
    }

    pub(crate) fn i2(&self, line: Line, r1: &R1, locators: LocatorOptions) -> Message {
        Message::I2(I2 {
            initiator_tag: self.tag,
            initiator_nonce: self.nonce,
            responder_nonce: r1.responder_nonce,
            validator: r1.validator.clone(),
            ulids: line.option(),
            fii: line.fii,
            locators,
            keepalive_timeout: None,
        })
    }

    pub(crate) fn i2bis(&self, line: Line, r1bis: &R1bis, locators: LocatorOptions) -> Message {
        Message::I2bis(I2bis {
            initiator_tag: self.tag,
            initiator_nonce: self.nonce,
            responder_nonce: r1bis.responder_nonce,
            packet_tag: r1bis.packet_tag,
            validator: r1bis.validator.clone(),
            ulids: line.option(),
            fii: line.fii,
            locators,
            keepalive_timeout: None,
        })
    }

    pub(crate) fn r2(&self, initiator_nonce: InitiatorNonce, locators: LocatorOptions) -> Message {
        Message::R2(R2 {
            responder_tag: self.tag,
            initiator_nonce,
            locators,
            keepalive_timeout: None,
        })
    }

    /// The peer begins a context: I1, R1, I2, R2. Returns the R2.
    pub(crate) fn begin(&self, subject: &mut Subject, line: Line) -> R2 {
        self.begin_with(subject, line, self.options())
    }

    pub(crate) fn begin_with(
        &self,
        subject: &mut Subject,
        line: Line,
        locators: LocatorOptions,
    ) -> R2 {
        let r1 = self.ask(subject, line);
        let r2 = only(subject.hear(line.pair, &self.i2(line, &r1, locators)));
        let Message::R2(r2) = r2.message else {
            panic!("{r2:?}")
        };
        r2
    }

    /// I1 and R1.
    pub(crate) fn ask(&self, subject: &mut Subject, line: Line) -> R1 {
        let r1 = only(subject.hear(line.pair, &self.i1(line)));
        let Message::R1(r1) = r1.message else {
            panic!("{r1:?}")
        };
        r1
    }

    /// The subject begins a context and the peer lets it. Returns I1 and I2.
    pub(crate) fn be_asked(&self, subject: &mut Subject, ulids: UlidPair) -> (I1, I2) {
        let i1 = subject.begin(ulids);
        let i2 = subject.hear_r1(ulids.into(), i1.initiator_nonce);
        let r2 = self.r2(i2.initiator_nonce, self.options());
        assert_eq!(subject.hear(ulids.into(), &r2), []);
        assert_eq!(subject.state(ulids), Some(State::Established));
        (i1, i2)
    }
}

/// What permits a peer to send I2 or I2bis.
pub(crate) enum R1orBis {
    R1(R1),
    R1bis(R1bis),
}

impl R1orBis {
    /// The I2 or I2bis.
    pub(crate) fn use_by(&self, peer: &Peer, line: Line, locators: LocatorOptions) -> Message {
        match self {
            Self::R1(r1) => peer.i2(line, r1, locators),
            Self::R1bis(r1bis) => peer.i2bis(line, r1bis, locators),
        }
    }
}

/// For whom a message is, and on which pair it goes, seen from the subject.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) ulids: UlidPair,
    pub(crate) pair: LocatorPair,
    pub(crate) fii: Option<Fii>,
}

impl Line {
    pub(crate) fn on_ulids(ulids: UlidPair) -> Self {
        Self {
            ulids,
            pair: ulids.into(),
            fii: None,
        }
    }

    /// The ULIDs as the peer writes them, if the addresses do not tell them.
    fn option(self) -> Option<Ulids> {
        (self.pair != self.ulids.into()).then_some(Ulids {
            sender: self.ulids.peer,
            receiver: self.ulids.local,
        })
    }
}

/// The first addresses of both.
pub(crate) fn ulids(subject: &Subject, peer: &Peer) -> UlidPair {
    UlidPair {
        local: subject.address(0),
        peer: peer.address(0),
    }
}

/// An R1 of the peer's own making.
pub(crate) fn r1_for(initiator_nonce: InitiatorNonce) -> Message {
    Message::R1(R1 {
        initiator_nonce,
        responder_nonce: ResponderNonce(0x0505_0505),
        validator: Validator((0..37).collect()),
    })
}

/// An R1bis about `packet_tag`, of the peer's own making.
pub(crate) fn r1bis_for(packet_tag: ContextTag) -> Message {
    Message::R1bis(R1bis {
        packet_tag,
        responder_nonce: ResponderNonce(0x0606_0606),
        validator: Validator((0..21).collect()),
    })
}

fn prefixes(host: u16, providers: u16) -> Vec<[u8; 8]> {
    (0..providers)
        .map(|provider| prefix(host, provider))
        .collect()
}
