//! Operations whose result and gradient are both at hand: candle's autograd takes each as one step, and keeps nothing of what lies between.

use std::sync::{Mutex, PoisonError};

use candle_core::backend::BackendStorage as _;
use candle_core::{CpuStorage, CudaStorage, CustomOp3, Error, Layout, Result, Shape, Storage, Tensor};

/// What the gradient of the result means for each of the inputs; nothing where nobody asks for it.
type Slopes = Box<dyn Fn(&Tensor) -> Result<Vec<Option<Tensor>>> + Send + Sync>;

struct Fused {
    /// Until it is handed over.
    result: Mutex<Option<Tensor>>,
    slopes: Slopes,
}

/// `result`, computed of `inputs` outside of autograd, as a step of theirs: `slopes` says what its gradient means for each of them. There are one
/// to three.
pub(super) fn fused<const N: usize>(
    inputs: [&Tensor; N],
    result: Tensor,
    slopes: impl Fn(&Tensor) -> Result<[Option<Tensor>; N]> + Send + Sync + 'static,
) -> Result<Tensor> {
    let Some(first) = inputs.iter().find(|input| input.track_op()) else { return Ok(result) };
    let input = |index: usize| inputs.get(index).unwrap_or(first);
    let step = Fused { result: Mutex::new(Some(result)), slopes: Box::new(move |slope| Ok(slopes(slope)?.into())) };
    input(0).apply_op3(input(1), input(2), step)
}

impl Fused {
    fn taken(&self) -> Result<Tensor> {
        let result = self.result.lock().unwrap_or_else(PoisonError::into_inner).take();
        result.ok_or_else(|| Error::Msg("a fused step was taken twice".to_owned()))?.contiguous()
    }
}

impl CustomOp3 for Fused {
    fn name(&self) -> &'static str {
        "fused"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let result = self.taken()?.copy()?;
        let (storage, _) = result.storage_and_layout();
        match &*storage {
            Storage::Cpu(storage) => Ok((storage.clone(), result.shape().clone())),
            _ => Err(Error::Msg("a fused step went to another device".to_owned())),
        }
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let result = self.taken()?;
        let (storage, layout) = result.storage_and_layout();
        match &*storage {
            Storage::Cuda(storage) => Ok((storage.try_clone(layout)?, result.shape().clone())),
            _ => Err(Error::Msg("a fused step went to another device".to_owned())),
        }
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        slope: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let mut slopes = (self.slopes)(slope)?.into_iter();
        let mut next = || slopes.next().flatten();
        Ok((next(), next(), next()))
    }
}
