//! Packets as an attacker would write them: well formed in every respect but what he cannot know.

use std::net::Ipv6Addr;

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use shim6_wire::{
    ContextTag, Error, ErrorCode, Generation, I1, I2, I2bis, InitiatorNonce, Keepalive,
    ListedLocator, LocatorList, LocatorOptions, Message, Probe, ProbeNonce, ProbeReport,
    ProbeState, R1, R1bis, R2, RequestNonce, ResponderNonce, Ulids, UpdateAck, UpdateRequest,
    Validator, VerificationMethod,
};

use crate::support::Packet;

/// A kind of forgery: its name, what a filter on the host knows it by, and how one is made.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) filter: &'static str,
    forge: fn(&mut Forger) -> Content,
}

/// Next Header, and what comes after the IPv6 header.
type Content = (u8, Vec<u8>);

/// Every message of RFC 5533 and RFC 5534, tagged payload, and the ICMPv6 errors.
pub(super) const KINDS: [Kind; 16] = [
    kind("i1", "@nh,48,8 140 @nh,336,8 1", Forger::i1),
    kind("r1", "@nh,48,8 140 @nh,336,8 2", Forger::r1),
    kind("i2", "@nh,48,8 140 @nh,336,8 3", Forger::i2),
    kind("r2", "@nh,48,8 140 @nh,336,8 4", Forger::r2),
    kind("r1bis", "@nh,48,8 140 @nh,336,8 5", Forger::r1bis),
    kind("i2bis", "@nh,48,8 140 @nh,336,8 6", Forger::i2bis),
    kind(
        "update_request",
        "@nh,48,8 140 @nh,336,8 64",
        Forger::update_request,
    ),
    kind(
        "update_ack",
        "@nh,48,8 140 @nh,336,8 65",
        Forger::update_ack,
    ),
    kind("keepalive", "@nh,48,8 140 @nh,336,8 66", Forger::keepalive),
    kind("probe", "@nh,48,8 140 @nh,336,8 67", Forger::probe),
    kind("error", "@nh,48,8 140 @nh,336,8 68", Forger::error),
    kind("tagged", "@nh,48,8 140 @nh,336,1 1", Forger::tagged),
    kind("unreachable", "@nh,48,8 58 @nh,320,8 1", |forger| {
        forger.icmp(1, 0, 0)
    }),
    kind("too_big", "@nh,48,8 58 @nh,320,8 2", |forger| {
        forger.icmp(2, 0, 1280)
    }),
    kind("time_exceeded", "@nh,48,8 58 @nh,320,8 3", |forger| {
        forger.icmp(3, 0, 0)
    }),
    // Unrecognized Next Header, at that of the IPv6 header.
    kind("parameter_problem", "@nh,48,8 58 @nh,320,8 4", |forger| {
        forger.icmp(4, 1, 6)
    }),
];

const fn kind(name: &'static str, filter: &'static str, forge: fn(&mut Forger) -> Content) -> Kind {
    Kind {
        name,
        filter,
        forge,
    }
}

/// Makes forgeries, each with other tags, nonces and validators.
pub(super) struct Forger {
    random: ChaCha20Rng,
    peers: [Ipv6Addr; 2],
    victims: [Ipv6Addr; 2],
}

impl Forger {
    /// For a host with the locators `victims`, in the name of the one with the locators `peers`.
    pub(super) fn new(peers: [Ipv6Addr; 2], victims: [Ipv6Addr; 2]) -> Self {
        Self {
            random: ChaCha20Rng::seed_from_u64(1),
            peers,
            victims,
        }
    }

    /// So many packets of each kind, in turn. Half of them come from a locator of the peer, the
    /// others from addresses that nobody has heard of.
    pub(super) fn packets(&mut self, of_each: usize) -> Vec<Packet> {
        let mut packets = Vec::new();
        for _ in 0..of_each {
            for kind in &KINDS {
                let (next_header, content) = (kind.forge)(self);
                let victim = self.one_of(self.victims);
                let source = match self.number() % 2 {
                    0 => self.one_of(self.peers),
                    _ => self.stranger(),
                };
                packets.push(packet(next_header, source, victim, &content));
            }
        }
        packets
    }

    fn number(&mut self) -> u32 {
        self.random.next_u32()
    }

    fn octets(&mut self, length: usize) -> Vec<u8> {
        let mut octets = vec![0; length];
        self.random.fill_bytes(&mut octets);
        octets
    }

    fn one_of(&mut self, addresses: [Ipv6Addr; 2]) -> Ipv6Addr {
        addresses[self.number() as usize % 2]
    }

    fn stranger(&mut self) -> Ipv6Addr {
        let interface = self.random.next_u64();
        let prefix = 0x2001_0db8_0bad_0000_u128 << 64;
        (prefix | u128::from(interface)).into()
    }

    fn tag(&mut self) -> ContextTag {
        ContextTag::from_bits(self.random.next_u64())
    }

    fn initiator_nonce(&mut self) -> InitiatorNonce {
        InitiatorNonce(self.number())
    }

    fn responder_nonce(&mut self) -> ResponderNonce {
        ResponderNonce(self.number())
    }

    fn validator(&mut self) -> Validator {
        Validator(self.octets(32))
    }

    fn ulids(&mut self) -> Ulids {
        Ulids {
            sender: self.one_of(self.peers),
            receiver: self.one_of(self.victims),
        }
    }

