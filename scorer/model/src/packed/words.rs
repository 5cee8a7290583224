//! Numbers into words: `f32` as it is, `bf16` rounded to the nearest even, 8 bits with one scale a row or a column.
//!
//! What is no number stays none: a NaN gives a NaN in `bf16` and a scale of NaN in 8 bits.

use super::{COLUMNS, Line, Precision, Source};
use crate::vectorised::vectorised;

/// Lines of a panel of 8-bit words behind the words: the sums that undo the rows' offset, and the columns' scales.
pub(crate) const INT8_TAIL: usize = 2;
/// What is added to 8-bit numbers of a row, so that they have no sign.
pub(crate) const OFFSET: i32 = 128;

/// The upper half of a float, rounded.
#[inline(always)]
pub(crate) fn bf16(value: f32) -> u32 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    if bits & 0x7fff_ffff > 0x7f80_0000 { 0x7fc0 } else { rounded }
}

/// The largest magnitude; a NaN is larger than all.
#[inline(always)]
fn magnitude(values: &[f32]) -> f32 {
    f32::from_bits(values.iter().fold(0, |most, value| most.max(value.to_bits() & 0x7fff_ffff)))
}

/// The nearest whole number of a value within +-127.
#[inline(always)]
fn whole(value: f32) -> i32 {
    const ROUND: f32 = 12_582_912.0;
    (value + ROUND).to_bits().wrapping_sub(ROUND.to_bits()).cast_signed()
}

/// Numbers to one side of 127 and what they were divided by; zeros where that is impossible.
#[inline(always)]
fn scales(most: f32) -> (f32, f32) {
    let share = 127.0 / most;
    (most / 127.0, if share.is_finite() { share } else { 0.0 })
}

vectorised! {
/// Encodes one row; returns its scale. Words beyond the values are zeros.
pub(crate) fn encode(precision: Precision, to: &mut [u32], values: &[f32]) -> f32 {
    to[values.len() / precision.numbers()..].fill(0);
    match precision {
        Precision::F32 => {
            for (word, value) in to.iter_mut().zip(values) {
                *word = value.to_bits();
            }
            1.0
        }
        Precision::Bf16 => {
            for (to, block) in to.chunks_mut(BLOCK).zip(values.chunks(2 * BLOCK)) {
                let mut halves = [0_u16; 2 * BLOCK];
                for (half, &value) in halves.iter_mut().zip(&whole_block::<{ 2 * BLOCK }>(block)) {
                    *half = bf16(value) as u16;
                }
                let mut words = [0; BLOCK];
                for (word, pair) in words.iter_mut().zip(halves.chunks_exact(2)) {
                    *word = u32::from(pair[0]) | u32::from(pair[1]) << 16;
                }
                put(to, &words);
            }
            1.0
        }
        Precision::Int8 => {
            let (scale, share) = scales(magnitude(values));
            for (to, block) in to.chunks_mut(BLOCK).zip(values.chunks(4 * BLOCK)) {
                let mut bytes = [0_u8; 4 * BLOCK];
                for (byte, &value) in bytes.iter_mut().zip(&whole_block::<{ 4 * BLOCK }>(block)) {
                    *byte = whole(value * share).wrapping_add(OFFSET).cast_unsigned() as u8;
                }
                let mut words = [0; BLOCK];
                for (word, four) in words.iter_mut().zip(bytes.chunks_exact(4)) {
                    *word = u32::from_le_bytes([four[0], four[1], four[2], four[3]]);
                }
                put(to, &words);
            }
            scale
        }
    }
}
}

/// Words that are made at once: lengths that the compiler knows become vectors.
const BLOCK: usize = 16;

/// A block of `N` values, filled up with zeros where the row ends.
#[inline(always)]
fn whole_block<const N: usize>(values: &[f32]) -> [f32; N] {
    if let Ok(whole) = <&[f32; N]>::try_from(values) {
        return *whole;
    }
    let mut padded = [0.0; N];
    padded[..values.len()].copy_from_slice(values);
    padded
}

/// A block of words, or what of it there is room for.
#[inline(always)]
fn put(to: &mut [u32], words: &[u32; BLOCK]) {
    match <&mut [u32; BLOCK]>::try_from(&mut *to) {
        Ok(whole) => *whole = *words,
        Err(_) => to.copy_from_slice(&words[..to.len()]),
    }
}

/// Fills one panel with the named columns.
pub(crate) fn pack(precision: Precision, source: &Source<'_>, columns: &[usize], to: &mut [Line]) {
    let per_word = precision.numbers();
    let words = source.inner.div_ceil(per_word);
    let (to, tail) = to.split_at_mut(to.len() - if precision == Precision::Int8 { INT8_TAIL } else { 0 });
    let mut shares = [1.0; COLUMNS];
    if let [sums, factors] = tail {
        for (index, &column) in columns.iter().enumerate() {
            let most = (0..source.inner).map(|inner| source.number(inner, column).to_bits() & 0x7fff_ffff).max();
            let (scale, share) = scales(f32::from_bits(most.unwrap_or(0)));
            shares[index] = share;
            factors.0[index] = scale.to_bits();
            let sum = (0..source.inner).fold(0_i32, |sum, inner| sum.wrapping_add(whole(source.number(inner, column) * share)));
            sums.0[index] = sum.wrapping_mul(OFFSET).cast_unsigned();
        }
    }
    for (block, lines) in to[..words].chunks_mut(16).enumerate() {
        for (index, &column) in columns.iter().enumerate() {
            for (step, line) in lines.iter_mut().enumerate() {
                let inner = (block * 16 + step) * per_word;
                let number = |next: usize| source.number(inner + next, column);
                let byte = |next: usize| whole(number(next) * shares[index]).cast_unsigned() & 0xff;
                line.0[index] = match precision {
                    Precision::F32 => number(0).to_bits(),
                    Precision::Bf16 => bf16(number(0)) | bf16(number(1)) << 16,
                    Precision::Int8 => byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24,
                };
            }
        }
    }
}
