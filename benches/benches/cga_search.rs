//! The modifier search of a CGA (RFC 3972 §4, step 2) against plain loops over SHA-1 crates.
//!
//! All hash the same 187 octets, the Hash2 input of an RSA-1024 key, with a new modifier each time,
//! and look for leading zeros. After the criterion report, a table of medians over rounds in which
//! all of them take turns, so that ratios hold even where the machine's speed drifts.

#![allow(missing_docs, reason = "criterion's macros make items without")]
#![allow(clippy::cast_precision_loss, reason = "rates are rounded anyway")]

use std::collections::BTreeSet;
use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use sha1::{Digest, Sha1};
use shim6_cga::{Backend, Search};

/// Octets of the DER SubjectPublicKeyInfo of an RSA-1024 key.
const KEY_LEN: usize = 162;
/// Octets of modifier, subnet prefix, collision count and key.
const INPUT_LEN: usize = 16 + 8 + 1 + KEY_LEN;
/// Hashes per measured call: a few milliseconds, as the program slices its searches.
const TRIES: u64 = 1 << 14;
/// Rounds of the side by side comparison.
const ROUNDS: usize = 15;

/// Tries `TRIES` modifiers.
type Run = Box<dyn FnMut() + Send>;

/// One thread's work for each contender, the references first.
fn contenders() -> Vec<(String, Run)> {
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
fn search(backend: Backend) -> Search {
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

fn cga_search(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cga/search");
    group.throughput(Throughput::Elements(TRIES));
    for (name, mut run) in contenders() {
        group.bench_function(BenchmarkId::new(name, "1 thread"), |b| b.iter(&mut run));
    }
    for threads in 2..=thread::available_parallelism().map_or(1, usize::from) {
        group.throughput(Throughput::Elements(TRIES * threads as u64));
        let parameter = format!("{threads} threads");
        group.bench_function(
            BenchmarkId::new(Backend::best().to_string(), parameter),
            |b| {
                b.iter_custom(|calls| on_threads(threads, calls));
            },
        );
    }
    group.finish();
}

/// How long it takes when each thread makes so many calls.
fn on_threads(threads: usize, calls: u64) -> Duration {
    let parts = search(Backend::best()).split(threads);
    let runs = parts.into_iter().map(|mut part| {
        move || {
            black_box(part.step(TRIES));
        }
    });
    together(runs, calls)
}

/// How long it takes until each of the runs, on a thread of its own, was called so many times.
fn together(runs: impl Iterator<Item = impl FnMut() + Send>, calls: u64) -> Duration {
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

/// Prints rates and their ratio to the sha1 crate's, on one thread and on one for each processor.
fn side_by_side() {
    /// Calls per round, for tens of milliseconds.
    const CALLS: u64 = 8;
    let all = thread::available_parallelism().map_or(1, usize::from);
    println!("{INPUT_LEN} octets, medians of {ROUNDS} rounds, million hashes per second");
    for threads in BTreeSet::from([1, all]) {
        let names: Vec<String> = contenders().into_iter().map(|(name, _)| name).collect();
        let mut rates = vec![Vec::new(); names.len()];
        for _ in 0..ROUNDS {
            for (index, rates) in rates.iter_mut().enumerate() {
                let runs = (0..threads).map(|_| contenders().swap_remove(index).1);
                rates.push(threads as f64 * rate(CALLS, together(runs, CALLS)));
            }
        }
        let rates: Vec<f64> = rates.into_iter().map(median).collect();
        for (name, rate) in names.iter().zip(&rates) {
            let ratio = rate / rates[0];
            println!("{name:>10}, threads: {threads}  {rate:7.2}  {ratio:5.2} x sha1");
        }
    }
}

/// Million hashes per second.
fn rate(calls: u64, elapsed: Duration) -> f64 {
    (calls * TRIES) as f64 / elapsed.as_secs_f64() / 1e6
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

criterion_group!(benches, cga_search);

fn main() {
    benches();
    side_by_side();
    Criterion::default().configure_from_args().final_summary();
}
