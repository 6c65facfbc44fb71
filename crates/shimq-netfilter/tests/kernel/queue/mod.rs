//! Queues against the kernel: packets really cross them.

mod opening;
mod overload;
mod passage;
mod waiting;

use std::net::{Ipv6Addr, UdpSocket};
use std::time::Duration;

use crate::support::{HOST, PEER, wait_for};
use shimq_netfilter::queue::{
    BatchQueue, PlainQueue, Queue, QueueConfig, QueueError, QueuedPacket, Verdict,
};
use shimq_netfilter::rules::{AddressPair, Change, InputHook, Mode, Ruleset, RulesetConfig};

const OBSERVE: u16 = 7000;
const REWRITE: u16 = 7100;
const TICK: Duration = Duration::from_millis(200);

type Open = fn(&QueueConfig) -> Result<Box<dyn Queue>, QueueError>;

/// Both implementations: what is true of one is true of the other.
const BACKENDS: [(&str, Open); 2] = [
    ("batch", |config| Ok(Box::new(BatchQueue::open(config)?))),
    ("plain", |config| Ok(Box::new(PlainQueue::open(config)?))),
];

fn rules(mode: Mode, input_hook: InputHook) -> Ruleset {
    let config = RulesetConfig {
        mode,
        input_hook,
        observe: OBSERVE..OBSERVE + 1,
        rewrite: REWRITE..REWRITE + 1,
        ..RulesetConfig::default()
    };
    Ruleset::load(&config).expect("the ruleset loads")
}

/// Every packet of [`HOST`] to the queue [`OBSERVE`].
fn queue_all() -> Ruleset {
    let mut rules = rules(Mode::QueueAll, InputHook::Input);
    rules.apply(&[Change::AddIdentity(address(HOST))]).unwrap();
    rules
}

fn address(text: &str) -> Ipv6Addr {
    text.parse().expect("an address")
}

fn pair(local: &str, peer: &str) -> AddressPair {
    AddressPair {
        local: address(local),
        peer: address(peer),
    }
}

/// Sends `count` datagrams from [`HOST`] to [`PEER`], where nobody listens.
fn send(payload: &[u8], count: usize) {
    let socket = UdpSocket::bind((HOST, 0)).unwrap();
    for _ in 0..count {
        socket.send_to(payload, (PEER, 9)).unwrap();
    }
}

/// Serves until `packets` were judged.
fn serve(
    queue: &mut dyn Queue,
    packets: u32,
    mut judge: impl FnMut(&mut QueuedPacket<'_>) -> Verdict,
) {
    let mut judged = 0;
    wait_for("packets in the queue", || {
        judged += queue.serve(Some(TICK), &mut judge).unwrap().packets;
        judged >= packets
    });
    assert_eq!(judged, packets);
}
