//! Attention of some rows over the keys and values of a layer: tiles of both, softmax as it goes, one pass.
//!
//! Tiles of keys begin at fixed positions of the text, so a row's sums run in the same order wherever its rows lie in a batch.

use super::batch::{KEYS, Segment};
use crate::attention::Heads;
use crate::kernels::{exp, exponentials, maximum};
use crate::packed::{COLUMNS, Kernel, Left, Line, Place, Precision, ROWS, Tile, accumulate, encode, evenly};
use crate::vectorised::vectorised;

/// Keys and values of one layer, in words along the heads: `[rows, key heads * words of a head]` each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cache {
    pub keys: Vec<u32>,
    pub values: Vec<u32>,
}

/// Rows of a strip that follow each other in one segment.
#[derive(Clone, Debug)]
pub(crate) struct Piece<'a> {
    pub segment: &'a Segment,
    /// Position of the first row.
    pub first: usize,
    /// Place of the first row in its strip.
    pub place: usize,
    /// How many.
    pub rows: usize,
}

/// The shape of attention and the kernel of its two products.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attention {
    pub heads: Heads,
    pub kernel: Kernel,
}

/// Softmax on its way: of each row its largest score so far and the sum of its exponentials.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    pub most: f32,
    pub sum: f32,
}

/// Buffers.
#[derive(Clone, Debug)]
pub(crate) struct Scratch {
    shares: Vec<u32>,
    scores: Vec<f32>,
    states: Vec<State>,
    tile: Tile,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { shares: vec![0; ROWS * KEYS], scores: vec![0.0; ROWS * KEYS], states: Vec::new(), tile: Tile::ZERO }
    }
}

/// One head's part of the work: its number, and where its rows begin.
#[derive(Clone, Copy)]
struct Block {
    head: usize,
    /// First row, in its piece.
    row: usize,
    rows: usize,
    /// Keys of the tile that the last of the rows sees, and those before the tile.
    seen: usize,
    before: usize,
}

impl Attention {
    /// Words of one head.
    pub fn words(&self) -> usize {
        self.heads.width / self.kernel.precision.numbers()
    }

    /// Lines that hold one tile's keys of one head.
    fn key_lines(&self) -> usize {
        KEYS / COLUMNS * self.words()
    }

    /// Lines of one panel of a tile's values.
    fn value_lines(&self) -> usize {
        KEYS / self.kernel.precision.numbers()
    }

    /// Lines that hold one tile's keys and values of one head.
    pub fn lines(&self) -> usize {
        self.key_lines() + self.heads.width.div_ceil(COLUMNS) * self.value_lines()
    }

    /// Packs the keys and values of the rows of a tile, for one key head. What lies beyond the rows stays zero.
    pub fn gather(&self, to: &mut [Line], cache: &Cache, rows: &[u32], head: usize) {
        let (words, numbers) = (self.words(), self.kernel.precision.numbers());
        let own = |row: u32| {
            let at = (row as usize * self.heads.keys + head) * words;
            at..at + words
        };
        let (keys, values) = to.split_at_mut(self.key_lines());
        {
            for (panel, some) in keys.chunks_exact_mut(words).zip(rows.chunks(COLUMNS)) {
                for (column, &row) in some.iter().enumerate() {
                    for (line, &word) in panel.iter_mut().zip(&cache.keys[own(row)]) {
                        line.0[column] = word;
                    }
                }
            }
            for (panel, lines) in values.chunks_exact_mut(self.value_lines()).enumerate() {
                let columns = COLUMNS / numbers;
                for (line, some) in lines.iter_mut().zip(rows.chunks(numbers)) {
                    let part = |row: u32| cache.values[own(row)].chunks(columns).nth(panel).unwrap_or_default();
                    match (self.kernel.precision, some) {
                        (Precision::Bf16, &[first, second]) => interleave(line, part(first), part(second)),
                        (Precision::Bf16, &[only]) => interleave(line, part(only), &[0; COLUMNS]),
                        (_, &[row, ..]) => line.0.iter_mut().zip(part(row)).for_each(|(to, &word)| *to = word),
                        _ => {}
                    }
                }
            }
        }
    }

