//! The same pass through candle's operations, on whatever device candle has: `bf16` on an NVIDIA card, `f32` on a processor, where it is
//! only there to be tested.
//!
//! A batch is the same list of rows without padding, each note once; its segments attend one after the other to the rows that they see.

use std::borrow::Cow;
use std::ops::Range;

use candle_core::{D, DType, Device, Result, Tensor};

use super::batch::{Batch, Segment};
use super::{Prompt, in_batches};
use crate::config::Config;
use crate::layout::{LayerPlaces, Layout};

/// A Llama on a device.
#[derive(Debug)]
pub(crate) struct DeviceScorer {
    config: Config,
    device: Device,
    embedding: Tensor,
    layers: Vec<DeviceLayer>,
    norm: Tensor,
    /// `[letters, hidden]`
    letters: Tensor,
    /// `[positions, width / 2]` each.
    cosines: Tensor,
    sines: Tensor,
}

/// Matrices are `[out, in]`.
#[derive(Debug)]
struct DeviceLayer {
    attention_norm: Tensor,
    qkv: Tensor,
    output: Tensor,
    feed_norm: Tensor,
    gate_up: Tensor,
    down: Tensor,
}

/// What all layers need to know of a batch.
struct Seen<'a> {
    segments: Vec<SeenSegment<'a>>,
    cosines: Tensor,
    sines: Tensor,
}

struct SeenSegment<'a> {
    segment: &'a Segment,
    /// The rows that its last row sees, `[path]`.
    path: Tensor,
    /// 0 where a row may look, `[rows, path]`.
    mask: Tensor,
}

/// How numbers are held on `device`.
fn held_as(device: &Device) -> DType {
    if device.is_cuda() { DType::BF16 } else { DType::F32 }
}

