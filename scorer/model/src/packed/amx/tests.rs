//! The tile kernels in the tile unit, or in what stands in for it: shapes, exact bits, and nothing left behind.

use std::arch::asm;

use rand::SeedableRng as _;

use super::*;
use crate::packed::{InstructionSet, Kernel, Packed, Precision, Rows};

/// Whether there is anything to test.
fn tiles_run() -> bool {
    InstructionSet::tested().any(|set| set == InstructionSet::Amx)
}

fn numbers(count: usize, random: &mut impl rand::Rng) -> Vec<f32> {
    (0..count).map(|_| random.random_range(-1.0..1.0)).collect()
}

/// The bits of the product, and of the tile's rows behind those of each product.
fn bits(kernel: Kernel, left: &[f32], (right, inner): (&[f32], usize)) -> Vec<u32> {
    let (packed, mut rows, mut found) = (Packed::whole(kernel, right, inner), Rows::default(), Vec::new());
    let count = left.len() / inner;
    rows.reset(kernel, count, inner);
    left.chunks_exact(inner).enumerate().for_each(|(row, values)| rows.encode(kernel, row, values));
    for panel in packed.panels() {
        // All rows of one panel, by whatever tiles the kernel has.
        packed.product(&mut rows, panel..panel + 1, |_, _, tile| found.extend(tile.as_flattened().iter().map(|value| value.to_bits())));
    }
    found
}

#[test]
fn shapes_are_those_of_the_manual() {
    assert_eq!((size_of::<Shapes>(), std::mem::offset_of!(Shapes, bytes), std::mem::offset_of!(Shapes, rows)), (64, 16, 48));
    let shapes = Shapes::new(19);
    assert_eq!(shapes.rows[..9], [16, 16, 3, 3, 16, 3, 16, 16, 0]);
    assert_eq!(Shapes::new(5).rows[..9], [5, 5, 0, 0, 5, 0, 16, 16, 0]);
    assert_eq!(Shapes::new(5).bytes[..9], [64, 64, 0, 0, 64, 0, 64, 64, 0]);
}

/// Sums of whole numbers are exact and their scaling is one formula: no bit may differ.
#[test]
fn eight_bits_give_the_bits_of_the_portable_kernel_at_every_height() {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(5);
    for (inner, columns) in [(1, 1), (64, 32), (65, 40), (300, 33)] {
        let right = numbers(columns * inner, &mut random);
        for count in (1..=ROWS).chain([45, 64, 65]).filter(|_| tiles_run()) {
            let left = numbers(count * inner, &mut random);
            let [tiles, portable] =
                [InstructionSet::Amx, InstructionSet::Portable].map(|set| bits(Kernel::of(Precision::Int8, set), &left, (&right, inner)));
            assert_eq!(tiles, portable, "{count} x {inner} x {columns}");
        }
    }
}

/// The manual's order of additions, written once more: first halves, second halves, both together onto the sum, sixteen words at a time.
#[test]
fn bf16_is_added_up_in_the_manuals_order() {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(6);
    let short = |x: f32| f32::from_bits(crate::packed::bf16(x) << 16);
    // The last two of more words than are met at once: the sums go on from those before.
    let shapes = [(1, 100), (7, 100), (16, 100), (17, 100), (31, 100), (32, 100), (5, 1100), (32, 1100)];
    for (count, inner) in shapes.into_iter().filter(|_| tiles_run()) {
        let columns = 32;
        let right = numbers(columns * inner, &mut random);
        let left = numbers(count * inner, &mut random);
        let expected: Vec<u32> = (0..count * columns)
            .map(|at| {
                let (row, column) = (at / columns * inner, at % columns * inner);
                let mut sum = 0.0_f32;
                for start in (0..inner).step_by(2 * STEP) {
                    let half = |first: usize| {
                        let places = (start + first..inner.min(start + 2 * STEP)).step_by(2);
                        places.fold(0.0_f32, |sum, at| short(left[row + at]).mul_add(short(right[column + at]), sum))
                    };
                    sum += half(0) + half(1);
                }
                sum.to_bits()
            })
            .collect();
        let kernel = Kernel::of(Precision::Bf16, InstructionSet::Amx);
        assert_eq!((kernel.rows, bits(kernel, &left, (&right, inner))), (ROWS, expected), "{count} rows");
    }
}

