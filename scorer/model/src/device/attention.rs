//! Attention of a batch's segments, each of which sees the rows of its path: one kernel over all of them on a card, in `bf16`; elsewhere one segment
//! after the other, of which only the result is kept.

use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor};

use super::fused::fused;
use crate::scoring::{Batch, Segment};

/// Who sees whom.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    segments: Vec<SeenSegment>,
    /// Queries, keys, width.
    heads: (usize, usize, usize),
    #[cfg(feature = "cuda")]
    table: Option<super::card::Table>,
}

#[derive(Clone, Debug)]
struct SeenSegment {
    rows: Range<usize>,
    /// The rows of its path, as runs of rows that follow each other; its own are the end of the last.
    path: Vec<Range<usize>>,
    /// 0 where a row may look, `[rows, path]`.
    mask: Tensor,
}

impl Seen {
    /// The segments of `batch` on a device, for heads of `(queries, keys, width)` held as `numbers`.
    pub fn of(batch: &Batch, (device, numbers): (&Device, DType), heads: (usize, usize, usize)) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if let Some(table) = super::card::Table::of(batch, (device, numbers), heads)? {
            return Ok(Self { segments: Vec::new(), heads, table: Some(table) });
        }
        let mut segments: Vec<SeenSegment> = Vec::with_capacity(batch.segments.len());
        for segment in &batch.segments {
            let alike = |other: &&SeenSegment| other.mask.dims() == [segment.rows.len(), segment.path.len()];
            let mask = match segments.iter().find(alike) {
                Some(other) => other.mask.clone(),
                None => mask(segment, device)?.to_dtype(numbers)?,
            };
            segments.push(SeenSegment { rows: segment.rows.clone(), path: runs(&segment.path), mask });
        }
        Ok(Self {
            segments,
            heads,
            #[cfg(feature = "cuda")]
            table: None,
        })
    }
}

#[cfg(feature = "cuda")]
impl Seen {
    /// What the card's own kernels read, where they serve.
    pub fn table(&self) -> Option<&super::card::Table> {
        self.table.as_ref()
    }
}

fn mask(segment: &Segment, device: &Device) -> Result<Tensor> {
    let (rows, path) = (segment.rows.len(), segment.path.len());
    let number = |at: usize| if at % path <= segment.first() + at / path { 0.0_f32 } else { f32::NEG_INFINITY };
    Tensor::from_vec((0..rows * path).map(number).collect(), (rows, path), device)
}

fn runs(rows: &[u32]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for &row in rows {
        let row = row as usize;
        match runs.last_mut() {
            Some(run) if run.end == row => run.end += 1,
            _ => runs.push(row..row + 1),
        }
    }
    runs
}

/// `[rows, heads * width]` to `[heads, rows, width]`.
pub(super) fn heads_first(rows: &Tensor, width: usize) -> Result<Tensor> {
    let (count, columns) = rows.dims2()?;
    rows.reshape((count, columns / width, width))?.transpose(0, 1)?.contiguous()
}

/// `[heads, rows, width]` to `[rows, heads * width]`.
pub(super) fn rows_first(heads: &Tensor) -> Result<Tensor> {
    heads.transpose(0, 1)?.contiguous()?.flatten_from(1)
}

/// What each row gathers of the values that it sees: of `[queries + 2 * keys, rows, width]` to `[rows, queries * width]`.
pub(super) fn attend(turned: &Tensor, seen: &Seen) -> Result<Tensor> {
    let (heads, seen) = (turned.detach(), seen.clone());
    let gathered = seen.segments.iter().map(|segment| segment.attend(&heads, seen.heads));
    let result = rows_first(&Tensor::cat(&gathered.collect::<Result<Vec<_>>>()?, 1)?)?;
    fused([turned], result, move |slopes| {
        let slopes = heads_first(slopes, seen.heads.2)?;
        let (queries, keys, width) = seen.heads;
        let mut towards_queries = Vec::with_capacity(seen.segments.len());
        let towards = Tensor::zeros((2 * keys, slopes.dim(1)?, width), slopes.dtype(), slopes.device())?;
        for segment in &seen.segments {
            let (query, key_value) = segment.back(&heads, &slopes, seen.heads)?;
            towards_queries.push(query.reshape((queries, segment.rows.len(), width))?);
            let mut first = 0;
            for run in &segment.path {
                let part = (towards.narrow(1, run.start, run.len())? + key_value.narrow(1, first, run.len())?)?;
                towards.slice_set(&part.contiguous()?, 1, run.start)?;
                first += run.len();
            }
        }
        Ok([Some(Tensor::cat(&[Tensor::cat(&towards_queries, 1)?, towards], 0)?)])
    })
}

impl SeenSegment {
    /// Queries `[keys, shared * rows, width]`, and keys and values `[keys, path, width]`.
    fn parts(&self, heads: &Tensor, (queries, keys, width): (usize, usize, usize)) -> Result<(Tensor, Tensor, Tensor)> {
        let along = |first: usize| {
            let part = heads.narrow(0, first, keys)?;
            let runs = self.path.iter().map(|run| part.narrow(1, run.start, run.len()));
            Tensor::cat(&runs.collect::<Result<Vec<_>>>()?, 1)?.contiguous()
        };
        Ok((self.own(&heads.narrow(0, 0, queries)?, (queries, keys, width))?, along(queries)?, along(queries + keys)?))
    }

    /// Its own rows of `[queries, rows, width]`, those of heads together that share keys.
    fn own(&self, heads: &Tensor, (queries, keys, width): (usize, usize, usize)) -> Result<Tensor> {
        heads.narrow(1, self.rows.start, self.rows.len())?.contiguous()?.reshape((keys, queries / keys * self.rows.len(), width))
    }

    /// Softmax of the scores over what a row sees, `[keys, shared * rows, path]`.
    #[expect(clippy::disallowed_methods, reason = "its gradient stands in `back`")]
    fn shares(&self, query: &Tensor, key: &Tensor, (queries, keys, width): (usize, usize, usize)) -> Result<Tensor> {
        let (rows, path) = self.mask.dims2()?;
        let scores = (query.matmul(&key.t()?)? / (width as f64).sqrt())?;
        let scores = scores.reshape((queries, rows, path))?.broadcast_add(&self.mask)?;
        candle_nn::ops::softmax_last_dim(&scores)?.reshape((keys, queries / keys * rows, path))
    }

    /// `[queries, rows, width]`
    fn attend(&self, heads: &Tensor, shape: (usize, usize, usize)) -> Result<Tensor> {
        let (query, key, value) = self.parts(heads, shape)?;
        self.shares(&query, &key, shape)?.matmul(&value)?.reshape((shape.0, self.rows.len(), shape.2))
    }

    /// Gradients of its queries, as [`Self::parts`] has them, and of its keys above its values, `[2 * keys, path, width]`.
    fn back(&self, heads: &Tensor, slopes: &Tensor, shape: (usize, usize, usize)) -> Result<(Tensor, Tensor)> {
        let (query, key, value) = self.parts(heads, shape)?;
        let slopes = self.own(slopes, shape)?;
        let shares = self.shares(&query, &key, shape)?;
        let towards_shares = slopes.matmul(&value.t()?)?;
        let mean = (&towards_shares * &shares)?.sum_keepdim(2)?;
        let scores = ((towards_shares.broadcast_sub(&mean)? * &shares)? / (shape.2 as f64).sqrt())?;
        let (towards_value, towards_key) = (shares.t()?.matmul(&slopes)?, scores.t()?.matmul(&query)?);
        Ok((scores.matmul(&key)?, Tensor::cat(&[towards_key, towards_value], 0)?))
    }
}
