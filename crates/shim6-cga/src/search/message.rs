//! What does not depend on the modifier, or on its last bits only, and is computed beforehand.
//!
//! The modifier fills the first four words of the first block of Hash2's input. So no state of
//! SHA-1 can be kept from one modifier to the next, but schedules can:
//!
//! * Those of all later blocks are the same for every modifier.
//! * The schedule is linear: that of the XOR of two blocks is the XOR of their schedules. So the
//!   schedules of a run of modifiers are that of its first, XORed with [`DIFFERENCES`].

/// The input of Hash2 without its modifier, padded and cut into blocks as SHA-1 wants it.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// The first block; zero where the modifier goes.
    pub(super) first: [u32; 16],
    /// What the rounds add for each later block: its schedule plus the round constants.
    pub(super) later: Vec<[u32; 80]>,
    /// The bits of the first word of Hash2 that have to be zero.
    pub(super) mask: u32,
}

impl Message {
    /// `tail` is public key and extension fields; `sec` is 0 to 2.
    pub(super) fn new(tail: &[u8], sec: u8) -> Self {
        let mut octets = [&[0; TAIL_START], tail].concat();
        let bits = 8 * octets.len() as u64;
        octets.push(0x80);
        octets.resize((octets.len() + 8).next_multiple_of(64) - 8, 0);
        octets.extend(bits.to_be_bytes());
        let (words, _) = octets.as_chunks();
        let words: Vec<u32> = words.iter().map(|word| u32::from_be_bytes(*word)).collect();
        let (blocks, _) = words.as_chunks();
        Self {
            first: blocks[0],
            later: blocks[1..].iter().map(addends).collect(),
            mask: u32::MAX.unbounded_shl(32 - 16 * u32::from(sec)),
        }
    }
}

/// What the rounds add for a block.
fn addends(block: &[u32; 16]) -> [u32; 80] {
    let words = expand(block);
    std::array::from_fn(|t| words[t].wrapping_add(ROUND_CONSTANTS[t / 20]))
}

/// The message schedule of a block (FIPS 180-4 §6.1.2, step 1).
pub(super) const fn expand(block: &[u32; 16]) -> [u32; 80] {
    let mut words = [0; 80];
    let (start, _) = words.split_at_mut(16);
    start.copy_from_slice(block);
    let mut t = 16;
    while t < 80 {
        let mixed = words[t - 3] ^ words[t - 8] ^ words[t - 14] ^ words[t - 16];
        words[t] = mixed.rotate_left(1);
        t += 1;
    }
    words
}

/// `DIFFERENCES[t][n]` is word `t` of the schedule of a block that is zero but for `n` in the
/// varying word.
pub(super) static DIFFERENCES: [[u32; RUN_LEN]; 80] = differences();

#[allow(clippy::large_stack_arrays, reason = "only the compiler calls it")]
const fn differences() -> [[u32; RUN_LEN]; 80] {
    let mut differences = [[0; RUN_LEN]; 80];
    let mut n = 0;
    while n < RUN_LEN {
        let mut block = [0; 16];
        block[VARYING_WORD] = n as u32;
        let words = expand(&block);
        let mut t = 0;
        while t < 80 {
            differences[t][n] = words[t];
            t += 1;
        }
        n += 1;
    }
    differences
}

/// How many modifiers differ in the last 6 bits only. As large as lets the table stay in a
/// first-level cache, of which it takes 20 KiB.
pub(super) const RUN_LEN: usize = 64;

/// The last word of the modifier: the only one in which the modifiers of a run differ.
pub(super) const VARYING_WORD: usize = 3;

/// Octets of the modifier, the zeroed subnet prefix and the zeroed collision count.
const TAIL_START: usize = 25;

/// The initial state of SHA-1 (FIPS 180-4 §5.3.1).
pub(super) const INITIAL: [u32; 5] = [
    0x6745_2301,
    0xefcd_ab89,
    0x98ba_dcfe,
    0x1032_5476,
    0xc3d2_e1f0,
];

/// The constants of its rounds, for twenty rounds each (FIPS 180-4 §4.2.1).
pub(super) const ROUND_CONSTANTS: [u32; 4] = [0x5a82_7999, 0x6ed9_eba1, 0x8f1b_bcdc, 0xca62_c1d6];
