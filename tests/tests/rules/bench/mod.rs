//! One endpoint on the bench: a test plays its peers, message by message, and moves its clock.

mod peer;

use std::net::Ipv6Addr;
use std::time::Duration;

use shim6_core::{
    Config, ContextView, DropReason, Endpoint, Event, FlowTable, ForkRefusal, Instant,
    LocalLocator, LocatorPair, Notice, State, Transmit, UlidPair, Verdict, VolumeOrAge,
};
use shim6_sim::{control_packet, hba, prefix};
use shim6_wire::{
    Class, ContextTag, Fii, I1, I2, I2bis, InitiatorNonce, Message, Packet, Probe, R1bis, classify,
};

pub(crate) use peer::{Line, Peer, R1orBis, r1_for, r1bis_for, ulids};

/// A message that the endpoint sent.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Sent {
    pub(crate) at: Instant,
    pub(crate) pair: LocatorPair,
    pub(crate) message: Message,
}

/// The endpoint under test. Pairs are seen from it.
pub(crate) struct Subject {
    pub(crate) now: Instant,
    pub(crate) events: Vec<Event>,
    endpoint: Endpoint,
    table: FlowTable,
    locators: Vec<LocalLocator>,
}

impl Subject {
    /// A host with two HBAs.
    pub(crate) fn new() -> Self {
        Self::with(Config::default(), hba(0, &[prefix(0, 0), prefix(0, 1)]))
    }

    pub(crate) fn with(config: Config, locators: Vec<LocalLocator>) -> Self {
        Self::seeded(config, locators, 1)
    }

    pub(crate) fn seeded(config: Config, locators: Vec<LocalLocator>, seed: u8) -> Self {
        let mut endpoint = Endpoint::new(config, Box::new(VolumeOrAge::default()), [seed; 32]);
        let table = endpoint.flow_table();
        let mut subject = Self {
            now: Instant::from_micros(1_000_000),
            events: Vec::new(),
            endpoint,
            table,
            locators: Vec::new(),
        };
        subject.set_locators(locators);
        subject
    }

    pub(crate) fn address(&self, index: usize) -> Ipv6Addr {
        self.locators[index].address
    }

    pub(crate) fn set_locators(&mut self, locators: Vec<LocalLocator>) -> Vec<Sent> {
        self.endpoint.handle_local_locators(self.now, &locators);
        self.locators = locators;
        self.take()
    }

    /// Marks an address as usable or not.
    pub(crate) fn set_usable(&mut self, index: usize, usable: bool) -> Vec<Sent> {
        let mut locators = self.locators.clone();
        locators[index].usable = usable;
        self.set_locators(locators)
    }

    /// Begins a context.
    pub(crate) fn trigger(&mut self, ulids: UlidPair) -> Vec<Sent> {
        assert!(self.endpoint.handle_trigger(self.now, ulids));
        self.take()
    }

    /// Tries to begin a context, and says whether there is one.
    pub(crate) fn try_trigger(&mut self, ulids: UlidPair) -> bool {
        let triggered = self.endpoint.handle_trigger(self.now, ulids);
        self.take();
        triggered
    }

    /// Begins a context; returns its I1.
    pub(crate) fn begin(&mut self, ulids: UlidPair) -> I1 {
        let sent = only(self.trigger(ulids));
        let Message::I1(i1) = sent.message else {
            panic!("{sent:?}")
        };
        i1
    }

    /// The peer answers an I1; returns the I2 that comes of it.
    pub(crate) fn hear_r1(&mut self, pair: LocatorPair, initiator_nonce: InitiatorNonce) -> I2 {
        let sent = only(self.hear(pair, &r1_for(initiator_nonce)));
        let Message::I2(i2) = sent.message else {
            panic!("{sent:?}")
        };
        i2
    }

    /// The peer has lost the context of `tag`; returns the I2bis that comes of it.
    pub(crate) fn hear_r1bis(&mut self, pair: LocatorPair, tag: ContextTag) -> I2bis {
        let sent = only(self.hear(pair, &r1bis_for(tag)));
        let Message::I2bis(i2bis) = sent.message else {
            panic!("{sent:?}")
        };
        i2bis
    }

