//! The forward pass of a task: tiles of keys, softmax as it goes, and the logarithms with which the gradient makes the same shares again.

use super::{Attention, Buffers, Heads, Task, each_task, gather};
use crate::packed::{COLUMNS, Left, Line, Place, ROWS, Tile, accumulate, encode, evenly};
use crate::pass::{Block, KEYS, Pass, QUERIES};
use crate::products::{encode_along, pack_across, pack_along};
use crate::scoring::{State, soften};

/// Buffers of a thread, one task after the other.
#[derive(Debug)]
pub(super) struct Scratch {
    keys: Vec<Line>,
    values: Vec<Line>,
    queries: Vec<u32>,
    plain: Vec<f32>,
    scores: Vec<f32>,
    shares: Vec<u32>,
    states: Vec<State>,
    tile: Tile,
}

impl Default for Scratch {
    fn default() -> Self {
        let (keys, values, queries, plain, states) = Default::default();
        Self { keys, values, queries, plain, scores: vec![0.0; ROWS * KEYS], shares: vec![0; ROWS * KEYS], states, tile: Tile::ZERO }
    }
}

impl Attention {
    /// `out[row] = softmax(query . key) . value`, `[rows, queries * width]`; `log_sums` are as in [`Attended`](super::Attended).
    pub fn attend(self, pass: &Pass, qkv: &[f32], (out, log_sums): (&mut [f32], &mut [f32]), buffers: &mut Buffers) {
        let Heads { width, .. } = self.heads;
        let group = self.heads.group();
        let Buffers { tasks, forward, .. } = buffers;
        tasks.resize(out.len(), 0.0);
        each_task((pass, self, forward), (tasks, group * width), (log_sums, group), |scratch, task, out, sums| {
            task.pack(qkv, scratch);
            let rows = task.rows();
            for (index, (out, sums)) in out.chunks_exact_mut(rows * width).zip(sums.chunks_exact_mut(rows)).enumerate() {
                for block in &task.spread.blocks {
                    task.block(qkv, index, block, scratch);
                    let place = block.rows.start * width;
                    out[place..place + block.rows.len() * width].fill(0.0);
                    for &tile in &block.tiles {
                        task.tile(block, tile, out, scratch);
                    }
                    task.finish(block, out, sums, &scratch.states);
                }
            }
        });
        gather((pass, self.heads), tasks, (out, self.heads.queries * width), |key_head, run| (key_head * group + run) * width);
    }
}

impl Task<'_> {
    /// Lines of the keys of a tile, and of one panel of its values.
    fn lines(&self) -> (usize, usize) {
        (KEYS / COLUMNS * self.attention.kernel.words(self.attention.heads.width), self.attention.kernel.words(KEYS))
    }

    fn pack(&self, qkv: &[f32], scratch: &mut Scratch) {
        let (precision, width) = (self.attention.kernel.precision, self.attention.heads.width);
        let (key_lines, value_lines) = self.lines();
        let panels = width.div_ceil(COLUMNS);
        let tiles = self.spread.tiles.len();
        scratch.keys.resize(scratch.keys.len().max(tiles * key_lines), Line::ZERO);
        scratch.values.resize(scratch.values.len().max(tiles * panels * value_lines), Line::ZERO);
        let keys = scratch.keys.chunks_exact_mut(key_lines).zip(scratch.values.chunks_exact_mut(panels * value_lines));
        for (tile, (keys, values)) in self.spread.tiles.iter().zip(keys) {
            let per_panel = key_lines / (KEYS / COLUMNS);
            let used = tile.rows.len().div_ceil(COLUMNS) * per_panel;
            pack_along(precision, self.key(qkv).of_rows(tile.rows.clone()), 0, (&mut keys[..used], per_panel));
            pack_across(precision, self.value(qkv).of_rows(tile.rows.clone()), 0, (values, value_lines));
        }
    }

    /// The queries of a block in words.
    fn block(&self, qkv: &[f32], index: usize, block: &Block, scratch: &mut Scratch) {
        let (kernel, width) = (self.attention.kernel, self.attention.heads.width);
        let stride = kernel.words(width);
        scratch.queries.resize(QUERIES * stride, 0);
        scratch.plain.resize(width, 0.0);
        let queries = self.query(qkv, index).of_rows(block.rows.clone());
        encode_along(kernel.precision, queries, (&mut scratch.queries, stride), &mut scratch.plain);
        scratch.states.clear();
        scratch.states.resize(block.rows.len(), State { most: f32::NEG_INFINITY, sum: 0.0 });
    }

    fn tile(&self, block: &Block, number: usize, out: &mut [f32], scratch: &mut Scratch) {
        let (kernel, width) = (self.attention.kernel, self.attention.heads.width);
        let (key_lines, value_lines) = self.lines();
        let Scratch { keys, values, queries, scores, shares, states, tile: product, .. } = scratch;
        let (stride, tile) = (kernel.words(width), &self.spread.tiles[number]);
        let seen_by = |row: usize| (block.rows.start + row + 1).saturating_sub(tile.rows.start).min(tile.rows.len());
        for (row, rows) in evenly(block.rows.len(), kernel.rows) {
            let seen = seen_by(row + rows - 1);
            if seen == 0 {
                continue;
            }
            let left = Left { words: &queries[row * stride..], stride, rows, scales: &[1.0; ROWS] };
            let lines = keys[number * key_lines..][..key_lines].chunks_exact(stride).take(seen.div_ceil(COLUMNS));
            for (panel, lines) in lines.enumerate() {
                kernel.multiply(left, lines, product);
                for (row, values) in product.0[..rows].iter().enumerate() {
                    scores[row * KEYS + panel * COLUMNS..][..COLUMNS].copy_from_slice(values);
                }
            }
            let words = kernel.words(seen);
            let mut faded = [1.0; ROWS];
            for (step, fading) in faded.iter_mut().enumerate().take(rows) {
                let scores = &mut scores[step * KEYS..][..seen];
                *fading = soften(scores, seen_by(row + step), &mut states[row + step]);
                encode(kernel.precision, &mut shares[step * words..][..words], scores);
            }
            let left = Left { words: shares, stride: words, rows, scales: &[1.0; ROWS] };
            let panels = values[number * width.div_ceil(COLUMNS) * value_lines..].chunks_exact(value_lines);
            for (panel, lines) in panels.enumerate().take(width.div_ceil(COLUMNS)) {
                kernel.multiply(left, &lines[..words], product);
                let columns = COLUMNS.min(width - panel * COLUMNS);
                let at = (block.rows.start + row) * width + panel * COLUMNS;
                accumulate(out, Place { at, stride: width, width: columns }, &product.0[..rows], &faded);
            }
        }
    }

    fn finish(&self, block: &Block, out: &mut [f32], sums: &mut [f32], states: &[State]) {
        let width = self.attention.heads.width;
        for (state, row) in states.iter().zip(block.rows.clone()) {
            let share = 1.0 / state.sum;
            out[row * width..][..width].iter_mut().for_each(|value| *value *= share);
            sums[row] = state.most + state.sum.ln();
        }
    }
}
