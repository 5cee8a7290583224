//! The matrix products of learning: what a layer multiplies with its weights, and both gradients of that, on all threads of the pool at hand.
//!
//! Whatever is multiplied is packed for the kernel on its way in, so that weights stay `f32` and numbers that are cheap to make again (normed rows,
//! gated rows) are never written down. Each sum runs in an order that the shapes alone decide: the number of threads changes no bit.

mod dropout;
mod matrix;
mod packing;
mod pair;
#[cfg(test)]
mod tests;

use rayon::iter::{IndexedParallelIterator as _, ParallelIterator as _};
use rayon::slice::ParallelSliceMut as _;

use crate::packed::{COLUMNS, Kernel, Left, Line, Place, ROWS, Tile, accumulate, evenly};
use crate::vectorised::vectorised;
pub(crate) use dropout::{Dropout, key_of};
pub(crate) use matrix::{Into, Matrix, Sheet};
pub(crate) use packing::{encode_across, encode_along, pack_across, pack_along};
pub(crate) use pair::{Pair, PairSlopes};

/// Inner numbers that are multiplied at once: a panel of them stays in the second cache.
const INNER: usize = 2048;
/// Words of a strip of the left matrix, which stays in the second cache while the panels go by.
const STRIP_WORDS: usize = 96 * 1024;
/// Words of a panel that meet all rows of a strip before the next ones do: few enough to stay in the second cache with the strip, and so many that
/// sums are seldom put down in between.
const WORDS: usize = 512;
/// Rows of a strip at most.
const STRIP: usize = 96;
/// Panels that one thread packs at a time, so that a row of what is packed is read in long runs.
const PANELS: usize = 4;

/// A kernel, and buffers that the next product uses again: the panels of the right matrix, and what is between a thin pair.
#[derive(Debug)]
pub(crate) struct Products {
    pub kernel: Kernel,
    lines: Vec<Line>,
    between: pair::Between,
}

/// The right matrix of one product: `lines` a panel.
#[derive(Clone, Copy)]
struct Right<'a> {
    lines: &'a [Line],
    per_panel: usize,
    columns: usize,
}

/// A strip of the left matrix in words.
#[derive(Default)]
struct Strip {
    words: Vec<u32>,
    plain: Vec<f32>,
    sums: Sums,
}

/// The tile that a kernel fills, and the sums of a strip with one panel.
struct Sums {
    tile: Tile,
    sums: Vec<f32>,
}

impl Default for Sums {
    fn default() -> Self {
        Self { tile: Tile::ZERO, sums: Vec::new() }
    }
}

fn blocks(inner: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..inner).step_by(INNER).map(move |start| start..inner.min(start + INNER))
}

impl Products {
    /// Products by one kernel.
    pub fn new(kernel: Kernel) -> Self {
        Self { kernel, lines: Vec::new(), between: pair::Between::default() }
    }

    /// `to (+)= left . weight^T`: a linear layer. `left` is `[rows, in]`, `weight` is `[out, in]`.
    pub fn linear(&mut self, to: &mut Sheet<'_>, into: Into, left: Matrix<'_>, weight: Matrix<'_>) {
        for block in blocks(left.columns) {
            let into = if block.start == 0 { into } else { Into::Add };
            self.pack(block.len(), weight.rows, |kernel, panel, lines, per_panel| {
                pack_along(kernel.precision, weight.of_columns(block.clone()), panel * COLUMNS, (lines, per_panel));
            });
            self.by_rows(to, into, left.of_columns(block.clone()), weight.rows);
        }
    }

    /// The gradient of [`Products::linear`] towards its input: `to (+)= slopes . weight`. `slopes` is `[rows, out]`.
    pub fn linear_input(&mut self, to: &mut Sheet<'_>, into: Into, slopes: Matrix<'_>, weight: Matrix<'_>) {
        for block in blocks(weight.rows) {
            let into = if block.start == 0 { into } else { Into::Add };
            self.pack(block.len(), weight.columns, |kernel, panel, lines, per_panel| {
                pack_across(kernel.precision, weight.of_rows(block.clone()), panel * COLUMNS, (lines, per_panel));
            });
            self.by_rows(to, into, slopes.of_columns(block.clone()), weight.columns);
        }
    }

    /// The gradient of [`Products::linear`] towards its weight, added: `to += slopes^T . input`, `[out, in]`.
    pub fn linear_weight(&mut self, to: &mut [f32], slopes: Matrix<'_>, input: Matrix<'_>) {
        let columns = input.columns;
        for block in blocks(input.rows) {
            let (slopes, input) = (slopes.of_rows(block.clone()), input.of_rows(block.clone()));
            self.pack(block.len(), columns, |kernel, panel, lines, per_panel| {
                pack_across(kernel.precision, input, panel * COLUMNS, (lines, per_panel));
            });
            let (kernel, right) = (self.kernel, self.right(block.len(), columns));
            // Strides a multiple of a page apart would share the few places that a cache has for them.
            let stride = kernel.words(block.len()).next_multiple_of(16) + 16;
            let rows = strip_rows(slopes.columns, stride);
            to.par_chunks_mut(rows * columns).enumerate().for_each_init(Strip::default, |strip, (index, to)| {
                let count = to.len() / columns;
                strip.words.resize(strip.words.len().max(count * stride), 0);
                packing::encode_across(kernel.precision, slopes.of_columns(index * rows..index * rows + count), &mut strip.words, stride);
                let mut sheet = Sheet::new(to, columns);
                multiply((kernel, right), (&strip.words, stride), (&mut sheet, Into::Add), &mut strip.sums);
            });
        }
    }

