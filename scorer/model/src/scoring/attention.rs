//! Attention of some rows over the keys and values of a layer: tiles of both, softmax as it goes, one pass.
//!
//! Tiles of keys begin at fixed positions of the text, so a row's sums run in the same order wherever its rows lie in a batch.

use super::batch::{KEYS, Segment};
use super::softmax::{self, State, soften_tiles};
use crate::attention::Heads;
use crate::packed::{COLUMNS, Kernel, Left, Line, Panels, Place, Precision, ROWS, Tile, accumulate, evenly};
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

/// Buffers.
#[derive(Clone, Debug)]
pub(crate) struct Scratch {
    shares: Vec<u32>,
    states: Vec<State>,
    /// A product's tiles: the scores of a block, then what its shares weigh.
    tiles: Vec<Tile>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { shares: vec![0; ROWS * KEYS], states: Vec::new(), tiles: vec![Tile::ZERO; KEYS / COLUMNS] }
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
    /// What queries are multiplied by before they meet the keys.
    pub fn scale(&self) -> f32 {
        softmax::scale(self.kernel.precision, self.heads.width)
    }

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

    /// Panels of the values of one head.
    fn value_panels(&self) -> usize {
        self.heads.width.div_ceil(COLUMNS)
    }

    /// Lines that hold one tile's keys and values of one head.
    pub fn lines(&self) -> usize {
        self.key_lines() + self.value_panels() * self.value_lines()
    }

    /// Packs the keys and values of the rows of a tile, for one key head. What lies beyond the rows stays zero.
    pub fn gather(&self, to: &mut [Line], cache: &Cache, rows: &[u32], head: usize) {
        let (words, numbers) = (self.words(), self.kernel.precision.numbers());
        let own = |row: u32| {
            let at = (row as usize * self.heads.keys + head) * words;
            at..at + words
        };
        let (keys, values) = to.split_at_mut(self.key_lines());
        for (panel, some) in keys.chunks_exact_mut(words).zip(rows.chunks(COLUMNS)) {
            for (column, &row) in some.iter().enumerate() {
                for (line, &word) in panel.iter_mut().zip(&cache.keys[own(row)]) {
                    line.0[column] = word;
                }
            }
        }
        // The two `bf16` of a word of shares, and so the rows of a line of values, lie so far apart: half a tile.
        let columns = COLUMNS / numbers;
        for (panel, lines) in values.chunks_exact_mut(self.value_lines()).enumerate() {
            let part = |row: u32| cache.values[own(row)].chunks(columns).nth(panel).unwrap_or_default();
            for (lines, rows) in lines.chunks_mut(columns).zip(rows.chunks(COLUMNS)) {
                for (index, (line, &row)) in lines.iter_mut().zip(rows).enumerate() {
                    match self.kernel.precision {
                        Precision::Bf16 => interleave(line, part(row), rows.get(index + columns).map_or(&[0; COLUMNS], |&row| part(row))),
                        _ => line.0.iter_mut().zip(part(row)).for_each(|(to, &word)| *to = word),
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
        scratch.states.resize(heads * piece.rows, State::NOTHING);
        scratch.tiles.resize(scratch.tiles.len().max(self.value_panels()), Tile::ZERO);
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
        let Scratch { shares, states, tiles } = scratch;
        let (keys, values) = lines.split_at(self.key_lines());
        let place = piece.place + block.row;
        let left =
            Left { words: &queries[(place * heads + block.head) * words..], stride: heads * words, rows: block.rows, scales: &[1.0; ROWS] };
        self.kernel.multiply_panels(left, Panels { lines: keys, stride: words, used: words }, &mut tiles[..panels]);
        let seen: [usize; ROWS] =
            std::array::from_fn(|row| (piece.first + block.row + row + 1).saturating_sub(block.before).min(panels * COLUMNS));
        let states = &mut states[block.head * piece.rows + block.row..][..block.rows];
        let faded = soften_tiles(self.kernel.precision, shares, &tiles[..panels], &seen, states);
        let used = panels * COLUMNS / self.kernel.precision.numbers();
        let left = Left { words: shares, stride: used, rows: block.rows, scales: &[1.0; ROWS] };
        let tiles = &mut tiles[..self.value_panels()];
        self.kernel.multiply_panels(left, Panels { lines: values, stride: self.value_lines(), used }, tiles);
        for (panel, tile) in tiles.iter().enumerate() {
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
