//! What befalls hosts and the network between them.

use std::time::Duration;

use serde::Serialize;
use shim6_sim::{HostId, Link, Pair, prefix};
use shim6_wire::{Preference, PreferenceFlags};

use super::{Life, Sent};
use crate::secs;

/// Different marks that flows get.
const MARKS: u64 = 3;

/// A fault, or the end of one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// A pair fails in both directions.
    PairCut,
    /// A pair fails in one direction.
    OneWayCut,
    /// The pairs in use fail in the direction from one host.
    CurrentCut,
    /// All pairs fail.
    AllCut,
    /// All pairs fail but one.
    AllButOneCut,
    /// All links work again as they should.
    Healed,
    /// A direction delays, reorders, loses, repeats and corrupts packets.
    Noise,
    /// A provider lets no foreign source pass, and a host sends by it alone (RFC 3704).
    IngressFiltered,
    /// A host sends each packet by the provider of its source again.
    FilterLifted,
    /// Shim6 of a host starts again and remembers nothing.
    Restart,
    /// A host slept for up to an hour.
    ClockJump,
    /// An address stops to work while its connections stay, or works again.
    AddressToggled,
    /// A host loses an address for good, and the connections that live on it.
    AddressLost,
    /// An address goes out of use, and works for those who use it still.
    AddressDeprecated,
    /// A host has all its addresses again.
    AddressesRestored,
    /// A host says how gladly it is reached at an address.
    PreferenceTold,
    /// A host forks the context of a flow, and sends the flow on the fork, or gives it another mark.
    Forked,
    /// A host takes the fork of a flow back.
    ForkEnded,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 18] = [
        Self::PairCut,
        Self::OneWayCut,
        Self::CurrentCut,
        Self::AllCut,
        Self::AllButOneCut,
        Self::Healed,
        Self::Noise,
        Self::IngressFiltered,
        Self::FilterLifted,
        Self::Restart,
        Self::ClockJump,
        Self::AddressToggled,
        Self::AddressLost,
        Self::AddressDeprecated,
        Self::AddressesRestored,
        Self::PreferenceTold,
        Self::Forked,
        Self::ForkEnded,
    ];

    /// One that `life` draws.
    pub(super) fn any(life: &mut Life) -> Self {
        Self::ALL[life.random(Self::ALL.len() as u64) as usize]
    }

    /// Makes it happen to some host or pair of `life`.
    pub(super) fn befall(self, life: &mut Life) {
        let (from, to) = life.some_direction();
        let pair = life.some_pair(from, to);
        let world = &mut life.scene.world;
        match self {
            Self::PairCut => world.cut(pair),
            Self::OneWayCut => world.cut_one_way(pair),
            Self::CurrentCut => {
                for context in world.contexts(from) {
                    world.cut_one_way(Pair {
                        source: context.current.local,
                        destination: context.current.peer,
                    });
                }
            }
            Self::AllCut => {
                for pair in world.pairs(from, to) {
                    world.cut(pair);
                }
            }
            Self::AllButOneCut => life.cut_all_but(pair),
            Self::Healed => world.heal(),
            Self::Noise => life.make_noise(pair),
            Self::IngressFiltered => {
                let provider = world.random(u64::from(life.providers)) as u16;
                world.filter_ingress(from, Some(prefix(from.0 as u16, provider)));
            }
            Self::FilterLifted => world.filter_ingress(from, None),
            Self::Restart => world.restart(from),
            Self::ClockJump => {
                let span = secs(1 + world.random(3_600));
                world.jump_clock(from, span);
            }
            Self::AddressToggled => life.toggle_address(from),
            Self::AddressLost => life.lose_address(from),
            Self::AddressDeprecated => {
                let count = world.locators(from).len();
                let index = world.random(count as u64) as usize;
                world.deprecate(from, index);
            }
            Self::AddressesRestored => life.restore_addresses(from),
            Self::PreferenceTold => life.tell_preference(from),
            Self::Forked => life.fork(),
            Self::ForkEnded => life.end_fork(),
        }
    }
}

impl Life {
    /// Cuts all pairs in both directions, and mends this one.
    pub(super) fn cut_all_but(&mut self, kept: Pair) {
        for pair in self.scene.world.pairs(self.scene.a, self.scene.b) {
            if pair == kept || pair == kept.reversed() {
                self.scene.world.mend(pair);
            } else {
                self.scene.world.cut(pair);
            }
        }
    }

    fn make_noise(&mut self, pair: Pair) {
        let noise = Link {
            up: true,
            delay: Duration::from_millis(1 + self.random(300)),
            jitter: Duration::from_millis(self.random(500)),
            loss: self.random(500) as u32,
            duplication: self.random(200) as u32,
            corruption: self.random(100) as u32,
        };
        self.scene.world.set_link(pair, |link| *link = noise);
    }

    /// An address that is in use goes out of use, or the other way round.
    fn toggle_address(&mut self, host: HostId) {
        let mut locators = self.scene.world.locators(host).to_vec();
        let index = self.random(locators.len() as u64) as usize;
        locators[index].usable = !locators[index].usable;
        self.scene.world.set_locators(host, locators);
    }

    /// An address goes, unless it is the last.
    fn lose_address(&mut self, host: HostId) {
        let mut locators = self.scene.world.locators(host).to_vec();
        if locators.len() > 1 {
            let index = self.random(locators.len() as u64) as usize;
            locators.remove(index);
            self.scene.world.set_locators(host, locators);
        }
    }

    /// Sends some flow on a fork of its context, which begins on some pair; where there is no context, or
    /// the fork is there already, the mark alone is new.
    fn fork(&mut self) {
        let mark = 1 + self.random(MARKS) as u32;
        let index = self.some_flow();
        self.flows[index].mark = mark;
        let Sent {
            flow,
            sender,
            ulids,
            ..
        } = self.flows[index];
        let receiver = if sender == self.scene.a {
            self.scene.b
        } else {
            self.scene.a
        };
        let pair = self.some_pair(sender, receiver);
        // A refusal is one of the things that befall hosts.
        let _ = self.scene.world.fork(sender, ulids, mark, pair);
        self.scene.world.mark(flow, mark);
    }

    /// Takes back a fork that there may be.
    fn end_fork(&mut self) {
        let mark = 1 + self.random(MARKS) as u32;
        let index = self.some_flow();
        let Sent { sender, ulids, .. } = self.flows[index];
        self.scene.world.end_fork(sender, ulids, mark);
    }

    fn tell_preference(&mut self, host: HostId) {
        let flags = match self.random(4) {
            0 => PreferenceFlags::BROKEN,
            1 => PreferenceFlags::TRANSIENT,
            _ => PreferenceFlags::default(),
        };
        let preference = Preference {
            flags,
            priority: self.random(4) as u8,
            weight: self.random(4) as u8,
        };
        let mut locators = self.scene.world.locators(host).to_vec();
        let index = self.random(locators.len() as u64) as usize;
        locators[index].preference = preference;
        self.scene.world.set_locators(host, locators);
    }
}