    /// `out[row] = softmax(query . key) . value` for the rows of `piece`; `queries` (scaled and turned, in words) and `out` are
    /// `[rows of the strip, query heads * width]`, `gathered` is what [`Attention::gather`] made of all tiles, head after head.
    pub fn attend(&self, out: &mut [f32], queries: &[u32], gathered: &[Line], piece: &Piece<'_>, scratch: &mut Scratch) {
        let Heads { queries: heads, keys, width } = self.heads;
        scratch.states.clear();
        scratch.states.resize(heads * piece.rows, State { most: f32::NEG_INFINITY, sum: 0.0 });
        let own = piece.place * heads * width..(piece.place + piece.rows) * heads * width;
        out[own.clone()].fill(0.0);
        let ends = piece.first + piece.rows;
        for key_head in 0..keys {
            for (index, &tile) in piece.segment.tiles.iter().take(ends.div_ceil(KEYS)).enumerate() {
                let before = index * KEYS;
                let lines = &gathered[(tile * keys + key_head) * self.lines()..][..self.lines()];
                for head in key_head * (heads / keys)..(key_head + 1) * (heads / keys) {
                    for (row, rows) in evenly(piece.rows, self.kernel.rows) {
                        let seen = (piece.first + row + rows).saturating_sub(before).min(KEYS);
                        if seen > 0 {
                            self.block(out, queries, (piece, lines), Block { head, row, rows, seen, before }, scratch);
                        }
                    }
                }
            }
        }
        for (row, to) in out[own].chunks_exact_mut(heads * width).enumerate() {
            for (head, values) in to.chunks_exact_mut(width).enumerate() {
                let share = 1.0 / scratch.states[head * piece.rows + row].sum;
                values.iter_mut().for_each(|value| *value *= share);
            }
        }
    }

    /// Scores of a few rows against a tile of keys, their softmax so far, and the values that it weighs.
    fn block(&self, out: &mut [f32], queries: &[u32], (piece, lines): (&Piece<'_>, &[Line]), block: Block, scratch: &mut Scratch) {
        let Heads { queries: heads, width, .. } = self.heads;
        let (words, panels) = (self.words(), block.seen.div_ceil(COLUMNS));
        let Scratch { shares, scores, states, tile } = scratch;
        let (keys, values) = lines.split_at(self.key_lines());
        let place = piece.place + block.row;
        let left =
            Left { words: &queries[(place * heads + block.head) * words..], stride: heads * words, rows: block.rows, scales: &[1.0; ROWS] };
        for (panel, lines) in keys.chunks_exact(words).take(panels).enumerate() {
            self.kernel.multiply(left, lines, tile);
            for (row, values) in tile.0[..block.rows].iter().enumerate() {
                scores[row * KEYS + panel * COLUMNS..][..COLUMNS].copy_from_slice(values);
            }
        }
        let keys = panels * COLUMNS;
        let lines = keys / self.kernel.precision.numbers();
        let states = &mut states[block.head * piece.rows + block.row..][..block.rows];
        let mut faded = [1.0; ROWS];
        for row in 0..block.rows {
            let seen = (piece.first + block.row + row + 1).saturating_sub(block.before).min(keys);
            faded[row] = soften(&mut scores[row * KEYS..][..keys], seen, &mut states[row]);
        }
        for (row, to) in shares.chunks_exact_mut(lines).take(block.rows).enumerate() {
            encode(self.kernel.precision, to, &scores[row * KEYS..][..keys]);
        }
        let left = Left { words: shares, stride: lines, rows: block.rows, scales: &[1.0; ROWS] };
        for (panel, values) in values.chunks_exact(self.value_lines()).enumerate() {
            self.kernel.multiply(left, &values[..lines], tile);
            let columns = COLUMNS.min(width - panel * COLUMNS);
            let at = (place * heads + block.head) * width + panel * COLUMNS;
            accumulate(out, Place { at, stride: heads * width, width: columns }, &tile.0[..block.rows], &faded);
        }
    }
}

vectorised! {
/// A line of the values of two rows: word `c` holds number `c` of the first and of the second.
fn interleave(line: &mut Line, first: &[u32], second: &[u32]) {
    for ((to, &a), &b) in line.0.chunks_exact_mut(2).zip(first).zip(second) {
        to[0] = a & 0xffff | b << 16;
        to[1] = a >> 16 | b & 0xffff_0000;
    }
}
}

vectorised! {
/// Replaces the first `seen` scores by exponentials against the largest so far and the others by zeros; returns by how much what came
/// before fades.
pub(crate) fn soften(scores: &mut [f32], seen: usize, state: &mut State) -> f32 {
    let (visible, hidden) = scores.split_at_mut(seen);
    hidden.fill(0.0);
    if visible.is_empty() {
        return 1.0;
    }
    let most = maximum(visible).max(state.most);
    let faded = exp(state.most - most);
    state.sum = state.sum * faded + exponentials(visible, most);
    state.most = most;
    faded
}
}