    /// Payload with a tag arrives that the subject does not know; returns its R1bis.
    pub(crate) fn hear_unknown_tag(&mut self, pair: LocatorPair, tag: ContextTag) -> R1bis {
        let (delivered, sent) = self.receive(tagged(pair, tag));
        assert_eq!(delivered, None);
        let sent = only(sent);
        let Message::R1bis(r1bis) = sent.message else {
            panic!("{sent:?}")
        };
        r1bis
    }

    /// A control message arrives; returns what is sent for it.
    pub(crate) fn hear(&mut self, pair: LocatorPair, message: &Message) -> Vec<Sent> {
        let packet = control_packet(&Transmit {
            source: pair.peer,
            destination: pair.local,
            message: message.emit(),
        });
        let (delivered, sent) = self.receive(packet);
        assert_eq!(delivered, None, "a control message is no payload");
        sent
    }

    /// Any packet arrives; returns what the upper layer gets and what is sent for it.
    pub(crate) fn receive(&mut self, mut octets: Vec<u8>) -> (Option<Vec<u8>>, Vec<Sent>) {
        let end = octets.len();
        let mut packet = Packet::new(&mut octets, 0, end).unwrap();
        let (verdict, notice) = self.table.incoming(&mut packet, self.now);
        if let Some(Notice::Packet) = notice {
            self.endpoint.handle_packet(self.now, packet.octets());
        } else if let Some(Notice::Payload(tag)) = notice {
            self.endpoint.handle_payload_received(self.now, tag);
        }
        let delivered = match verdict {
            Verdict::Accept | Verdict::Rewritten => Some(packet.octets().to_vec()),
            Verdict::Replaced(packet) => Some(packet),
            Verdict::Drop(_) => None,
        };
        (delivered, self.take())
    }

    /// Payload of the peer arrives as it was sent: on the ULIDs, or tagged.
    pub(crate) fn receive_payload(&mut self, ulids: UlidPair) -> Vec<Sent> {
        let (delivered, sent) = self.receive(payload(ulids.peer, ulids.local));
        assert!(delivered.is_some());
        sent
    }

    /// The upper layer sends a packet between `ulids`; returns it as it leaves.
    pub(crate) fn send_payload(&mut self, ulids: UlidPair) -> Vec<u8> {
        self.send_marked(ulids, 0)
    }

    /// The same from a socket with a mark.
    pub(crate) fn send_marked(&mut self, ulids: UlidPair, mark: u32) -> Vec<u8> {
        let mut octets = vec![0; Packet::HEADROOM];
        octets.extend(payload(ulids.local, ulids.peer));
        let end = octets.len();
        let mut packet = Packet::new(&mut octets, Packet::HEADROOM, end).unwrap();
        let (verdict, _) = self.table.outgoing_marked(&mut packet, mark, self.now);
        assert!(matches!(verdict, Verdict::Accept | Verdict::Rewritten));
        packet.octets().to_vec()
    }

    /// A counter tells that payload went into silence; returns what is sent for it.
    pub(crate) fn note_silence(&mut self, ulids: UlidPair) -> Vec<Sent> {
        let tag = self.context(ulids).unwrap().local_tag;
        self.endpoint.handle_silence(self.now, tag);
        self.take()
    }

    /// A packet is shown as sent into silence; returns what is sent for it.
    pub(crate) fn note_unanswered(&mut self, ulids: UlidPair, packet: &[u8]) -> Vec<Sent> {
        let tag = self.context(ulids).unwrap().local_tag;
        self.endpoint.handle_unanswered(self.now, tag, packet);
        self.take()
    }

    /// Forks a context; returns what is sent for it.
    pub(crate) fn fork(
        &mut self,
        ulids: UlidPair,
        mark: u32,
        pair: Option<LocatorPair>,
    ) -> Result<Vec<Sent>, ForkRefusal> {
        self.endpoint.fork(self.now, ulids, mark, pair)?;
        Ok(self.take())
    }

    /// Takes a fork back; says whether there was one.
    pub(crate) fn end_fork(&mut self, ulids: UlidPair, mark: u32) -> bool {
        let ended = self.endpoint.end_fork(ulids, mark);
        self.take();
        ended
    }

