//! Tiles of up to twelve rows by thirty-two columns in the registers of AVX-512: `f32`, `bf16` by `vdpbf16ps` or widened, 16 bits, 8 bits by VNNI.
//!
//! Twenty-four sums stay in registers over all words that are met at once; each word of a row is broadcast, each line of the panel is two loads.
#![expect(unsafe_code, reason = "vector instructions on pointers into slices whose lengths `Kernel` has checked")]

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_add_epi32, _mm512_and_si512, _mm512_castsi512_ps, _mm512_cvtepi32_ps, _mm512_dpbf16_ps,
    _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_load_si512, _mm512_loadu_ps, _mm512_madd_epi16, _mm512_mul_ps, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_slli_epi32, _mm512_storeu_ps, _mm512_sub_epi32,
};

use super::ahead::{ask, between, parts};
use super::{Begin, COLUMNS, Left, Line, Precision, Right};

/// Rows at once: 24 sums of 16 columns, two lines and a word fill 27 of the 32 registers.
pub(crate) const ROWS: usize = 12;

/// Defines the loop over words for one kind of product. `$add` adds one word's products to sixteen sums.
macro_rules! sums {
    ($name:ident, $features:literal, $vector:ty, $add:expr) => {
        /// The sums of `N` rows, sixteen columns a register, which go on from `sums`.
        ///
        /// # Safety
        /// The processor has the features; `left` holds `N` rows `stride` words apart, each as long as `lines`.
        #[inline]
        #[target_feature(enable = $features)]
        unsafe fn $name<const N: usize>(
            mut sums: [[$vector; 2]; N],
            left: Left<'_>,
            Right { lines, ahead }: Right<'_>,
        ) -> [[$vector; 2]; N] {
            let asked = between(lines, ahead);
            let mut ahead = parts(ahead, lines.len().div_ceil(asked));
            for (some, lines) in lines.chunks(asked).enumerate() {
                ask(ahead.next().unwrap_or_default());
                for (word, line) in (some * asked..).zip(lines) {
                    let at = line.0.as_ptr().cast::<__m512i>();
                    // SAFETY: a line is 128 bytes, aligned to 64; `left` holds this word of each row.
                    unsafe {
                        let right = [_mm512_load_si512(at), _mm512_load_si512(at.add(1))];
                        for row in 0..N {
                            let value = _mm512_set1_epi32(left.words.as_ptr().add(row * left.stride + word).read().cast_signed());
                            sums[row][0] = $add(sums[row][0], value, right[0]);
                            sums[row][1] = $add(sums[row][1], value, right[1]);
                        }
                    }
                }
            }
            sums
        }
    };
}

sums!(float_sums, "avx512f,avx512bw", __m512, |sum, a, b| { _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum) });
sums!(widened_sums, "avx512f,avx512bw", __m512, |sum, a, b| {
    let mask = _mm512_set1_epi32(-65536);
    let high = |words| _mm512_castsi512_ps(_mm512_and_si512(words, mask));
    let low = |words| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(words));
    _mm512_fmadd_ps(low(a), low(b), _mm512_fmadd_ps(high(a), high(b), sum))
});
sums!(bf16_sums, "avx512f,avx512bw,avx512bf16", __m512, |sum, a: __m512i, b: __m512i| {
    _mm512_dpbf16_ps(sum, std::mem::transmute::<__m512i, __m512bh>(a), std::mem::transmute::<__m512i, __m512bh>(b))
});
// VNNI's one instruction for both steps is a fortieth quicker, too little for a kernel of its own.
sums!(int16_sums, "avx512f,avx512bw", __m512i, |sum, a, b| _mm512_add_epi32(sum, _mm512_madd_epi16(a, b)));
sums!(int8_sums, "avx512f,avx512bw,avx512vnni", __m512i, |sum, a, b| _mm512_dpbusd_epi32(sum, a, b));

