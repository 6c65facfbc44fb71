//! Sixteen modifiers side by side, on x86-64 with AVX-512.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_rol_epi32, _mm512_set1_epi32, _mm512_setr_epi32,
    _mm512_ternarylogic_epi32, _mm512_testn_epi32_mask, _mm512_xor_si512,
};

use super::kernel::define_scan;
use super::message::{
    DIFFERENCES, INITIAL, Message, ROUND_CONSTANTS, RUN_LEN, VARYING_WORD, expand,
};

type Vector = __m512i;

pub(super) const LANES: usize = 16;

define_scan!(#[target_feature(enable = "avx512f")]);

#[target_feature(enable = "avx512f")]
#[inline]
fn splat(word: u32) -> Vector {
    _mm512_set1_epi32(word.cast_signed())
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load(words: [u32; LANES]) -> Vector {
    let w = words.map(u32::cast_signed);
    _mm512_setr_epi32(
        w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9], w[10], w[11], w[12], w[13],
        w[14], w[15],
    )
}

#[target_feature(enable = "avx512f")]
#[inline]
fn add(x: Vector, y: Vector) -> Vector {
    _mm512_add_epi32(x, y)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn xor(x: Vector, y: Vector) -> Vector {
    _mm512_xor_si512(x, y)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn rotate_5(x: Vector) -> Vector {
    _mm512_rol_epi32::<5>(x)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn rotate_30(x: Vector) -> Vector {
    _mm512_rol_epi32::<30>(x)
}

// The functions of three words are one instruction each: its number is the function's truth table,
// and the columns of the three operands are 0xf0, 0xcc and 0xaa.
const B: i32 = 0xf0;
const C: i32 = 0xcc;
const D: i32 = 0xaa;

#[target_feature(enable = "avx512f")]
#[inline]
fn choose(b: Vector, c: Vector, d: Vector) -> Vector {
    _mm512_ternarylogic_epi32::<{ D ^ (B & (C ^ D)) }>(b, c, d)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn parity(b: Vector, c: Vector, d: Vector) -> Vector {
    _mm512_ternarylogic_epi32::<{ B ^ C ^ D }>(b, c, d)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn majority(b: Vector, c: Vector, d: Vector) -> Vector {
    _mm512_ternarylogic_epi32::<{ (B & C) | (D & (B | C)) }>(b, c, d)
}

/// A bit for each lane that is zero in all bits of `mask`, the first lane's lowest.
#[target_feature(enable = "avx512f")]
#[inline]
fn zeros_under(x: Vector, mask: u32) -> u32 {
    u32::from(_mm512_testn_epi32_mask(x, splat(mask)))
}
