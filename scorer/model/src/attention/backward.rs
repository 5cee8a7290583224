//! The gradient of a task: the shares are made again, tile by tile and mirrored, keys down and queries across, so that what goes towards keys and
//! values is multiplied as it stands.

use super::{Attended, Attention, Buffers, Heads, Task, each_task, gather};
use crate::kernels::{dot, exp};
use crate::packed::{COLUMNS, Kernel, Left, Line, Place, ROWS, Tile, accumulate, encode, evenly};
use crate::pass::{Block, KEYS, Pass, QUERIES};
use crate::products::{Matrix, encode_across, encode_along, pack_across, pack_along};
use crate::vectorised::vectorised;

/// A block of queries and of the slopes at their results, packed both ways.
#[derive(Debug, Default)]
struct Packed {
    /// `[queries across, width down]`
    queries: Vec<Line>,
    slopes: Vec<Line>,
    /// `[width across, queries down]`
    queries_down: Vec<Line>,
    slopes_down: Vec<Line>,
}

/// Buffers of a thread, one task after the other.
#[derive(Debug)]
pub(super) struct Scratch {
    /// Keys and values, row by row, and the mirrored keys, tile by tile.
    keys: Vec<u32>,
    values: Vec<u32>,
    mirrored: Vec<u32>,
    plain: Vec<f32>,
    block: Packed,
    log_sums: [f32; QUERIES],
    along: [f32; QUERIES],
    shares: Vec<u32>,
    towards_words: Vec<u32>,
    /// Slopes at the scores of a tile: `[KEYS, QUERIES]`.
    towards_scores: Vec<f32>,
    lines: Vec<Line>,
    /// `[width, QUERIES]`
    towards_queries: Vec<f32>,
    tiles: [Tile; 4],
}

impl Default for Scratch {
    fn default() -> Self {
        let (keys, values, mirrored, plain, block, lines, towards_queries) = Default::default();
        let (shares, towards_words) = (vec![0; ROWS * QUERIES], vec![0; ROWS * QUERIES]);
        let (log_sums, along, towards_scores) = ([0.0; QUERIES], [0.0; QUERIES], vec![0.0; KEYS * QUERIES]);
        let tiles = [const { Tile::ZERO }; 4];
        Self { keys, values, mirrored, plain, block, log_sums, along, shares, towards_words, towards_scores, lines, towards_queries, tiles }
    }
}

/// What goes towards keys and values of a page: `[rows, width]` each.
struct Towards<'a> {
    keys: &'a mut [f32],
    values: &'a mut [f32],
}

impl Attention {
    /// The gradient of [`Attention::attend`] towards `kept.qkv`, into `towards` (`[rows, stride]`, overwritten); `gradient` is
    /// `[rows, queries * width]`.
    pub fn attend_back(self, pass: &Pass, gradient: &[f32], kept: Attended<'_>, towards: &mut [f32], buffers: &mut Buffers) {
        let Heads { queries, keys, width } = self.heads;
        let group = self.heads.group();
        let Buffers { tasks, backward, .. } = buffers;
        tasks.resize(towards.len(), 0.0);
        each_task((pass, self, backward), (tasks, (group + 2) * width), (&mut [], 0), |scratch, task, own, _| {
            task.encode(kept.qkv, scratch);
            let rows = task.rows();
            let (towards_queries, others) = own.split_at_mut(group * rows * width);
            let (keys, values) = others.split_at_mut(rows * width);
            keys.fill(0.0);
            values.fill(0.0);
            let mut towards = Towards { keys, values };
            for (index, towards_queries) in towards_queries.chunks_exact_mut(rows * width).enumerate() {
                for block in &task.spread.blocks {
                    task.take(kept, gradient, (index, block), scratch);
                    scratch.towards_queries.clear();
                    scratch.towards_queries.resize(width * QUERIES, 0.0);
                    for &tile in &block.tiles {
                        task.tile_back(block, tile, &mut towards, scratch);
                        task.towards_queries(block, tile, scratch);
                    }
                    mirror(&mut towards_queries[block.rows.start * width..][..block.rows.len() * width], &scratch.towards_queries, width);
                }
            }
        });
        gather((pass, self.heads), tasks, (towards, self.heads.stride()), |key_head, run| {
            let part = if run < group { key_head * group + run } else { queries + (run - group) * keys + key_head };
            part * width
        });
    }
}

