//! The modifier search: the costly part of an address (RFC 3972 §4, steps 2 and 3).
//!
//! About `2^(16 * Sec)` hashes are needed, so this is written for speed: several modifiers are hashed
//! side by side, with whatever instructions the processor has ([`Backend`]), and what does not
//! depend on the modifier is computed once (`message`). A [`Search`] is a value that its caller
//! steps and splits: threads, progress and an end before the find are the caller's.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod backend;
mod kernel;
mod message;
mod portable;

pub use backend::Backend;

use message::Message;

use crate::{CgaError, Modifier};

/// The highest Sec value that has a registered generation procedure (RFC 4982 §6).
pub(crate) const MAX_GENERATED_SEC: u8 = 2;

/// A search for a modifier whose Hash2 has `16 * Sec` leading zeros (RFC 3972 §4, steps 2 and 3).
#[derive(Clone, Debug)]
pub struct Search {
    next: u128,
    message: Message,
    backend: Backend,
    tries: u64,
}

impl Search {
    /// Starts at modifier `start`, which should be random.
    ///
    /// `public_key` is a DER SubjectPublicKeyInfo, or the nonce of [`crate::random_nonce`];
    /// `extensions` are whole extension fields.
    ///
    /// # Errors
    ///
    /// [`CgaError::Sec`] if `sec` is above 2.
    pub fn new(
        public_key: &[u8],
        extensions: &[u8],
        sec: u8,
        start: Modifier,
    ) -> Result<Self, CgaError> {
        //= https://www.rfc-editor.org/rfc/rfc4982#section-5
        //= id=C-040
        //# Each of
        //# these entries points to an RFC that defines the CGA generation
        //# procedure that MUST be used when generating CGAs with the associated
        //# Sec value.
        if sec > MAX_GENERATED_SEC {
            return Err(CgaError::Sec(sec));
        }
        Ok(Self {
            next: u128::from_be_bytes(start),
            message: Message::new(&[public_key, extensions].concat(), sec),
            backend: Backend::best(),
            tries: 0,
        })
    }

    /// The same search with other instructions than the best.
    #[must_use]
    pub fn with_backend(self, backend: Backend) -> Self {
        Self { backend, ..self }
    }

    /// Searches that share the work, one for each thread: each tries modifiers of its own.
    pub fn split(&self, parts: usize) -> Vec<Self> {
        let distance = u128::MAX / parts.max(1) as u128;
        (0..parts as u128)
            .map(|part| Self {
                next: self.next.wrapping_add(part * distance),
                tries: 0,
                ..self.clone()
            })
            .collect()
    }

    /// Tries up to `tries` modifiers and returns the first that is good.
    ///
    /// Each call continues after the last modifier tried, also when that one was good. A call is as
    /// long as `tries` says: 16384 take some milliseconds, and less with a wide [`Backend`].
    //= https://www.rfc-editor.org/rfc/rfc3972#section-4
    //= id=C-014
    //# Implementations MAY use optimized or otherwise modified versions of the above algorithm
    //# for CGA generation.
    pub fn step(&mut self, tries: u64) -> Option<Modifier> {
        let mut left = tries;
        while left > 0 {
            let [head @ .., low] = words(self.next);
            // A scan varies the last word only, and ends where that is exhausted.
            let count = left.min((1 << 32) - u64::from(low));
            let found = self.backend.scan(&self.message, head, low, count);
            let done = found.map_or(count, |before| before + 1);
            self.next = self.next.wrapping_add(u128::from(done));
            self.tries += done;
            if found.is_some() {
                return Some(self.next.wrapping_sub(1).to_be_bytes());
            }
            left -= done;
        }
        None
    }

    /// How many modifiers were tried so far.
    pub fn tries(&self) -> u64 {
        self.tries
    }
}

