//! The forward pass.

use rayon::iter::{IndexedParallelIterator as _, IntoParallelRefIterator as _, ParallelIterator as _};
use rayon::slice::{ParallelSlice as _, ParallelSliceMut as _};

use super::{Layer, LayerTrace, Network, Parameters, Pass, Products, ROWS, Site, Trace, normed};
use crate::attention::Buffers;
use crate::kernels::{Turn, inverse};
use crate::products::{Into, Matrix, Sheet};

impl Network {
    /// Reads `pass`; what the head reads is then the norm of `trace.stream`.
    pub fn forward(&self, parameters: Parameters<'_>, pass: &Pass, trace: &mut Trace) {
        let (rows, hidden) = (pass.tokens.len(), self.config.hidden_size);
        let Trace { products, room, layers, again, stream, attention, .. } = trace;
        stream.clear();
        for &token in &pass.tokens {
            let at = self.layout.embedding.start + token as usize * hidden;
            parameters.widen(at..at + hidden, stream);
        }
        layers.resize_with(self.layout.layers.len(), LayerTrace::default);
        for (of, layer) in self.layers(parameters).zip(layers.iter_mut()) {
            layer.input.clone_from(stream);
            let layer = if self.keeps(of.index, rows, *room) {
                layer
            } else {
                layer.forget();
                &mut *again
            };
            self.attend(of, (pass, stream), layer, (products, attention));
            self.add(of, Site::Output, (stream, Matrix::plain(&layer.attended, self.heads.queries * self.heads.width)), products);
            self.feed(of, stream, layer, products);
            self.add(of, Site::Down, (stream, Matrix::gated(&layer.gate_up, self.config.intermediate_size)), products);
        }
    }

    /// Fills what a layer sees of `input`, its last product left out: nothing of the gradient needs it.
    pub(super) fn again(
        &self,
        of: Layer<'_>,
        (pass, input): (&Pass, &[f32]),
        layer: &mut LayerTrace,
        (products, buffers): (&mut Products, &mut Buffers),
    ) {
        self.attend(of, (pass, input), layer, (products, buffers));
        let mut stream = std::mem::take(&mut layer.middle);
        stream.clear();
        stream.extend_from_slice(input);
        let width = self.heads.queries * self.heads.width;
        self.add(of, Site::Output, (&mut stream, Matrix::plain(&layer.attended, width)), products);
        self.feed_of(of, &stream, layer, products);
        layer.middle = stream;
    }

    fn add(&self, of: Layer<'_>, site: Site, (stream, left): (&mut [f32], Matrix<'_>), products: &mut Products) {
        of.forward(site, (&mut Sheet::new(stream, self.config.hidden_size), Into::Add), left, products);
    }

    /// Queries, keys and values of `input`, and what they attend to.
    fn attend(
        &self,
        of: Layer<'_>,
        (pass, input): (&Pass, &[f32]),
        layer: &mut LayerTrace,
        (products, buffers): (&mut Products, &mut Buffers),
    ) {
        let (rows, heads) = (pass.tokens.len(), self.heads);
        self.inverses(&mut layer.attention_inverse, input);
        layer.qkv.resize(rows * heads.stride(), 0.0);
        let left = Matrix::normed(normed(input, &layer.attention_inverse, of.parameters.norm(&of.places.attention_norm)));
        of.forward(Site::Qkv, (&mut Sheet::new(&mut layer.qkv, heads.stride()), Into::Replace), left, products);
        self.turn(&mut layer.qkv, &pass.positions, Turn::Forward);
        layer.log_sums.resize(heads.queries * rows, 0.0);
        layer.attended.resize(rows * heads.queries * heads.width, 0.0);
        self.attention(products.kernel).attend(pass, &layer.qkv, (&mut layer.attended, &mut layer.log_sums), buffers);
    }

    /// Turns queries and keys to their positions and scales queries, or undoes both for their slopes.
    pub(super) fn turn(&self, qkv: &mut [f32], positions: &[u32], turn: Turn) {
        let (heads, stride) = (self.heads, self.heads.stride());
        let scale = 1.0 / (heads.width as f32).sqrt();
        qkv.par_chunks_mut(ROWS * stride).zip(positions.par_chunks(ROWS)).for_each(|(rows, positions)| {
            self.rotary.turn(rows, positions, (heads.queries + heads.keys, stride), turn);
            for row in rows.chunks_exact_mut(stride) {
                row[..heads.queries * heads.width].iter_mut().for_each(|value| *value *= scale);
            }
        });
    }

    fn inverses(&self, to: &mut Vec<f32>, input: &[f32]) {
        let hidden = self.config.hidden_size;
        to.resize(input.len() / hidden, 0.0);
        let epsilon = self.epsilon();
        to.par_chunks_mut(ROWS).zip(input.par_chunks(ROWS * hidden)).for_each(|(to, rows)| inverse(to, rows, hidden, epsilon));
    }

    fn feed(&self, of: Layer<'_>, stream: &[f32], layer: &mut LayerTrace, products: &mut Products) {
        layer.middle.clear();
        layer.middle.extend_from_slice(stream);
        self.feed_of(of, stream, layer, products);
    }

    /// Gates, and what they let through, of the stream.
    fn feed_of(&self, of: Layer<'_>, stream: &[f32], layer: &mut LayerTrace, products: &mut Products) {
        let (hidden, feed) = (self.config.hidden_size, self.config.intermediate_size);
        self.inverses(&mut layer.feed_inverse, stream);
        layer.gate_up.resize(stream.len() / hidden * 2 * feed, 0.0);
        let left = Matrix::normed(normed(stream, &layer.feed_inverse, of.parameters.norm(&of.places.feed_norm)));
        of.forward(Site::GateUp, (&mut Sheet::new(&mut layer.gate_up, 2 * feed), Into::Replace), left, products);
    }

    /// The norm of the named rows of `stream`, as the head reads them, and the inverses of their roots.
    pub fn head_rows(&self, parameters: Parameters<'_>, stream: &[f32], rows: &[usize]) -> (Vec<f32>, Vec<f32>) {
        let hidden = self.config.hidden_size;
        let mut inverses = vec![0.0; rows.len()];
        let mut normed_rows = vec![0.0; rows.len() * hidden];
        let weight = parameters.norm(&self.layout.norm);
        let to = normed_rows.par_chunks_mut(hidden).zip(inverses.par_chunks_mut(1));
        to.zip(rows.par_iter()).with_min_len(16).for_each(|((to, kept), &row)| {
            crate::kernels::norm(to, kept, &stream[row * hidden..][..hidden], weight, self.epsilon());
        });
        (normed_rows, inverses)
    }
}
