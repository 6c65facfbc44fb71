//! The modifier search of a CGA (RFC 3972 §4, step 2) against plain loops over SHA-1 crates.
//!
//! Ratios that hold even where the machine's speed drifts are in `make costs`, where all of them
//! take turns.

#![allow(missing_docs, reason = "criterion's macros make items without")]

use std::hint::black_box;
use std::thread;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use shim6_cga::Backend;
use shimq_benches::modifier_search::{TRIES, contenders, search, together};

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

criterion_group!(benches, cga_search);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
}
