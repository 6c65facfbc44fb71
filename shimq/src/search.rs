//! The modifier search on as many threads as asked, for the daemon and the tools.

use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::setpriority_process;
use shim6_cga::{Modifier, Search};

/// Modifiers that a thread tries before it looks around: some milliseconds at the slowest.
const SLICE: u64 = 1 << 14;

/// The nice value of the search threads: packets and people come first.
const NICE: i32 = 10;

/// One thread for each processor that this program may use.
pub(crate) fn all_processors() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Searches on `threads` threads until one of them finds a modifier, or `go_on` says no: then
/// `None`.
///
/// The threads call `go_on` after each slice with the tries that it took.
pub(crate) fn search(
    search: &Search,
    threads: NonZeroUsize,
    go_on: impl Fn(u64) -> bool + Sync,
) -> Option<Modifier> {
    let found = OnceLock::new();
    let ended = AtomicBool::new(false);
    let work = |mut part: Search| {
        // On Linux this is for the calling thread alone. Where it is refused, the search is just
        // less polite.
        let _ = setpriority_process(None, NICE);
        while !ended.load(Ordering::Relaxed) {
            let before = part.tries();
            let modifier = part.step(SLICE);
            if !go_on(part.tries() - before) || modifier.is_some() {
                ended.store(true, Ordering::Relaxed);
            }
            if let Some(modifier) = modifier {
                // Another thread may have been first; one is as good as the other.
                let _ = found.set(modifier);
            }
        }
    };
    thread::scope(|scope| {
        for part in search.split(threads.get()) {
            scope.spawn(|| work(part));
        }
    });
    found.into_inner()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::time::{Duration, Instant};

    use shim6_cga::{form_address, random_nonce, verify_cga};

    use super::*;

    fn nonce() -> Vec<u8> {
        use rand_core::SeedableRng;
        random_nonce(&mut rand_chacha::ChaCha20Rng::seed_from_u64(1))
    }

    #[test]
    fn what_any_number_of_threads_finds_is_good() {
        let nonce = nonce();
        let whole = Search::new(&nonce, &[], 1, [3; 16]).unwrap();
        for threads in 1..=3 {
            let threads = NonZeroUsize::new(threads).unwrap();
            let tries = AtomicU64::new(0);
            let modifier = search(&whole, threads, |slice| {
                tries.fetch_add(slice, Ordering::Relaxed);
                true
            })
            .unwrap();
            let (address, pds) = form_address(modifier, [0x20; 8], 0, &nonce, &[], 1).unwrap();
            assert_eq!(verify_cga(address, &pds), Ok(()));
            assert!(tries.into_inner() > 0);
        }
    }

    #[test]
    fn a_search_that_nobody_wants_any_more_ends_at_once() {
        let whole = Search::new(&nonce(), &[], 2, [3; 16]).unwrap();
        let wanted = AtomicBool::new(true);
        let slices = AtomicU64::new(0);
        thread::scope(|scope| {
            let running = scope.spawn(|| {
                let go_on = |_| {
                    slices.fetch_add(1, Ordering::Relaxed);
                    wanted.load(Ordering::Relaxed)
                };
                let found = search(&whole, NonZeroUsize::new(2).unwrap(), go_on);
                (found, Instant::now())
            });
            let deadline = Instant::now() + Duration::from_secs(20);
            while slices.load(Ordering::Relaxed) < 4 {
                assert!(Instant::now() < deadline, "no slice within 20 s");
                thread::yield_now();
            }
            let told = Instant::now();
            wanted.store(false, Ordering::Relaxed);
            let (found, ended) = running.join().unwrap();
            assert_eq!(found, None);
            assert!(
                ended - told < Duration::from_millis(500),
                "{:?}",
                ended - told
            );
        });
    }
}