/// Chooses the function whose number of rows is that of `$left`.
macro_rules! by_rows {
    ($tile:ident, $left:expr, ($($more:expr),+)) => {
        // SAFETY: this kernel is chosen only where the processor has its features, and `Kernel` has checked the lengths.
        unsafe {
            match $left.rows {
                1 => $tile::<1>($left, $($more),+),
                2 => $tile::<2>($left, $($more),+),
                3 => $tile::<3>($left, $($more),+),
                4 => $tile::<4>($left, $($more),+),
                5 => $tile::<5>($left, $($more),+),
                6 => $tile::<6>($left, $($more),+),
                7 => $tile::<7>($left, $($more),+),
                8 => $tile::<8>($left, $($more),+),
                9 => $tile::<9>($left, $($more),+),
                10 => $tile::<10>($left, $($more),+),
                11 => $tile::<11>($left, $($more),+),
                _ => $tile::<12>($left, $($more),+),
            }
        }
    };
}

/// Defines a kernel of floats from its sums.
macro_rules! floats {
    ($name:ident, $tile:ident, $sums:ident, $features:literal) => {
        #[target_feature(enable = $features)]
        unsafe fn $tile<const N: usize>(left: Left<'_>, begin: Begin, right: Right<'_>, out: &mut [[f32; COLUMNS]]) {
            let mut sums = [[_mm512_setzero_ps(); 2]; N];
            // SAFETY: as the caller promises; a row of sums is 32 floats.
            unsafe {
                if begin == Begin::Found {
                    for row in 0..N {
                        let from = out[row].as_ptr();
                        sums[row] = [_mm512_loadu_ps(from), _mm512_loadu_ps(from.add(16))];
                    }
                }
                let sums = $sums::<N>(sums, left, right);
                for row in 0..N {
                    let to = out[row].as_mut_ptr();
                    _mm512_storeu_ps(to, sums[row][0]);
                    _mm512_storeu_ps(to.add(16), sums[row][1]);
                }
            }
        }

        pub(crate) fn $name(begin: Begin, left: Left<'_>, right: Right<'_>, sums: &mut [[f32; COLUMNS]]) {
            by_rows!($tile, left, (begin, right, sums));
        }
    };
}

floats!(float, float_tile, float_sums, "avx512f,avx512bw");
floats!(widened, widened_tile, widened_sums, "avx512f,avx512bw");
floats!(bf16, bf16_tile, bf16_sums, "avx512f,avx512bw,avx512bf16");

/// Defines a kernel of whole numbers from its exact sums.
macro_rules! wholes {
    ($name:ident, $tile:ident, $sums:ident, $features:literal, $precision:expr) => {
        #[target_feature(enable = $features)]
        unsafe fn $tile<const N: usize>(left: Left<'_>, right: Right<'_>, out: &mut [[f32; COLUMNS]]) {
            let (lines, tail) = right.body_and_tail($precision);
            // SAFETY: as the caller promises; a line is 128 bytes aligned to 64, a row of sums is 32 floats.
            unsafe {
                let sums = $sums::<N>([[_mm512_setzero_si512(); 2]; N], left, Right { lines, ..right });
                let halves = |line: &Line| [0, 1].map(|half| _mm512_load_si512(line.0.as_ptr().cast::<__m512i>().add(half)));
                let (offsets, scales) = match tail {
                    [offsets, scales] => (halves(offsets), halves(scales)),
                    _ => ([_mm512_setzero_si512(); 2], halves(&tail[0])),
                };
                for (row, sums) in sums.iter().enumerate() {
                    for (half, &sum) in sums.iter().enumerate() {
                        let exact = _mm512_cvtepi32_ps(_mm512_sub_epi32(sum, offsets[half]));
                        let scale = _mm512_mul_ps(_mm512_set1_ps(left.scales[row]), _mm512_castsi512_ps(scales[half]));
                        _mm512_storeu_ps(out[row].as_mut_ptr().add(16 * half), _mm512_mul_ps(exact, scale));
                    }
                }
            }
        }

        pub(crate) fn $name(_: Begin, left: Left<'_>, right: Right<'_>, sums: &mut [[f32; COLUMNS]]) {
            by_rows!($tile, left, (right, sums));
        }
    };
}

wholes!(int16, int16_tile, int16_sums, "avx512f,avx512bw", Precision::Int16);
wholes!(int8, int8_tile, int8_sums, "avx512f,avx512bw,avx512vnni", Precision::Int8);