    /// Lets time pass; returns what timers send.
    pub(crate) fn wait(&mut self, span: Duration) -> Vec<Sent> {
        let end = self.now + span;
        let mut sent = Vec::new();
        while let Some(due) = self.endpoint.poll_timeout().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            self.endpoint.handle_timeout(self.now);
            sent.extend(self.take());
            let next = self.endpoint.poll_timeout();
            assert!(
                next.is_none_or(|next| next > self.now),
                "waits for {next:?}, which is past"
            );
        }
        self.now = end;
        sent
    }

    /// Lets time pass until the context between `ulids` is in `state`; returns what timers send.
    pub(crate) fn wait_for(&mut self, ulids: UlidPair, state: State) -> Vec<Sent> {
        let mut sent = Vec::new();
        for _ in 0..600 {
            if self.state(ulids) == Some(state) {
                return sent;
            }
            sent.extend(self.wait(Duration::from_secs(1)));
        }
        panic!(
            "not {state:?} within ten minutes, but {:?}",
            self.state(ulids)
        );
    }

    pub(crate) fn contexts(&self) -> Vec<ContextView> {
        self.endpoint.contexts()
    }

    /// The default context between `ulids`.
    pub(crate) fn context(&self, ulids: UlidPair) -> Option<ContextView> {
        let is_it = |c: &ContextView| (c.ulids, c.fii) == (ulids, Fii::DEFAULT);
        self.contexts().into_iter().find(is_it)
    }

    /// The state of that context; `None` for IDLE.
    pub(crate) fn state(&self, ulids: UlidPair) -> Option<State> {
        self.context(ulids).map(|context| context.state)
    }

    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.endpoint.counters().dropped(reason)
    }

    fn take(&mut self) -> Vec<Sent> {
        while let Some(update) = self.endpoint.poll_flow_update() {
            self.table.apply(update);
        }
        while let Some(event) = self.endpoint.poll_event() {
            self.events.push(event);
        }
        let mut sent = Vec::new();
        while let Some(transmit) = self.endpoint.poll_transmit() {
            sent.push(Sent {
                at: self.now,
                pair: LocatorPair {
                    local: transmit.source,
                    peer: transmit.destination,
                },
                message: Message::parse(&transmit.message).unwrap(),
            });
        }
        sent
    }
}

/// The only message sent.
pub(crate) fn only(sent: Vec<Sent>) -> Sent {
    let [one] = <[Sent; 1]>::try_from(sent).unwrap();
    one
}

/// The Probes among what was sent: when, on which pair, what.
pub(crate) fn probes(sent: &[Sent]) -> Vec<(Instant, LocatorPair, Probe)> {
    let probe = |sent: &Sent| {
        if let Message::Probe(probe) = &sent.message {
            Some((sent.at, sent.pair, probe.clone()))
        } else {
            None
        }
    };
    sent.iter().filter_map(probe).collect()
}

/// A datagram of the peer's with a payload extension header, as it arrives on `pair`.
pub(crate) fn tagged(pair: LocatorPair, tag: ContextTag) -> Vec<u8> {
    let mut octets = vec![0; Packet::HEADROOM];
    octets.extend(payload(pair.peer, pair.local));
    let end = octets.len();
    let mut packet = Packet::new(&mut octets, Packet::HEADROOM, end).unwrap();
    packet
        .insert_payload_ext(tag, pair.peer, pair.local)
        .unwrap();
    packet.octets().to_vec()
}

/// The pair and the tag of a packet that left; `None` if it has no tag.
pub(crate) fn left_on(packet: &[u8]) -> (LocatorPair, Option<ContextTag>) {
    let address = |at: usize| <[u8; 16]>::try_from(&packet[at..at + 16]).unwrap().into();
    let pair = LocatorPair {
        local: address(8),
        peer: address(24),
    };
    if let Class::PayloadExt { tag, .. } = classify(packet) {
        (pair, Some(tag))
    } else {
        (pair, None)
    }
}

fn payload(source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 16, 17, 64];
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend([
        0x13, 0x88, 0x13, 0x88, 0, 16, 0xab, 0xcd, 1, 2, 3, 4, 5, 6, 7, 8,
    ]);
    packet
}
