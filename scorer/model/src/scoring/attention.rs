//! Attention of some rows over the keys and values of a layer: tiles of both, softmax as it goes, one pass.
//!
//! Tiles of keys begin at fixed positions of the text, so a row's sums run in the same order wherever its rows lie in a batch.

use std::ops::Range;

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

/// Rows of a strip that follow each other and see keys of the same tile, of whatever segments they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    /// Place in [`Batch::tiles`](super::batch::Batch::tiles).
    pub tile: usize,
    /// Position of the tile's first key.
    pub before: usize,
    /// Places in the strip. Each of them sees a key of the tile, at least.
    pub rows: Range<usize>,
}

impl Sight {
    /// Adds to `sights`, in which those of earlier keys come first, those of some rows of `segment` from place `place` of a strip on.
    pub fn extend(sights: &mut Vec<Self>, segment: &Segment, rows: Range<usize>, place: usize) {
        let first = segment.first() + rows.start - segment.rows.start;
        let ends = first + rows.len();
        for (index, &tile) in segment.tiles.iter().take(ends.div_ceil(KEYS)).enumerate() {
            let before = index * KEYS;
            let rows = place + before.saturating_sub(first)..place + rows.len();
            match sights.iter_mut().find(|sight| sight.tile == tile && sight.rows.end == rows.start) {
                Some(sight) => sight.rows.end = rows.end,
                None => sights.insert(sights.partition_point(|sight| sight.before <= before), Self { tile, before, rows }),
            }
        }
    }
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

/// One head's part of the work: its number, its rows in the strip, and the keys before the tile.
#[derive(Clone)]
struct Block {
    head: usize,
    rows: Range<usize>,
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

    /// `out[row] = softmax(query . key) . value` for the rows of a strip, each over the keys up to its position; `queries` (scaled and turned, in
    /// words) and `out` are `[rows, query heads * width]`, `gathered` is what [`Attention::gather`] made of all tiles, head after head.
    pub fn attend(&self, out: &mut [f32], queries: &[u32], gathered: &[Line], of: (&[Sight], &[u32]), scratch: &mut Scratch) {
        let (sights, positions) = of;
        let Heads { queries: heads, keys, width } = self.heads;
        let rows = positions.len();
        scratch.states.clear();
        scratch.states.resize(heads * rows, State::NOTHING);
        scratch.tiles.resize(scratch.tiles.len().max(self.value_panels()), Tile::ZERO);
        let out = &mut out[..rows * heads * width];
        out.fill(0.0);
        for key_head in 0..keys {
            for sight in sights {
                let lines = &gathered[(sight.tile * keys + key_head) * self.lines()..][..self.lines()];
                for head in key_head * (heads / keys)..(key_head + 1) * (heads / keys) {
                    for (row, count) in evenly(sight.rows.len(), self.kernel.rows) {
                        let start = sight.rows.start + row;
                        let block = Block { head, rows: start..start + count, before: sight.before };
                        self.block(out, queries, (positions, lines), block, scratch);
                    }
                }
            }
        }
        for (row, to) in out.chunks_exact_mut(heads * width).enumerate() {
            for (head, values) in to.chunks_exact_mut(width).enumerate() {
                let share = 1.0 / scratch.states[head * rows + row].sum;
                values.iter_mut().for_each(|value| *value *= share);
            }
        }
    }

    /// Scores of a few rows against a tile of keys, their softmax so far, and the values that it weighs.
    fn block(&self, out: &mut [f32], queries: &[u32], (positions, lines): (&[u32], &[Line]), block: Block, scratch: &mut Scratch) {
        let Heads { queries: heads, width, .. } = self.heads;
        let Block { head, rows, before } = block;
        let Scratch { shares, states, tiles } = scratch;
        let mut seen = [0; ROWS];
        for (seen, &position) in seen.iter_mut().zip(&positions[rows.clone()]) {
            *seen = (position as usize + 1).saturating_sub(before).min(KEYS);
        }
        let (words, panels) = (self.words(), seen.iter().max().map_or(0, |most| most.div_ceil(COLUMNS)));
        let (keys, values) = lines.split_at(self.key_lines());
        let left =
            Left { words: &queries[(rows.start * heads + head) * words..], stride: heads * words, rows: rows.len(), scales: &[1.0; ROWS] };
        self.kernel.multiply_panels(left, Panels { lines: keys, stride: words, used: words }, &mut tiles[..panels]);
        let states = &mut states[head * positions.len()..][rows.clone()];
        let faded = soften_tiles(self.kernel.precision, shares, &tiles[..panels], &seen, states);
        let used = panels * COLUMNS / self.kernel.precision.numbers();
        let left = Left { words: shares, stride: used, rows: rows.len(), scales: &[1.0; ROWS] };
        let tiles = &mut tiles[..self.value_panels()];
        self.kernel.multiply_panels(left, Panels { lines: values, stride: self.value_lines(), used }, tiles);
        for (panel, tile) in tiles.iter().enumerate() {
            let columns = COLUMNS.min(width - panel * COLUMNS);
            let at = (rows.start * heads + head) * width + panel * COLUMNS;
            accumulate(out, Place { at, stride: heads * width, width: columns }, &tile.0[..rows.len()], &faded);
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

#[cfg(test)]
mod tests {
    use super::super::batch::Batch;
    use super::*;

    #[test]
    fn rows_of_several_questions_see_a_note_together_and_themselves_apart() {
        let mut batch = Batch::default();
        batch.push(&[1; 130], [[2_u32; 4].as_slice(), &[3; 5]].into_iter());
        batch.push(&[1; 3], std::iter::empty());
        let mut sights = Vec::new();
        // All rows but the first 120, as a strip has them.
        let mut place = 0;
        for segment in &batch.segments {
            let rows = segment.rows.start.max(120)..segment.rows.end;
            Sight::extend(&mut sights, segment, rows.clone(), place);
            place += rows.len();
        }
        let seen: Vec<(usize, usize, Range<usize>)> = sights.into_iter().map(|Sight { tile, before, rows }| (tile, before, rows)).collect();
        // The second tile of the note is not full: behind it each question has a tile of its own, and the other note has its own from the beginning.
        assert_eq!(seen, [(0, 0, 0..19), (4, 0, 19..22), (1, 128, 8..10), (2, 128, 10..14), (3, 128, 14..19)]);
    }
}
