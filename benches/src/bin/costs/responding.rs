//! What an I2 costs a responder that holds many contexts, beside one verification of its signature.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use rand_chacha::ChaCha20Rng;
use ring::signature::{RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY, UnparsedPublicKey};
use serde::Serialize;
use shim6_cga::SigningKey;
use shim6_core::{Endpoint, LocalLocator};

use crate::exchange::{self, NOW, Proof};
use crate::median;

/// With so many contexts at the responder.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) contexts: u64,
    /// From the arrival of the I2 to the R2, with CGAs of 1024 bits and two locators.
    pub(crate) i2_us: f64,
    /// One RSA verification by ring, in turn with the I2s.
    pub(crate) ring_us: f64,
}

impl Row {
    /// What the I2 costs beside the verification.
    pub(crate) fn beside_us(&self) -> f64 {
        self.i2_us - self.ring_us
    }
}

/// Measures with 1, 1000 and 100 000 contexts.
pub(crate) fn measure(
    key: &Arc<SigningKey>,
    rng: &mut ChaCha20Rng,
    progress: impl Fn(),
) -> Vec<Row> {
    let own = exchange::locators(Proof::Cga, key, &exchange::prefixes(0, 2), rng);
    let mut responder = exchange::host(&own, 0);
    let (mut rows, mut hosts) = (Vec::new(), 0_u32);
    for contexts in [1, 1_000, 100_000] {
        while responder.counters().contexts_created < contexts {
            hosts += 1;
            let peer = exchange::locators(Proof::Hba, key, &exchange::prefixes(hosts, 2), rng);
            let mut initiator = exchange::host(&peer, hosts);
            let ulids = exchange::ulids(&peer, &own);
            exchange::negotiate(&mut initiator, &mut responder, ulids);
            assert!(exchange::settle(&mut responder));
        }
        rows.push(row(contexts, key, &own, &mut responder, &mut hosts, rng));
        progress();
    }
    rows
}

fn row(
    contexts: u64,
    key: &Arc<SigningKey>,
    own: &[LocalLocator],
    responder: &mut Endpoint,
    hosts: &mut u32,
    rng: &mut ChaCha20Rng,
) -> Row {
    let mut i2s = Vec::new();
    for _ in 0..SAMPLES {
        *hosts += 1;
        let peer = exchange::locators(Proof::Cga, key, &exchange::prefixes(*hosts, 2), rng);
        let mut initiator = exchange::host(&peer, *hosts);
        exchange::begin(&mut initiator, responder, exchange::ulids(&peer, own));
        let i2 = initiator.poll_transmit().expect("an I2");
        i2s.push(exchange::packet(&i2));
    }
    // The key as ring wants it is the SubjectPublicKeyInfo without its frame, 22 octets at 1024 bits.
    let public = &key.public_key()[22..];
    let public = UnparsedPublicKey::new(&RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY, public);
    let signature = key.sign(1, &[own[0].address, own[1].address], rng);
    let (mut i2_us, mut ring_us) = (Vec::new(), Vec::new());
    for i2 in &i2s {
        let start = Instant::now();
        responder.handle_packet(NOW, black_box(i2));
        let r2 = responder.poll_transmit();
        i2_us.push(start.elapsed().as_secs_f64() * 1e6);
        assert!(
            r2.is_some() && exchange::settle(responder),
            "the I2 is good"
        );

        // Of another message: a verdict is only there when all is computed.
        let start = Instant::now();
        let verdict = public.verify(black_box(&[0x5a; 56]), &signature);
        ring_us.push(start.elapsed().as_secs_f64() * 1e6);
        assert!(black_box(verdict).is_err());
    }
    Row {
        contexts,
        i2_us: median(i2_us),
        ring_us: median(ring_us),
    }
}

/// I2s at each number of contexts, each of another host.
const SAMPLES: usize = 500;
