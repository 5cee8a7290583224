//! A strip: some rows of a batch, and what one thread does to them between two looks at the others' keys and values.

use super::attention::{Scratch, Sight};
use super::layer::{Layer, Shape};
use crate::kernels::{Turn, norm};
use crate::packed::{COLUMNS, Line, Packed, Place, ROWS, Rows, accumulate, encode, gate};

/// Rows of a batch with everything that belongs to them alone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Strip {
    /// What its rows see, of earlier keys first.
    pub sights: Vec<Sight>,
    pub positions: Vec<u32>,
    /// The residual stream, `[rows, hidden]`.
    pub stream: Vec<f32>,
    queries: Vec<u32>,
}

/// What a thread needs while it works on a strip, and again on its next one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Work {
    left: Rows,
    plain: Vec<f32>,
    inverse: Vec<f32>,
    scratch: Scratch,
}

/// A strip's own rows of a [`Cache`](super::attention::Cache).
pub(crate) struct Own<'a> {
    pub keys: &'a mut [u32],
    pub values: &'a mut [u32],
}

impl Work {
    /// Makes room for so many numbers in `plain`, which never shrinks; what they are is to be written next.
    fn room(&mut self, numbers: usize) {
        self.plain.resize(self.plain.len().max(numbers), 0.0);
    }

    /// `rows` rows of `plain`, ready to be multiplied.
    fn encode(&mut self, shape: &Shape, (rows, inner): (usize, usize)) {
        self.left.reset(shape.kernel, rows, inner);
        for (row, values) in self.plain.chunks_exact(inner).take(rows).enumerate() {
            self.left.encode(shape.kernel, row, values);
        }
    }
}

impl Strip {
    fn rows(&self) -> usize {
        self.positions.len()
    }

    /// Norm of the stream, ready to be multiplied.
    pub fn norm(&self, work: &mut Work, shape: &Shape, weight: &[f32]) {
        work.room(self.stream.len());
        work.inverse.resize(self.rows(), 0.0);
        norm(&mut work.plain[..self.stream.len()], &mut work.inverse, &self.stream, weight, shape.epsilon);
        work.encode(shape, (self.rows(), shape.hidden));
    }

    /// Multiplies the normed rows by `packed`, some whole heads at a time: `take` receives the strip's place of each row, the first column and the numbers.
    fn heads(&self, work: &mut Work, shape: &Shape, packed: &Packed, mut take: impl FnMut(&mut [f32], usize, usize, &[u32])) {
        let rows = self.rows();
        let panels = packed.panels();
        for first in panels.clone().step_by(shape.panels_of_heads) {
            let some = first..panels.end.min(first + shape.panels_of_heads);
            let (start, end) = (first * COLUMNS, packed.columns().min(some.end * COLUMNS));
            let columns = end - start;
            work.room(rows * columns);
            let plain = &mut work.plain[..rows * columns];
            packed.product(&mut work.left, some, |row, column, tile| {
                let width = COLUMNS.min(end - column);
                for (step, values) in tile.iter().enumerate() {
                    let to = &mut plain[(row + step) * columns + column - start..][..width];
                    match <&mut [f32; COLUMNS]>::try_from(&mut *to) {
                        Ok(whole) => *whole = *values,
                        Err(_) => to.copy_from_slice(&values[..width]),
                    }
                }
            });
            take(plain, start, columns, &self.positions);
        }
    }

    /// The queries of the normed rows: turned to their positions and scaled.
    pub fn ask(&mut self, work: &mut Work, shape: &Shape, layer: &Layer) {
        let (width, words) = (shape.attention.heads.width, shape.attention.words());
        let stride = shape.attention.heads.queries * words;
        let mut queries = std::mem::take(&mut self.queries);
        queries.resize(self.rows() * stride, 0);
        let scale = shape.attention.scale();
        self.heads(work, shape, &layer.queries, |plain, start, columns, positions| {
            shape.rotary.turn(plain, positions, (columns / width, columns), Turn::Forward);
            plain.iter_mut().for_each(|value| *value *= scale);
            for (row, values) in plain.chunks_exact(columns).enumerate() {
                let to = &mut queries[row * stride + start / width * words..][..columns / width * words];
                encode(shape.attention.kernel.precision, to, values);
            }
        });
        self.queries = queries;
    }

    /// The keys (turned to their positions) and values of the normed rows, into the strip's own part of the layer's.
    pub fn offer(&self, work: &mut Work, shape: &Shape, layer: &Layer, own: &mut Own<'_>) {
        let (width, words) = (shape.attention.heads.width, shape.attention.words());
        let stride = shape.attention.heads.keys * words;
        for (packed, to, turned) in [(&layer.keys, &mut *own.keys, true), (&layer.values, &mut *own.values, false)] {
            self.heads(work, shape, packed, |plain, start, columns, positions| {
                if turned {
                    shape.rotary.turn(plain, positions, (columns / width, columns), Turn::Forward);
                }
                for (row, values) in plain.chunks_exact(columns).enumerate() {
                    let to = &mut to[row * stride + start / width * words..][..columns / width * words];
                    encode(shape.attention.kernel.precision, to, values);
                }
            });
        }
    }

    /// Attention with the queries of [`Strip::ask`], and what it adds to the stream.
    pub fn attend(&mut self, work: &mut Work, shape: &Shape, layer: &Layer, gathered: &[Line]) {
        let inner = shape.attention.heads.queries * shape.attention.heads.width;
        work.room(self.rows() * inner);
        shape.attention.attend(&mut work.plain, &self.queries, gathered, (&self.sights, &self.positions), &mut work.scratch);
        work.encode(shape, (self.rows(), inner));
        self.add(work, shape, &layer.output);
    }

    /// The feed-forward block, and what it adds to the stream.
    pub fn feed(&mut self, work: &mut Work, shape: &Shape, layer: &Layer) {
        self.norm(work, shape, &layer.feed_norm);
        let feed = shape.feed;
        work.room(self.rows() * feed);
        let plain = &mut work.plain;
        layer.gate_up.product(&mut work.left, layer.gate_up.panels(), |row, column, tile| {
            let start = column / 2;
            let width = (COLUMNS / 2).min(feed - start);
            gate(plain, Place { at: row * feed + start, stride: feed, width }, tile);
        });
        work.encode(shape, (self.rows(), feed));
        self.add(work, shape, &layer.down);
    }

    fn add(&mut self, work: &mut Work, shape: &Shape, packed: &Packed) {
        let (stream, hidden) = (&mut self.stream, shape.hidden);
        packed.product(&mut work.left, packed.panels(), |row, column, tile| {
            let width = COLUMNS.min(hidden - column);
            accumulate(stream, Place { at: row * hidden + column, stride: hidden, width }, tile, &[1.0; ROWS]);
        });
    }
}