/// Rows of the tile beyond those asked for hold what they held.
#[test]
fn a_product_writes_its_own_rows_alone_and_leaves_no_shapes_behind() {
    for precision in [Precision::Bf16, Precision::Int8].into_iter().filter(|_| tiles_run()) {
        let kernel = Kernel::of(precision, InstructionSet::Amx);
        let (words, lines) = (vec![0; ROWS * 2 * STEP], vec![Line::ZERO; kernel.lines(2 * STEP * precision.numbers())]);
        let begins: &[_] = if precision == Precision::Bf16 { &[(Begin::Zero, 0.0), (Begin::Found, 7.0)] } else { &[(Begin::Zero, 0.0)] };
        for (rows, &(begin, sum)) in [1, 15, 16, 17, 32].into_iter().flat_map(|rows| begins.iter().map(move |begin| (rows, begin))) {
            let mut tile = Tile([[7.0; COLUMNS]; ROWS]);
            tile.0[rows..].fill([8.0; COLUMNS]);
            let left = Left { words: &words, stride: 2 * STEP, rows, scales: &[1.0; ROWS] };
            kernel.multiply_from(begin, left, Right { lines: &lines, ahead: &[] }, &mut tile.0);
            assert!(tile.0.iter().enumerate().all(|(row, values)| *values == [if row < rows { sum } else { 8.0 }; COLUMNS]), "{rows}");
            let mut shapes = [9_u8; 64];
            // SAFETY: it writes 64 bytes.
            unsafe { asm!("sttilecfg [{}]", in(reg) shapes.as_mut_ptr(), options(nostack)) };
            assert_eq!(shapes, [0; 64]);
        }
    }
}

/// Nothing to multiply, and what is no whole step.
#[test]
fn no_lines_give_zeros_and_a_part_of_a_step_is_refused() {
    for precision in [Precision::Bf16, Precision::Int8].into_iter().filter(|_| tiles_run()) {
        let kernel = Kernel::of(precision, InstructionSet::Amx);
        let left = Left { words: &[0; 64], stride: 16, rows: 3, scales: &[1.0; ROWS] };
        let mut tile = Tile([[7.0; COLUMNS]; ROWS]);
        let lines = vec![Line::ZERO; kernel.lines(0) + STEP - 1];
        kernel.multiply(left, &lines[..kernel.lines(0)], &mut tile);
        assert_eq!((tile.0[2], tile.0[3]), ([0.0; COLUMNS], [7.0; COLUMNS]));
        let refused = std::panic::catch_unwind(move || kernel.multiply(left, &lines, &mut tile));
        assert!(refused.is_err(), "{precision:?}");
    }
}

/// Each thread shapes its own registers: many of them at once give the bits of one.
#[test]
fn threads_of_a_pool_multiply_beside_each_other() {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(7);
    let (left, right) = (numbers(40 * 64, &mut random), numbers(40 * 64, &mut random));
    for precision in [Precision::Bf16, Precision::Int8].into_iter().filter(|_| tiles_run()) {
        let of = |rows: usize| bits(Kernel::of(precision, InstructionSet::Amx), &left[..rows * 64], (&right, 64));
        let heights = [3, 16, 20, 40];
        let expected = heights.map(&of);
        std::thread::scope(|scope| {
            let threads: Vec<_> = heights.iter().map(|&rows| scope.spawn(move || (0..8).map(|_| of(rows)).collect::<Vec<_>>())).collect();
            for (thread, expected) in threads.into_iter().zip(&expected) {
                assert!(thread.join().is_ok_and(|found| found.iter().all(|found| found == expected)), "{precision:?}");
            }
        });
    }
}