/// Keys of a tile that the last row of a block sees.
fn seen(block: &Block, tile: &crate::pass::Tile) -> usize {
    block.rows.end.saturating_sub(tile.rows.start).min(tile.rows.len())
}

impl Task<'_> {
    fn encode(&self, qkv: &[f32], scratch: &mut Scratch) {
        let (kernel, width) = (self.attention.kernel, self.attention.heads.width);
        let (rows, stride) = (self.rows(), kernel.words(width));
        scratch.plain.resize(width, 0.0);
        for (matrix, words) in [(self.key(qkv), &mut scratch.keys), (self.value(qkv), &mut scratch.values)] {
            words.resize(words.len().max(rows * stride), 0);
            encode_along(kernel.precision, matrix, (words, stride), &mut scratch.plain);
        }
        let mirrored = mirrored_stride(kernel);
        scratch.mirrored.resize(scratch.mirrored.len().max(self.spread.tiles.len() * width * mirrored), 0);
        for (tile, words) in self.spread.tiles.iter().zip(scratch.mirrored.chunks_exact_mut(width * mirrored)) {
            words.fill(0);
            encode_across(kernel.precision, self.key(qkv).of_rows(tile.rows.clone()), words, mirrored);
        }
    }

    /// Packs a block's queries and slopes, and takes its sums and its slopes along its results.
    fn take(&self, kept: Attended<'_>, gradient: &[f32], (index, block): (usize, &Block), scratch: &mut Scratch) {
        let (kernel, width) = (self.attention.kernel, self.attention.heads.width);
        let (precision, rows) = (kernel.precision, block.rows.clone());
        let (queries, slopes) = (self.query(kept.qkv, index).of_rows(rows.clone()), self.result(gradient, index).of_rows(rows.clone()));
        let panels = rows.len().div_ceil(COLUMNS);
        let down = width.div_ceil(COLUMNS);
        let Packed { queries: q, slopes: s, queries_down, slopes_down } = &mut scratch.block;
        for (matrix, along, across) in [(queries, q, queries_down), (slopes, s, slopes_down)] {
            along.resize(panels * kernel.words(width), Line::ZERO);
            pack_along(precision, matrix, 0, (along, kernel.words(width)));
            across.resize(down * kernel.words(rows.len()), Line::ZERO);
            pack_across(precision, matrix, 0, (across, kernel.words(rows.len())));
        }
        let sums = super::start(self.spread, self.key_head, (self.attention.heads.keys, self.attention.heads.group()));
        let sums = &kept.log_sums[sums + index * self.rows()..][rows];
        scratch.log_sums = [f32::INFINITY; QUERIES];
        scratch.log_sums[..sums.len()].copy_from_slice(sums);
        let out = self.result(kept.out, index).of_rows(block.rows.clone());
        scratch.along = [0.0; QUERIES];
        along(&mut scratch.along[..sums.len()], slopes, out, &mut scratch.plain);
    }

    /// Shares and slopes of one tile, and what goes towards its keys and values.
    fn tile_back(&self, block: &Block, number: usize, towards: &mut Towards<'_>, scratch: &mut Scratch) {
        let (kernel, width) = (self.attention.kernel, self.attention.heads.width);
        let tile = &self.spread.tiles[number];
        let stride = kernel.words(width);
        let words = kernel.words(block.rows.len());
        let Scratch { keys, values, block: packed, shares, towards_words, towards_scores, tiles, log_sums, along, .. } = scratch;
        let [scores, scores_2, slopes, slopes_2] = tiles;
        for (row, rows) in evenly(seen(block, tile), kernel.rows) {
            let first = tile.rows.start + row;
            let left = |words| Left { words, stride, rows, scales: &[1.0; ROWS] };
            let (keys, values) = (left(&keys[first * stride..]), left(&values[first * stride..]));
            for (panel, (scores, slopes)) in [(&mut *scores, &mut *slopes), (&mut *scores_2, &mut *slopes_2)].into_iter().enumerate() {
                if panel * COLUMNS < block.rows.len() {
                    kernel.multiply(keys, &packed.queries[panel * stride..][..stride], scores);
                    kernel.multiply(values, &packed.slopes[panel * stride..][..stride], slopes);
                }
            }
            for step in 0..rows {
                let (mut share, mut slope) = ([0.0; QUERIES], [0.0; QUERIES]);
                let both = |low: &Tile, high: &Tile, to: &mut [f32; QUERIES]| {
                    to[..COLUMNS].copy_from_slice(&low.0[step]);
                    to[COLUMNS..].copy_from_slice(&high.0[step]);
                };
                both(scores, scores_2, &mut share);
                both(slopes, slopes_2, &mut slope);
                // The first query that sees this key.
                let from = (first + step).saturating_sub(block.rows.start);
                shares_and_slopes(&mut share, &mut slope, (log_sums, along), from);
                encode(kernel.precision, &mut shares[step * words..][..words], &share[..block.rows.len()]);
                encode(kernel.precision, &mut towards_words[step * words..][..words], &slope[..block.rows.len()]);
                towards_scores[(row + step) * QUERIES..][..QUERIES].copy_from_slice(&slope);
            }
            let pairs =
                [(&*shares, &packed.slopes_down, &mut *towards.values), (&*towards_words, &packed.queries_down, &mut *towards.keys)];
            for (left, right, to) in pairs {
                let left = Left { words: left, stride: words, rows, scales: &[1.0; ROWS] };
                for (panel, lines) in right.chunks_exact(words).enumerate() {
                    kernel.multiply(left, lines, scores);
                    let place = Place { at: first * width + panel * COLUMNS, stride: width, width: COLUMNS.min(width - panel * COLUMNS) };
                    accumulate(to, place, &scores.0[..rows], &[1.0; ROWS]);
                }
            }
        }
    }

    /// What goes from one tile towards the queries of the block, mirrored.
    fn towards_queries(&self, block: &Block, number: usize, scratch: &mut Scratch) {
        let (kernel, width) = (self.attention.kernel, self.attention.heads.width);
        let keys = seen(block, &self.spread.tiles[number]);
        let (words, stride) = (kernel.words(keys), mirrored_stride(kernel));
        let panels = block.rows.len().div_ceil(COLUMNS);
        scratch.lines.resize(panels * words, Line::ZERO);
        let slopes = Matrix::plain(&scratch.towards_scores, QUERIES).of_rows(0..keys);
        pack_across(kernel.precision, slopes, 0, (&mut scratch.lines, words));
        let mirrored = &scratch.mirrored[number * width * stride..];
        for (panel, lines) in scratch.lines.chunks_exact(words).enumerate() {
            for (row, rows) in evenly(width, kernel.rows) {
                let left = Left { words: &mirrored[row * stride..], stride, rows, scales: &[1.0; ROWS] };
                kernel.multiply(left, lines, &mut scratch.tiles[0]);
                let place = Place { at: row * QUERIES + panel * COLUMNS, stride: QUERIES, width: COLUMNS };
                accumulate(&mut scratch.towards_queries, place, &scratch.tiles[0].0[..rows], &[1.0; ROWS]);
            }
        }
    }
}

