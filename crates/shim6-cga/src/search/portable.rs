//! One modifier at a time, on any processor.

use super::kernel::define_scan;
use super::message::{
    DIFFERENCES, INITIAL, Message, ROUND_CONSTANTS, RUN_LEN, VARYING_WORD, expand,
};

type Vector = u32;

pub(super) const LANES: usize = 1;

define_scan!();

fn splat(word: u32) -> Vector {
    word
}

fn load([word]: [u32; LANES]) -> Vector {
    word
}

fn add(x: Vector, y: Vector) -> Vector {
    x.wrapping_add(y)
}

fn xor(x: Vector, y: Vector) -> Vector {
    x ^ y
}

fn rotate_5(x: Vector) -> Vector {
    x.rotate_left(5)
}

fn rotate_30(x: Vector) -> Vector {
    x.rotate_left(30)
}

fn choose(b: Vector, c: Vector, d: Vector) -> Vector {
    d ^ (b & (c ^ d))
}

fn parity(b: Vector, c: Vector, d: Vector) -> Vector {
    b ^ c ^ d
}

fn majority(b: Vector, c: Vector, d: Vector) -> Vector {
    (b & c) | (d & (b | c))
}

/// A bit for each lane that is zero in all bits of `mask`.
fn zeros_under(x: Vector, mask: u32) -> u32 {
    u32::from(x & mask == 0)
}
