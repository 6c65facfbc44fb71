//! Hosts without a network: what one sends is put into the other's hands.

use std::net::Ipv6Addr;
use std::sync::Arc;

use rand_chacha::ChaCha20Rng;
use shim6_cga::{Pds, SigningKey, SubnetPrefix, generate_cga, generate_hba};
use shim6_core::{Config, Endpoint, Event, Instant, LocalLocator, Transmit, UlidPair, VolumeOrAge};
use shim6_wire::{NO_NEXT_HEADER, Preference, SHIM6};

/// How a host proves its locators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// An HBA set: hashes alone.
    Hba,
    /// An HBA set with a public key in it: hashes alone, as long as the set does not change.
    CgaCompatibleHba,
    /// CGAs of one key, and a signature.
    Cga,
}

/// A host with `prefixes`, a locator in each; the first is its ULID.
pub(crate) fn locators(
    proof: Proof,
    key: &Arc<SigningKey>,
    prefixes: &[SubnetPrefix],
    rng: &mut ChaCha20Rng,
) -> Vec<LocalLocator> {
    let set: Vec<(Ipv6Addr, Pds)> = match proof {
        Proof::Hba => generate_hba(prefixes, None, 0, rng).expect("Sec 0"),
        Proof::CgaCompatibleHba => generate_hba(prefixes, Some(key), 0, rng).expect("Sec 0"),
        Proof::Cga => prefixes
            .iter()
            .map(|&prefix| generate_cga(key, prefix, 0, rng).expect("Sec 0"))
            .collect(),
    };
    let key = Some(key).filter(|_| proof != Proof::Hba);
    set.into_iter()
        .map(|(address, pds)| LocalLocator {
            address,
            pds: Arc::new(pds),
            key: key.cloned(),
            usable: true,
            preference: Preference::default(),
        })
        .collect()
}

/// Prefixes of host number `host`, each of another provider; no two hosts are of one site.
pub(crate) fn prefixes(host: u32, providers: u8) -> Vec<SubnetPrefix> {
    let [h0, h1, h2, h3] = host.to_be_bytes();
    (0..providers)
        .map(|provider| [0x20 | (h0 & 0xf), h1, h2, h3, provider, 0, 0, 1])
        .collect()
}

/// A host that no budget stops: the benches are the only ones to talk to it. Its tags hang on
/// `seed`.
pub(crate) fn host(locators: &[LocalLocator], seed: u32) -> Endpoint {
    let config = Config {
        answers_per_second: u32::MAX,
        verifications_per_second: u32::MAX,
        contexts_max: usize::MAX,
        contexts_per_site_max: usize::MAX,
        ..Config::default()
    };
    let mut octets = [0; 32];
    octets[..4].copy_from_slice(&seed.to_be_bytes());
    let mut endpoint = Endpoint::new(config, Box::new(VolumeOrAge::default()), octets);
    endpoint.handle_local_locators(NOW, locators);
    endpoint
}

/// The pair of ULIDs of two hosts, as the first sees it.
pub(crate) fn ulids(local: &[LocalLocator], peer: &[LocalLocator]) -> UlidPair {
    UlidPair {
        local: local[0].address,
        peer: peer[0].address,
    }
}

/// I1, R1, I2, R2.
pub(crate) fn negotiate(initiator: &mut Endpoint, responder: &mut Endpoint, ulids: UlidPair) {
    begin(initiator, responder, ulids);
    deliver(initiator, responder);
    deliver(responder, initiator);
}

/// I1 and R1; the I2 waits at the initiator.
pub(crate) fn begin(initiator: &mut Endpoint, responder: &mut Endpoint, ulids: UlidPair) {
    assert!(
        initiator.handle_trigger(NOW, ulids),
        "a context for {ulids}"
    );
    deliver(initiator, responder);
    deliver(responder, initiator);
}

fn deliver(from: &mut Endpoint, to: &mut Endpoint) {
    while let Some(transmit) = from.poll_transmit() {
        to.handle_packet(NOW, &packet(&transmit));
    }
}

/// Takes what a host has to say to others than its peer; whether a context was established.
pub(crate) fn settle(endpoint: &mut Endpoint) -> bool {
    while endpoint.poll_flow_update().is_some() {}
    let events = std::iter::from_fn(|| endpoint.poll_event());
    events.fold(false, |up, event| {
        up | matches!(event, Event::Established { .. })
    })
}

/// The packet of a message (RFC 8200 §3).
pub(crate) fn packet(transmit: &Transmit) -> Vec<u8> {
    debug_assert_eq!(transmit.message[0], NO_NEXT_HEADER);
    let mut octets = vec![0x60, 0, 0, 0];
    octets.extend((transmit.message.len() as u16).to_be_bytes());
    octets.extend([SHIM6, 64]);
    octets.extend(transmit.source.octets());
    octets.extend(transmit.destination.octets());
    octets.extend(&transmit.message);
    octets
}

/// When everything happens: nothing here waits.
pub(crate) const NOW: Instant = Instant::from_micros(1_000_000);
