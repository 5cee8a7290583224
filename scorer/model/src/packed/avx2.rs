//! Tiles of up to six rows by sixteen columns in the registers of AVX2, twice for a panel: `f32`, `bf16` widened on the way, and 8 bits.
//!
//! AVX2's own product of bytes saturates; bytes widened to 16 bits give exact sums: a row's before it meets the columns, a column's as it is read.
#![expect(unsafe_code, reason = "vector instructions on pointers into slices whose lengths `Kernel::multiply` has checked")]

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _mm_load_si128, _mm_loadu_si128, _mm256_add_epi32, _mm256_and_si256, _mm256_castsi256_ps,
    _mm256_cvtepi8_epi16, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi16, _mm256_fmadd_ps, _mm256_hadd_epi32, _mm256_load_si256,
    _mm256_madd_epi16, _mm256_mul_ps, _mm256_permute4x64_epi64, _mm256_set1_epi32, _mm256_set1_epi64x, _mm256_set1_ps, _mm256_setzero_ps,
    _mm256_setzero_si256, _mm256_slli_epi32, _mm256_storeu_ps, _mm256_storeu_si256, _mm256_sub_epi32,
};
use std::mem::MaybeUninit;

use super::words::INT8_TAIL;
use super::{COLUMNS, Left, Line, Tile};

/// Rows at once of `f32`: 12 sums of 8 columns, two loads and a word fill 15 of the 16 registers.
pub(crate) const ROWS: usize = 6;
/// Rows at once where words are two registers each: 8 sums, four halves of loads, two of a word, one mask.
pub(crate) const HALVED_ROWS: usize = 4;
/// Rows at once of 8 bits: 12 sums, eight columns in two registers of them, two of a line, one of a word and one product fill all 16.
pub(crate) const BYTES_ROWS: usize = 6;
/// Parts of a panel that the sums of 8 bits are made of.
const QUARTERS: usize = COLUMNS / 8;

/// Defines a kernel. `$part` makes of eight words their floats; `$parts` is how many there are.
macro_rules! kernel {
    ($name:ident, $tile:ident, $parts:literal, $part:expr, [$($rows:literal),+]) => {
        /// # Safety
        /// The processor has AVX2 and FMA; `left` holds `N` rows, each as long as `lines`.
        #[target_feature(enable = "avx2,fma")]
        unsafe fn $tile<const N: usize>(left: Left<'_>, lines: &[Line], tile: &mut Tile) {
            for half in 0..2 {
                let mut sums = [[_mm256_setzero_ps(); 2]; N];
                for (word, line) in lines.iter().enumerate() {
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
                for row in 0..N {
                    // SAFETY: a row of the tile is 32 floats.
                    unsafe {
                        let to = tile.0[row].as_mut_ptr().add(16 * half);
                        _mm256_storeu_ps(to, sums[row][0]);
                        _mm256_storeu_ps(to.add(8), sums[row][1]);
                    }
                }
            }
        }

        pub(crate) fn $name(left: Left<'_>, lines: &[Line], tile: &mut Tile) {
            // SAFETY: this kernel is chosen only where the processor has its features, and `Kernel::multiply` has checked the lengths.
            unsafe {
                match left.rows {
                    $($rows => $tile::<$rows>(left, lines, tile),)+
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

/// Words of rows that are widened at a time: they and a quarter of so many lines, which meets every other set of the first cache, stay in it.
const WIDENED: usize = 96;

/// Bytes of some rows widened to 16 bits, four in each number: row `r` is `[r * WIDENED..]`.
type Widened = [MaybeUninit<u64>; BYTES_ROWS * WIDENED];

/// Widens up to [`WIDENED`] words of `N` rows from `first` on.
///
/// # Safety
/// The processor has AVX2; `left` holds `N` rows, each at least `first + count` words long.
#[target_feature(enable = "avx2,fma")]
unsafe fn widen<const N: usize>(to: &mut Widened, left: Left<'_>, (first, count): (usize, usize)) {
    for (row, to) in to.chunks_exact_mut(WIDENED).take(N).enumerate() {
        let from = &left.words[row * left.stride + first..][..count];
        let (whole, rest) = from.as_chunks::<4>();
        let (to, behind) = to[..count].split_at_mut(4 * whole.len());
        for (to, four) in to.as_chunks_mut::<4>().0.iter_mut().zip(whole) {
            // SAFETY: four words are 16 bytes, and what they become is 32.
            unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), _mm256_cvtepu8_epi16(_mm_loadu_si128(four.as_ptr().cast()))) };
        }
        for (to, &word) in behind.iter_mut().zip(rest) {
            let wide = |byte: u32| u64::from((word >> (8 * byte)) & 0xff) << (16 * byte);
            to.write(wide(0) | wide(1) | wide(2) | wide(3));
        }
    }
}

/// The exact sums of eight columns of some lines, from column `8 * quarter` on.
///
/// # Safety
/// The processor has AVX2; as many words of `N` rows as there are `lines` have been widened.
#[target_feature(enable = "avx2,fma")]
unsafe fn int8_sums<const N: usize>(rows: &Widened, lines: &[Line], quarter: usize) -> [__m256i; N] {
    // Four columns in each, the first two bytes of every word and the last two apart.
    let mut sums = [[_mm256_setzero_si256(); 2]; N];
    for (word, line) in lines.iter().enumerate() {
        // SAFETY: a line is 128 bytes aligned to 64, a quarter of it twice 16; this word of each row was widened.
        unsafe {
            let at = line.0.as_ptr().cast::<__m128i>().add(2 * quarter);
            let right = [_mm256_cvtepi8_epi16(_mm_load_si128(at)), _mm256_cvtepi8_epi16(_mm_load_si128(at.add(1)))];
            for (row, sums) in sums.iter_mut().enumerate() {
                let word = _mm256_set1_epi64x(rows.as_ptr().add(row * WIDENED + word).cast::<i64>().read());
                sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(word, right[0]));
                sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(word, right[1]));
            }
        }
    }
    // Added in pairs, 64 bits of the one and of the other take turns.
    sums.map(|[first, second]| _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_hadd_epi32(first, second)))
}

