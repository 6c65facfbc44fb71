//! The ruleset against the kernel: what it counts, what it queues, what it leaves alone.

mod counting;
mod loading;
mod queueing;
mod triggers;

use std::net::{Ipv6Addr, UdpSocket};
use std::time::Duration;

use crate::support::{HOST, PEER, accept};
use shimq_netfilter::queue::{BatchQueue, Queue};
use shimq_netfilter::rules::{
    AddressPair, Change, Direction, Exclusions, InputHook, Mode, Prefix, RulesetConfig, Trigger,
};

fn address(text: &str) -> Ipv6Addr {
    text.parse().expect("an address")
}

fn host_and_peer() -> AddressPair {
    AddressPair {
        local: address(HOST),
        peer: address(PEER),
    }
}

/// Sends a datagram from [`HOST`] to `port` of [`PEER`], where nobody listens.
fn send_to(port: u16, payload: &[u8]) {
    let socket = UdpSocket::bind((HOST, 0)).unwrap();
    socket.send_to(payload, (PEER, port)).unwrap();
}

/// Packets that wait in the queue; they are judged.
fn queued(queue: &mut BatchQueue) -> u32 {
    let mut packets = 0;
    loop {
        let served = queue.serve(Some(Duration::ZERO), &mut accept).unwrap();
        if served.packets == 0 {
            return packets;
        }
        packets += served.packets;
    }
}

fn configurations() -> impl Iterator<Item = RulesetConfig> {
    let counted = RulesetConfig::default().trigger;
    let triggers = [counted, Trigger::Everything, Trigger::Never];
    let queue_all = (Mode::QueueAll, counted);
    let modes = triggers.map(|trigger| (Mode::Queue, trigger));
    modes
        .into_iter()
        .chain([queue_all])
        .flat_map(|(mode, trigger)| {
            [InputHook::Input, InputHook::Prerouting].map(|input_hook| RulesetConfig {
                mode,
                trigger,
                input_hook,
                ..RulesetConfig::default()
            })
        })
        .chain([RulesetConfig {
            excluded: Exclusions {
                peers: Prefix::new(address(PEER), 64).into_iter().collect(),
                ports: vec![53],
                marks: vec![0x10],
                users: vec![1001],
            },
            ..RulesetConfig::default()
        }])
}

/// Counts a context in both directions, or ceases to.
fn both(change: fn(AddressPair, Direction) -> Change, pair: AddressPair) -> [Change; 2] {
    [Direction::Out, Direction::In].map(|direction| change(pair, direction))
}
