//! The Llama that learns: its forward pass, which keeps what every layer saw, and its gradient, over flat `f32` rows.
//!
//! Answering has a path of its own, [`scoring`](crate::scoring), which tests hold against this one.

use crate::attention::{Attended, Heads, Scratch, attend, attend_back};
use crate::config::Config;
use crate::kernels::{Normed, Rotary, Turn, add_scaled, gate, gate_back, norm, norm_back};
use crate::layout::{LayerPlaces, Layout};
use crate::matmul::{Into, linear, linear_input, linear_weight};
use crate::page::{Block, Page};

/// A shape with its tables; weights come in with each call.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub config: Config,
    pub layout: Layout,
    rotary: Rotary,
    heads: Heads,
}

/// What a layer saw; all `[rows, ..]`.
#[derive(Default, Debug)]
struct LayerTrace {
    input: Vec<f32>,
    attention_inverse: Vec<f32>,
    attention_normed: Vec<f32>,
    qkv: Vec<f32>,
    log_sums: Vec<f32>,
    attended: Vec<f32>,
    middle: Vec<f32>,
    feed_inverse: Vec<f32>,
    feed_normed: Vec<f32>,
    gate_up: Vec<f32>,
    gated: Vec<f32>,
}

/// What a pass leaves behind; its buffers are used again by the next one.
#[derive(Default, Debug)]
pub(crate) struct Trace {
    layers: Vec<LayerTrace>,
    stream: Vec<f32>,
    inverse: Vec<f32>,
    /// The rows that the head reads: `[rows, hidden]`.
    pub normed: Vec<f32>,
    scratch: Scratch,
    back: Back,
}

/// Gradients in flight.
#[derive(Default, Debug)]
struct Back {
    stream: Vec<f32>,
    normed: Vec<f32>,
    wide: Vec<f32>,
    attended: Vec<f32>,
    qkv: Vec<f32>,
}

impl Network {
    /// The network of a configuration that [`Config::check`] accepted.
    pub fn new(config: Config) -> Self {
        let (queries, keys, width) = config.heads();
        let rotary = Rotary::new(config.max_position_embeddings, &config.frequencies());
        Self { layout: Layout::of(&config), rotary, heads: Heads { queries, keys, width }, config }
    }

    fn epsilon(&self) -> f32 {
        self.config.rms_norm_eps as f32
    }

    /// Reads `page`; the head's input is then `trace.normed`.
    pub fn forward(&self, weights: &[f32], page: &Page, trace: &mut Trace) {
        let (rows, hidden) = (page.tokens.len(), self.config.hidden_size);
        let blocks = page.blocks();
        trace.stream.clear();
        for &token in &page.tokens {
            let at = self.layout.embedding.start + token as usize * hidden;
            trace.stream.extend_from_slice(&weights[at..at + hidden]);
        }
        trace.layers.resize_with(self.layout.layers.len(), LayerTrace::default);
        for (places, layer) in self.layout.layers.iter().zip(&mut trace.layers) {
            self.attention(weights, places, (page, &blocks), (&mut *layer, &mut trace.stream, &mut trace.scratch));
            self.feed_forward(weights, places, layer, &mut trace.stream);
        }
        trace.inverse.resize(rows, 0.0);
        trace.normed.resize(rows * hidden, 0.0);
        norm(&mut trace.normed, &mut trace.inverse, &trace.stream, &weights[self.layout.norm.clone()], self.epsilon());
    }

    fn attention(
        &self,
        weights: &[f32],
        places: &LayerPlaces,
        (page, blocks): (&Page, &[Block]),
        (layer, stream, scratch): (&mut LayerTrace, &mut Vec<f32>, &mut Scratch),
    ) {
        let (rows, hidden, heads) = (page.tokens.len(), self.config.hidden_size, self.heads);
        layer.input.clone_from(stream);
        layer.attention_inverse.resize(rows, 0.0);
        layer.attention_normed.resize(rows * hidden, 0.0);
        let weight = &weights[places.attention_norm.clone()];
        norm(&mut layer.attention_normed, &mut layer.attention_inverse, stream, weight, self.epsilon());
        layer.qkv.resize(rows * heads.stride(), 0.0);
        linear(&mut layer.qkv, Into::Replace, &layer.attention_normed, &weights[places.qkv.clone()], (rows, hidden));
        let turned = (heads.queries + heads.keys, heads.stride());
        self.rotary.turn(&mut layer.qkv, &page.positions, turned, Turn::Forward);
        layer.log_sums.resize(heads.queries * rows, 0.0);
        layer.attended.resize(rows * heads.queries * heads.width, 0.0);
        attend(&mut layer.attended, &mut layer.log_sums, &layer.qkv, (blocks, heads), scratch);
        let shape = (rows, heads.queries * heads.width);
        linear(stream, Into::Add, &layer.attended, &weights[places.output.clone()], shape);
    }

