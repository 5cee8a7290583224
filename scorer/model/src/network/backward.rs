//! The gradient.

use rayon::iter::{IndexedParallelIterator as _, ParallelIterator as _};
use rayon::slice::{ParallelSlice as _, ParallelSliceMut as _};

use super::{Back, LayerPlaces, LayerTrace, Network, Pass, Products, ROWS, Trace, normed};
use crate::kernels::{Normed, Turn, add_scaled, gate_back, norm_back};
use crate::products::{Into, Matrix, Sheet};

/// A layer under way: weights and the gradient that is added to, and where the layer's lie.
struct Layer<'a> {
    weights: &'a [f32],
    gradient: &'a mut [f32],
    places: &'a LayerPlaces,
}

/// The head's slopes: the rows that it read, and what the loss says at their norms.
pub(crate) struct HeadSlopes<'a> {
    pub rows: &'a [usize],
    /// `[rows, hidden]`
    pub normed: &'a [f32],
    /// As [`Network::head_rows`] gave them.
    pub inverses: &'a [f32],
}

impl Network {
    /// Adds to `gradient` what the head's slopes mean for every weight below the head. `trace` must come from [`Network::forward`] over the same
    /// pass and weights; it is used up.
    pub fn backward(&self, weights: &[f32], pass: &Pass, trace: &mut Trace, head: &HeadSlopes<'_>, gradient: &mut [f32]) {
        let hidden = self.config.hidden_size;
        let Trace { products, room, layers, again, stream, tasks, back, .. } = trace;
        back.stream.clear();
        back.stream.resize(stream.len(), 0.0);
        for ((&row, slopes), &inverse) in head.rows.iter().zip(head.normed.chunks_exact(hidden)).zip(head.inverses) {
            let own = row * hidden..(row + 1) * hidden;
            let seen = normed(&stream[own.clone()], std::slice::from_ref(&inverse), &weights[self.layout.norm.clone()]);
            norm_back(&mut back.stream[own], &mut gradient[self.layout.norm.clone()], slopes, &seen);
        }
        let rows = pass.tokens.len();
        for (index, (places, layer)) in self.layout.layers.iter().zip(layers.iter_mut()).enumerate().rev() {
            let mut of = Layer { weights, gradient, places };
            if self.keeps(index, rows, *room) {
                let input = std::mem::take(&mut layer.input);
                self.layer_back(&mut of, (pass, &input), layer, (back, products, tasks));
                layer.input = input;
            } else {
                self.again((weights, places), (pass, &layer.input), again, (products, tasks));
                self.layer_back(&mut of, (pass, &layer.input), again, (back, products, tasks));
            }
        }
        for (&token, row) in pass.tokens.iter().zip(back.stream.chunks_exact(hidden)) {
            let at = self.layout.embedding.start + token as usize * hidden;
            add_scaled(&mut gradient[at..at + hidden], row, 1.0);
        }
    }

    fn layer_back(
        &self,
        of: &mut Layer<'_>,
        (pass, input): (&Pass, &[f32]),
        layer: &mut LayerTrace,
        (back, products, tasks): (&mut Back, &mut Products, &mut Vec<f32>),
    ) {
        self.feed_back(of, layer, back, products);
        let (hidden, heads) = (self.config.hidden_size, self.heads);
        let (width, places) = (heads.queries * heads.width, of.places);
        let slopes = Matrix::plain(&back.stream, hidden);
        products.linear_weight(&mut of.gradient[places.output.clone()], slopes, Matrix::plain(&layer.attended, width));
        back.attended.resize(layer.attended.len(), 0.0);
        let weight = Matrix::plain(&of.weights[places.output.clone()], width);
        products.linear_input(&mut Sheet::new(&mut back.attended, width), Into::Replace, slopes, weight);
        back.wide.resize(layer.qkv.len(), 0.0);
        self.attention(products.kernel).attend_back(pass, &back.attended, layer.kept(), &mut back.wide, tasks);
        self.turn(&mut back.wide, &pass.positions, Turn::Back);
        let weight = &of.weights[places.attention_norm.clone()];
        let seen = normed(input, &layer.attention_inverse, weight);
        let slopes = Matrix::plain(&back.wide, heads.stride());
        products.linear_weight(&mut of.gradient[places.qkv.clone()], slopes, Matrix::normed(seen));
        back.normed.resize(input.len(), 0.0);
        let weight = Matrix::plain(&of.weights[places.qkv.clone()], hidden);
        products.linear_input(&mut Sheet::new(&mut back.normed, hidden), Into::Replace, slopes, weight);
        rows_back(&mut back.stream, &mut of.gradient[places.attention_norm.clone()], &back.normed, seen);
    }

    fn feed_back(&self, of: &mut Layer<'_>, layer: &mut LayerTrace, back: &mut Back, products: &mut Products) {
        let (hidden, feed, places) = (self.config.hidden_size, self.config.intermediate_size, of.places);
        let slopes = Matrix::plain(&back.stream, hidden);
        products.linear_weight(&mut of.gradient[places.down.clone()], slopes, Matrix::gated(&layer.gate_up, feed));
        back.wide.resize(layer.gate_up.len() / 2, 0.0);
        let weight = Matrix::plain(&of.weights[places.down.clone()], feed);
        products.linear_input(&mut Sheet::new(&mut back.wide, feed), Into::Replace, slopes, weight);
        let chunks = layer.gate_up.par_chunks_mut(ROWS * 2 * feed).zip(back.wide.par_chunks(ROWS * feed));
        chunks.for_each(|(gate_up, slopes)| gate_back(gate_up, slopes, feed));
        let seen = normed(&layer.middle, &layer.feed_inverse, &of.weights[places.feed_norm.clone()]);
        let slopes = Matrix::plain(&layer.gate_up, 2 * feed);
        products.linear_weight(&mut of.gradient[places.gate_up.clone()], slopes, Matrix::normed(seen));
        back.normed.resize(back.stream.len(), 0.0);
        let weight = Matrix::plain(&of.weights[places.gate_up.clone()], hidden);
        products.linear_input(&mut Sheet::new(&mut back.normed, hidden), Into::Replace, slopes, weight);
        rows_back(&mut back.stream, &mut of.gradient[places.feed_norm.clone()], &back.normed, seen);
    }
}

/// The gradient of a norm, added to `towards` and `towards_weight`; sums over fixed runs of rows are added in their order.
fn rows_back(towards: &mut [f32], towards_weight: &mut [f32], slopes: &[f32], seen: Normed<'_>) {
    let width = seen.weight.len();
    let mut sums = vec![0.0; seen.inverse.len().div_ceil(ROWS) * width];
    let rows = towards.par_chunks_mut(ROWS * width).zip(slopes.par_chunks(ROWS * width)).zip(sums.par_chunks_mut(width));
    rows.enumerate().for_each(|(index, ((towards, slopes), sum))| {
        let first = index * ROWS;
        let last = seen.inverse.len().min(first + ROWS);
        let seen = normed(&seen.input[first * width..last * width], &seen.inverse[first..last], seen.weight);
        norm_back(towards, sum, slopes, &seen);
    });
    sums.chunks_exact(width).for_each(|sum| add_scaled(towards_weight, sum, 1.0));
}
