//! Reading ahead for packets that came together.
//!
//! With many contexts, what a packet takes lies outside of the processor's caches: its place in the index,
//! the flow, the account. Deciding on one packet after the other waits for each; reading for several in a
//! row, before the first decision, lets the fetches overlap. With 100 000 contexts that saves some 4 % of
//! what a packet costs.

use shim6_wire::Class;

use super::FlowTable;
use crate::dispatch::addresses;
use crate::pair::UlidPair;

/// So many flows and their accounts, some 250 octets each, no longer fit a processor's own cache.
const FETCHED_FROM: usize = 2048;

impl FlowTable {
    /// Reads what the decision on a packet, from its IPv6 header on, will take. Decides and notes nothing.
    pub fn fetch(&self, packet: &[u8], outgoing: bool) {
        if self.len() < FETCHED_FROM {
            return;
        }
        let flow = if outgoing {
            let ulids = addresses(packet).map(|(local, peer)| UlidPair { local, peer });
            ulids.and_then(|ulids| self.default.get(&ulids))
        } else if let Class::PayloadExt { tag, .. } = shim6_wire::classify(packet) {
            self.tagged.get(&tag)
        } else {
            None
        };
        if let Some(flow) = flow {
            flow.account.fetch();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shim6_wire::{ContextTag, Packet};

    use super::*;
    use crate::flow::{Exploring, Flow, FlowUpdate, Path, Tagged, Verdict};
    use crate::time::Instant;
    use crate::{Account, Config, LocatorPair};

    fn ulids(index: usize) -> UlidPair {
        let peer = [0x2001, 0xdb8, 0xb, 0, 0, 0, 0, index as u16];
        UlidPair {
            local: "2001:db8::a".parse().unwrap(),
            peer: peer.into(),
        }
    }

    fn table(accounts: &[Arc<Account>]) -> FlowTable {
        let mut table = FlowTable::new(7, true, &Config::default());
        for (index, account) in accounts.iter().enumerate() {
            let tag = ContextTag::from_bits(index as u64 + 1);
            table.apply(FlowUpdate::Set(Arc::new(Flow {
                ulids: ulids(index),
                is_default: true,
                mark: None,
                local_tag: tag,
                path: Path::Mapped {
                    locators: LocatorPair {
                        local: "2001:db8:1::a".parse().unwrap(),
                        peer: "2001:db8:1::b".parse().unwrap(),
                    },
                    peer_tag: tag,
                },
                tagged: Tagged::Delivered,
                exploring: Exploring::No,
                kernel_maps: false,
                account: Arc::clone(account),
            })));
        }
        table
    }

    /// A UDP packet of 8 octets in `buf`, behind room for a Payload Extension header.
    fn packet(buf: &mut [u8; 56], ulids: UlidPair) -> Packet<'_> {
        buf[8] = 0x60;
        (buf[13], buf[14], buf[15]) = (8, 17, 64);
        buf[16..32].copy_from_slice(&ulids.local.octets());
        buf[32..48].copy_from_slice(&ulids.peer.octets());
        Packet::new(buf, 8, 56).unwrap()
    }

    #[test]
    fn reading_ahead_notes_nothing_and_changes_no_decision() {
        let accounts: Vec<_> = (0..FETCHED_FROM)
            .map(|_| Arc::new(Account::default()))
            .collect();
        let table = table(&accounts);
        let now = Instant::from_micros(1_000_000);
        let untouched = format!("{:?}", accounts[5]);

        let mut buf = [0; 56];
        let mut outgoing = packet(&mut buf, ulids(5));
        table.fetch(outgoing.octets(), true);
        assert_eq!(format!("{:?}", accounts[5]), untouched);
        let (verdict, _) = table.outgoing(&mut outgoing, now);
        assert!(matches!(verdict, Verdict::Rewritten));
        let sent = format!("{:?}", accounts[5]);
        assert_ne!(sent, untouched);

        // As it arrives at the other end, where the tag is the same.
        table.fetch(outgoing.octets(), false);
        assert_eq!(format!("{:?}", accounts[5]), sent);

        for torn in [&[][..], &[0x60; 39], &[0xff; 60]] {
            table.fetch(torn, true);
            table.fetch(torn, false);
        }
    }
}
