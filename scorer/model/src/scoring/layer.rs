//! The weights of a Llama, packed for one kernel, and the numbers that every layer shares.

use std::borrow::Cow;
use std::ops::Range;

use super::attention::Attention;
use super::kept::Run;
use crate::attention::Heads;
use crate::config::Config;
use crate::kernels::Rotary;
use crate::layout::{LayerPlaces, Layout};
use crate::packed::{COLUMNS, InstructionSet, Kernel, Packed, Precision};

/// What is the same in all layers.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub kernel: Kernel,
    pub attention: Attention,
    pub rotary: Rotary,
    pub hidden: usize,
    pub feed: usize,
    pub epsilon: f32,
    /// The fewest panels that hold whole heads and nothing else.
    pub panels_of_heads: usize,
}

/// One layer's weights.
#[derive(Clone, Debug)]
pub(crate) struct Layer {
    pub attention_norm: Vec<f32>,
    pub queries: Packed,
    pub keys: Packed,
    pub values: Packed,
    pub output: Packed,
    pub feed_norm: Vec<f32>,
    /// Panels of sixteen gates and the sixteen columns that they let through.
    pub gate_up: Packed,
    pub down: Packed,
}

impl Shape {
    pub fn new(config: &Config, precision: Precision, set: InstructionSet) -> Self {
        let (queries, keys, width) = config.heads();
        let heads = Heads { queries, keys, width };
        // Shares and scores are of one row and one tile: whole numbers would gain little there, and those of 8 bits lose much.
        let soft = if precision == Precision::F32 { Precision::F32 } else { Precision::Bf16 };
        let mut attention = Attention { heads, kernel: Kernel::of(soft, set) };
        if attention.kernel.words(width) != attention.words() {
            attention.kernel = Kernel::of(soft, set.min(InstructionSet::Avx512Bf16));
        }
        let common = (1..=width).find(|times| (times * COLUMNS).is_multiple_of(width)).unwrap_or(width);
        Self {
            kernel: Kernel::of(precision, set),
            attention,
            rotary: Rotary::new(config.max_position_embeddings, &config.frequencies()),
            hidden: config.hidden_size,
            feed: config.intermediate_size,
            epsilon: config.rms_norm_eps as f32,
            panels_of_heads: common,
        }
    }
}

impl Layer {
    /// Packs what `read` gives for the layer's places, whole rows at a time, one matrix after the other.
    pub fn pack<'a, E: Send>(
        kernel: Kernel,
        read: &(impl Fn(Range<usize>) -> Result<Cow<'a, [f32]>, E> + Sync),
        (places, layout): (&LayerPlaces, &Layout),
        heads: Heads,
    ) -> Result<Self, E> {
        let hidden = layout.norm.len();
        let matrix = |place: &Range<usize>, inner: usize, columns: &[Option<usize>]| {
            Packed::read(kernel, inner, columns, &|rows: Range<usize>| {
                read(place.start + rows.start * inner..place.start + rows.end * inner)
            })
        };
        let linear = |place: Range<usize>, inner: usize| {
            let columns: Vec<_> = (0..place.len() / inner).map(Some).collect();
            matrix(&place, inner, &columns)
        };
        let (start, end) = (places.qkv.start, places.qkv.end);
        let keys = start + heads.queries * heads.width * hidden;
        let values = keys + heads.keys * heads.width * hidden;
        let (feed, half) = (places.down.len() / hidden, COLUMNS / 2);
        let column = |(panel, index): (usize, usize)| {
            let gate = panel * half + index % half;
            (gate < feed).then_some(gate + index / half * feed)
        };
        let pairs = (0..feed.div_ceil(half)).flat_map(|panel| (0..COLUMNS).map(move |index| (panel, index)));
        Ok(Self {
            attention_norm: read(places.attention_norm.clone())?.into_owned(),
            queries: linear(start..keys, hidden)?,
            keys: linear(keys..values, hidden)?,
            values: linear(values..end, hidden)?,
            output: linear(places.output.clone(), heads.queries * heads.width)?,
            feed_norm: read(places.feed_norm.clone())?.into_owned(),
            gate_up: matrix(&places.gate_up, hidden, &pairs.map(column).collect::<Vec<_>>())?,
            down: linear(places.down.clone(), feed)?,
        })
    }

    /// A layer of zeros, as long as one that was packed.
    pub fn blank(kernel: Kernel, (places, layout): (&LayerPlaces, &Layout), heads: Heads) -> Self {
        let (hidden, half) = (layout.norm.len(), COLUMNS / 2);
        let (queries, keys, feed) = (heads.queries * heads.width, heads.keys * heads.width, places.down.len() / hidden);
        Self {
            attention_norm: vec![0.0; hidden],
            queries: Packed::blank(kernel, hidden, queries),
            keys: Packed::blank(kernel, hidden, keys),
            values: Packed::blank(kernel, hidden, keys),
            output: Packed::blank(kernel, queries, hidden),
            feed_norm: vec![0.0; hidden],
            gate_up: Packed::blank(kernel, hidden, feed.div_ceil(half) * COLUMNS),
            down: Packed::blank(kernel, feed, hidden),
        }
    }

    /// All its numbers, in the order in which they are kept.
    pub fn runs(&mut self) -> Vec<Run<'_>> {
        let packed = [&mut self.queries, &mut self.keys, &mut self.values, &mut self.output, &mut self.gate_up, &mut self.down];
        let lines = packed.into_iter().map(|packed| Run::Lines(packed.lines_mut()));
        [Run::F32(&mut self.attention_norm), Run::F32(&mut self.feed_norm)].into_iter().chain(lines).collect()
    }

    /// Bytes of its packed weights.
    pub fn bytes(&self) -> usize {
        [&self.queries, &self.keys, &self.values, &self.output, &self.gate_up, &self.down].map(Packed::bytes).iter().sum()
    }
}
