//! Matrix products over packed weights: the layout of panels and rows, and the walk over tiles. The arithmetic of a tile is a kernel's.
//!
//! Everything is made of 32-bit words. A word holds one `f32`, two `bf16` or whole numbers of 16 bits, or four of 8 bits that follow each other
//! along the inner dimension, so that one layout and one loop serve every precision: `sum[row][column] += left[row][word] * right[word][column]`.
//! Each sum runs over the words in their order, alone: a row's result does not depend on the rows beside it or on how they are split.

mod ahead;
#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod choice;
mod portable;
#[cfg(test)]
mod tests;
mod words;

use std::borrow::Cow;
use std::ops::Range;

use crate::kernels::exp;
use crate::vectorised::vectorised;
use rayon::iter::{IndexedParallelIterator as _, ParallelIterator as _};
use rayon::slice::{ParallelSlice as _, ParallelSliceMut as _};

pub(crate) use ahead::ask;
pub(crate) use choice::Kernel;
pub use choice::{InstructionSet, Precision, UnknownName};
pub(crate) use words::{bf16, encode, signed_bytes};

/// Columns of a panel.
pub(crate) const COLUMNS: usize = 32;
/// The most rows that any kernel multiplies at once.
pub(crate) const ROWS: usize = 32;

/// One word of each of a panel's columns.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Line(pub [u32; COLUMNS]);

impl Line {
    pub const ZERO: Self = Self([0; COLUMNS]);
}

/// What the sums of a kernel begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// Nothing.
    Zero,
    /// What is found where they are put: the sums of the lines before.
    Found,
}

/// The result of a kernel: `[rows, COLUMNS]`; rows beyond those asked for hold what they held.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(crate) struct Tile(pub [[f32; COLUMNS]; ROWS]);

impl Tile {
    pub const ZERO: Self = Self([[0.0; COLUMNS]; ROWS]);
}

/// The most rows that meet the panels of a matrix one panel after the other.
pub(crate) const STRIP: usize = 192;

/// The sums of a strip of rows with one panel: a buffer.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(crate) struct Sums([[f32; COLUMNS]; STRIP]);

impl Default for Sums {
    fn default() -> Self {
        Self([[0.0; COLUMNS]; STRIP])
    }
}

/// Some rows on their way into a kernel: row `r` is `words[r * stride..]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left<'a> {
    pub words: &'a [u32],
    pub stride: usize,
    pub rows: usize,
    /// What each row was divided by; only rows of whole numbers have it.
    pub scales: &'a [f32],
}

/// A panel, or some lines of it, that rows meet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Right<'a> {
    pub lines: &'a [Line],
    /// What is read soon and may lie in memory yet: a kernel asks for it while it multiplies.
    pub ahead: &'a [Line],
}

impl<'a> Left<'a> {
    /// Some of the rows, from a word on.
    fn part(self, row: usize, rows: usize, word: usize) -> Self {
        Self { words: &self.words[row * self.stride + word..], rows, scales: &self.scales[row..row + rows], ..self }
    }
}

impl<'a> Right<'a> {
    /// The lines of a panel's words, and what is behind them.
    fn body_and_tail(self, precision: Precision) -> (&'a [Line], &'a [Line]) {
        self.lines.split_at(self.lines.len() - precision.tail())
    }
}

/// Panels that the same rows meet: panel `p` is `lines[p * stride..][..used]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panels<'a> {
    pub lines: &'a [Line],
    pub stride: usize,
    pub used: usize,
}

/// A right matrix in panels of [`COLUMNS`] columns, made once for one kernel.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    kernel: Kernel,
    columns: usize,
    lines: Vec<Line>,
    lines_per_panel: usize,
}

