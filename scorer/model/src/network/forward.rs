//! The forward pass.

use rayon::iter::{IndexedParallelIterator as _, IntoParallelRefIterator as _, ParallelIterator as _};
use rayon::slice::{ParallelSlice as _, ParallelSliceMut as _};

use super::{LayerPlaces, LayerTrace, Network, Pass, Products, ROWS, Trace, normed};
use crate::kernels::{Turn, inverse};
use crate::products::{Into, Matrix, Sheet};

impl Network {
    /// Reads `pass`; what the head reads is then the norm of `trace.stream`.
    pub fn forward(&self, weights: &[f32], pass: &Pass, trace: &mut Trace) {
        let (rows, hidden) = (pass.tokens.len(), self.config.hidden_size);
        let Trace { products, room, layers, again, stream, tasks, .. } = trace;
        stream.clear();
        for &token in &pass.tokens {
            let at = self.layout.embedding.start + token as usize * hidden;
            stream.extend_from_slice(&weights[at..at + hidden]);
        }
        layers.resize_with(self.layout.layers.len(), LayerTrace::default);
        for (index, (places, layer)) in self.layout.layers.iter().zip(layers.iter_mut()).enumerate() {
            layer.input.clone_from(stream);
            let layer = if self.keeps(index, rows, *room) {
                layer
            } else {
                layer.forget();
                &mut *again
            };
            self.attend((weights, places), (pass, stream), layer, (products, tasks));
            self.add(
                stream,
                Matrix::plain(&layer.attended, self.heads.queries * self.heads.width),
                &weights[places.output.clone()],
                products,
            );
            self.feed((weights, places), stream, layer, products);
            let feed = self.config.intermediate_size;
            self.add(stream, Matrix::gated(&layer.gate_up, feed), &weights[places.down.clone()], products);
        }
    }

    /// Fills what a layer sees of `input`, its last product left out: nothing of the gradient needs it.
    pub(super) fn again(
        &self,
        (weights, places): (&[f32], &LayerPlaces),
        (pass, input): (&Pass, &[f32]),
        layer: &mut LayerTrace,
        (products, tasks): (&mut Products, &mut Vec<f32>),
    ) {
        self.attend((weights, places), (pass, input), layer, (products, tasks));
        let mut stream = std::mem::take(&mut layer.middle);
        stream.clear();
        stream.extend_from_slice(input);
        let width = self.heads.queries * self.heads.width;
        self.add(&mut stream, Matrix::plain(&layer.attended, width), &weights[places.output.clone()], products);
        self.feed_of((weights, places), &stream, layer, products);
        layer.middle = stream;
    }

    fn add(&self, stream: &mut [f32], left: Matrix<'_>, weight: &[f32], products: &mut Products) {
        let weight = Matrix::plain(weight, left.columns);
        products.linear(&mut Sheet::new(stream, self.config.hidden_size), Into::Add, left, weight);
    }

    /// Queries, keys and values of `input`, and what they attend to.
    fn attend(
        &self,
        (weights, places): (&[f32], &LayerPlaces),
        (pass, input): (&Pass, &[f32]),
        layer: &mut LayerTrace,
        (products, tasks): (&mut Products, &mut Vec<f32>),
    ) {
        let (rows, hidden, heads) = (pass.tokens.len(), self.config.hidden_size, self.heads);
        self.inverses(&mut layer.attention_inverse, input);
        layer.qkv.resize(rows * heads.stride(), 0.0);
        let left = Matrix::normed(normed(input, &layer.attention_inverse, &weights[places.attention_norm.clone()]));
        let weight = Matrix::plain(&weights[places.qkv.clone()], hidden);
        products.linear(&mut Sheet::new(&mut layer.qkv, heads.stride()), Into::Replace, left, weight);
        self.turn(&mut layer.qkv, &pass.positions, Turn::Forward);
        layer.log_sums.resize(heads.queries * rows, 0.0);
        layer.attended.resize(rows * heads.queries * heads.width, 0.0);
        self.attention(products.kernel).attend(pass, &layer.qkv, (&mut layer.attended, &mut layer.log_sums), tasks);
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

    fn feed(&self, of: (&[f32], &LayerPlaces), stream: &[f32], layer: &mut LayerTrace, products: &mut Products) {
        layer.middle.clear();
        layer.middle.extend_from_slice(stream);
        self.feed_of(of, stream, layer, products);
    }

    /// Gates, and what they let through, of the stream.
    fn feed_of(&self, (weights, places): (&[f32], &LayerPlaces), stream: &[f32], layer: &mut LayerTrace, products: &mut Products) {
        let (hidden, feed) = (self.config.hidden_size, self.config.intermediate_size);
        self.inverses(&mut layer.feed_inverse, stream);
        layer.gate_up.resize(stream.len() / hidden * 2 * feed, 0.0);
        let left = Matrix::normed(normed(stream, &layer.feed_inverse, &weights[places.feed_norm.clone()]));
        let weight = Matrix::plain(&weights[places.gate_up.clone()], hidden);
        products.linear(&mut Sheet::new(&mut layer.gate_up, 2 * feed), Into::Replace, left, weight);
    }

    /// The norm of the named rows of `stream`, as the head reads them, and the inverses of their roots.
    pub fn head_rows(&self, weights: &[f32], stream: &[f32], rows: &[usize]) -> (Vec<f32>, Vec<f32>) {
        let hidden = self.config.hidden_size;
        let mut inverses = vec![0.0; rows.len()];
        let mut normed_rows = vec![0.0; rows.len() * hidden];
        let weight = &weights[self.layout.norm.clone()];
        let to = normed_rows.par_chunks_mut(hidden).zip(inverses.par_chunks_mut(1));
        to.zip(rows.par_iter()).with_min_len(16).for_each(|((to, kept), &row)| {
            crate::kernels::norm(to, kept, &stream[row * hidden..][..hidden], weight, self.epsilon());
        });
        (normed_rows, inverses)
    }
}