impl DeviceScorer {
    /// Puts the weights that `read` gives onto `device`, a few matrices at a time.
    pub fn new<'a, E: From<candle_core::Error>>(
        config: &Config,
        read: &impl Fn(Range<usize>) -> std::result::Result<Cow<'a, [f32]>, E>,
        letters: &[u32],
        device: &Device,
    ) -> std::result::Result<Self, E> {
        let (layout, hidden) = (Layout::of(config), config.hidden_size);
        let put = |range: &Range<usize>| -> std::result::Result<Tensor, E> {
            Ok(Tensor::from_slice(&read(range.clone())?, range.len(), device)?.to_dtype(held_as(device))?)
        };
        let matrix = |range: &Range<usize>, inner: usize| Ok::<_, E>(put(range)?.reshape((range.len() / inner, inner))?);
        let layer = |places: &LayerPlaces| {
            Ok::<_, E>(DeviceLayer {
                attention_norm: put(&places.attention_norm)?,
                qkv: matrix(&places.qkv, hidden)?,
                output: matrix(&places.output, places.output.len() / hidden)?,
                feed_norm: put(&places.feed_norm)?,
                gate_up: matrix(&places.gate_up, hidden)?,
                down: matrix(&places.down, places.down.len() / hidden)?,
            })
        };
        let row = |&letter: &u32| {
            let start = layout.head.start + letter as usize * hidden;
            put(&(start..start + hidden))
        };
        let letters = letters.iter().map(row).collect::<std::result::Result<Vec<_>, E>>()?;
        let frequencies: Vec<f32> = config.frequencies().iter().map(|&frequency| frequency as f32).collect();
        let positions = Tensor::arange(0, config.max_position_embeddings as u32, device)?.to_dtype(DType::F32)?.unsqueeze(1)?;
        let angles = positions.matmul(&Tensor::new(frequencies, device)?.unsqueeze(0)?)?;
        Ok(Self {
            embedding: matrix(&layout.embedding, hidden)?,
            layers: layout.layers.iter().map(layer).collect::<std::result::Result<_, E>>()?,
            norm: put(&layout.norm)?,
            letters: Tensor::stack(&letters, 0)?,
            cosines: angles.cos()?.to_dtype(held_as(device))?,
            sines: angles.sin()?.to_dtype(held_as(device))?,
            config: config.clone(),
            device: device.clone(),
        })
    }

    /// As [`Scorer::logits`](super::Scorer::logits).
    pub fn logits(&self, prompts: &[Prompt<'_>]) -> Result<Vec<Vec<Vec<f32>>>> {
        in_batches(prompts, |batch| self.read(batch))
    }

    fn read(&self, batch: &Batch) -> Result<Vec<Vec<f32>>> {
        let tokens = Tensor::from_slice(&batch.tokens, batch.tokens.len(), &self.device)?;
        let mut stream = self.embedding.index_select(&tokens, 0)?;
        let seen = self.seen(batch)?;
        for layer in &self.layers {
            stream = (&stream + self.attend(layer, &self.normed(&stream, &layer.attention_norm)?, &seen)?)?;
            let both = linear(&self.normed(&stream, &layer.feed_norm)?, &layer.gate_up)?;
            let feed = self.config.intermediate_size;
            let gated = (both.narrow(1, 0, feed)?.silu()? * both.narrow(1, feed, feed)?)?;
            stream = (stream + linear(&gated, &layer.down)?)?;
        }
        let answers: Vec<u32> = batch.answers.iter().map(|&row| u32::try_from(row).unwrap_or(u32::MAX)).collect();
        let answers = Tensor::from_slice(&answers, answers.len(), &self.device)?;
        let normed = self.normed(&stream.index_select(&answers, 0)?, &self.norm)?;
        linear(&normed, &self.letters)?.to_dtype(DType::F32)?.to_vec2()
    }

    fn seen<'a>(&self, batch: &'a Batch) -> Result<Seen<'a>> {
        let positions = Tensor::from_slice(&batch.positions, batch.positions.len(), &self.device)?;
        let segment = |segment: &'a Segment| {
            let (rows, path) = (segment.rows.len(), segment.path.len());
            let number = |at: usize| if at % path <= segment.first() + at / path { 0.0 } else { f32::NEG_INFINITY };
            let mask = Tensor::from_vec((0..rows * path).map(number).collect(), (rows, path), &self.device)?;
            let path = Tensor::from_slice(&segment.path, path, &self.device)?;
            Ok(SeenSegment { segment, path, mask: mask.to_dtype(held_as(&self.device))? })
        };
        Ok(Seen {
            segments: batch.segments.iter().map(segment).collect::<Result<_>>()?,
            cosines: self.cosines.index_select(&positions, 0)?,
            sines: self.sines.index_select(&positions, 0)?,
        })
    }

    #[expect(clippy::disallowed_methods, reason = "nobody asks for gradients of an answer")]
    fn normed(&self, rows: &Tensor, weight: &Tensor) -> Result<Tensor> {
        candle_nn::ops::rms_norm(rows, weight, self.config.rms_norm_eps as f32)
    }

    /// Of the heads `first..first + count` of `rows`, `[heads, rows, width]`.
    fn heads(&self, rows: &Tensor, (first, count): (usize, usize)) -> Result<Tensor> {
        let width = self.config.heads().2;
        let heads = rows.narrow(1, first * width, count * width)?;
        heads.reshape((rows.dim(0)?, count, width))?.transpose(0, 1)?.contiguous()
    }

    #[expect(clippy::disallowed_methods, reason = "nobody asks for gradients of an answer")]
    fn turned(&self, heads: &Tensor, seen: &Seen<'_>) -> Result<Tensor> {
        candle_nn::rotary_emb::rope(&heads.unsqueeze(0)?, &seen.cosines, &seen.sines)?.squeeze(0)
    }

    fn attend(&self, layer: &DeviceLayer, normed: &Tensor, seen: &Seen<'_>) -> Result<Tensor> {
        let (queries, keys, _) = self.config.heads();
        let qkv = linear(normed, &layer.qkv)?;
        let query = self.turned(&self.heads(&qkv, (0, queries))?, seen)?;
        let key = self.turned(&self.heads(&qkv, (queries, keys))?, seen)?;
        let value = self.heads(&qkv, (queries + keys, keys))?;
        let attended = seen.segments.iter().map(|segment| self.segment(segment, &query, (&key, &value)));
        linear(&Tensor::cat(&attended.collect::<Result<Vec<_>>>()?, 0)?, &layer.output)
    }

    /// Softmax of a segment's scores over what it sees, and the values that it weighs: `[rows, heads * width]`.
    #[expect(clippy::disallowed_methods, reason = "nobody asks for gradients of an answer")]
    fn segment(&self, seen: &SeenSegment<'_>, query: &Tensor, (key, value): (&Tensor, &Tensor)) -> Result<Tensor> {
        let (queries, keys, width) = self.config.heads();
        let (rows, path, shared) = (seen.segment.rows.len(), seen.segment.path.len(), queries / keys);
        let query = query.narrow(1, seen.segment.rows.start, rows)?.contiguous()?.reshape((keys, shared * rows, width))?;
        let (key, value) = (key.index_select(&seen.path, 1)?, value.index_select(&seen.path, 1)?);
        let scores = (query.matmul(&key.transpose(1, 2)?.contiguous()?)? / (width as f64).sqrt())?;
        let scores = scores.reshape((queries, rows, path))?.broadcast_add(&seen.mask)?;
        let shares = candle_nn::ops::softmax_last_dim(&scores)?.reshape((keys, shared * rows, path))?;
        let out = shares.matmul(&value)?.reshape((queries, rows, width))?;
        out.transpose(0, 1)?.contiguous()?.flatten_from(D::Minus2)
    }
}

/// `rows . weight^T`
fn linear(rows: &Tensor, weight: &Tensor) -> Result<Tensor> {
    rows.matmul(&weight.t()?)
}
