//! Which numbers of a matrix are left out while a model learns: drawn from their place alone, never from a sequence.
//!
//! So the draw is the same on any number of threads, whichever rows are read first or twice, and after a restart.

use crate::packed::COLUMNS;
use crate::vectorised::vectorised;
use rayon::iter::{IndexedParallelIterator as _, ParallelIterator as _};
use rayon::slice::{ParallelSlice as _, ParallelSliceMut as _};

/// Rows that one thread takes.
const ROWS: usize = 64;

/// What is dropped of one matrix, whose first row is the `first_row`-th that the draw knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dropout {
    pub key: u64,
    pub first_row: usize,
    /// Draws below this are dropped.
    pub limit: u32,
    /// What the others are multiplied with, so that their mean stays.
    pub scale: f32,
}

/// `SplitMix64`'s finaliser: every bit of `word` moves half of the others.
fn mixed(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// One number out of several, each of which counts.
pub(crate) fn key_of(parts: &[u64]) -> u64 {
    parts.iter().fold(0x9e37_79b9_7f4a_7c15, |key, &part| mixed(key ^ mixed(part.wrapping_add(0x9e37_79b9_7f4a_7c15))))
}

/// As [`mixed`], in 32 bits, which sixteen lanes have side by side (Wellons' `lowbias32`).
#[inline(always)]
fn mixed_32(word: u32) -> u32 {
    let word = (word ^ (word >> 16)).wrapping_mul(0x7feb_352d);
    let word = (word ^ (word >> 15)).wrapping_mul(0x846c_a68b);
    word ^ (word >> 16)
}

impl Dropout {
    /// Drops a `share` of the numbers, at least 0 and below 1; which ones, `key` decides together with row and column.
    pub fn new(share: f32, key: u64, first_row: usize) -> Self {
        let limit = f64::from(share) * 2_f64.powi(32);
        #[expect(clippy::cast_sign_loss, reason = "no share is below 0")]
        let limit = limit as u32;
        Self { key, first_row, limit, scale: 1.0 / (1.0 - share) }
    }

    /// What the number at a place of the row of these keys is multiplied with.
    #[inline(always)]
    fn factor(&self, (start, step): (u32, u32), column: u32) -> f32 {
        if mixed_32(column.wrapping_mul(step).wrapping_add(start)) < self.limit { 0.0 } else { self.scale }
    }

    /// Where a row's draws start and how far apart they are.
    #[inline(always)]
    fn row(&self, row: usize) -> (u32, u32) {
        let word = mixed(self.key ^ mixed((self.first_row + row) as u64));
        ((word >> 32) as u32, word as u32 | 1)
    }

    /// Drops from the numbers of `row` from `column` on.
    #[inline(always)]
    pub fn drop(&self, row: usize, column: usize, numbers: &mut [f32]) {
        let keys = self.row(row);
        for (index, number) in numbers.iter_mut().enumerate() {
            *number *= self.factor(keys, (column + index) as u32);
        }
    }

    /// Adds to `to` those numbers of `from` (both `[rows, columns]`) that are kept: the gradient towards what was dropped from.
    pub fn add_kept(&self, to: &mut [f32], from: &[f32], columns: usize) {
        let runs = to.par_chunks_mut(ROWS * columns).zip(from.par_chunks(ROWS * columns));
        runs.enumerate().for_each(|(run, (to, from))| add_rows(self, to, from, (run * ROWS, columns)));
    }
}

vectorised! {
fn add_rows(dropout: &Dropout, to: &mut [f32], from: &[f32], first_and_columns: (usize, usize)) {
    let (first, columns) = first_and_columns;
    for (row, (to, from)) in to.chunks_exact_mut(columns).zip(from.chunks_exact(columns)).enumerate() {
        for (block, (to, from)) in to.chunks_mut(COLUMNS).zip(from.chunks(COLUMNS)).enumerate() {
            let mut kept = [0.0; COLUMNS];
            let kept = &mut kept[..from.len()];
            kept.copy_from_slice(from);
            dropout.drop(first + row, block * COLUMNS, kept);
            to.iter_mut().zip(kept).for_each(|(to, kept)| *to += *kept);
        }
    }
}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The factors of `rows` rows of `columns`.
    fn factors(dropout: &Dropout, rows: usize, columns: usize) -> Vec<f32> {
        let mut factors = vec![1.0; rows * columns];
        for (row, factors) in factors.chunks_exact_mut(columns).enumerate() {
            dropout.drop(row, 0, factors);
        }
        factors
    }

    #[test]
    fn as_many_are_dropped_as_asked_in_every_row_and_column() {
        let (rows, columns, share) = (512, 512, 0.25);
        let factors = factors(&Dropout::new(share, key_of(&[7, 1]), 0), rows, columns);
        assert!(factors.iter().all(|factor| *factor == 0.0 || (factor - 1.0 / 0.75).abs() < 1e-6));
        let dropped = |numbers: &mut dyn Iterator<Item = &f32>| numbers.filter(|factor| **factor == 0.0).count() as f64;
        // Six deviations of 512 draws.
        let near = |count: f64| (count - 128.0).abs() < 6.0 * 9.8;
        assert!((dropped(&mut factors.iter()) / (rows * columns) as f64 - 0.25).abs() < 0.006);
        assert!((0..rows).all(|row| near(dropped(&mut factors[row * columns..(row + 1) * columns].iter()))));
        assert!((0..columns).all(|column| near(dropped(&mut factors.iter().skip(column).step_by(columns)))));
    }

    /// Neighbours, other keys and the next step have draws of their own: of pairs a sixteenth is dropped together.
    #[test]
    fn draws_do_not_follow_each_other() {
        let (rows, columns) = (256, 257);
        let draw = |key: u64| factors(&Dropout::new(0.25, key_of(&[key]), 0), rows, columns);
        let (one, other) = (draw(1), draw(2));
        let together = |pairs: &mut dyn Iterator<Item = (&f32, &f32)>| {
            let (mut both, mut count) = (0.0, 0.0);
            pairs.for_each(|(x, y)| (both, count) = (both + f64::from(u8::from(*x == 0.0 && *y == 0.0)), count + 1.0));
            both / count
        };
        for apart in [1, 2, columns, columns + 1] {
            let share = together(&mut one.iter().zip(&one[apart..]));
            assert!((share - 0.0625).abs() < 0.006, "{share} at {apart}");
        }
        assert!((together(&mut one.iter().zip(&other)) - 0.0625).abs() < 0.006);
    }

    #[test]
    fn a_place_is_drawn_once_however_it_is_read() {
        let (rows, columns) = (130, 70);
        let dropout = Dropout::new(0.5, 3, 1000);
        let whole = factors(&dropout, rows, columns);
        let mut part = vec![1.0; 9];
        dropout.drop(100, 33, &mut part);
        assert_eq!(part, whole[100 * columns + 33..][..9]);
        let later = factors(&Dropout::new(0.5, 3, 1090), 40, columns);
        assert_eq!(later, whole[90 * columns..]);
        let mut sum = vec![2.0; rows * columns];
        dropout.add_kept(&mut sum, &vec![1.0; rows * columns], columns);
        assert!(sum.iter().zip(&whole).all(|(sum, factor)| *sum == 2.0 + factor));
        assert!(factors(&Dropout::new(0.0, 3, 0), 10, 10).iter().all(|factor| *factor == 1.0));
    }
}
