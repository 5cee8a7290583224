//! Tiles of up to six rows by sixteen columns in the registers of AVX2, twice for a panel: `f32`, `bf16` widened on the way, 16 and 8 bits.
//!
//! AVX2 multiplies bytes without a sign by bytes with one and adds them two by two in 16 bits. So weights take a bit less here: no sum of two
//! products leaves the 16 bits, and all sums are exact.
#![expect(unsafe_code, reason = "vector instructions on pointers into slices whose lengths `Kernel` has checked")]

use std::arch::x86_64::{
    __m256, __m256i, _mm256_add_epi32, _mm256_and_si256, _mm256_castsi256_ps, _mm256_cvtepi32_ps, _mm256_fmadd_ps, _mm256_load_si256,
    _mm256_loadu_ps, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps,
    _mm256_setzero_ps, _mm256_setzero_si256, _mm256_slli_epi32, _mm256_storeu_ps, _mm256_sub_epi32,
};

use super::ahead::{ask, between, parts};
use super::{Begin, COLUMNS, Left, Line, Precision, Right};

/// Rows at once of `f32` and of 16 bits: 12 sums of 8 columns, two loads and a word fill 15 of the 16 registers, and products of 16 bits the last.
pub(crate) const ROWS: usize = 6;
/// Rows at once where words are two registers each: 8 sums, four halves of loads, two of a word, one mask.
pub(crate) const HALVED_ROWS: usize = 4;
/// Rows at once of 8 bits: 10 sums of 8 columns, two loads, a word, its products and ones fill 15 of the 16 registers.
pub(crate) const BYTES_ROWS: usize = 5;
/// The largest magnitude of a weight in 8 bits: two of its products with a row's byte, which is at most 255, add up to 16 bits.
pub(crate) const BYTES_MOST: i8 = 64;

/// Defines a kernel. `$part` makes of eight words their floats; `$parts` is how many there are.
macro_rules! kernel {
    ($name:ident, $tile:ident, $parts:literal, $part:expr, [$($rows:literal),+]) => {
        /// # Safety
        /// The processor has AVX2 and FMA; `left` holds `N` rows, each as long as `lines`, and there are as many rows of sums.
        #[target_feature(enable = "avx2,fma")]
        unsafe fn $tile<const N: usize>(begin: Begin, left: Left<'_>, Right { lines, ahead }: Right<'_>, out: &mut [[f32; COLUMNS]]) {
            let asked = between(lines, ahead);
            let mut ahead = parts(ahead, 2 * lines.len().div_ceil(asked));
            for half in 0..2 {
                let mut sums = [[_mm256_setzero_ps(); 2]; N];
                if begin == Begin::Found {
                    for row in 0..N {
                        // SAFETY: a row of sums is 32 floats.
                        let from = unsafe { out[row].as_ptr().add(16 * half) };
                        sums[row] = unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] };
                    }
                }
                for (some, lines) in lines.chunks(asked).enumerate() {
                    ask(ahead.next().unwrap_or_default());
                    for (word, line) in (some * asked..).zip(lines) {
                        let at = line.0.as_ptr().cast::<__m256i>();
                        // SAFETY: a line is 128 bytes aligned to 64, half of it two registers; `left` holds this word of each row.
                        unsafe {
                            let words = [_mm256_load_si256(at.add(2 * half)), _mm256_load_si256(at.add(2 * half + 1))];
                            let right: [[__m256; $parts]; 2] = [$part(words[0]), $part(words[1])];
                            for row in 0..N {
                                let word = left.words.as_ptr().add(row * left.stride + word).read();
                                let value: [__m256; $parts] = $part(_mm256_set1_epi32(word.cast_signed()));
                                for part in 0..$parts {
                                    sums[row][0] = _mm256_fmadd_ps(value[part], right[0][part], sums[row][0]);
                                    sums[row][1] = _mm256_fmadd_ps(value[part], right[1][part], sums[row][1]);
                                }
                            }
                        }
                    }
                }
                for row in 0..N {
                    // SAFETY: as above.
                    unsafe {
                        let to = out[row].as_mut_ptr().add(16 * half);
                        _mm256_storeu_ps(to, sums[row][0]);
                        _mm256_storeu_ps(to.add(8), sums[row][1]);
                    }
                }
            }
        }

        pub(crate) fn $name(begin: Begin, left: Left<'_>, right: Right<'_>, sums: &mut [[f32; COLUMNS]]) {
            // SAFETY: this kernel is chosen only where the processor has its features, and `Kernel` has checked the lengths.
            unsafe {
                match left.rows {
                    $($rows => $tile::<$rows>(begin, left, right, sums),)+
                    _ => {}
                }
            }
        }
    };
}