    /// The peer's list with an address of the attacker's, where payload would come to him.
    fn locators(&mut self) -> LocatorOptions {
        let addresses = [self.one_of(self.peers), self.stranger()];
        let locators = addresses.map(|address| ListedLocator {
            address,
            method: VerificationMethod::Cga,
        });
        LocatorOptions {
            list: Some(LocatorList {
                generation: Generation(self.number()),
                locators: locators.to_vec(),
            }),
            preferences: None,
            pds: Some(self.octets(200)),
            signature: Some(self.octets(128)),
        }
    }

    fn report(&mut self) -> ProbeReport {
        ProbeReport {
            source: self.one_of(self.victims),
            destination: self.stranger(),
            nonce: ProbeNonce(self.number()),
            data: 0,
        }
    }

    fn i1(&mut self) -> Content {
        control(&Message::I1(I1 {
            initiator_tag: self.tag(),
            initiator_nonce: self.initiator_nonce(),
            ulids: Some(self.ulids()),
            fii: None,
        }))
    }

    fn r1(&mut self) -> Content {
        control(&Message::R1(R1 {
            initiator_nonce: self.initiator_nonce(),
            responder_nonce: self.responder_nonce(),
            validator: self.validator(),
        }))
    }

    fn i2(&mut self) -> Content {
        control(&Message::I2(I2 {
            initiator_tag: self.tag(),
            initiator_nonce: self.initiator_nonce(),
            responder_nonce: self.responder_nonce(),
            validator: self.validator(),
            ulids: Some(self.ulids()),
            fii: None,
            locators: self.locators(),
            keepalive_timeout: None,
        }))
    }

    fn r2(&mut self) -> Content {
        control(&Message::R2(R2 {
            responder_tag: self.tag(),
            initiator_nonce: self.initiator_nonce(),
            locators: self.locators(),
            keepalive_timeout: None,
        }))
    }

    fn r1bis(&mut self) -> Content {
        control(&Message::R1bis(R1bis {
            packet_tag: self.tag(),
            responder_nonce: self.responder_nonce(),
            validator: self.validator(),
        }))
    }

    fn i2bis(&mut self) -> Content {
        control(&Message::I2bis(I2bis {
            initiator_tag: self.tag(),
            initiator_nonce: self.initiator_nonce(),
            responder_nonce: self.responder_nonce(),
            packet_tag: self.tag(),
            validator: self.validator(),
            ulids: Some(self.ulids()),
            fii: None,
            locators: self.locators(),
            keepalive_timeout: None,
        }))
    }

    fn update_request(&mut self) -> Content {
        control(&Message::UpdateRequest(UpdateRequest {
            receiver_tag: self.tag(),
            request_nonce: RequestNonce(self.number()),
            locators: self.locators(),
            keepalive_timeout: None,
        }))
    }

    fn update_ack(&mut self) -> Content {
        control(&Message::UpdateAck(UpdateAck {
            receiver_tag: self.tag(),
            request_nonce: RequestNonce(self.number()),
        }))
    }

    fn keepalive(&mut self) -> Content {
        control(&Message::Keepalive(Keepalive {
            receiver_tag: self.tag(),
        }))
    }

    fn probe(&mut self) -> Content {
        control(&Message::Probe(Probe {
            receiver_tag: self.tag(),
            state: ProbeState::Exploring,
            sent: vec![self.report()],
            received: vec![self.report()],
        }))
    }

    fn error(&mut self) -> Content {
        let (next_header, quoted) = self.keepalive();
        let from_victim = packet(next_header, self.victims[0], self.peers[0], &quoted);
        control(&Message::Error(Error {
            code: ErrorCode::CriticalOption,
            pointer: 42,
            packet: from_victim.0,
        }))
    }

    /// A segment under a tag that may be somebody's (RFC 5533 section 5.2).
    fn tagged(&mut self) -> Content {
        let mut content = self.tag().bits().to_be_bytes().to_vec();
        (content[0], content[1]) = (TCP, 0);
        content[2] |= P_BIT;
        content.extend(self.octets(60));
        (SHIM6, content)
    }

    /// An ICMPv6 error about a tagged packet that the victim may have sent (RFC 4443 section 2.1).
    fn icmp(&mut self, ty: u8, code: u8, word: u32) -> Content {
        let (next_header, content) = self.tagged();
        let [from, to] = [self.one_of(self.victims), self.one_of(self.peers)];
        let mut error = vec![ty, code, 0, 0];
        error.extend(word.to_be_bytes());
        error.extend(packet(next_header, from, to, &content).0);
        (ICMPV6, error)
    }
}

fn control(message: &Message) -> Content {
    (SHIM6, message.emit())
}

fn packet(next_header: u8, source: Ipv6Addr, destination: Ipv6Addr, content: &[u8]) -> Packet {
    let mut octets = vec![0x60, 0, 0, 0];
    octets.extend((content.len() as u16).to_be_bytes());
    octets.extend([next_header, HOP_LIMIT]);
    octets.extend(source.octets());
    octets.extend(destination.octets());
    octets.extend(content);
    let mut packet = Packet(octets);
    if next_header == ICMPV6 {
        let checksum = packet.checksum();
        packet.0[42..44].copy_from_slice(&checksum.to_be_bytes());
    }
    packet
}

/// What nobody else sends with, so that the host's filter can tell forgeries.
pub(super) const HOP_LIMIT: u8 = 77;

const TCP: u8 = 6;
const ICMPV6: u8 = 58;
const SHIM6: u8 = 140;
const P_BIT: u8 = 0x80;
