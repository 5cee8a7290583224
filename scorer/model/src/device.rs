//! The same Llama through candle's operations, on whatever device candle has: `bf16` on an NVIDIA card, `f32` on a processor, where it is only
//! there to be tested.
//!
//! One forward pass answers and learns, over the same lists of rows without padding; autograd finds the gradient. What takes time has a gradient
//! of its own ([`fused`]), so that nothing is kept of what lies between; attention has kernels of its own on a card.

mod attention;
#[cfg(feature = "cuda")]
mod card;
mod cross_entropy;
mod fused;
mod learning;
mod linear;
mod network;
mod scorer;

pub(crate) use learning::DeviceLearning;
pub(crate) use scorer::DeviceScorer;

/// The devices that tests run on, with what products are made of there: always a processor in `f32`, and a card in both where one is at hand.
#[cfg(test)]
pub(crate) fn tested() -> Vec<(candle_core::Device, crate::Arithmetic)> {
    use crate::Arithmetic::{Bf16, F32};
    let mut devices = vec![(candle_core::Device::Cpu, F32)];
    match candle_core::Device::new_cuda(0) {
        Ok(card) => devices.extend([(card.clone(), F32), (card, Bf16)]),
        Err(error) => eprintln!("not run on a card: {error}"),
    }
    devices
}
