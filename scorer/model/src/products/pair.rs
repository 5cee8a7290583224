//! A thin pair of matrices beside a weight, as LoRA has them: what it adds to the weight's product, and its gradients.
//!
//! What stands between the two is `rank` numbers a row. It is not kept for the gradient but made again: that costs a product with one panel,
//! and nobody has to carry it.

use super::{Into, Matrix, Products, Sheet};

/// `left . down^T . up^T`, times `scale`.
#[derive(Clone, Copy)]
pub(crate) struct Pair<'a> {
    /// `[rank, in]`
    pub down: &'a [f32],
    /// `[out, rank]`
    pub up: &'a [f32],
    pub rank: usize,
    pub scale: f32,
}

/// The gradient towards a pair, which is added to.
pub(crate) struct PairSlopes<'a> {
    /// `[rank, in]`
    pub down: &'a mut [f32],
    /// `[out, rank]`
    pub up: &'a mut [f32],
}

/// What is between the two matrices, and what is dropped from: buffers that are used again.
#[derive(Debug, Default)]
pub(super) struct Between {
    narrow: Vec<f32>,
    slopes: Vec<f32>,
    wide: Vec<f32>,
}

impl<'a> Pair<'a> {
    fn down(&self, left: Matrix<'_>) -> Matrix<'a> {
        Matrix::plain(self.down, left.columns)
    }

    fn up(&self) -> Matrix<'a> {
        Matrix::plain(self.up, self.rank)
    }
}

impl Products {
    /// `to += scale * left . down^T . up^T`. `left` is `[rows, in]`.
    pub fn pair(&mut self, to: &mut Sheet<'_>, left: Matrix<'_>, pair: Pair<'_>) {
        let mut between = std::mem::take(&mut self.between);
        self.narrow(&mut between.narrow, left, pair);
        self.linear(to, Into::Add, Matrix::plain(&between.narrow, pair.rank), pair.up());
        self.between = between;
    }

    /// The gradients of [`Products::pair`], all added: towards the pair, and towards its input, `to`. `slopes` is `[rows, out]`.
    pub fn pair_back(&mut self, to: &mut [f32], (slopes, left): (Matrix<'_>, Matrix<'_>), pair: Pair<'_>, towards: PairSlopes<'_>) {
        let mut between = std::mem::take(&mut self.between);
        self.narrow(&mut between.narrow, left, pair);
        self.linear_weight(towards.up, slopes, Matrix::plain(&between.narrow, pair.rank));
        between.slopes.resize(left.rows * pair.rank, 0.0);
        self.linear_input(&mut Sheet::new(&mut between.slopes, pair.rank), Into::Replace, slopes, pair.up());
        between.slopes.iter_mut().for_each(|slope| *slope *= pair.scale);
        let slopes = Matrix::plain(&between.slopes, pair.rank);
        self.linear_weight(towards.down, slopes, left);
        if let Some(dropout) = left.dropout {
            between.wide.resize(to.len(), 0.0);
            self.linear_input(&mut Sheet::new(&mut between.wide, left.columns), Into::Replace, slopes, pair.down(left));
            dropout.add_kept(to, &between.wide, left.columns);
        } else {
            self.linear_input(&mut Sheet::new(to, left.columns), Into::Add, slopes, pair.down(left));
        }
        self.between = between;
    }

    /// `to = scale * left . down^T`, `[rows, rank]`.
    fn narrow(&mut self, to: &mut Vec<f32>, left: Matrix<'_>, pair: Pair<'_>) {
        to.resize(left.rows * pair.rank, 0.0);
        self.linear(&mut Sheet::new(to, pair.rank), Into::Replace, left, pair.down(left));
        to.iter_mut().for_each(|value| *value *= pair.scale);
    }
}
