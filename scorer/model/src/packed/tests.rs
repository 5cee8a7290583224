//! Every kernel that this processor has against the portable one and against plain sums, over ragged shapes.

use rand::SeedableRng as _;

use super::{COLUMNS, InstructionSet, Kernel, Packed, Precision, Rows, Source};

const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::Bf16, Precision::Int8];

fn numbers(count: usize, random: &mut impl rand::Rng) -> Vec<f32> {
    (0..count).map(|_| random.random_range(-1.0..1.0)).collect()
}

fn multiplied(kernel: Kernel, left: &[f32], source: Source<'_>) -> Vec<f32> {
    let packed = Packed::whole(kernel, source);
    let count = left.len() / source.inner;
    let mut rows = Rows::default();
    rows.reset(kernel, count, source.inner);
    for (row, values) in left.chunks_exact(source.inner).enumerate() {
        rows.encode(kernel, row, values);
    }
    let mut out = vec![f32::NAN; count * source.columns];
    packed.product(&rows, packed.panels(), |row, column, tile| {
        for (step, values) in tile.iter().enumerate() {
            for (index, &value) in values.iter().enumerate().take(source.columns - column) {
                out[(row + step) * source.columns + column + index] = value;
            }
        }
    });
    out
}

/// Within the rounding of the inputs; the error of sums is far below it.
fn tolerance(precision: Precision, inner: usize) -> f32 {
    let rounding = match precision {
        Precision::F32 => 1e-6,
        Precision::Bf16 => 8e-3,
        Precision::Int8 => 1.2e-2,
    };
    rounding * (inner as f32).sqrt().max(1.0)
}

#[test]
fn every_kernel_multiplies_as_plain_sums_do_over_ragged_shapes() {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    for (count, inner, columns) in
        [(1, 1, 1), (2, 3, 31), (5, 7, 33), (11, 16, 64), (12, 64, 32), (13, 65, 95), (25, 130, 70), (37, 257, 3)]
    {
        let (left, right) = (numbers(count * inner, &mut random), numbers(columns * inner, &mut random));
        let source = Source::weight(&right, inner);
        for precision in PRECISIONS {
            let portable = multiplied(Kernel::portable(precision), &left, source);
            for set in InstructionSet::tested() {
                let found = multiplied(Kernel::of(precision, set), &left, source);
                for (at, (&value, &other)) in found.iter().zip(&portable).enumerate() {
                    let (row, column) = (at / columns, at % columns);
                    let exact: f32 = (0..inner).map(|k| left[row * inner + k] * right[column * inner + k]).sum();
                    let name = format!("{precision:?} on {set:?}, {count} x {inner} x {columns} at {at}: {value}");
                    assert!((value - exact).abs() <= tolerance(precision, inner), "{name}, expected {exact}");
                    assert!((value - other).abs() <= 2e-6 * (inner as f32), "{name}, portable {other}");
                }
            }
        }
    }
}

/// The promise behind equal answers in any company.
#[test]
fn a_row_gives_the_same_bits_whatever_rows_stand_beside_it() {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(2);
    let (inner, columns) = (203, 75);
    let (left, right) = (numbers(29 * inner, &mut random), numbers(columns * inner, &mut random));
    for precision in PRECISIONS {
        for set in InstructionSet::tested() {
            let kernel = Kernel::of(precision, set);
            let all = multiplied(kernel, &left, Source::weight(&right, inner));
            for count in 1..14 {
                let some = multiplied(kernel, &left[7 * inner..(7 + count) * inner], Source::weight(&right, inner));
                let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&some), bits(&all[7 * columns..(7 + count) * columns]), "{precision:?} on {set:?}");
            }
        }
    }
}

#[test]
fn a_matrix_packed_across_multiplies_as_its_mirror_packed_along() {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(3);
    let (inner, columns) = (19, 41);
    let (left, right) = (numbers(5 * inner, &mut random), numbers(columns * inner, &mut random));
    let mirror: Vec<f32> = (0..inner * columns).map(|at| right[at % columns * inner + at / columns]).collect();
    for precision in PRECISIONS {
        let kernel = Kernel::of(precision, InstructionSet::widest());
        assert_eq!(multiplied(kernel, &left, Source::weight(&right, inner)), multiplied(kernel, &left, Source::matrix(&mirror, columns)));
    }
}

#[test]
fn columns_stand_where_they_are_named() {
    let kernel = Kernel::portable(Precision::F32);
    let packed = Packed::new(kernel, Source::weight(&[1.0, 2.0, 3.0], 1), &[2, 9, 0]);
    assert_eq!((packed.columns(), packed.bytes()), (3, 4 * COLUMNS));
    let mut rows = Rows::default();
    rows.reset(kernel, 1, 1);
    rows.encode(kernel, 0, &[2.0]);
    packed.product(&rows, packed.panels(), |_, _, tile| assert_eq!(tile[0][..4], [6.0, 0.0, 2.0, 0.0]));
}

#[test]
fn what_is_no_number_does_not_become_one() {
    for precision in PRECISIONS {
        for (left, right) in [([1.0, f32::NAN, 2.0], [1.0, 1.0, 1.0]), ([1.0, 1.0, 1.0], [f32::NAN, 0.0, 1.0])] {
            for set in InstructionSet::tested() {
                let found = multiplied(Kernel::of(precision, set), &left, Source::weight(&right, 3));
                assert!(found[0].is_nan(), "{precision:?} on {set:?} gives {found:?}");
            }
        }
    }
}

#[test]
fn names_are_parsed_as_they_are_written_and_others_refused() {
    for set in InstructionSet::ALL {
        assert_eq!(set.as_str().parse(), Ok(set));
    }
    for precision in PRECISIONS {
        assert_eq!(precision.as_str().parse(), Ok(precision));
    }
    let refused = "sse9".parse::<InstructionSet>().map_err(|error| error.to_string());
    assert_eq!(refused, Err("sse9 is none of portable, avx2, avx512, avx512-bf16, amx".to_owned()));
}
