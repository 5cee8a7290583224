//! Tiles on any processor, and what every other kernel is held against.
//!
//! Loops over whole lines, which compilers turn into whatever vectors the target has.

use super::{Begin, COLUMNS, Left, Line, Precision, Right, ask};

/// Rows at once: four rows of sums stay in the first cache at any width of vectors.
pub(crate) const ROWS: usize = 4;

fn high(word: u32) -> f32 {
    f32::from_bits(word & 0xffff_0000)
}

fn low(word: u32) -> f32 {
    f32::from_bits(word << 16)
}

fn add_up<T: Copy>(mut sums: [T; COLUMNS], (left, row): (Left<'_>, usize), lines: &[Line], add: impl Fn(T, u32, u32) -> T) -> [T; COLUMNS] {
    for (&word, line) in left.words[row * left.stride..].iter().zip(lines) {
        for (sum, &other) in sums.iter_mut().zip(&line.0) {
            *sum = add(*sum, word, other);
        }
    }
    sums
}

fn floats(begin: Begin, left: Left<'_>, right: Right<'_>, sums: &mut [[f32; COLUMNS]], add: impl Fn(f32, u32, u32) -> f32) {
    ask(right.ahead);
    for (row, sums) in sums.iter_mut().enumerate().take(left.rows) {
        let first = if begin == Begin::Found { *sums } else { [0.0; COLUMNS] };
        *sums = add_up(first, (left, row), right.lines, &add);
    }
}

pub(crate) fn float(begin: Begin, left: Left<'_>, right: Right<'_>, sums: &mut [[f32; COLUMNS]]) {
    floats(begin, left, right, sums, |sum, a, b| sum + f32::from_bits(a) * f32::from_bits(b));
}

pub(crate) fn bf16(begin: Begin, left: Left<'_>, right: Right<'_>, sums: &mut [[f32; COLUMNS]]) {
    floats(begin, left, right, sums, |sum, a, b| sum + high(a) * high(b) + low(a) * low(b));
}

fn four(a: u32, b: u32) -> i32 {
    let product = |shift: u32| i32::from((a >> shift) as u8) * i32::from(((b >> shift) as u8).cast_signed());
    product(0) + product(8) + product(16) + product(24)
}

/// Of rows in which something is no number, and so the scale none, the products are anything.
fn two(a: u32, b: u32) -> i32 {
    let half = |word: u32, shift: u32| i32::from(((word >> shift) as u16).cast_signed());
    (half(a, 0) * half(b, 0)).wrapping_add(half(a, 16) * half(b, 16))
}

/// The exact sums of a row, each times the row's scale and the column's.
fn whole((left, row): (Left<'_>, usize), sums: [i32; COLUMNS], scales: &Line) -> [f32; COLUMNS] {
    std::array::from_fn(|column| sums[column] as f32 * (left.scales[row] * f32::from_bits(scales.0[column])))
}

pub(crate) fn int16(_: Begin, left: Left<'_>, right: Right<'_>, sums: &mut [[f32; COLUMNS]]) {
    ask(right.ahead);
    let (lines, tail) = right.body_and_tail(Precision::Int16);
    for (row, to) in sums.iter_mut().enumerate().take(left.rows) {
        let sums = add_up([0; COLUMNS], (left, row), lines, |sum: i32, a, b| sum.wrapping_add(two(a, b)));
        *to = whole((left, row), sums, &tail[0]);
    }
}

pub(crate) fn int8(_: Begin, left: Left<'_>, right: Right<'_>, sums: &mut [[f32; COLUMNS]]) {
    let (lines, tail) = right.body_and_tail(Precision::Int8);
    for (row, to) in sums.iter_mut().enumerate().take(left.rows) {
        let sums = add_up([0; COLUMNS], (left, row), lines, |sum: i32, a, b| sum.wrapping_add(four(a, b)));
        *to = whole((left, row), std::array::from_fn(|column| sums[column].wrapping_sub(tail[0].0[column].cast_signed())), &tail[1]);
    }
}