impl Packed {
    /// Packs a weight `[rows, inner]` as files hold it: the product is `left . weight^T`, a linear layer. Column `c` is row `columns[c]`, or
    /// zeros. Each thread asks `read` for the rows of one panel at a time, so that no more of the weight stands in memory twice.
    pub fn read<'a, E: Send>(
        kernel: Kernel,
        inner: usize,
        columns: &[Option<usize>],
        read: &(impl Fn(Range<usize>) -> Result<Cow<'a, [f32]>, E> + Sync),
    ) -> Result<Self, E> {
        let mut packed = Self::blank(kernel, inner, columns.len());
        let panels = packed.lines.par_chunks_mut(packed.lines_per_panel.max(1)).zip(columns.par_chunks(COLUMNS));
        panels.try_for_each(|(to, columns)| {
            // Rows that follow each other are read at once.
            let runs = columns.chunk_by(|first, second| first.is_some_and(|row| *second == Some(row + 1)));
            let numbers = runs.map(|run| run[0].map_or(Ok(Cow::Borrowed(&[][..])), |first| read(first..first + run.len())));
            let numbers = numbers.collect::<Result<Vec<_>, E>>()?;
            let rows: Vec<&[f32]> =
                numbers.iter().flat_map(|run| if run.is_empty() { vec![&[][..]] } else { run.chunks(inner).collect() }).collect();
            words::pack((kernel.precision, kernel.most), &rows, to);
            Ok(())
        })?;
        Ok(packed)
    }

    /// As many zeros as the packed columns of a matrix take, to be filled from what was packed before.
    pub fn blank(kernel: Kernel, inner: usize, columns: usize) -> Self {
        let lines_per_panel = kernel.lines(inner);
        Self { kernel, columns, lines: vec![Line::ZERO; columns.div_ceil(COLUMNS) * lines_per_panel], lines_per_panel }
    }

    /// All of it, to be written or filled.
    pub fn lines_mut(&mut self) -> &mut [Line] {
        &mut self.lines
    }

    /// Packs all rows of a weight that stands in memory.
    #[cfg(test)]
    pub fn whole(kernel: Kernel, weight: &[f32], inner: usize) -> Self {
        let rows = |rows: Range<usize>| Ok(Cow::Borrowed(&weight[rows.start * inner..rows.end * inner]));
        let columns: Vec<_> = (0..weight.len() / inner).map(Some).collect();
        let Ok(packed) = Self::read::<std::convert::Infallible>(kernel, inner, &columns, &rows);
        packed
    }

    /// Packed columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes that it occupies.
    pub fn bytes(&self) -> usize {
        size_of_val(self.lines.as_slice())
    }

    /// `left . self` for the columns of `panels`, tile by tile: `take` receives the first row, the first column and
    /// the sums of some rows. `left` must have been encoded for the same kernel and inner width.
    pub fn product(&self, left: &mut Rows, panels: Range<usize>, take: impl FnMut(usize, usize, &[[f32; COLUMNS]])) {
        let Rows { words, stride, count, scales, sums } = left;
        let left = Left { words, stride: *stride, rows: *count, scales };
        self.kernel.product(left, (&self.lines, self.lines_per_panel), panels, sums, take);
    }

    /// All panels.
    pub fn panels(&self) -> Range<usize> {
        0..self.columns.div_ceil(COLUMNS)
    }
}

impl Kernel {
    /// `left . right` for the columns of `panels`, tile by tile: `take` receives the first row, the first column and the sums of some rows. `right` is
    /// whole panels of so many lines.
    pub fn product(
        self,
        left: Left<'_>,
        (right, per_panel): (&[Line], usize),
        panels: Range<usize>,
        sums: &mut Sums,
        mut take: impl FnMut(usize, usize, &[[f32; COLUMNS]]),
    ) {
        let starts = || (0..per_panel.max(1)).step_by(self.block);
        for (first, count) in evenly(left.rows, STRIP) {
            for (panel, start) in panels.clone().flat_map(|panel| starts().map(move |start| (panel, start))) {
                let end = per_panel.min(start.saturating_add(self.block));
                let (lines, behind) = right[panel * per_panel + start..].split_at(end - start);
                let next = &behind[..lines.len().min(behind.len())];
                let begin = if start == 0 { Begin::Zero } else { Begin::Found };
                for (row, rows) in evenly(count, self.rows) {
                    // All tiles together ask for what is next.
                    let ahead = &next[row * next.len() / count..(row + rows) * next.len() / count];
                    let sums = &mut sums.0[row..row + rows];
                    self.multiply_from(begin, left.part(first + row, rows, start), Right { lines, ahead }, sums);
                    if end == per_panel {
                        take(first + row, panel * COLUMNS, sums);
                    }
                }
            }
        }
    }
}

