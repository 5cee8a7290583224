//! How a tensor's numbers lie in a file, and how they become `f32`: plain floats here, ggml's blocks through candle.

use std::borrow::Cow;

use candle_core::CpuStorage;
use candle_core::quantized::GgmlDType;
use half::f16;
use half::slice::HalfFloatSliceExt as _;

use crate::held::widened;

/// Bytes per number, or per block of numbers; all little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// IEEE 754, 4 bytes.
    F32,
    /// IEEE 754, 2 bytes.
    F16,
    /// The upper half of an `F32`.
    Bf16,
    /// ggml's blocks of 32 or 256 numbers along a row.
    Blocks(GgmlDType),
}

/// Numbers that are widened at a time on the stack.
const CHUNK: usize = 256;

impl Encoding {
    /// The encoding that a GGUF file means by `code`; none for those that are not read.
    pub fn of_ggml(code: u32) -> Option<Self> {
        Some(match code {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Blocks(GgmlDType::Q4_0),
            3 => Self::Blocks(GgmlDType::Q4_1),
            6 => Self::Blocks(GgmlDType::Q5_0),
            7 => Self::Blocks(GgmlDType::Q5_1),
            8 => Self::Blocks(GgmlDType::Q8_0),
            10 => Self::Blocks(GgmlDType::Q2K),
            11 => Self::Blocks(GgmlDType::Q3K),
            12 => Self::Blocks(GgmlDType::Q4K),
            13 => Self::Blocks(GgmlDType::Q5K),
            14 => Self::Blocks(GgmlDType::Q6K),
            30 => Self::Bf16,
            _ => return None,
        })
    }

    /// Bytes of a row of `columns` numbers; none where a row is no whole number of blocks, or too long to count.
    pub fn row_bytes(self, columns: usize) -> Option<usize> {
        let (block, size) = match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Blocks(kind) => (kind.block_size(), kind.type_size()),
        };
        if columns.is_multiple_of(block) { (columns / block).checked_mul(size) } else { None }
    }

    /// Widens whole rows: `bytes` holds as many numbers as `out` has room for.
    pub fn widen(self, bytes: &[u8], out: &mut [f32]) {
        debug_assert_eq!(self.row_bytes(out.len()), Some(bytes.len()));
        match self {
            Self::F32 => {
                for (number, word) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *number = f32::from_le_bytes(*word);
                }
            }
            Self::Bf16 => {
                for (number, word) in out.iter_mut().zip(bytes.as_chunks().0) {
                    *number = widened(u16::from_le_bytes(*word));
                }
            }
            Self::F16 => {
                let mut halves = [f16::ZERO; CHUNK];
                for (numbers, words) in out.chunks_mut(CHUNK).zip(bytes.chunks(2 * CHUNK)) {
                    let halves = &mut halves[..numbers.len()];
                    for (half, word) in halves.iter_mut().zip(words.as_chunks().0) {
                        *half = f16::from_le_bytes(*word);
                    }
                    halves.convert_to_f32_slice(numbers);
                }
            }
            Self::Blocks(kind) => {
                // candle copies the blocks and then widens all of them, so a few at a time.
                let step = kind.block_size() * 16;
                let step_bytes = kind.type_size() * 16;
                for (numbers, blocks) in out.chunks_mut(step).zip(bytes.chunks(step_bytes)) {
                    if let Ok(CpuStorage::F32(widened)) = kind.from_data(Cow::Borrowed(blocks)).dequantize(numbers.len()) {
                        numbers.copy_from_slice(&widened);
                    }
                }
            }
        }
    }
}
