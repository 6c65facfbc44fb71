//! A packet's passage: from an upper layer through its host's Shim6, the network and the peer's Shim6
//! to the upper layer there.

use rand_core::RngCore;
use shim6_core::{Notice, Verdict};
use shim6_wire::{Class, MessageType, Packet, classify};

use super::{Due, World, judge};
use crate::host::{HostId, Kind};
use crate::model::Stimulus;
use crate::net::{Fate, Pair, happens};
use crate::packet::{self, Datagram};
use crate::trace::Record;
use crate::traffic::FlowId;

/// A packet on its way.
#[derive(Debug)]
pub(super) struct Arrival {
    from: HostId,
    octets: Vec<u8>,
    /// Not as it was sent.
    corrupted: bool,
}

impl World {
    /// The upper layer of `host` sends, from a socket with `mark`.
    pub(super) fn send_payload(&mut self, host: HostId, mark: u32, datagram: &Datagram) {
        let given = datagram.emit();
        if !self.pass_on(host, mark, &given) {
            let now = self.now;
            if let Some(flow) = self.flows.get_mut(usize::from(datagram.flow)) {
                flow.spared(datagram.direction, now);
            }
        }
    }

    /// Shim6 of `host` gets `given`, and the network what comes of it; says whether chance takes that.
    fn pass_on(&mut self, host: HostId, mark: u32, given: &[u8]) -> bool {
        self.model.stimulated();
        let now = self.clock_of(host);
        let suspects = self.hosts[host.0].spec.suspects;
        let Some(engine) = &mut self.hosts[host.0].engine else {
            return self.post(host, given.to_vec());
        };
        let mut buffer = vec![0xa5; Packet::HEADROOM];
        buffer.extend_from_slice(given);
        let end = buffer.len();
        let Ok(mut packet) = Packet::new(&mut buffer, Packet::HEADROOM, end) else {
            panic!("upper layers send packets");
        };
        let (verdict, notice) = engine.table.outgoing_marked(&mut packet, mark, now);
        let wire = match verdict {
            Verdict::Accept | Verdict::Rewritten => Some(packet.octets().to_vec()),
            Verdict::Replaced(packet) => Some(packet),
            Verdict::Drop(_) => None,
        };
        if let Some(Notice::Candidate(ulids)) = notice {
            engine
                .endpoint
                .handle_candidate(now, ulids, true, given.len());
        } else if let (Some(Notice::Unanswered(tag)), Some(wire)) = (notice, &wire)
            && suspects
        {
            engine.endpoint.handle_unanswered(now, tag, wire);
        }
        let taken = wire.is_some_and(|wire| {
            judge(self.model.check_payload(host, given, &wire));
            match packet::tag_of(&wire) {
                Some(_) => self.hosts[host.0].mapped += 1,
                None => self.hosts[host.0].untouched += 1,
            }
            self.post(host, wire)
        });
        self.drain(host, Stimulus::Local);
        taken
    }

    /// `host` hands `octets` to the network; says whether chance loses them, or changes what arrives.
    pub(super) fn post(&mut self, host: HostId, octets: Vec<u8>) -> bool {
        let pair = Pair {
            source: packet::source(&octets),
            destination: packet::destination(&octets),
        };
        let fate = if self.addresses.get(&pair.source) != Some(&host) {
            Fate::NoAddress
        } else if self.is_to_be_lost(host, &octets) {
            Fate::Lost
        } else {
            self.net.fate(host, pair, &mut self.rng)
        };
        let (word, first, again) = match fate {
            Fate::Arrives(first, again) => ("", Some(first), again),
            Fate::Cut => ("cut", None, None),
            Fate::Lost => ("lost", None, None),
            Fate::Filtered => ("filtered", None, None),
            Fate::NoAddress => ("no address", None, None),
        };
        let mut intact = false;
        for transit in first.into_iter().chain(again) {
            let mut arrival = Arrival {
                from: host,
                octets: octets.clone(),
                corrupted: happens(self.net.link(pair).corruption, &mut self.rng),
            };
            if arrival.corrupted {
                let bit = self.rng.next_u64() as usize % (8 * octets.len());
                arrival.octets[bit / 8] ^= 0x80 >> (bit % 8);
            }
            intact |= !arrival.corrupted;
            self.enqueue(self.now + transit, Due::Arrival(arrival));
        }
        self.trace.note(self.now, Record::Sent(host, octets, word));
        fate == Fate::Lost || (first.is_some() && !intact)
    }