/// First row and number of rows of as few tiles as hold `count` rows, none much smaller than another.
pub(crate) fn evenly(count: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let tiles = count.div_ceil(most);
    let start = move |tile: usize| tile * count / tiles;
    (0..tiles).map(move |tile| (start(tile), start(tile + 1) - start(tile)))
}

/// Where the rows of a tile go: row `r` to `at + r * stride`, its first `width` numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub at: usize,
    pub stride: usize,
    pub width: usize,
}

vectorised! {
/// `out = silu(gate) * up` where a row of a tile holds sixteen gates and then the sixteen numbers that they let through.
pub(crate) fn gate(out: &mut [f32], place: Place, tile: &[[f32; COLUMNS]]) {
    for (row, values) in tile.iter().enumerate() {
        let mut gated = [0.0; COLUMNS / 2];
        for (index, value) in gated.iter_mut().enumerate() {
            let g = values[index];
            *value = g / (1.0 + exp(-g)) * values[index + COLUMNS / 2];
        }
        let to = &mut out[place.at + row * place.stride..][..place.width];
        match <&mut [f32; COLUMNS / 2]>::try_from(&mut *to) {
            Ok(whole) => *whole = gated,
            Err(_) => to.copy_from_slice(&gated[..place.width]),
        }
    }
}
}

vectorised! {
/// `out = out * scale + tile`, with a scale for each row.
pub(crate) fn accumulate(out: &mut [f32], place: Place, tile: &[[f32; COLUMNS]], scales: &[f32; ROWS]) {
    for (row, (values, scale)) in tile.iter().zip(scales).enumerate() {
        let to = &mut out[place.at + row * place.stride..][..place.width];
        // Whole rows are the rule: a length that the compiler knows makes vectors of them.
        if let Ok(whole) = <&mut [f32; COLUMNS]>::try_from(&mut *to) {
            for (sum, value) in whole.iter_mut().zip(values) {
                *sum = *sum * scale + value;
            }
        } else {
            for (sum, value) in to.iter_mut().zip(values) {
                *sum = *sum * scale + value;
            }
        }
    }
}
}

/// Rows in the words of a kernel; a buffer that is used again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    words: Vec<u32>,
    stride: usize,
    count: usize,
    scales: Vec<f32>,
    sums: Sums,
}

impl Rows {
    /// Makes room for `count` rows of `inner` numbers; what they hold is to be encoded next.
    pub fn reset(&mut self, kernel: Kernel, count: usize, inner: usize) {
        self.stride = kernel.words(inner);
        self.count = count;
        self.words.resize(self.words.len().max(count * self.stride), 0);
        self.scales.resize(self.scales.len().max(count), 1.0);
    }

    /// Puts `values` into row `row`.
    pub fn encode(&mut self, kernel: Kernel, row: usize, values: &[f32]) {
        let to = &mut self.words[row * self.stride..][..self.stride];
        self.scales[row] = words::encode(kernel.precision, to, values);
    }

    #[cfg(test)]
    fn some(&self, row: usize, rows: usize) -> Left<'_> {
        Left { words: &self.words, stride: self.stride, rows: self.count, scales: &self.scales }.part(row, rows, 0)
    }
}
