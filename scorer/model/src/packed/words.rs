//! Numbers into words: `f32` as it is, `bf16` rounded to the nearest even, whole numbers of 16 and 8 bits with one scale a row or a column.
//!
//! What is no number stays none: a NaN gives a NaN in `bf16` and a scale of NaN for whole numbers.
//!
//! **Sums of products of 16 bits** are exact in 32 bits with a sign, each part of them too, because of how long rows and columns are: a sum of
//! products is at most the product of both lengths (Cauchy and Schwarz). Before numbers are rounded a row is at most [`ROW`] long and a column at
//! most [`COLUMN`], but for the error of lengths, which are added up in 64 lanes: of the 2^20 numbers that a model's widest row may have it is below
//! 1e-3. Rounding adds at most a half to each number and so half the root of their count, 512, to a length: (61,000 * 1.001 + 512) *
//! (32,768 * 1.001 + 512) is 2.06e9 at most, below 2^31. Rows, of which each stands for itself, have more of the 31 bits than weights.

use super::{Line, Precision};
use crate::vectorised::vectorised;

/// How long a row of 16 bits is at most, before it is rounded.
const ROW: f32 = 61_000.0;
/// How long a column of 16 bits is at most, before it is rounded.
const COLUMN: f32 = 32_768.0;
/// The largest magnitude in 8 bits with a sign, zero in their middle.
pub(crate) const MOST: i8 = i8::MAX;
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

/// The nearest whole number of a value within +-2^22.
#[inline(always)]
fn whole(value: f32) -> i32 {
    const ROUND: f32 = 12_582_912.0;
    (value + ROUND).to_bits().wrapping_sub(ROUND.to_bits()).cast_signed()
}

/// What numbers up to `magnitude` are divided by to lie within `most`, and what they are multiplied by for that; zero where that is impossible.
#[inline(always)]
fn scales(magnitude: f32, most: f32) -> (f32, f32) {
    let share = most / magnitude;
    (magnitude / most, if share.is_finite() { share } else { 0.0 })
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
        Precision::Int16 => shorts(to, values, ROW),
        Precision::Int8 => bytes(to, values, MOST),
    }
}
}

/// The length of a row whose largest magnitude is 1 by `share`, the same on every processor; zero where there is no such share.
#[inline(always)]
fn length(values: &[f32], share: f32) -> f32 {
    const LANES: usize = 64;
    let share = if share.is_finite() { share } else { 0.0 };
    let mut sums = [0.0_f32; LANES];
    for block in values.chunks(LANES) {
        for (sum, value) in sums.iter_mut().zip(&whole_block::<LANES>(block)) {
            let part = value * share;
            *sum += part * part;
        }
    }
    for half in [32, 16, 8, 4, 2, 1] {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
    }
    sums[0].sqrt()
}

vectorised! {
/// One row in 16 bits, at most `longest` long; returns its scale.
fn shorts(to: &mut [u32], values: &[f32], longest: f32) -> f32 {
    let magnitude = magnitude(values);
    // A length that is no number, or none, leaves the largest number there is.
    let most = (longest / length(values, 1.0 / magnitude)).min(f32::from(i16::MAX));
    let (scale, share) = scales(magnitude, most);
    for (to, block) in to.chunks_mut(BLOCK).zip(values.chunks(2 * BLOCK)) {
        let mut halves = [0_u16; 2 * BLOCK];
        for (half, &value) in halves.iter_mut().zip(&whole_block::<{ 2 * BLOCK }>(block)) {
            *half = whole(value * share).cast_unsigned() as u16;
        }
        let mut words = [0; BLOCK];
        for (word, pair) in words.iter_mut().zip(halves.chunks_exact(2)) {
            *word = u32::from(pair[0]) | u32::from(pair[1]) << 16;
        }
        put(to, &words);
    }
    scale
}
}

vectorised! {
/// One row in 8 bits up to `most`, with [`OFFSET`] added; returns its scale.
fn bytes(to: &mut [u32], values: &[f32], most: i8) -> f32 {
    let (scale, share) = scales(magnitude(values), f32::from(most));
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

vectorised! {
/// One row in 8 bits with a sign; returns its scale.
pub(crate) fn signed_bytes(to: &mut [i8], values: &[f32]) -> f32 {
    let (scale, share) = scales(magnitude(values), f32::from(MOST));
    for (byte, value) in to.iter_mut().zip(values) {
        *byte = whole(value * share) as i8;
    }
    scale
}
}

/// Fills one panel, which holds zeros: column `c` is `columns[c]`, all of them of one length, or stays zeros where that is empty. In 8 bits they
/// lie within `most`.
pub(crate) fn pack((precision, most): (Precision, i8), columns: &[&[f32]], to: &mut [Line]) {
    /// Between bytes without a sign and with one, four at a time.
    const SIGNS: u32 = 0x8080_8080;
    let (to, tail) = to.split_at_mut(to.len() - precision.tail());
    let words = columns.iter().map(|column| column.len().div_ceil(precision.numbers())).max().unwrap_or(0);
    let mut rows = vec![0; columns.len() * words];
    for (index, (row, column)) in rows.chunks_exact_mut(words.max(1)).zip(columns).enumerate().filter(|(_, (_, column))| !column.is_empty())
    {
        match &mut *tail {
            [sums, factors] => {
                let scale = bytes(row, column, most);
                row.iter_mut().for_each(|word| *word ^= SIGNS);
                factors.0[index] = scale.to_bits();
                sums.0[index] = bytes_of(row).wrapping_mul(OFFSET).cast_unsigned();
            }
            [factors] => factors.0[index] = shorts(row, column, COLUMN).to_bits(),
            _ => {
                encode(precision, row, column);
            }
        }
    }
    // A few lines at a time, which stay in the first cache.
    for (block, lines) in to[..words].chunks_mut(BLOCK).enumerate() {
        for (index, row) in rows.chunks_exact(words).enumerate() {
            for (line, &word) in lines.iter_mut().zip(&row[block * BLOCK..]) {
                line.0[index] = word;
            }
        }
    }
}

vectorised! {
/// The sum of all signed bytes.
fn bytes_of(words: &[u32]) -> i32 {
    let four = |word: &u32| word.to_le_bytes().into_iter().map(|byte| i32::from(byte.cast_signed())).sum::<i32>();
    words.iter().fold(0, |sum, word| sum.wrapping_add(four(word)))
}
}