    fn feed_forward(&self, weights: &[f32], places: &LayerPlaces, layer: &mut LayerTrace, stream: &mut Vec<f32>) {
        let (hidden, feed) = (self.config.hidden_size, self.config.intermediate_size);
        let rows = stream.len() / hidden;
        layer.middle.clone_from(stream);
        layer.feed_inverse.resize(rows, 0.0);
        layer.feed_normed.resize(rows * hidden, 0.0);
        let weight = &weights[places.feed_norm.clone()];
        norm(&mut layer.feed_normed, &mut layer.feed_inverse, stream, weight, self.epsilon());
        layer.gate_up.resize(rows * 2 * feed, 0.0);
        linear(&mut layer.gate_up, Into::Replace, &layer.feed_normed, &weights[places.gate_up.clone()], (rows, hidden));
        layer.gated.resize(rows * feed, 0.0);
        gate(&mut layer.gated, &layer.gate_up, feed);
        linear(stream, Into::Add, &layer.gated, &weights[places.down.clone()], (rows, feed));
    }

    /// Adds to `gradient` what `towards_normed` (`[rows, hidden]`, the loss's slope at the head's input) means for every weight below
    /// the head. `trace` must come from [`Network::forward`] over the same page and weights; it is used up.
    pub fn backward(&self, weights: &[f32], page: &Page, trace: &mut Trace, towards_normed: &[f32], gradient: &mut [f32]) {
        let hidden = self.config.hidden_size;
        let blocks = page.blocks();
        let Trace { layers, stream, inverse, scratch, back, .. } = trace;
        back.stream.clear();
        back.stream.resize(towards_normed.len(), 0.0);
        let seen = Normed { input: stream, inverse, weight: &weights[self.layout.norm.clone()] };
        norm_back(&mut back.stream, &mut gradient[self.layout.norm.clone()], towards_normed, &seen);
        for (places, layer) in self.layout.layers.iter().zip(layers.iter_mut()).rev() {
            self.feed_forward_back(weights, places, (layer, back), gradient);
            self.attention_back((weights, gradient), places, (page, &blocks), (layer, back, scratch));
        }
        for (&token, row) in page.tokens.iter().zip(back.stream.chunks_exact(hidden)) {
            let at = self.layout.embedding.start + token as usize * hidden;
            add_scaled(&mut gradient[at..at + hidden], row, 1.0);
        }
    }

    fn feed_forward_back(&self, weights: &[f32], places: &LayerPlaces, (layer, back): (&mut LayerTrace, &mut Back), gradient: &mut [f32]) {
        let (hidden, feed) = (self.config.hidden_size, self.config.intermediate_size);
        let rows = back.stream.len() / hidden;
        linear_weight(&mut gradient[places.down.clone()], &back.stream, &layer.gated, (rows, feed));
        back.wide.resize(rows * feed, 0.0);
        linear_input(&mut back.wide, Into::Replace, &back.stream, &weights[places.down.clone()], (rows, feed));
        gate_back(&mut layer.gate_up, &back.wide, feed);
        linear_weight(&mut gradient[places.gate_up.clone()], &layer.gate_up, &layer.feed_normed, (rows, hidden));
        back.normed.resize(rows * hidden, 0.0);
        linear_input(&mut back.normed, Into::Replace, &layer.gate_up, &weights[places.gate_up.clone()], (rows, hidden));
        let seen = Normed { input: &layer.middle, inverse: &layer.feed_inverse, weight: &weights[places.feed_norm.clone()] };
        norm_back(&mut back.stream, &mut gradient[places.feed_norm.clone()], &back.normed, &seen);
    }

    fn attention_back(
        &self,
        (weights, gradient): (&[f32], &mut [f32]),
        places: &LayerPlaces,
        (page, blocks): (&Page, &[Block]),
        (layer, back, scratch): (&mut LayerTrace, &mut Back, &mut Scratch),
    ) {
        let (rows, hidden, heads) = (page.tokens.len(), self.config.hidden_size, self.heads);
        let width = heads.queries * heads.width;
        linear_weight(&mut gradient[places.output.clone()], &back.stream, &layer.attended, (rows, width));
        back.attended.resize(rows * width, 0.0);
        linear_input(&mut back.attended, Into::Replace, &back.stream, &weights[places.output.clone()], (rows, width));
        back.qkv.resize(rows * heads.stride(), 0.0);
        let kept = Attended { qkv: &layer.qkv, out: &layer.attended, log_sums: &layer.log_sums };
        attend_back(&mut back.qkv, &back.attended, &kept, (blocks, heads), scratch);
        let turned = (heads.queries + heads.keys, heads.stride());
        self.rotary.turn(&mut back.qkv, &page.positions, turned, Turn::Back);
        linear_weight(&mut gradient[places.qkv.clone()], &back.qkv, &layer.attention_normed, (rows, hidden));
        back.normed.resize(rows * hidden, 0.0);
        linear_input(&mut back.normed, Into::Replace, &back.qkv, &weights[places.qkv.clone()], (rows, hidden));
        let weight = &weights[places.attention_norm.clone()];
        let seen = Normed { input: &layer.input, inverse: &layer.attention_inverse, weight };
        norm_back(&mut back.stream, &mut gradient[places.attention_norm.clone()], &back.normed, &seen);
    }
}
