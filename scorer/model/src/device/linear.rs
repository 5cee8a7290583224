//! Products with weights, and what adapters add to them.

use std::ops::Range;

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};

use super::fused::fused;
use crate::products::Dropout;

/// A weight: what learns of it, if anything does, and how it is multiplied.
#[derive(Clone, Debug)]
pub(super) struct Weight {
    /// Where its gradient goes, `f32`.
    learned: Tensor,
    /// The same numbers as products have them, `[out, in]`.
    held: Tensor,
}

/// The pair of LoRA beside some rows of a weight.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    /// Columns of the product that it adds to.
    pub outputs: Range<usize>,
    /// `[rank, in]`
    pub down: Weight,
    /// `[out, rank]`
    pub up: Weight,
    pub scale: f64,
    pub dropout: Option<Dropout>,
}

/// A product of a layer.
#[derive(Clone, Debug)]
pub(super) struct Linear {
    pub weight: Weight,
    pub pairs: Vec<Pair>,
}

impl Weight {
    /// A weight that does not learn, as it is multiplied.
    pub fn frozen(held: Tensor) -> Self {
        Self { learned: held.clone(), held }
    }

    /// The numbers of `learned`, held as `numbers`.
    pub fn learning(learned: &Tensor, numbers: DType) -> Result<Self> {
        Ok(Self { learned: learned.clone(), held: learned.detach().to_dtype(numbers)? })
    }

    /// The numbers of `learned` as they are by now.
    pub fn again(&self) -> Result<Self> {
        Self::learning(&self.learned, self.held.dtype())
    }

    /// The numbers themselves, with autograd's trace.
    pub fn learned(&self) -> &Tensor {
        &self.learned
    }

    /// As products have them.
    pub fn held(&self) -> &Tensor {
        &self.held
    }

    /// Some of its rows, `[rows]` u32, as a weight by themselves.
    pub fn rows(&self, rows: &Tensor) -> Result<Self> {
        Ok(Self { learned: self.learned.index_select(rows, 0)?, held: self.held.index_select(rows, 0)? })
    }

    /// `rows . weight^T`: `[rows, in]` to `[rows, out]`.
    pub fn multiply(&self, rows: &Tensor) -> Result<Tensor> {
        let (left, held) = (rows.detach(), self.held.clone());
        let learns = self.learned.track_op();
        let result = left.matmul(&held.t()?)?;
        fused([rows, &self.learned], result, move |slopes| {
            let slopes = slopes.contiguous()?;
            let towards_weight = if learns { Some(slopes.t()?.matmul(&left)?.to_dtype(DType::F32)?) } else { None };
            Ok([Some(slopes.matmul(&held)?), towards_weight])
        })
    }
}

impl Linear {
    /// A weight alone.
    pub fn plain(weight: Weight) -> Self {
        Self { weight, pairs: Vec::new() }
    }

    /// The product with the weight and with the pairs beside it, whose outputs follow each other.
    pub fn multiply(&self, rows: &Tensor) -> Result<Tensor> {
        let product = self.weight.multiply(rows)?;
        if self.pairs.is_empty() {
            return Ok(product);
        }
        let (count, width) = product.dims2()?;
        let (mut parts, mut end) = (Vec::new(), 0);
        let nothing = |columns: usize| Tensor::zeros((count, columns), product.dtype(), product.device());
        for pair in &self.pairs {
            if pair.outputs.start > end {
                parts.push(nothing(pair.outputs.start - end)?);
            }
            let heard = match pair.dropout {
                Some(dropout) => rows.apply_op1(Dropped(dropout))?,
                None => rows.clone(),
            };
            parts.push((pair.up.multiply(&pair.down.multiply(&heard)?)? * pair.scale)?);
            end = pair.outputs.end;
        }
        if end < width {
            parts.push(nothing(width - end)?);
        }
        product + Tensor::cat(&parts, 1)?
    }
}

/// Leaves out what a draw drops; its gradient is the same on the slopes. `[rows, columns]`
struct Dropped(Dropout);

impl CustomOp1 for Dropped {
    fn name(&self) -> &'static str {
        "dropped"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, columns) = layout.shape().dims2()?;
        let Some((start, end)) = layout.contiguous_offsets() else { candle_core::bail!("what is dropped from must lie in one piece") };
        let mut numbers = storage.as_slice::<f32>()?[start..end].to_vec();
        for (row, numbers) in numbers.chunks_exact_mut(columns).enumerate() {
            self.0.drop(row, 0, numbers);
        }
        Ok((CpuStorage::F32(numbers), layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &candle_core::CudaStorage, layout: &Layout) -> Result<(candle_core::CudaStorage, Shape)> {
        super::card::dropped(&self.0, storage, layout)
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, slopes: &Tensor) -> Result<Option<Tensor>> {
        slopes.contiguous()?.apply_op1_no_bwd(&Self(self.0)).map(Some)
    }
}