    fn is_to_be_lost(&mut self, host: HostId, octets: &[u8]) -> bool {
        let Class::Control { at } = classify(octets) else {
            return false;
        };
        let ty = MessageType::from_bits(octets[at + 2]);
        let found = self
            .losses
            .iter()
            .position(|&(from, lost)| from == host && Some(lost) == ty);
        found.map(|index| self.losses.remove(index)).is_some()
    }

    pub(super) fn arrive(&mut self, arrival: Arrival) {
        let Arrival {
            from,
            octets,
            corrupted,
        } = arrival;
        let destination = packet::destination(&octets);
        let Some(&host) = self.addresses.get(&destination) else {
            return;
        };
        self.model.stimulated();
        self.model.arrived(from, host, destination);
        self.trace
            .note(self.now, Record::Arrived(host, octets.clone()));
        match self.hosts[host.0].spec.kind {
            Kind::Shim6 => self.receive(host, octets, corrupted),
            Kind::Puppet => self.hosts[host.0].inbox.push(octets),
            Kind::Refusing if !is_plain(&octets) => {
                self.post(host, packet::unrecognized_next_header(&octets));
            }
            Kind::Silent if !is_plain(&octets) => {}
            Kind::Refusing | Kind::Silent => self.deliver(host, &octets, corrupted),
        }
    }

    fn receive(&mut self, host: HostId, mut octets: Vec<u8>, corrupted: bool) {
        let now = self.clock_of(host);
        let Some(engine) = &mut self.hosts[host.0].engine else {
            return;
        };
        let end = octets.len();
        let Ok(mut packet) = Packet::new(&mut octets, 0, end) else {
            return;
        };
        let (verdict, notice) = engine.table.incoming(&mut packet, now);
        if let Some(Notice::Packet) = notice {
            engine.endpoint.handle_packet(now, packet.octets());
        } else if let Some(Notice::Payload(tag)) = notice {
            engine.endpoint.handle_payload_received(now, tag);
        } else if let Some(Notice::Candidate(ulids)) = notice {
            let length = packet.octets().len();
            engine.endpoint.handle_candidate(now, ulids, false, length);
        }
        let delivered = match verdict {
            Verdict::Accept | Verdict::Rewritten => Some(packet.octets().to_vec()),
            Verdict::Replaced(packet) => Some(packet),
            Verdict::Drop(_) => None,
        };
        self.drain(host, Stimulus::Packet);
        if let Some(delivered) = delivered {
            self.deliver(host, &delivered, corrupted);
        }
    }

    /// A packet reaches the upper layer of `host`, which throws it away if its checksum is wrong; that
    /// is no fault of the shim's if it was `corrupted` on its way.
    fn deliver(&mut self, host: HostId, octets: &[u8], corrupted: bool) {
        if packet::is_icmpv6(octets) {
            return;
        }
        let parsed = Datagram::parse(octets);
        let taken = parsed.and_then(|datagram| {
            let id = FlowId(datagram.flow);
            let flow = self.flows.get_mut(usize::from(id.0));
            let flow = flow.ok_or("a flow that does not exist")?;
            flow.take(id, &datagram, host, self.now)
        });
        match taken {
            Ok(Some(answer)) => self.send_payload(host, 0, &answer),
            Ok(None) => {}
            Err(_) if corrupted => {}
            Err(why) => judge(Err(format!("an upper layer of {host} gets: {why}"))),
        }
    }
}

/// Whether a host without Shim6 knows what to do with a packet.
fn is_plain(octets: &[u8]) -> bool {
    octets[6] != shim6_wire::SHIM6
}