/// # Safety
/// The processor has AVX2; `left` holds `N` rows, each as long as `lines` without the tail of an 8-bit panel behind them.
#[target_feature(enable = "avx2,fma")]
unsafe fn int8_tile<const N: usize>(left: Left<'_>, lines: &[Line], tile: &mut Tile) {
    let (lines, tail) = lines.split_at(lines.len() - INT8_TAIL);
    let mut rows = [const { MaybeUninit::uninit() }; BYTES_ROWS * WIDENED];
    let mut sums = [[_mm256_setzero_si256(); N]; QUARTERS];
    for (block, lines) in lines.chunks(WIDENED).enumerate() {
        // SAFETY: as the caller promises.
        unsafe {
            widen::<N>(&mut rows, left, (block * WIDENED, lines.len()));
            for (quarter, sums) in sums.iter_mut().enumerate() {
                let more = int8_sums::<N>(&rows, lines, quarter);
                for (sum, more) in sums.iter_mut().zip(more) {
                    *sum = _mm256_add_epi32(*sum, more);
                }
            }
        }
    }
    for (quarter, sums) in sums.iter().enumerate() {
        // SAFETY: a line is 128 bytes aligned to 64, a row of the tile is 32 floats.
        unsafe {
            let part = |line: &Line| _mm256_load_si256(line.0.as_ptr().cast::<__m256i>().add(quarter));
            let (offsets, scales) = (part(&tail[0]), _mm256_castsi256_ps(part(&tail[1])));
            for (row, &sum) in sums.iter().enumerate() {
                let exact = _mm256_cvtepi32_ps(_mm256_sub_epi32(sum, offsets));
                let scale = _mm256_mul_ps(_mm256_set1_ps(left.scales[row]), scales);
                _mm256_storeu_ps(tile.0[row].as_mut_ptr().add(8 * quarter), _mm256_mul_ps(exact, scale));
            }
        }
    }
}

pub(crate) fn int8(left: Left<'_>, lines: &[Line], tile: &mut Tile) {
    // SAFETY: this kernel is chosen only where the processor has its features, and `Kernel::multiply` has checked the lengths.
    unsafe {
        match left.rows {
            1 => int8_tile::<1>(left, lines, tile),
            2 => int8_tile::<2>(left, lines, tile),
            3 => int8_tile::<3>(left, lines, tile),
            4 => int8_tile::<4>(left, lines, tile),
            5 => int8_tile::<5>(left, lines, tile),
            _ => int8_tile::<BYTES_ROWS>(left, lines, tile),
        }
    }
}
