//! The modifier search of a CGA (RFC 3972 §4, step 2) against plain loops over SHA-1 crates.
//!
//! All hash the same 187 octets, the Hash2 input of an RSA-1024 key, with a new modifier each time,
//! and look for leading zeros.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use sha1::{Digest, Sha1};
use shim6_cga::{Backend, Search};

/// Octets of the DER SubjectPublicKeyInfo of an RSA-1024 key.
const KEY_LEN: usize = 162;
/// Octets of modifier, subnet prefix, collision count and key.
pub const INPUT_LEN: usize = 16 + 8 + 1 + KEY_LEN;
/// Hashes per measured call: a few milliseconds, as the program slices its searches.
pub const TRIES: u64 = 1 << 14;
/// Tries `TRIES` modifiers.
pub type Run = Box<dyn FnMut() + Send>;

/// One thread's work for each contender, the references first.
pub fn contenders() -> Vec<(String, Run)> {
    let mut contenders: Vec<(String, Run)> = vec![
        (
            "sha1".into(),
            plain_loop(|input| Sha1::digest(input).into()),
        ),
        ("ring".into(), plain_loop(digest_by_ring)),
    ];
    for backend in Backend::available() {
        let mut search = search(backend);
        let run = move || {
            black_box(search.step(TRIES));
        };
        contenders.push((backend.to_string(), Box::new(run)));
    }
    contenders
}

/// Sec 2: good modifiers are too rare to end a call early.
pub fn search(backend: Backend) -> Search {
    Search::new(&[0x5a; KEY_LEN], &[], 2, [1; 16])
        .expect("Sec 2 is supported")
        .with_backend(backend)
}

fn plain_loop(hash: impl Fn(&[u8; INPUT_LEN]) -> [u8; 20] + Send + 'static) -> Run {
    let mut input = [0x5a; INPUT_LEN];
    input[16..25].fill(0);
    let mut modifier = 1_u128;
    Box::new(move || {
        for _ in 0..TRIES {
            input[..16].copy_from_slice(&modifier.to_be_bytes());
            modifier += 1;
            black_box(hash(&input)[..4] == [0; 4]);
        }
    })
}

fn digest_by_ring(input: &[u8; INPUT_LEN]) -> [u8; 20] {
    let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, input);
    digest.as_ref().try_into().expect("SHA-1 has 20 octets")
}

/// How long it takes until each of the runs, on a thread of its own, was called so many times.
pub fn together(runs: impl Iterator<Item = impl FnMut() + Send>, calls: u64) -> Duration {
    let start = Instant::now();
    thread::scope(|scope| {
        for mut run in runs {
            scope.spawn(move || {
                for _ in 0..calls {
                    run();
                }
            });
        }
    });
    start.elapsed()
}
