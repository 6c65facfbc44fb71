//! The inner loop of the search, written once for vectors of any width.
//!
//! [`define_scan`] is expanded in a module that says what a vector is: `Vector`, `LANES`, and the
//! handful of operations that SHA-1 needs. It is a macro, not a generic function, because trait
//! methods cannot carry a `#[target_feature]`, and without one nothing is inlined into the loop.

/// Defines `scan` for the `Vector` and operations in scope; `$target` enables their instructions.
///
/// `scan(message, head, low, count)` hashes `message` under the modifiers whose first three words
/// are `head` and whose last is `low`, `low + 1` and so on, `LANES` at a time. It returns how many
/// of them precede the first good one, if that is less than `count`. `low + count` must not exceed
/// `2^32`: there the first three words change.
macro_rules! define_scan {
    ($(#[$target:meta])?) => {
        $(#[$target])?
        pub(super) fn scan(message: &Message, head: [u32; 3], low: u32, count: u64) -> Option<u64> {
            let (start, end) = (u64::from(low), u64::from(low) + count);
            let aligned = start - start % LANES as u64;
            let mut block = message.first;
            block[..VARYING_WORD].copy_from_slice(&head);
            let mut run = [0; 80];
            for at in (aligned..end).step_by(LANES) {
                let in_run = at as usize % RUN_LEN;
                if in_run == 0 || at == aligned {
                    block[VARYING_WORD] = at as u32 - in_run as u32;
                    run = expand(&block);
                }
                let first = vary(&run, in_run / LANES);
                let mut state = compress(INITIAL.map(|word| splat(word)), |t| first[t]);
                for later in &message.later {
                    state = compress(state, |t| splat(later[t]));
                }
                let good = zeros_under(state[0], message.mask);
                if good != 0 {
                    let lanes = (at..end).take(LANES).enumerate();
                    let mut found = lanes.filter(|(lane, n)| good >> lane & 1 != 0 && *n >= start);
                    if let Some((_, found)) = found.next() {
                        return Some(found - start);
                    }
                }
            }
            None
        }

        /// What the rounds add for vector `index` of a run, whose first schedule is `run`.
        $(#[$target])?
        #[inline]
        fn vary(run: &[u32; 80], index: usize) -> [Vector; 80] {
            let mut addends = [splat(0); 80];
            for t in 0..80 {
                let (vectors, _) = DIFFERENCES[t].as_chunks();
                let word = xor(load(vectors[index]), splat(run[t]));
                addends[t] = add(word, splat(ROUND_CONSTANTS[t / 20]));
            }
            addends
        }

        /// Compresses a block; `addend(t)` is word `t` of its schedule plus the round constant.
        $(#[$target])?
        #[inline]
        fn compress(state: [Vector; 5], addend: impl Fn(usize) -> Vector) -> [Vector; 5] {
            let mut next = state;
            next = rounds(next, |b, c, d| choose(b, c, d), |t| addend(t));
            next = rounds(next, |b, c, d| parity(b, c, d), |t| addend(20 + t));
            next = rounds(next, |b, c, d| majority(b, c, d), |t| addend(40 + t));
            next = rounds(next, |b, c, d| parity(b, c, d), |t| addend(60 + t));
            std::array::from_fn(|i| add(state[i], next[i]))
        }

        /// Twenty rounds, five to a turn: then every variable is back in its place.
        $(#[$target])?
        #[inline]
        fn rounds(
            state: [Vector; 5],
            mix: impl Fn(Vector, Vector, Vector) -> Vector,
            addend: impl Fn(usize) -> Vector,
        ) -> [Vector; 5] {
            let [mut a, mut b, mut c, mut d, mut e] = state;
            let round = |a, b: &mut Vector, c, d, e: &mut Vector, t| {
                *e = add(add(add(*e, addend(t)), mix(*b, c, d)), rotate_5(a));
                *b = rotate_30(*b);
            };
            for t in (0..20).step_by(5) {
                round(a, &mut b, c, d, &mut e, t);
                round(e, &mut a, b, c, &mut d, t + 1);
                round(d, &mut e, a, b, &mut c, t + 2);
                round(c, &mut d, e, a, &mut b, t + 3);
                round(b, &mut c, d, e, &mut a, t + 4);
            }
            [a, b, c, d, e]
        }
    };
}

pub(super) use define_scan;
