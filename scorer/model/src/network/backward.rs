//! The gradient.

use rayon::iter::{IndexedParallelIterator as _, ParallelIterator as _};
use rayon::slice::{ParallelSlice as _, ParallelSliceMut as _};

use super::{Back, Layer, LayerTrace, Network, Parameters, Pass, Products, ROWS, Site, Trace, normed};
use crate::attention::Buffers;
use crate::kernels::{Normed, Turn, add_scaled, gate_back, norm_back};
use crate::products::Matrix;

/// The head's slopes: the rows that it read, and what the loss says at their norms.
pub(crate) struct HeadSlopes<'a> {
    pub rows: &'a [usize],
    /// `[rows, hidden]`
    pub normed: &'a [f32],
    /// As [`Network::head_rows`] gave them.
    pub inverses: &'a [f32],
}

impl Network {
    /// Adds to `gradient` what the head's slopes mean for all that learns below the head. `trace` must come from [`Network::forward`] over the same
    /// pass and parameters; it is used up.
    pub fn backward(&self, (parameters, gradient): (Parameters<'_>, &mut [f32]), pass: &Pass, trace: &mut Trace, head: &HeadSlopes<'_>) {
        let hidden = self.config.hidden_size;
        let Trace { products, room, layers, again, stream, attention, back, .. } = trace;
        back.stream.clear();
        back.stream.resize(stream.len(), 0.0);
        let mut towards_norm = vec![0.0; hidden];
        for ((&row, slopes), &inverse) in head.rows.iter().zip(head.normed.chunks_exact(hidden)).zip(head.inverses) {
            let own = row * hidden..(row + 1) * hidden;
            let seen = normed(&stream[own.clone()], std::slice::from_ref(&inverse), parameters.norm(&self.layout.norm));
            norm_back(&mut back.stream[own], &mut towards_norm, slopes, &seen);
        }
        if let Some(towards) = parameters.learned(gradient, self.layout.norm.clone()) {
            add_scaled(towards, &towards_norm, 1.0);
        }
        let rows = pass.tokens.len();
        for (of, layer) in self.layers(parameters).zip(layers.iter_mut()).rev() {
            if self.keeps(of.index, rows, *room) {
                let input = std::mem::take(&mut layer.input);
                self.layer_back((of, gradient), (pass, &input), layer, (back, products, attention));
                layer.input = input;
            } else {
                self.again(of, (pass, &layer.input), again, (products, attention));
                self.layer_back((of, gradient), (pass, &layer.input), again, (back, products, attention));
            }
        }
        for (&token, row) in pass.tokens.iter().zip(back.stream.chunks_exact(hidden)) {
            let at = self.layout.embedding.start + token as usize * hidden;
            if let Some(towards) = parameters.learned(gradient, at..at + hidden) {
                add_scaled(towards, row, 1.0);
            }
        }
    }

    fn layer_back(
        &self,
        (of, gradient): (Layer<'_>, &mut [f32]),
        (pass, input): (&Pass, &[f32]),
        layer: &mut LayerTrace,
        (back, products, buffers): (&mut Back, &mut Products, &mut Buffers),
    ) {
        self.feed_back((of, gradient), layer, back, products);
        let (hidden, heads) = (self.config.hidden_size, self.heads);
        back.attended.resize(layer.attended.len(), 0.0);
        let both = (Matrix::plain(&back.stream, hidden), Matrix::plain(&layer.attended, heads.queries * heads.width));
        of.back(Site::Output, &mut back.attended, both, (gradient, products));
        back.wide.resize(layer.qkv.len(), 0.0);
        self.attention(products.kernel).attend_back(pass, &back.attended, layer.kept(), &mut back.wide, buffers);
        self.turn(&mut back.wide, &pass.positions, Turn::Back);
        let seen = normed(input, &layer.attention_inverse, of.parameters.norm(&of.places.attention_norm));
        back.normed.resize(input.len(), 0.0);
        let both = (Matrix::plain(&back.wide, heads.stride()), Matrix::normed(seen));
        of.back(Site::Qkv, &mut back.normed, both, (gradient, products));
        let towards = of.parameters.learned(gradient, of.places.attention_norm.clone());
        rows_back(&mut back.stream, towards, &back.normed, seen);
    }

    fn feed_back(&self, (of, gradient): (Layer<'_>, &mut [f32]), layer: &mut LayerTrace, back: &mut Back, products: &mut Products) {
        let (hidden, feed) = (self.config.hidden_size, self.config.intermediate_size);
        back.wide.resize(layer.gate_up.len() / 2, 0.0);
        let both = (Matrix::plain(&back.stream, hidden), Matrix::gated(&layer.gate_up, feed));
        of.back(Site::Down, &mut back.wide, both, (gradient, products));
        let chunks = layer.gate_up.par_chunks_mut(ROWS * 2 * feed).zip(back.wide.par_chunks(ROWS * feed));
        chunks.for_each(|(gate_up, slopes)| gate_back(gate_up, slopes, feed));
        let seen = normed(&layer.middle, &layer.feed_inverse, of.parameters.norm(&of.places.feed_norm));
        back.normed.resize(back.stream.len(), 0.0);
        let both = (Matrix::plain(&layer.gate_up, 2 * feed), Matrix::normed(seen));
        of.back(Site::GateUp, &mut back.normed, both, (gradient, products));
        let towards = of.parameters.learned(gradient, of.places.feed_norm.clone());
        rows_back(&mut back.stream, towards, &back.normed, seen);
    }
}

/// The gradient of a norm, added to `towards` and to `towards_weight`, where that learns; sums over fixed runs of rows are added in their order.
fn rows_back(towards: &mut [f32], towards_weight: Option<&mut [f32]>, slopes: &[f32], seen: Normed<'_>) {
    let width = seen.weight.len();
    let mut sums = vec![0.0; seen.inverse.len().div_ceil(ROWS) * width];
    let rows = towards.par_chunks_mut(ROWS * width).zip(slopes.par_chunks(ROWS * width)).zip(sums.par_chunks_mut(width));
    rows.enumerate().for_each(|(index, ((towards, slopes), sum))| {
        let first = index * ROWS;
        let last = seen.inverse.len().min(first + ROWS);
        let seen = normed(&seen.input[first * width..last * width], &seen.inverse[first..last], seen.weight);
        norm_back(towards, sum, slopes, &seen);
    });
    if let Some(towards) = towards_weight {
        sums.chunks_exact(width).for_each(|sum| add_scaled(towards, sum, 1.0));
    }
}