    fn pack(&mut self, inner: usize, columns: usize, fill: impl Fn(Kernel, usize, &mut [Line], usize) + Sync) {
        let (kernel, per_panel) = (self.kernel, self.kernel.words(inner));
        let count = columns.div_ceil(COLUMNS) * per_panel;
        if self.lines.len() < count {
            self.lines = vec![Line::ZERO; count];
        }
        let lines = &mut self.lines[..count];
        lines.par_chunks_mut(PANELS * per_panel).enumerate().for_each(|(group, lines)| fill(kernel, group * PANELS, lines, per_panel));
    }

    fn right(&self, inner: usize, columns: usize) -> Right<'_> {
        Right { lines: &self.lines, per_panel: self.kernel.words(inner), columns }
    }

    /// `to (+)= left . right`, strip by strip.
    fn by_rows(&self, to: &mut Sheet<'_>, into: Into, left: Matrix<'_>, columns: usize) {
        let (kernel, right) = (self.kernel, self.right(left.columns, columns));
        let stride = kernel.words(left.columns);
        let rows = strip_rows(left.rows, stride);
        let (first, width) = (to.first, to.stride);
        to.numbers.par_chunks_mut(rows * width).enumerate().for_each_init(Strip::default, |strip, (index, numbers)| {
            let count = numbers.len() / width;
            strip.words.resize(strip.words.len().max(count * stride), 0);
            strip.plain.resize(left.columns, 0.0);
            let some = left.of_rows(index * rows..index * rows + count);
            packing::encode_along(kernel.precision, some, (&mut strip.words, stride), &mut strip.plain);
            let mut sheet = Sheet { numbers, stride: width, first };
            multiply((kernel, right), (&strip.words, stride), (&mut sheet, into), &mut strip.sums);
        });
    }
}

/// As many rows as the second cache holds, and as many strips for one of two threads as for the other.
fn strip_rows(rows: usize, stride: usize) -> usize {
    let most = (STRIP_WORDS / stride.max(1)).clamp(ROWS.min(12), STRIP);
    let strips = rows.div_ceil(most).next_multiple_of(2);
    rows.div_ceil(strips.max(1)).max(1)
}

fn multiply((kernel, right): (Kernel, Right<'_>), (words, stride): (&[u32], usize), (to, into): (&mut Sheet<'_>, Into), strip: &mut Sums) {
    let count = to.numbers.len() / to.stride;
    strip.sums.resize(count * COLUMNS, 0.0);
    for (panel, lines) in right.lines.chunks_exact(right.per_panel).take(right.columns.div_ceil(COLUMNS)).enumerate() {
        for (block, lines) in lines.chunks(WORDS).enumerate() {
            for (row, rows) in evenly(count, kernel.rows) {
                let left = Left { words: &words[row * stride + block * WORDS..], stride, rows, scales: &[1.0; ROWS] };
                kernel.multiply(left, lines, &mut strip.tile);
                let place = Place { at: row * COLUMNS, stride: COLUMNS, width: COLUMNS };
                match block {
                    0 => put(&mut strip.sums, place, &strip.tile.0[..rows]),
                    _ => accumulate(&mut strip.sums, place, &strip.tile.0[..rows], &[1.0; ROWS]),
                }
            }
        }
        let column = panel * COLUMNS;
        let width = COLUMNS.min(right.columns - column);
        let (sums, _) = strip.sums.as_chunks();
        write(to.numbers, Place { at: to.first + column, stride: to.stride, width }, sums, into);
    }
}

vectorised! {
/// `out (+)= sums`.
fn write(out: &mut [f32], place: Place, sums: &[[f32; COLUMNS]], into: Into) {
    for (row, sums) in sums.iter().enumerate() {
        let to = &mut out[place.at + row * place.stride..][..place.width];
        match (<&mut [f32; COLUMNS]>::try_from(&mut *to), into) {
            (Ok(whole), Into::Replace) => *whole = *sums,
            (Ok(whole), Into::Add) => whole.iter_mut().zip(sums).for_each(|(to, sum)| *to += sum),
            (Err(_), Into::Replace) => to.copy_from_slice(&sums[..place.width]),
            (Err(_), Into::Add) => to.iter_mut().zip(sums).for_each(|(to, sum)| *to += sum),
        }
    }
}
}

vectorised! {
/// `out = tile`.
pub(crate) fn put(out: &mut [f32], place: Place, tile: &[[f32; COLUMNS]]) {
    for (row, values) in tile.iter().enumerate() {
        let to = &mut out[place.at + row * place.stride..][..place.width];
        match <&mut [f32; COLUMNS]>::try_from(&mut *to) {
            Ok(whole) => *whole = *values,
            Err(_) => to.copy_from_slice(&values[..place.width]),
        }
    }
}
}
