//! What a network multiplies with: weights that all learn, or frozen ones with adapters beside them, which alone do.

use std::ops::Range;

use crate::adapters::{Adapters, Draw, Frozen};
use crate::layout::{LayerPlaces, Site};
use crate::products::{Into, Matrix, Products, Sheet};

/// The numbers of one pass.
#[derive(Clone, Copy)]
pub(crate) enum Parameters<'a> {
    /// All of them, as the layout has them; the gradient is as long.
    Whole(&'a [f32]),
    /// The gradient is as long as the adapters' weights.
    Adapted { frozen: &'a Frozen, adapters: &'a Adapters, weights: &'a [f32], draw: Draw },
}

/// One layer's.
#[derive(Clone, Copy)]
pub(super) struct Layer<'a> {
    pub parameters: Parameters<'a>,
    pub places: &'a LayerPlaces,
    pub index: usize,
}

impl<'a> Parameters<'a> {
    /// A matrix of the layout, or several that follow each other, `columns` wide.
    pub fn matrix(self, range: Range<usize>, columns: usize) -> Matrix<'a> {
        match self {
            Self::Whole(weights) => Matrix::plain(&weights[range], columns),
            Self::Adapted { frozen, .. } => frozen.matrix(range, columns),
        }
    }

    /// A norm of the layout.
    pub fn norm(self, range: &Range<usize>) -> &'a [f32] {
        match self {
            Self::Whole(weights) => &weights[range.clone()],
            Self::Adapted { frozen, .. } => frozen.norm(range),
        }
    }

    /// Puts numbers of the embedding behind what `to` holds.
    pub fn widen(self, range: Range<usize>, to: &mut Vec<f32>) {
        match self {
            Self::Whole(weights) => to.extend_from_slice(&weights[range]),
            Self::Adapted { frozen, .. } => frozen.widen(range, to),
        }
    }

    /// Where the gradient of numbers of the layout is added to; nowhere if they are frozen.
    pub fn learned(self, gradient: &mut [f32], range: Range<usize>) -> Option<&mut [f32]> {
        match self {
            Self::Whole(_) => Some(&mut gradient[range]),
            Self::Adapted { .. } => None,
        }
    }
}

impl Layer<'_> {
    /// The layer's product at `site`: `to (+)= left . weight^T`, and what adapters add to it. `left` is `[rows, in]`.
    pub fn forward(self, site: Site, (to, into): (&mut Sheet<'_>, Into), left: Matrix<'_>, products: &mut Products) {
        products.linear(to, into, left, self.parameters.matrix(self.places.at(site), left.columns));
        if let Parameters::Adapted { adapters, weights, draw, .. } = self.parameters {
            for adapter in adapters.at(self.index, site) {
                let mut part = Sheet { numbers: &mut *to.numbers, stride: to.stride, first: to.first + adapter.outputs.start };
                products.pair(&mut part, left.dropped(adapters.dropout(adapter, draw)), adapters.pair(adapter, weights));
            }
        }
    }

    /// The gradients of [`Layer::forward`]: what learns there is added to `gradient`, and `to`, `[rows, in]`, becomes that of the input. `slopes` is
    /// `[rows, out]`.
    pub fn back(
        self,
        site: Site,
        to: &mut [f32],
        (slopes, left): (Matrix<'_>, Matrix<'_>),
        (gradient, products): (&mut [f32], &mut Products),
    ) {
        let place = self.places.at(site);
        if let Some(towards) = self.parameters.learned(gradient, place.clone()) {
            products.linear_weight(towards, slopes, left);
        }
        let weight = self.parameters.matrix(place, left.columns);
        products.linear_input(&mut Sheet::new(&mut *to, left.columns), Into::Replace, slopes, weight);
        if let Parameters::Adapted { adapters, weights, draw, .. } = self.parameters {
            for adapter in adapters.at(self.index, site) {
                let (own, left) = (slopes.of_columns(adapter.outputs.clone()), left.dropped(adapters.dropout(adapter, draw)));
                products.pair_back(to, (own, left), adapters.pair(adapter, weights), adapters.slopes(adapter, gradient));
            }
        }
    }
}
