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

use crate::packed::{COLUMNS, Kernel, Left, Line, Place, STRIP, Sums, ask};
use crate::vectorised::vectorised;
use crate::works::{Works, share};
pub(crate) use dropout::{Dropout, key_of};
pub(crate) use matrix::{Into, Matrix, Sheet};
pub(crate) use packing::{encode_across, encode_along, pack_across, pack_along};
pub(crate) use pair::{Pair, PairSlopes};

/// Inner numbers that are multiplied at once: a panel of them stays in the second cache.
const INNER: usize = 2048;
/// Words of a strip of the left matrix, which stays in the second cache while the panels go by.
const STRIP_WORDS: usize = 96 * 1024;
/// Rows of a strip at most, or as many times that as the kernel asks for.
const MOST: usize = 96;
/// Rows of a strip that are worth a walk over all panels.
const FEWEST: usize = 12;
/// Panels that one thread packs at a time at most, so that a row of what is packed is read in long runs.
const PANELS: usize = 16;

/// A kernel, and buffers that the next product uses again: the panels of the right matrix, strips of the left one, and what is between a thin pair.
#[derive(Debug)]
pub(crate) struct Products {
    pub kernel: Kernel,
    lines: Vec<Line>,
    strips: Works<Strip>,
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
#[derive(Default, Debug)]
struct Strip {
    words: Vec<u32>,
    plain: Vec<f32>,
    sums: Sums,
}

fn blocks(inner: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..inner).step_by(INNER).map(move |start| start..inner.min(start + INNER))
}

impl Products {
    /// Products by one kernel.
    pub fn new(kernel: Kernel) -> Self {
        Self { kernel, lines: Vec::new(), strips: Works::default(), between: pair::Between::default() }
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
            self.strips.ready();
            let (kernel, right, strips) = (self.kernel, self.right(block.len(), columns), &self.strips);
            let stride = stride(kernel, block.len());
            let rows = strip_rows(kernel, slopes.columns, stride);
            to.par_chunks_mut(rows * columns).enumerate().for_each(|(index, to)| {
                let (count, strip) = (to.len() / columns, &mut *strips.own());
                strip.words.resize(strip.words.len().max(count * stride), 0);
                packing::encode_across(kernel.precision, slopes.of_columns(index * rows..index * rows + count), &mut strip.words, stride);
                let mut sheet = Sheet::new(to, columns);
                multiply((kernel, right), (&strip.words, stride), (&mut sheet, Into::Add), &mut strip.sums);
            });
        }
    }

    fn pack(&mut self, inner: usize, columns: usize, fill: impl Fn(Kernel, usize, &mut [Line], usize) + Sync) {
        let (kernel, per_panel) = (self.kernel, self.kernel.words(inner));
        let panels = columns.div_ceil(COLUMNS);
        let count = panels * per_panel;
        if self.lines.len() < count {
            self.lines = vec![Line::ZERO; count];
        }
        let lines = &mut self.lines[..count];
        let some = share(panels, PANELS, rayon::current_num_threads());
        lines.par_chunks_mut(some * per_panel).enumerate().for_each(|(group, lines)| fill(kernel, group * some, lines, per_panel));
    }

    fn right(&self, inner: usize, columns: usize) -> Right<'_> {
        Right { lines: &self.lines, per_panel: self.kernel.words(inner), columns }
    }

    /// `to (+)= left . right`, strip by strip.
    fn by_rows(&mut self, to: &mut Sheet<'_>, into: Into, left: Matrix<'_>, columns: usize) {
        self.strips.ready();
        let (kernel, right, strips) = (self.kernel, self.right(left.columns, columns), &self.strips);
        let stride = stride(kernel, left.columns);
        let rows = strip_rows(kernel, left.rows, stride);
        let (first, width) = (to.first, to.stride);
        to.numbers.par_chunks_mut(rows * width).enumerate().for_each(|(index, numbers)| {
            let (count, strip) = (numbers.len() / width, &mut *strips.own());
            strip.words.resize(strip.words.len().max(count * stride), 0);
            strip.plain.resize(strip.plain.len().max(left.columns), 0.0);
            let some = left.of_rows(index * rows..index * rows + count);
            packing::encode_along(kernel.precision, some, (&mut strip.words, stride), &mut strip.plain);
            let mut sheet = Sheet { numbers, stride: width, first };
            multiply((kernel, right), (&strip.words, stride), (&mut sheet, into), &mut strip.sums);
        });
    }
}

/// Words between rows of a strip. A multiple of a page apart they would share the few places that a cache has for them.
fn stride(kernel: Kernel, inner: usize) -> usize {
    kernel.words(inner).next_multiple_of(16) + 16
}

/// As many rows as the second cache holds, and as many strips for one thread as for another where there are so many rows.
fn strip_rows(kernel: Kernel, rows: usize, stride: usize) -> usize {
    let most = (kernel.reuse * STRIP_WORDS / stride).clamp(FEWEST, STRIP.min(kernel.reuse * MOST));
    share(rows, most, rayon::current_num_threads().min(rows.div_ceil(FEWEST)))
}

fn multiply((kernel, right): (Kernel, Right<'_>), (words, stride): (&[u32], usize), (to, into): (&mut Sheet<'_>, Into), sums: &mut Sums) {
    let left = Left { words, stride, rows: to.numbers.len() / to.stride, scales: &[1.0; STRIP] };
    let panels = 0..right.columns.div_ceil(COLUMNS);
    kernel.product(left, (right.lines, right.per_panel), panels, sums, |row, column, sums| {
        let width = COLUMNS.min(right.columns - column);
        write(to.numbers, Place { at: to.first + column + row * to.stride, stride: to.stride, width }, sums, into);
    });
}

vectorised! {
/// `out (+)= sums`.
fn write(out: &mut [f32], place: Place, sums: &[[f32; COLUMNS]], into: Into) {
    for (row, sums) in sums.iter().enumerate() {
        let (to, behind) = out[place.at + row * place.stride..].split_at_mut(place.width);
        // The next panel's columns are read and written next.
        ask(&behind[..COLUMNS.min(behind.len())]);
        match (<&mut [f32; COLUMNS]>::try_from(&mut *to), into) {
            (Ok(whole), Into::Replace) => *whole = *sums,
            (Ok(whole), Into::Add) => whole.iter_mut().zip(sums).for_each(|(to, sum)| *to += sum),
            (Err(_), Into::Replace) => to.copy_from_slice(&sums[..place.width]),
            (Err(_), Into::Add) => to.iter_mut().zip(sums).for_each(|(to, sum)| *to += sum),
        }
    }
}
}
