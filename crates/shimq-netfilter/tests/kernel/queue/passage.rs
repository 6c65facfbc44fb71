//! What packets go through, and what a judge sees of them.

use std::net::UdpSocket;
use std::time::Duration;

use super::{BACKENDS, OBSERVE, REWRITE, address, pair, queue_all, rules, send, serve};
use crate::support::{HOST, PEER, Peer, close, enter_namespace, run};
use shimq_netfilter::queue::{HEADROOM, Hook, QueueConfig, QueuedPacket, Verdict, statistics};
use shimq_netfilter::rules::{Change, InputHook, Mode};
use shimq_testbed::uninterrupted;

/// The peer's socket, which waits five seconds for a datagram.
fn receiver() -> UdpSocket {
    let socket = UdpSocket::bind((PEER, 0)).unwrap();
    let patience = Duration::from_secs(5);
    socket.set_read_timeout(Some(patience)).unwrap();
    socket
}

/// Inserts 8 octets behind the IPv6 header, as protocol 140, using the headroom.
fn tag(packet: &mut QueuedPacket<'_>) -> Verdict {
    let start = packet.start - HEADROOM;
    packet
        .buf
        .copy_within(packet.start..packet.start + 40, start);
    let header = &mut packet.buf[start..start + 48];
    let next = header[6];
    header[6] = 140;
    header[40..].copy_from_slice(&[next, 0, 0x80, 0, 0, 0, 0, 1]);
    let len = u16::from_be_bytes([header[4], header[5]]) + 8;
    header[4..6].copy_from_slice(&len.to_be_bytes());
    Verdict::Rewrite(start..packet.end)
}

/// Undoes [`tag`].
fn untag(packet: &mut QueuedPacket<'_>) -> Verdict {
    let start = packet.start + 8;
    let next = packet.buf[packet.start + 40];
    packet
        .buf
        .copy_within(packet.start..packet.start + 40, start);
    let header = &mut packet.buf[start..start + 40];
    header[6] = next;
    let len = u16::from_be_bytes([header[4], header[5]]) - 8;
    header[4..6].copy_from_slice(&len.to_be_bytes());
    Verdict::Rewrite(start..packet.end)
}

#[test]
fn a_packet_grows_by_a_header_on_the_way_out_and_loses_it_on_the_way_in() {
    if !enter_namespace() {
        return;
    }
    run("ip -6 addr add 2001:db8::1/128 dev lo nodad");
    run("ip -6 addr add 2001:db8::2/128 dev lo nodad");
    for (name, open) in BACKENDS {
        for (hook, arrived_at) in [
            (InputHook::Input, Hook::LocalIn),
            (InputHook::Prerouting, Hook::PreRouting),
        ] {
            let mut queue = open(&QueueConfig::rewrite(REWRITE)).unwrap();
            let mut rules = rules(Mode::Queue, hook);
            rules
                .apply(&[
                    Change::AddIdentity(address(HOST)),
                    Change::AddIdentity(address(PEER)),
                    Change::Map(pair(HOST, PEER)),
                ])
                .unwrap();
            let receiver = receiver();
            let outgoing = UdpSocket::bind((HOST, 0)).unwrap();
            let to = receiver.local_addr().unwrap();
            // Odd lengths leave padding behind the attribute. 80 packets take two wake-ups; with more of them in the
            // queue a socket blocks.
            let sent: Vec<Vec<u8>> = (0..80).map(|n: usize| vec![n as u8; n * 7]).collect();
            for payload in &sent {
                outgoing.send_to(payload, to).unwrap();
            }
            let mut seen = vec![];
            serve(queue.as_mut(), 160, |packet| {
                assert!(!packet.truncated && !packet.segmented && !packet.checksum_missing);
                seen.push((packet.hook, packet.octets().len()));
                match packet.octets()[6] {
                    140 => untag(packet),
                    _ => tag(packet),
                }
            });
            let lengths = |hook| -> Vec<_> {
                let at_hook = seen.iter().filter(|(seen, _)| *seen == hook);
                at_hook.map(|(_, len)| *len).collect()
            };
            let out = lengths(Hook::LocalOut);
            assert_eq!(
                out,
                sent.iter().map(|p| 48 + p.len()).collect::<Vec<_>>(),
                "{name}"
            );
            assert_eq!(
                lengths(arrived_at),
                out.iter().map(|len| len + 8).collect::<Vec<_>>()
            );
            let mut buf = [0; 2048];
            for payload in &sent {
                let len = uninterrupted(|| receiver.recv(&mut buf)).expect(name);
                assert_eq!(&buf[..len], payload, "{name}");
            }
            close((queue, rules));
        }
    }
}

#[test]
fn accepted_rewritten_and_dropped_packets_may_alternate() {
    if !enter_namespace() {
        return;
    }
    run("ip -6 addr add 2001:db8::1/128 dev lo nodad");
    run("ip -6 addr add 2001:db8::2/128 dev lo nodad");
    for (name, open) in BACKENDS {
        let mut queue = open(&QueueConfig::rewrite(REWRITE)).unwrap();
        let mut rules = rules(Mode::Queue, InputHook::Input);
        let changes = [
            Change::AddIdentity(address(HOST)),
            Change::Map(pair(HOST, PEER)),
        ];
        rules.apply(&changes).unwrap();
        let receiver = receiver();
        let outgoing = UdpSocket::bind((HOST, 0)).unwrap();
        for number in 0..60_u8 {
            outgoing
                .send_to(&[number], receiver.local_addr().unwrap())
                .unwrap();
        }
        serve(queue.as_mut(), 60, |packet| {
            let last = packet.end - 1;
            match packet.buf[last] % 5 {
                0 | 1 => Verdict::Accept,
                2 => {
                    // One up in the payload, one down in the checksum.
                    packet.buf[last] += 100;
                    let checksum = &mut packet.buf[packet.start + 46..packet.start + 48];
                    let sum = u16::from_be_bytes([checksum[0], checksum[1]]);
                    let (sum, carried) = sum.overflowing_sub(100 << 8);
                    checksum.copy_from_slice(&(sum - u16::from(carried)).to_be_bytes());
                    Verdict::Rewrite(packet.start..packet.end)
                }
                _ => Verdict::Drop,
            }
        });
        let mut expected: Vec<u8> = (0..60).filter(|number| number % 5 < 3).collect();
        for number in &mut expected {
            *number += if *number % 5 == 2 { 100 } else { 0 };
        }
        let mut buf = [0; 8];
        let arrived: Vec<u8> = expected
            .iter()
            .map(|_| {
                uninterrupted(|| receiver.recv(&mut buf)).expect(name);
                buf[0]
            })
            .collect();
        assert_eq!(arrived, expected, "{name}");
        assert_eq!(statistics().unwrap()[0].waiting, 0, "{name}");
        close((queue, rules));
    }
}

#[test]
fn an_observer_sees_the_head_of_a_packet_and_its_whole_length() {
    if !enter_namespace() {
        return;
    }
    let _peer = Peer::connect();
    for (name, open) in BACKENDS {
        let mut queue = open(&QueueConfig::observe(OBSERVE)).unwrap();
        let rules = queue_all();
        send(&[7; 1000], 1);
        serve(queue.as_mut(), 1, |packet| {
            assert_eq!(packet.octets().len(), 128, "{name}");
            assert_eq!(packet.original_len, 1048);
            assert!(packet.truncated && packet.checksum_missing);
            assert_eq!((packet.hook, packet.mark), (Hook::LocalOut, 0));
            Verdict::Accept
        });
        close((queue, rules));
    }
}
