//! Matrices into the words of a kernel, as its left or its right side, along their rows or across them.

use super::Matrix;
use crate::packed::{COLUMNS, Line, Precision, bf16, encode};
use crate::vectorised::vectorised;

/// Words of a row that are made at once.
const BLOCK: usize = 16;

/// Words ahead of which rows are asked for: one after the other, each of them on a page of its own, they would be waited for.
const AHEAD: usize = 4;

/// Rows of a matrix whose numbers make word `word` of a column.
#[inline(always)]
fn rows_of(precision: Precision, word: usize) -> std::ops::Range<usize> {
    let numbers = precision.numbers().min(2);
    word * numbers..(word + 1) * numbers
}

#[inline(always)]
fn pair(low: [f32; COLUMNS], high: [f32; COLUMNS]) -> [u32; COLUMNS] {
    let mut words = [0; COLUMNS];
    for (word, (a, b)) in words.iter_mut().zip(low.iter().zip(&high)) {
        *word = bf16(*a) | bf16(*b) << 16;
    }
    words
}

/// Word `word` of [`COLUMNS`] columns of `matrix`: one number of each, or two that stand below each other.
#[inline(always)]
fn across(precision: Precision, matrix: &Matrix<'_>, word: usize, column: usize) -> [u32; COLUMNS] {
    match precision {
        Precision::F32 => {
            let (run, mut words) = (matrix.run(word, column), [0; COLUMNS]);
            for (word, number) in words.iter_mut().zip(&run) {
                *word = number.to_bits();
            }
            words
        }
        _ => pair(matrix.run(2 * word, column), matrix.run(2 * word + 1, column)),
    }
}

vectorised! {
/// Panels of `matrix` (`[inner, columns]`) as the right side of a product; the first column is `first`, a panel has `per_panel` lines.
pub(crate) fn pack_across(precision: Precision, matrix: Matrix<'_>, first: usize, lines: (&mut [Line], usize)) {
    let (lines, per_panel) = lines;
    let width = lines.len() / per_panel * COLUMNS;
    for word in 0..per_panel {
        for row in rows_of(precision, word + AHEAD) {
            matrix.ask(row, first, width);
        }
        for (panel, lines) in lines.chunks_exact_mut(per_panel).enumerate() {
            lines[word].0 = across(precision, &matrix, word, first + panel * COLUMNS);
        }
    }
}
}

vectorised! {
/// Panels of the mirror of `matrix` (`[columns, inner]`) as the right side of a product, as [`pack_across`].
pub(crate) fn pack_along(precision: Precision, matrix: Matrix<'_>, first: usize, lines: (&mut [Line], usize)) {
    let (lines, per_panel) = lines;
    for (panel, lines) in lines.chunks_exact_mut(per_panel).enumerate() {
        let row = first + panel * COLUMNS;
        for (block, lines) in lines.chunks_mut(BLOCK).enumerate() {
            let at = block * BLOCK * precision.numbers();
            for index in 0..COLUMNS {
                let numbers = matrix.run(row + index, at);
                let mut words = [0; BLOCK];
                match precision {
                    Precision::F32 => {
                        for (word, number) in words.iter_mut().zip(numbers) {
                            *word = number.to_bits();
                        }
                    }
                    _ => {
                        for (word, two) in words.iter_mut().zip(numbers.chunks_exact(2)) {
                            *word = bf16(two[0]) | bf16(two[1]) << 16;
                        }
                    }
                }
                for (line, word) in lines.iter_mut().zip(words) {
                    line.0[index] = word;
                }
            }
        }
    }
}
}

vectorised! {
/// Rows of `matrix` as the left side of a product, `stride` words apart; `numbers` has room for one row of numbers.
pub(crate) fn encode_along(precision: Precision, matrix: Matrix<'_>, words: (&mut [u32], usize), numbers: &mut [f32]) {
    let (words, stride) = words;
    for (row, to) in words.chunks_exact_mut(stride).take(matrix.rows).enumerate() {
        if let Some(numbers) = matrix.standing(row) {
            encode(precision, to, numbers);
        } else {
            matrix.read(row, 0, &mut numbers[..matrix.columns]);
            encode(precision, to, &numbers[..matrix.columns]);
        }
    }
}
}

vectorised! {
/// Columns of `matrix` as the left side of a product, `stride` words apart, a multiple of [`BLOCK`]: row `r` is column `r`.
pub(crate) fn encode_across(precision: Precision, matrix: Matrix<'_>, words: &mut [u32], stride: usize) {
    let blocks = matrix.rows.div_ceil(BLOCK * precision.numbers());
    for block in 0..blocks {
        for column in (0..matrix.columns).step_by(COLUMNS) {
            let mut turned = [[0; BLOCK]; COLUMNS];
            for step in 0..BLOCK {
                for row in rows_of(precision, (block + 1) * BLOCK + step) {
                    matrix.ask(row, column, COLUMNS);
                }
                let line = across(precision, &matrix, block * BLOCK + step, column);
                for (to, word) in turned.iter_mut().zip(line) {
                    to[step] = word;
                }
            }
            for (index, run) in turned.iter().enumerate().take(matrix.columns - column) {
                words[(column + index) * stride + block * BLOCK..][..BLOCK].copy_from_slice(run);
            }
        }
    }
}
}