kernel!(float, float_tile, 1, |words| [_mm256_castsi256_ps(words)], [1, 2, 3, 4, 5, 6]);
kernel!(
    bf16,
    bf16_tile,
    2,
    |words| {
        let high = _mm256_and_si256(words, _mm256_set1_epi32(-65536));
        [_mm256_castsi256_ps(high), _mm256_castsi256_ps(_mm256_slli_epi32::<16>(words))]
    },
    [1, 2, 3, 4]
);

/// Defines a kernel of whole numbers. `$add` adds one word's products to eight exact sums.
macro_rules! wholes {
    ($name:ident, $tile:ident, $sums:ident, $precision:expr, $add:expr, [$($rows:literal),+]) => {
        /// The exact sums of sixteen columns of all lines, from column `16 * half` on.
        ///
        /// # Safety
        /// The processor has AVX2; `left` holds `N` rows, each as long as `lines`.
        #[target_feature(enable = "avx2,fma")]
        unsafe fn $sums<const N: usize>(left: Left<'_>, lines: &[Line], half: usize) -> [[__m256i; 2]; N] {
            let mut sums = [[_mm256_setzero_si256(); 2]; N];
            for (word, line) in lines.iter().enumerate() {
                let at = line.0.as_ptr().cast::<__m256i>();
                // SAFETY: a line is 128 bytes aligned to 64, half of it two registers; `left` holds this word of each row.
                unsafe {
                    let right = [_mm256_load_si256(at.add(2 * half)), _mm256_load_si256(at.add(2 * half + 1))];
                    for (row, sums) in sums.iter_mut().enumerate() {
                        let word = _mm256_set1_epi32(left.words.as_ptr().add(row * left.stride + word).read().cast_signed());
                        for (sum, right) in sums.iter_mut().zip(right) {
                            *sum = $add(*sum, word, right);
                        }
                    }
                }
            }
            sums
        }

        /// # Safety
        /// The processor has AVX2; `left` holds `N` rows, each as long as `lines` without the tail behind them.
        #[target_feature(enable = "avx2,fma")]
        unsafe fn $tile<const N: usize>(left: Left<'_>, right: Right<'_>, out: &mut [[f32; COLUMNS]]) {
            let (lines, tail) = right.body_and_tail($precision);
            let mut ahead = parts(right.ahead, 2);
            for half in 0..2 {
                ask(ahead.next().unwrap_or_default());
                // SAFETY: as the caller promises; a line is 128 bytes aligned to 64, a row of sums is 32 floats.
                unsafe {
                    let sums = $sums::<N>(left, lines, half);
                    let part = |line: &Line| [0, 1].map(|part| _mm256_load_si256(line.0.as_ptr().cast::<__m256i>().add(2 * half + part)));
                    let (offsets, scales) = match tail {
                        [offsets, scales] => (part(offsets), part(scales)),
                        _ => ([_mm256_setzero_si256(); 2], part(&tail[0])),
                    };
                    for (row, sums) in sums.iter().enumerate() {
                        for (part, &sum) in sums.iter().enumerate() {
                            let exact = _mm256_cvtepi32_ps(_mm256_sub_epi32(sum, offsets[part]));
                            let scale = _mm256_mul_ps(_mm256_set1_ps(left.scales[row]), _mm256_castsi256_ps(scales[part]));
                            _mm256_storeu_ps(out[row].as_mut_ptr().add(16 * half + 8 * part), _mm256_mul_ps(exact, scale));
                        }
                    }
                }
            }
        }

        pub(crate) fn $name(_: Begin, left: Left<'_>, right: Right<'_>, sums: &mut [[f32; COLUMNS]]) {
            // SAFETY: this kernel is chosen only where the processor has its features, and `Kernel` has checked the lengths.
            unsafe {
                match left.rows {
                    $($rows => $tile::<$rows>(left, right, sums),)+
                    _ => {}
                }
            }
        }
    };
}

wholes!(
    int16,
    int16_tile,
    int16_sums,
    Precision::Int16,
    |sum, word, right| _mm256_add_epi32(sum, _mm256_madd_epi16(word, right)),
    [1, 2, 3, 4, 5, 6]
);
// A weight lies within `BYTES_MOST`. Multiplied by ones, two sums of 16 bits that stand side by side become one of 32.
wholes!(
    int8,
    int8_tile,
    int8_sums,
    Precision::Int8,
    |sum, word, right| _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(word, right), _mm256_set1_epi16(1))),
    [1, 2, 3, 4, 5]
);
