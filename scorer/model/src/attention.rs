//! Attention over a [`Page`](crate::page::Page): blocks of rows against the rows that they see, forward and backward.
//!
//! Scores live for one block and one head only; the backward pass computes them again from the kept logarithms of their sums.

use crate::kernels::{dot, softmax, softmax_again, wide};
use crate::matmul::{Into, View, product};
use crate::page::Block;

/// The shape of the rows: each holds all queries, then all keys, then all values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    /// Query heads.
    pub queries: usize,
    /// Key and value heads.
    pub keys: usize,
    /// Numbers in a head.
    pub width: usize,
}

/// A run of rows that a block sees, and where their scores stand.
#[derive(Clone, Copy)]
struct Seen {
    row: usize,
    length: usize,
    column: usize,
}

impl Heads {
    /// Numbers in a row of queries, keys and values.
    pub fn stride(self) -> usize {
        (self.queries + 2 * self.keys) * self.width
    }

    fn query(self, rows: &std::ops::Range<usize>, head: usize) -> View {
        View::rows(rows.start * self.stride() + head * self.width, (rows.len(), self.width), self.stride())
    }

    fn key(self, seen: Seen, head: usize) -> View {
        let column = self.queries + head / (self.queries / self.keys);
        View::rows(seen.row * self.stride() + column * self.width, (seen.length, self.width), self.stride())
    }

    fn value(self, seen: Seen, head: usize) -> View {
        let key = self.key(seen, head);
        View { offset: key.offset + self.keys * self.width, ..key }
    }

    fn result(self, rows: &std::ops::Range<usize>, head: usize) -> View {
        let stride = self.queries * self.width;
        View::rows(rows.start * stride + head * self.width, (rows.len(), self.width), stride)
    }
}

impl Block {
    /// The note's blocks follow their prefix at once: one run. A question's rows lie further on: two.
    fn seen(&self) -> Vec<Seen> {
        let own = self.queries.len();
        if self.prefix == self.queries.start {
            return vec![Seen { row: 0, length: self.prefix + own, column: 0 }];
        }
        vec![Seen { row: 0, length: self.prefix, column: 0 }, Seen { row: self.queries.start, length: own, column: self.prefix }]
    }

    fn keys(&self) -> usize {
        self.prefix + self.queries.len()
    }

    fn scores(&self, seen: Seen) -> View {
        View::rows(seen.column, (self.queries.len(), seen.length), self.keys())
    }

    fn score(&self, scores: &mut Vec<f32>, qkv: &[f32], heads: Heads, head: usize) {
        scores.resize(self.queries.len() * self.keys(), 0.0);
        let scale = 1.0 / (heads.width as f32).sqrt();
        for seen in self.seen() {
            let right = (qkv, heads.key(seen, head).transposed());
            product((scores, self.scores(seen)), Into::Replace, (qkv, heads.query(&self.queries, head)), right, scale);
        }
    }
}

fn first_or_add(index: usize) -> Into {
    if index == 0 { Into::Replace } else { Into::Add }
}

/// Buffers that outlive a block.
#[derive(Default, Debug)]
pub(crate) struct Scratch {
    scores: Vec<f32>,
    towards_scores: Vec<f32>,
}

/// `out[row] = softmax(query . key / sqrt(width)) . value`; `log_sums` is `[heads, rows]`.
pub(crate) fn attend(out: &mut [f32], log_sums: &mut [f32], qkv: &[f32], (blocks, heads): (&[Block], Heads), scratch: &mut Scratch) {
    let rows = qkv.len() / heads.stride();
    for block in blocks {
        for head in 0..heads.queries {
            block.score(&mut scratch.scores, qkv, heads, head);
            let sums = &mut log_sums[head * rows..][block.queries.clone()];
            wide(|| {
                for (index, row) in scratch.scores.chunks_exact_mut(block.keys()).enumerate() {
                    let (visible, hidden) = row.split_at_mut(block.prefix + index + 1);
                    sums[index] = softmax(visible);
                    hidden.fill(0.0);
                }
            });
            for (index, seen) in block.seen().into_iter().enumerate() {
                let left = (scratch.scores.as_slice(), block.scores(seen));
                product((out, heads.result(&block.queries, head)), first_or_add(index), left, (qkv, heads.value(seen, head)), 1.0);
            }
        }
    }
}

/// What the forward pass left behind.
pub(crate) struct Attended<'a> {
    /// `[rows, stride]`, rotated
    pub qkv: &'a [f32],
    /// `[rows, queries * width]`
    pub out: &'a [f32],
    /// `[heads, rows]`
    pub log_sums: &'a [f32],
}

/// The gradient of [`attend`] towards queries, keys and values, into `towards` (`[rows, stride]`, overwritten).
pub(crate) fn attend_back(
    towards: &mut [f32],
    gradient: &[f32],
    kept: &Attended<'_>,
    (blocks, heads): (&[Block], Heads),
    scratch: &mut Scratch,
) {
    towards.fill(0.0);
    let Attended { qkv, out, log_sums } = *kept;
    let rows = qkv.len() / heads.stride();
    let Scratch { scores, towards_scores } = scratch;
    for block in blocks {
        for head in 0..heads.queries {
            block.score(scores, qkv, heads, head);
            towards_scores.resize(scores.len(), 0.0);
            let result = heads.result(&block.queries, head);
            for seen in block.seen() {
                let values = heads.value(seen, head).transposed();
                product((towards_scores, block.scores(seen)), Into::Replace, (gradient, result), (qkv, values), 1.0);
            }
            let scale = 1.0 / (heads.width as f32).sqrt();
            let sums = &log_sums[head * rows..][block.queries.clone()];
            wide(|| {
                let pairs = scores.chunks_exact_mut(block.keys()).zip(towards_scores.chunks_exact_mut(block.keys()));
                for (index, (shares, slopes)) in pairs.enumerate() {
                    let at = result.offset + index * result.row;
                    let along = dot(&gradient[at..at + heads.width], &out[at..at + heads.width]);
                    let visible = block.prefix + index + 1;
                    softmax_again(&mut shares[..visible], sums[index]);
                    shares[visible..].fill(0.0);
                    for (slope, share) in slopes.iter_mut().zip(shares.iter()) {
                        *slope = share * (*slope - along) * scale;
                    }
                }
            });
            for (index, seen) in block.seen().into_iter().enumerate() {
                let (shares, slopes) = ((scores.as_slice(), block.scores(seen)), (towards_scores.as_slice(), block.scores(seen)));
                let query = heads.query(&block.queries, head);
                product((towards, heads.value(seen, head)), Into::Add, (shares.0, shares.1.transposed()), (gradient, result), 1.0);
                product((towards, query), first_or_add(index), slopes, (qkv, heads.key(seen, head)), 1.0);
                product((towards, heads.key(seen, head)), Into::Add, (slopes.0, slopes.1.transposed()), (qkv, query), 1.0);
            }
        }
    }
}
