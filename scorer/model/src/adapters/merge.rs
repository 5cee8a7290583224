//! The weights that answer as a frozen model and its adapters together do.

use std::ops::Range;

use rayon::iter::{IndexedParallelIterator as _, ParallelIterator as _};
use rayon::slice::ParallelSliceMut as _;

use super::Adapters;
use crate::kernels::add_scaled;
use crate::products::Pair;
use crate::vectorised::vectorised;

/// Rows that one thread takes at a time.
const ROWS: usize = 64;

impl Adapters {
    /// Adds the products of the pairs in `weights` to `numbers`, the frozen ones of `range`, which holds whole rows. Sums are `f32`.
    pub fn merge(&self, weights: &[f32], range: &Range<usize>, numbers: &mut [f32]) {
        for adapter in &self.pairs {
            let (start, end) = (range.start.max(adapter.weight.start), range.end.min(adapter.weight.end));
            if start < end {
                let (pair, inner) = (self.pair(adapter, weights), adapter.inner);
                let first = (start - adapter.weight.start) / inner;
                let runs = numbers[start - range.start..end - range.start].par_chunks_mut(ROWS * inner);
                runs.enumerate().for_each(|(run, rows)| merge_rows(rows, inner, first + run * ROWS, &pair));
            }
        }
    }
}

vectorised! {
fn merge_rows(rows: &mut [f32], inner: usize, first: usize, pair: &Pair<'_>) {
    for (row, numbers) in rows.chunks_exact_mut(inner).enumerate() {
        let ups = &pair.up[(first + row) * pair.rank..][..pair.rank];
        for (up, down) in ups.iter().zip(pair.down.chunks_exact(inner)) {
            add_scaled(numbers, down, pair.scale * up);
        }
    }
}
}