/// Words between rows of a tile's mirrored keys.
fn mirrored_stride(kernel: Kernel) -> usize {
    kernel.words(KEYS).next_multiple_of(16)
}

vectorised! {
/// `shares = e^(scores - log_sums)` and `slopes = shares * (slopes - along)` for one key; nothing for queries before `from`.
fn shares_and_slopes(shares: &mut [f32; QUERIES], slopes: &mut [f32; QUERIES], known: (&[f32; QUERIES], &[f32; QUERIES]), from: usize) {
    let (log_sums, along) = known;
    for query in 0..QUERIES {
        let share = exp(shares[query] - log_sums[query]);
        let share = if query >= from { share } else { 0.0 };
        shares[query] = share;
        slopes[query] = share * (slopes[query] - along[query]);
    }
}
}

vectorised! {
/// The inner product of each row of slopes with its row of results; `row_of` has room for a row.
fn along(to: &mut [f32], slopes: Matrix<'_>, out: Matrix<'_>, row_of: &mut [f32]) {
    let mut other = vec![0.0; row_of.len()];
    for (row, sum) in to.iter_mut().enumerate() {
        slopes.read(row, 0, row_of);
        out.read(row, 0, &mut other);
        *sum = dot(row_of, &other);
    }
}
}

vectorised! {
/// `[width, QUERIES]` into `[queries, width]`.
fn mirror(to: &mut [f32], from: &[f32], width: usize) {
    for (query, row) in to.chunks_exact_mut(width).enumerate() {
        for (value, line) in row.iter_mut().zip(from.chunks_exact(QUERIES)) {
            *value = line[query];
        }
    }
}
}