/// The words of a modifier, in the order in which SHA-1 takes them.
fn words(modifier: u128) -> [u32; 4] {
    std::array::from_fn(|i| (modifier >> (96 - 32 * i)) as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha1::{Digest, Sha1};

    use super::*;
    use crate::fixture::{key, rng};
    use crate::random_modifier;

    /// The backends to test; tells which ones this processor cannot run.
    fn backends() -> Vec<Backend> {
        let backends = Backend::available();
        for name in ["portable", "avx2", "avx512"] {
            if !backends.iter().any(|backend| backend.to_string() == name) {
                eprintln!("skipped: this processor has no {name}");
            }
        }
        backends
    }

    /// The first word of Hash2, by the sha1 crate.
    fn hash2(modifier: u128, tail: &[u8]) -> u32 {
        let input = [&modifier.to_be_bytes(), &[0; 9][..], tail].concat();
        let [a, b, c, d, ..] = <[u8; 20]>::from(Sha1::digest(input));
        u32::from_be_bytes([a, b, c, d])
    }

    /// Modifiers, many of them where words of the modifier run over.
    fn start() -> impl Strategy<Value = u128> {
        let carries = (any::<u128>(), 0..4_u32, 0..600_u128)
            .prop_map(|(high, words, before)| (high << (32 * words)).wrapping_sub(before));
        prop_oneof![any::<u128>(), carries]
    }

    proptest! {
        /// With masks of few bits, anywhere in the word: then finds are frequent, and no bit of it
        /// goes unchecked.
        //= https://www.rfc-editor.org/rfc/rfc3972#section-4
        //= type=test
        //= id=C-014
        //# Implementations MAY use optimized or otherwise modified versions of the above
        //# algorithm for CGA generation.
        #[test]
        fn every_backend_finds_exactly_what_the_sha1_crate_finds(
            tail in prop::collection::vec(any::<u8>(), 0..600),
            start in start(),
            bits in prop::collection::vec(0..32_u32, 0..9),
            slices in prop::collection::vec(0..200_u64, 1..6),
        ) {
            let mask = bits.iter().fold(0, |mask, bit| mask | 1 << bit);
            let total: u64 = slices.iter().sum();
            let expected: Vec<u128> = (0..u128::from(total))
                .map(|n| start.wrapping_add(n))
                .filter(|modifier| hash2(*modifier, &tail) & mask == 0)
                .collect();
            for backend in backends() {
                let mut search = Search::new(&tail, &[], 0, start.to_be_bytes())
                    .unwrap()
                    .with_backend(backend);
                search.message.mask = mask;
                let mut found = Vec::new();
                let mut end = 0;
                for slice in &slices {
                    end += slice;
                    while let Some(modifier) = search.step(end - search.tries()) {
                        found.push(u128::from_be_bytes(modifier));
                    }
                    prop_assert_eq!(search.tries(), end);
                }
                prop_assert_eq!(&found, &expected, "{}", backend);
            }
        }
    }

    #[test]
    fn every_sec_asks_for_sixteen_zero_bits_more() {
        for (sec, mask) in [(0, 0), (1, 0xffff_0000), (2, 0xffff_ffff)] {
            let search = Search::new(key().public_key(), &[], sec, [0; 16]).unwrap();
            assert_eq!(search.message.mask, mask);
        }
        assert_eq!(
            Search::new(key().public_key(), &[], 3, [0; 16]).unwrap_err(),
            CgaError::Sec(3)
        );
    }

    #[test]
    fn a_sliced_search_finds_what_one_long_step_finds() {
        let start = random_modifier(&mut rng(4));
        for backend in backends() {
            let search = Search::new(key().public_key(), &[], 1, start)
                .unwrap()
                .with_backend(backend);
            let mut whole = search.clone();
            let found = whole.step(u64::MAX);
            for slice in [999, whole.tries() - 1, whole.tries()] {
                let mut sliced = search.clone();
                let found_in_slices = std::iter::repeat_with(|| sliced.step(slice)).find_map(|m| m);
                assert_eq!(found_in_slices, found);
                assert_eq!(sliced.tries(), whole.tries());
            }
        }
    }

    #[test]
    fn a_search_goes_on_after_a_find_and_wraps_around() {
        let mut search = Search::new(key().public_key(), &[], 0, [0xff; 16]).unwrap();
        assert_eq!(search.step(0), None);
        assert_eq!(search.step(5), Some([0xff; 16]));
        assert_eq!(search.step(5), Some([0; 16]));
        assert_eq!(search.tries(), 2);
    }

    #[test]
    fn parts_of_a_search_begin_far_apart_and_the_first_where_the_whole_would() {
        for parts in [1, 2, 3, 64] {
            let whole = Search::new(key().public_key(), &[], 0, [0xee; 16]).unwrap();
            let mut starts: Vec<u128> = whole
                .split(parts)
                .iter_mut()
                .map(|part| u128::from_be_bytes(part.step(1).unwrap()))
                .collect();
            assert_eq!(starts.len(), parts);
            assert_eq!(starts[0].to_be_bytes(), [0xee; 16]);
            starts.sort_unstable();
            let around = starts[0].wrapping_sub(starts[parts - 1]);
            let gaps = starts.windows(2).map(|pair| pair[1] - pair[0]);
            assert!(gaps.chain([around]).all(|gap| parts == 1 || gap >> 64 != 0));
        }
    }

    #[test]
    fn the_backends_are_sorted_and_one_runs_everywhere() {
        let lanes: Vec<usize> = backends().into_iter().map(Backend::lanes).collect();
        assert_eq!(lanes[0], 1);
        assert!(lanes.is_sorted());
        assert_eq!(Backend::best(), *Backend::available().last().unwrap());
    }
}
