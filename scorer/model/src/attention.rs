//! Attention of a network that learns, forward and backward, over the rows of a [`Pass`](crate::pass::Pass).
//!
//! A task is one page and one key head: it packs the head's keys and values once, and scores exist for one block of queries and one tile of keys
//! at a time. Its results lie together, so that tasks run side by side: `[query head of the group, row, number]`.

mod backward;
mod forward;

use rayon::iter::{IndexedParallelIterator as _, IntoParallelIterator as _, ParallelIterator as _};
use rayon::slice::ParallelSliceMut as _;

use crate::packed::Kernel;
use crate::pass::{Pass, Spread};
use crate::products::Matrix;
use crate::works::Works;

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

impl Heads {
    /// Numbers in a row of queries, keys and values.
    pub fn stride(self) -> usize {
        (self.queries + 2 * self.keys) * self.width
    }

    /// Query heads that share a key head.
    pub fn group(self) -> usize {
        self.queries / self.keys
    }
}

/// The shape and the kernel of its products.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attention {
    pub heads: Heads,
    pub kernel: Kernel,
}

/// What tasks leave for all rows to be gathered, and what threads work with: buffers that the next layer uses again.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    tasks: Vec<f32>,
    forward: Works<forward::Scratch>,
    backward: Works<backward::Scratch>,
}

/// What the forward pass leaves behind.
#[derive(Clone, Copy)]
pub(crate) struct Attended<'a> {
    /// `[rows, stride]`; queries and keys are turned, queries scaled by one over the root of the width.
    pub qkv: &'a [f32],
    /// `[rows, queries * width]`
    pub out: &'a [f32],
    /// Logarithms of the sums of exponentials, `[query head of the group, row]` of each task.
    pub log_sums: &'a [f32],
}

/// One head of one page.
#[derive(Clone, Copy)]
struct Task<'a> {
    attention: Attention,
    spread: &'a Spread,
    key_head: usize,
}

impl<'a> Task<'a> {
    fn rows(&self) -> usize {
        self.spread.rows.len()
    }

    /// A head of the rows of the page: `part` is its number among all queries, keys and values.
    fn head(&self, numbers: &'a [f32], part: usize) -> Matrix<'a> {
        let Heads { width, .. } = self.attention.heads;
        Matrix::plain(numbers, self.attention.heads.stride()).of_rows(self.spread.rows.clone()).of_columns(part * width..(part + 1) * width)
    }

    fn query(&self, qkv: &'a [f32], index: usize) -> Matrix<'a> {
        self.head(qkv, self.key_head * self.attention.heads.group() + index)
    }

    fn key(&self, qkv: &'a [f32]) -> Matrix<'a> {
        self.head(qkv, self.attention.heads.queries + self.key_head)
    }

    fn value(&self, qkv: &'a [f32]) -> Matrix<'a> {
        self.head(qkv, self.attention.heads.queries + self.attention.heads.keys + self.key_head)
    }

    /// Query head `index` of the group in rows of queries alone.
    fn result(&self, numbers: &'a [f32], index: usize) -> Matrix<'a> {
        let Heads { queries, width, .. } = self.attention.heads;
        let part = self.key_head * self.attention.heads.group() + index;
        Matrix::plain(numbers, queries * width).of_rows(self.spread.rows.clone()).of_columns(part * width..(part + 1) * width)
    }
}

/// Where a task's part of a buffer begins whose tasks have `width` numbers a row.
fn start(spread: &Spread, key_head: usize, (keys, width): (usize, usize)) -> usize {
    (spread.rows.start * keys + spread.rows.len() * key_head) * width
}

/// Cuts two buffers into the parts of the tasks of `pass`, so and so many numbers a row of each, and lets `work` fill them.
fn each_task<S: Default + Send>(
    (pass, attention, works): (&Pass, Attention, &mut Works<S>),
    (mut first, first_width): (&mut [f32], usize),
    (mut second, second_width): (&mut [f32], usize),
    work: impl Fn(&mut S, Task<'_>, &mut [f32], &mut [f32]) + Sync,
) {
    let mut tasks = Vec::new();
    for spread in &pass.spreads {
        let rows = spread.rows.len();
        for key_head in 0..attention.heads.keys {
            let (own, others) = std::mem::take(&mut first).split_at_mut(rows * first_width);
            let (beside, further) = std::mem::take(&mut second).split_at_mut(rows * second_width);
            tasks.push((Task { attention, spread, key_head }, own, beside));
            (first, second) = (others, further);
        }
    }
    let works = works.ready();
    tasks.into_par_iter().with_max_len(1).for_each(|(task, own, beside)| work(&mut works.own(), task, own, beside));
}

/// Puts the parts of all tasks into rows of `out`, `stride` numbers wide: `place` says where each run of a row begins, by the task's key head and
/// the number of the run.
fn gather((pass, heads): (&Pass, Heads), tasks: &[f32], (out, stride): (&mut [f32], usize), place: impl Fn(usize, usize) -> usize + Sync) {
    let runs = tasks.len() / (pass.tokens.len() * heads.keys * heads.width).max(1);
    let mut rest = out;
    let mut spreads = Vec::new();
    for spread in &pass.spreads {
        let (own, others) = std::mem::take(&mut rest).split_at_mut(spread.rows.len() * stride);
        spreads.push((spread, own));
        rest = others;
    }
    spreads.into_par_iter().for_each(|(spread, own)| {
        let rows = spread.rows.len();
        own.par_chunks_mut(stride).with_min_len(16).enumerate().for_each(|(row, to)| {
            for key_head in 0..heads.keys {
                let first = start(spread, key_head, (heads.keys, runs * heads.width));
                for run in 0..runs {
                    let from = &tasks[first + (run * rows + row) * heads.width..][..heads.width];
                    to[place(key_head, run)..][..heads.width].copy_from_slice(from);
                }
            }
        });
    });
}
