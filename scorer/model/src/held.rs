//! Many numbers as they stand in memory: `f32` as they were, or rounded to `bf16` in half the room.

use std::ops::Range;

use crate::packed::{Precision, bf16};

/// Numbers that follow each other.
#[derive(Debug)]
pub(crate) enum Held {
    F32(Vec<f32>),
    Bf16(Vec<u16>),
}

/// The number whose upper half this is.
#[inline(always)]
pub(crate) fn widened(half: u16) -> f32 {
    f32::from_bits(u32::from(half) << 16)
}

impl Held {
    /// None yet, and room for `count`: `f32` for `f32`, and `bf16` otherwise.
    pub fn with_room(precision: Precision, count: usize) -> Self {
        match precision {
            Precision::F32 => Self::F32(Vec::with_capacity(count)),
            Precision::Bf16 | Precision::Int16 | Precision::Int8 => Self::Bf16(Vec::with_capacity(count)),
        }
    }

    /// Bytes that they occupy.
    pub fn bytes(&self) -> usize {
        match self {
            Self::F32(numbers) => size_of_val(numbers.as_slice()),
            Self::Bf16(numbers) => size_of_val(numbers.as_slice()),
        }
    }

    /// Puts `numbers` behind those that are there.
    pub fn push(&mut self, numbers: &[f32]) {
        match self {
            Self::F32(held) => held.extend_from_slice(numbers),
            Self::Bf16(held) => held.extend(numbers.iter().map(|&value| bf16(value) as u16)),
        }
    }

    /// Puts those of `range` behind what `to` holds.
    pub fn widen(&self, range: Range<usize>, to: &mut Vec<f32>) {
        match self {
            Self::F32(numbers) => to.extend_from_slice(&numbers[range]),
            Self::Bf16(numbers) => to.extend(numbers[range].iter().copied().map(widened)),
        }
    }
}
