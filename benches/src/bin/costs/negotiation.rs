//! How much computing a context costs both hosts together, from the first I1 to the R2.
//!
//! What Figure 7 of the LinShim6 papers shows: without security, with HBA sets and with CGAs, for
//! hosts of several locators. There, the responder signed while the initiator waited; here, hosts
//! sign when their addresses change, so that is measured apart.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use rand_chacha::ChaCha20Rng;
use serde::Serialize;
use shim6_cga::SigningKey;
use shim6_core::{Endpoint, LocalLocator};
use shim6_wire::Message;

use crate::exchange::{self, Proof};
use crate::median;

/// A way to prove locators.
#[derive(Clone, Debug)]
pub(crate) struct Security {
    name: &'static str,
    /// `None`: the messages are written and read, and nothing in them is looked at.
    proof: Option<Proof>,
    key: Arc<SigningKey>,
}

impl Security {
    /// All of them; keys of 1024 and of 2048 bits.
    pub(crate) fn all(small: &Arc<SigningKey>, large: &Arc<SigningKey>) -> [Self; 5] {
        let of = |name, proof, key: &Arc<SigningKey>| Self {
            name,
            proof,
            key: Arc::clone(key),
        };
        [
            of("none", None, small),
            of("HBA", Some(Proof::Hba), small),
            of("CGA-compatible HBA", Some(Proof::CgaCompatibleHba), small),
            of("CGA, 1024 bits", Some(Proof::Cga), small),
            of("CGA, 2048 bits", Some(Proof::Cga), large),
        ]
    }
}

/// Medians in microseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) security: &'static str,
    /// Of each host.
    pub(crate) locators: u8,
    /// Both hosts sign their lists for this exchange.
    pub(crate) signing_us: f64,
    /// The responder has its signature at hand.
    pub(crate) responder_cached_us: f64,
    /// Both have, as in the daemon.
    pub(crate) cached_us: f64,
}

/// Measures each way with 2, 5 and 10 locators; all take turns.
pub(crate) fn measure(
    securities: &[Security],
    rounds: usize,
    rng: &mut ChaCha20Rng,
    progress: impl Fn(),
) -> Vec<Row> {
    let mut scenes: Vec<Scene> = securities
        .iter()
        .flat_map(|security| LOCATORS.map(|locators| Scene::new(security, locators, rng)))
        .collect();
    for _ in 0..rounds {
        for scene in &mut scenes {
            scene.play();
        }
        progress();
    }
    scenes.into_iter().map(Scene::row).collect()
}

/// Two hosts that negotiate again and again, each time as if for the first time.
struct Scene {
    security: Security,
    locators: u8,
    initiator: Vec<LocalLocator>,
    responder: Vec<LocalLocator>,
    signing_us: Vec<f64>,
    responder_cached_us: Vec<f64>,
    cached_us: Vec<f64>,
}

impl Scene {
    fn new(security: &Security, locators: u8, rng: &mut ChaCha20Rng) -> Self {
        let proof = security.proof.unwrap_or(Proof::Hba);
        let mut host = |number| {
            let prefixes = exchange::prefixes(number, locators);
            exchange::locators(proof, &security.key, &prefixes, rng)
        };
        Self {
            initiator: host(1),
            responder: host(2),
            security: security.clone(),
            locators,
            signing_us: Vec::new(),
            responder_cached_us: Vec::new(),
            cached_us: Vec::new(),
        }
    }

    fn play(&mut self) {
        if self.security.proof.is_none() {
            let messages = self.messages();
            let took = micros(|| {
                for message in &messages {
                    black_box(Message::parse(&message.emit()).is_ok());
                }
            });
            for times in [
                &mut self.signing_us,
                &mut self.responder_cached_us,
                &mut self.cached_us,
            ] {
                times.push(took);
            }
            return;
        }
        let (a, b) = (&self.initiator, &self.responder);
        self.signing_us.push(micros(|| {
            self.negotiate(&mut exchange::host(a, 1), &mut exchange::host(b, 2));
        }));
        let mut responder = exchange::host(b, 2);
        self.responder_cached_us.push(micros(|| {
            self.negotiate(&mut exchange::host(a, 1), &mut responder);
        }));
        let (mut initiator, mut responder) = (exchange::host(a, 1), exchange::host(b, 2));
        self.cached_us
            .push(micros(|| self.negotiate(&mut initiator, &mut responder)));
        assert!(exchange::settle(&mut initiator) && exchange::settle(&mut responder));
    }

    fn negotiate(&self, initiator: &mut Endpoint, responder: &mut Endpoint) {
        let ulids = exchange::ulids(&self.initiator, &self.responder);
        exchange::negotiate(initiator, responder, ulids);
    }

    /// The messages of an exchange.
    fn messages(&self) -> Vec<Message> {
        let (mut a, mut b) = (
            exchange::host(&self.initiator, 1),
            exchange::host(&self.responder, 2),
        );
        let ulids = exchange::ulids(&self.initiator, &self.responder);
        assert!(a.handle_trigger(exchange::NOW, ulids));
        let mut messages = Vec::new();
        for turn in 0..4 {
            let (from, to) = match turn % 2 {
                0 => (&mut a, &mut b),
                _ => (&mut b, &mut a),
            };
            let transmit = from.poll_transmit().expect("a message");
            to.handle_packet(exchange::NOW, &exchange::packet(&transmit));
            messages.push(Message::parse(&transmit.message).expect("our own"));
        }
        messages
    }

    fn row(self) -> Row {
        Row {
            security: self.security.name,
            locators: self.locators,
            signing_us: median(self.signing_us),
            responder_cached_us: median(self.responder_cached_us),
            cached_us: median(self.cached_us),
        }
    }
}

fn micros(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1e6
}

/// Locators of each host.
const LOCATORS: [u8; 3] = [2, 5, 10];
