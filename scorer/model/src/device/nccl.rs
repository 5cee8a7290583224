//! Gradients summed over NVIDIA cards by NCCL, in `f32`, where they lie. It was run on one card, joined with no other; several were never at hand.
//!
//! One thread calls for all cards within a group, as NCCL wants it; sums go over each card's own stream, behind what found the gradient and before
//! what reads it.

use candle_core::cuda_backend::WrapErr as _;
use candle_core::cuda_backend::cudarc::nccl::result::NcclError;
use candle_core::cuda_backend::cudarc::nccl::{Comm, ReduceOp, group_end, group_start};
use candle_core::{CpuStorage, CudaStorage, DType, Device, Error, InplaceOp1, Layout, Result, Tensor};

/// Calls that NCCL takes in one group.
const GROUP: usize = 2048;

/// Cards that were joined.
#[derive(Debug)]
pub(super) struct Cards(Vec<Comm>);

// SAFETY: a communicator belongs to no thread, and wants one caller at a time: all calls go through `&mut`.
#[expect(unsafe_code, reason = "the pointers of NCCL know no threads")]
unsafe impl Send for Cards {}
// SAFETY: nothing can be asked of it through a shared reference.
#[expect(unsafe_code, reason = "the pointers of NCCL know no threads")]
unsafe impl Sync for Cards {}

impl Cards {
    /// Joins cards, none of which is named twice.
    pub fn join(devices: &[Device]) -> Result<Self> {
        let stream = |device: &Device| match device {
            Device::Cuda(card) => Ok(card.cuda_stream()),
            _ => candle_core::bail!("NCCL joins cards alone"),
        };
        Comm::from_devices(devices.iter().map(stream).collect::<Result<_>>()?).map(Self).map_err(|error| refused(&error))
    }

    /// Leaves the sum over all cards in the place of each card's tensors, which must be nobody else's.
    pub fn add(&mut self, gradients: &[Vec<Tensor>]) -> Result<()> {
        // Before anything is called: a group that one card has no part in would never end.
        let sums = |tensor: &Tensor| tensor.is_contiguous() && tensor.dtype() == DType::F32 && tensor.device().is_cuda();
        let alike = |card: &Vec<Tensor>| card.iter().all(sums) && card.iter().map(Tensor::shape).eq(gradients[0].iter().map(Tensor::shape));
        if gradients.len() != self.0.len() || !gradients.iter().all(alike) {
            candle_core::bail!("the cards' gradients are not of one kind");
        }
        let count = gradients.first().map_or(0, Vec::len);
        let step = (GROUP / self.0.len()).max(1);
        for first in (0..count).step_by(step) {
            let group = first..count.min(first + step);
            group_start().map_err(|error| refused(&error))?;
            let called = self.0.iter().zip(gradients).try_for_each(|(comm, tensors)| {
                comm.context().bind_to_thread().w()?;
                tensors[group.clone()].iter().try_for_each(|tensor| tensor.inplace_op1(&Summed(comm)))
            });
            // In any case: an open group would take in whatever this thread asks next.
            let ended = group_end().map_err(|error| refused(&error));
            called.and(ended)?;
        }
        Ok(())
    }
}

fn refused(error: &NcclError) -> Error {
    Error::Msg(format!("NCCL refused: {:?}", error.0))
}

/// One card's part in a sum.
struct Summed<'a>(&'a Comm);

impl InplaceOp1 for Summed<'_> {
    fn name(&self) -> &'static str {
        "summed"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> Result<()> {
        candle_core::bail!("NCCL sums on cards alone")
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, layout: &Layout) -> Result<()> {
        let Some((first, end)) = layout.contiguous_offsets() else { candle_core::bail!("what is summed must lie in one piece") };
        let mut numbers = storage.as_cuda_slice_mut::<f32>()?.slice_mut(first..end);
        self.0.all_reduce_in_place(&mut numbers, &ReduceOp::Sum).map(drop).map_err(|error| refused(&error))
    }
}
