//! Answers on a device: a batch is the same list of rows without padding, each note once.

use std::borrow::Cow;
use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor};

use super::linear::{Linear, Weight};
use super::network::{DeviceNetwork, Layer, embedded, held_as, row_numbers};
use crate::config::Config;
use crate::layout::{LayerPlaces, Layout};
use crate::packed::Precision;
use crate::scoring::{Batch, Prompt, in_batches};

/// A Llama on a device.
#[derive(Debug)]
pub(crate) struct DeviceScorer {
    network: DeviceNetwork,
    /// `[vocab, hidden]`
    embedding: Tensor,
    layers: Vec<Layer>,
    /// `[hidden]`, `f32`
    norm: Tensor,
    /// `[letters, hidden]`
    letters: Weight,
}

impl DeviceScorer {
    /// Puts the weights that `read` gives onto a device, a matrix at a time.
    pub fn new<'a, E: From<candle_core::Error>>(
        config: &Config,
        read: &impl Fn(Range<usize>) -> std::result::Result<Cow<'a, [f32]>, E>,
        letters: &[u32],
        (device, precision): (&Device, Precision),
    ) -> std::result::Result<Self, E> {
        let network = DeviceNetwork::new(config, device, held_as(precision))?;
        let (layout, hidden) = (Layout::of(config), config.hidden_size);
        let put = |range: &Range<usize>| -> std::result::Result<Tensor, E> {
            Ok(Tensor::from_slice(&read(range.clone())?, range.len(), device)?)
        };
        let matrix =
            |range: &Range<usize>, inner: usize| Ok::<_, E>(put(range)?.reshape((range.len() / inner, inner))?.to_dtype(network.numbers)?);
        let layer = |places: &LayerPlaces| {
            let linear = |range: &Range<usize>, inner: usize| Ok::<_, E>(Linear::plain(Weight::frozen(matrix(range, inner)?)));
            Ok::<_, E>(Layer {
                attention_norm: put(&places.attention_norm)?,
                qkv: linear(&places.qkv, hidden)?,
                output: linear(&places.output, places.output.len() / hidden)?,
                feed_norm: put(&places.feed_norm)?,
                gate_up: linear(&places.gate_up, hidden)?,
                down: linear(&places.down, places.down.len() / hidden)?,
            })
        };
        let row = |&letter: &u32| {
            let start = layout.head.start + letter as usize * hidden;
            put(&(start..start + hidden))
        };
        let letters = letters.iter().map(row).collect::<std::result::Result<Vec<_>, E>>()?;
        Ok(Self {
            embedding: matrix(&layout.embedding, hidden)?,
            layers: layout.layers.iter().map(layer).collect::<std::result::Result<_, E>>()?,
            norm: put(&layout.norm)?,
            letters: Weight::frozen(Tensor::stack(&letters, 0)?.to_dtype(network.numbers)?),
            network,
        })
    }

    /// Bytes of the weights as they are held.
    pub fn bytes(&self) -> usize {
        let layer = |layer: &Layer| {
            [&layer.qkv, &layer.output, &layer.gate_up, &layer.down].map(|linear| bytes(linear.weight.held())).iter().sum::<usize>()
        };
        bytes(&self.embedding) + self.layers.iter().map(layer).sum::<usize>()
    }

    /// As [`Scorer::logits`](crate::scoring::Scorer::logits).
    pub fn logits(&self, prompts: &[Prompt<'_>]) -> Result<Vec<Vec<Vec<f32>>>> {
        in_batches(prompts, |batch| self.read(batch))
    }

    fn read(&self, batch: &Batch) -> Result<Vec<Vec<f32>>> {
        let tokens = Tensor::from_slice(&batch.tokens, batch.tokens.len(), &self.network.device)?;
        let embedded = embedded(&self.embedding, &tokens)?;
        let answers = row_numbers(batch.answers.iter().copied(), &self.network.device)?;
        let stream = self.network.forward(&embedded, &self.layers, &self.network.sight(batch)?, Some(&answers))?;
        self.letters.multiply(&self.network.norm(&stream, &self.norm)?)?.to_dtype(DType::F32)?.to_vec2()
    }
}

fn bytes(tensor: &Tensor) -> usize {
    tensor.elem_count() * tensor.dtype().size_in_bytes()
}
