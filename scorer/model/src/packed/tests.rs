//! Every kernel that this processor has against the portable one and against plain sums, over ragged shapes.

use rand::SeedableRng as _;

use super::{Begin, COLUMNS, InstructionSet, Kernel, Left, Line, Packed, Panels, Precision, ROWS, Right, Rows, Tile};

const PRECISIONS: [Precision; 4] = [Precision::F32, Precision::Bf16, Precision::Int16, Precision::Int8];

fn numbers(count: usize, random: &mut impl rand::Rng) -> Vec<f32> {
    (0..count).map(|_| random.random_range(-1.0..1.0)).collect()
}

/// `left . right^T`.
fn multiplied(kernel: Kernel, left: &[f32], (right, inner): (&[f32], usize)) -> Vec<f32> {
    let columns = right.len() / inner;
    let packed = Packed::whole(kernel, right, inner);
    let count = left.len() / inner;
    let mut rows = Rows::default();
    rows.reset(kernel, count, inner);
    for (row, values) in left.chunks_exact(inner).enumerate() {
        rows.encode(kernel, row, values);
    }
    let mut out = vec![f32::NAN; count * columns];
    packed.product(&mut rows, packed.panels(), |row, column, tile| {
        for (step, values) in tile.iter().enumerate() {
            for (index, &value) in values.iter().enumerate().take(columns - column) {
                out[(row + step) * columns + column + index] = value;
            }
        }
    });
    out
}

/// Within the rounding of the inputs; the error of sums is far below it.
fn tolerance(kernel: Kernel, inner: usize) -> f32 {
    let rounding = match kernel.precision {
        Precision::F32 => 1e-6,
        Precision::Bf16 => 8e-3,
        // The steps of a row become wider with its length.
        Precision::Int16 => 5e-5 * (inner as f32).sqrt(),
        Precision::Int8 => 1.5 / f32::from(kernel.most),
    };
    rounding * (inner as f32).sqrt().max(1.0)
}

#[test]
fn every_kernel_multiplies_as_plain_sums_do_over_ragged_shapes() {
    // Miri takes so much longer that it multiplies the first of them alone.
    const SHAPES: usize = if cfg!(miri) { 4 } else { 10 };
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    let shapes = [
        (1, 1, 1),
        (2, 3, 31),
        (5, 7, 33),
        (12, 3, 31),
        (11, 16, 64),
        (12, 64, 32),
        (13, 65, 95),
        (25, 130, 70),
        (195, 257, 3),
        (7, 801, 40),
    ];
    for (count, inner, columns) in shapes.into_iter().take(SHAPES) {
        let (left, right) = (numbers(count * inner, &mut random), numbers(columns * inner, &mut random));
        let source = (right.as_slice(), inner);
        for precision in PRECISIONS {
            for set in InstructionSet::tested() {
                let kernel = Kernel::of(precision, set);
                let (found, portable) = (multiplied(kernel, &left, source), multiplied(kernel.plainly(), &left, source));
                for (at, (&value, &other)) in found.iter().zip(&portable).enumerate() {
                    let (row, column) = (at / columns, at % columns);
                    let exact: f32 = (0..inner).map(|k| left[row * inner + k] * right[column * inner + k]).sum();
                    let name = || format!("{precision:?} on {set:?}, {count} x {inner} x {columns} at {at}: {value}");
                    assert!((value - exact).abs() <= tolerance(kernel, inner), "{}, expected {exact}", name());
                    assert!((value - other).abs() <= 2e-6 * (inner as f32), "{}, portable {other}", name());
                    // Sums of whole numbers are exact and their scaling is one formula: no bit may differ.
                    assert!(!precision.is_whole() || value.to_bits() == other.to_bits(), "{}, portable {other}", name());
                }
            }
        }
    }
}

/// The promise behind equal answers in any company.
#[test]
fn a_row_gives_the_same_bits_whatever_rows_stand_beside_it() {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(2);
    // More words than are met at once.
    let (inner, columns) = (1103, 75);
    let (left, right) = (numbers(209 * inner, &mut random), numbers(columns * inner, &mut random));
    for precision in PRECISIONS {
        for set in InstructionSet::tested() {
            let kernel = Kernel::of(precision, set);
            let all = multiplied(kernel, &left, (&right, inner));
            for count in 1..14 {
                let some = multiplied(kernel, &left[7 * inner..(7 + count) * inner], (&right, inner));
                let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&some), bits(&all[7 * columns..(7 + count) * columns]), "{precision:?} on {set:?}");
            }
        }
    }
}

/// A panel met in two goes gives the bits of one.
#[test]
fn sums_go_on_from_what_is_found() {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(4);
    let (inner, cut) = (96, 16);
    let right = numbers(COLUMNS * inner, &mut random);
    for (precision, set) in
        [Precision::F32, Precision::Bf16].into_iter().flat_map(|each| InstructionSet::tested().map(move |set| (each, set)))
    {
        let kernel = Kernel::of(precision, set);
        let packed = Packed::whole(kernel, &right, inner);
        for count in [1, kernel.rows] {
            let mut rows = Rows::default();
            rows.reset(kernel, count, inner);
            (0..count).for_each(|row| rows.encode(kernel, row, &numbers(inner, &mut random)));
            let (mut whole, mut parts) = (Tile::ZERO, Tile([[f32::NAN; COLUMNS]; ROWS]));
            kernel.multiply(rows.some(0, count), &packed.lines, &mut whole);
            let (first, rest) = packed.lines.split_at(cut);
            let (here, behind) = (Right { lines: first, ahead: rest }, Right { lines: rest, ahead: &[] });
            kernel.multiply_from(Begin::Zero, rows.some(0, count), here, &mut parts.0);
            kernel.multiply_from(Begin::Found, rows.some(0, count).part(0, count, cut), behind, &mut parts.0);
            let bits = |tile: &Tile| tile.0[..count].as_flattened().iter().map(|sum| sum.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&parts), bits(&whole), "{precision:?} on {set:?}, {count} rows");
        }
    }
}

/// Two products of bytes are added up in 16 bits by some instructions: the largest there are must not leave them.
#[test]
fn the_largest_numbers_of_8_bits_give_exact_sums() {
    for (set, sign) in InstructionSet::tested().flat_map(|set| [(set, 1.0), (set, -1.0)]) {
        let kernel = Kernel::of(Precision::Int8, set);
        let found = multiplied(kernel, &[1.0; 3 * 64], (&[sign; 33 * 64], 64));
        assert!(found.iter().all(|sum| (sum - 64.0 * sign).abs() < 1e-4), "{set:?}: {found:?}");
    }
}

/// What makes the largest sums of 16 bits, by place: numbers all alike, by turns of either sign, one by itself, one above others, and a fall.
const LARGE: [fn(usize) -> f32; 5] = [
    |_| 1.0,
    |at| if at % 2 == 0 { 1.0 } else { -1.0 },
    |at| if at == 0 { 3.0 } else { 0.0 },
    |at| if at == 0 { 100.0 } else { 1.0 },
    |at| 1.0 / (at as f32 + 1.0),
];

/// The sum of a row's products with a column in words of 16 bits, and the farthest from zero that it goes on its way.
fn exactly(row: &[u32], column: impl Iterator<Item = u32>) -> (i64, i64) {
    let half = |word: u32, shift: u32| i64::from(((word >> shift) as u16).cast_signed());
    row.iter().zip(column).flat_map(|(&a, b)| [0, 16].map(|shift| half(a, shift) * half(b, shift))).fold((0, 0), |(sum, most), product| {
        let sum = sum + product;
        (sum, most.max(i64::abs(sum)))
    })
}

#[test]
fn no_sum_of_16_bits_leaves_32() {
    let mut largest = 0;
    for inner in [1, 2, 5, 64, 577, 2048, 11_008, 1 << 17] {
        let rows = |sign: f32| LARGE.iter().flat_map(move |number| (0..inner).map(move |at| sign * number(at)));
        let right: Vec<f32> = rows(1.0).chain(rows(-1.0)).collect();
        for set in InstructionSet::tested() {
            let kernel = Kernel::of(Precision::Int16, set);
            let (packed, mut left) = (Packed::whole(kernel, &right, inner), Rows::default());
            left.reset(kernel, LARGE.len(), inner);
            right.chunks(inner).take(LARGE.len()).enumerate().for_each(|(row, values)| left.encode(kernel, row, values));
            let (words, factors) = packed.lines.split_at(kernel.words(inner));
            let mut expected = vec![0; LARGE.len() * packed.columns()];
            for (at, expected) in expected.iter_mut().enumerate() {
                let (row, column) = (at / packed.columns(), at % packed.columns());
                let (sum, most) = exactly(&left.words[row * left.stride..][..left.stride], words.iter().map(|line| line.0[column]));
                assert!(most <= i64::from(i32::MAX), "row {row} and column {column} of {inner} reach {most}");
                largest = most.max(largest);
                *expected = (sum as f32 * (left.scales[row] * f32::from_bits(factors[0].0[column]))).to_bits();
            }
            let found = multiplied(kernel, &right[..LARGE.len() * inner], (&right, inner));
            assert_eq!(found.iter().map(|sum| sum.to_bits()).collect::<Vec<_>>(), expected, "{set:?}, {inner}");
        }
    }
    // As near as it is meant to come.
    assert!(largest > 1_990_000_000, "{largest}");
}

/// Several panels at once, with lines between them that nobody asks for.
#[test]
fn panels_side_by_side_give_the_bits_of_each_by_itself() {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(3);
    let (inner, panels, spare) = (96, 3, 5);
    let right = numbers(panels * COLUMNS * inner, &mut random);
    for (precision, set) in PRECISIONS.into_iter().flat_map(|precision| InstructionSet::tested().map(move |set| (precision, set))) {
        let kernel = Kernel::of(precision, set);
        let (packed, used) = (Packed::whole(kernel, &right, inner), kernel.lines(inner));
        let stride = used + spare;
        let mut lines = vec![Line([0x7fc1_7fc1; COLUMNS]); panels * stride - spare];
        lines.chunks_mut(stride).zip(packed.lines.chunks(used)).for_each(|(to, from)| to[..used].copy_from_slice(from));
        for count in [1, 2, kernel.rows - 1, kernel.rows] {
            let mut rows = Rows::default();
            rows.reset(kernel, count, inner);
            (0..count).for_each(|row| rows.encode(kernel, row, &numbers(inner, &mut random)));
            let left = rows.some(0, count);
            let mut tiles = vec![Tile([[7.0; COLUMNS]; ROWS]); panels];
            kernel.multiply_panels(left, Panels { lines: &lines, stride, used }, &mut tiles);
            for (panel, tile) in tiles.iter().enumerate() {
                let mut alone = Tile([[7.0; COLUMNS]; ROWS]);
                kernel.multiply(left, &packed.lines[panel * used..][..used], &mut alone);
                let bits = |tile: &Tile| tile.0.map(|row| row.map(f32::to_bits));
                assert_eq!(bits(tile), bits(&alone), "{precision:?} on {set:?}, {count} rows, panel {panel}");
            }
        }
    }
}

#[test]
fn panels_that_leave_their_slice_are_refused() {
    for set in InstructionSet::tested() {
        let (kernel, lines) = (Kernel::of(Precision::Bf16, set), vec![Line::ZERO; 3 * 16 - 1]);
        let left = Left { words: &[0; 16], stride: 16, rows: 1, scales: &[1.0] };
        let multiply = |tiles: usize| {
            let mut tiles = vec![Tile([[7.0; COLUMNS]; ROWS]); tiles];
            kernel.multiply_panels(left, Panels { lines: &lines, stride: 16, used: 16 }, &mut tiles);
            tiles
        };
        assert!(multiply(0).is_empty() && multiply(2).iter().all(|tile| tile.0[0] == [0.0; COLUMNS]));
        assert!(std::panic::catch_unwind(|| multiply(3)).is_err(), "{set:?}");
    }
}

/// Rows that follow each other are read at once, and zeros are not read.
#[test]
fn columns_stand_where_they_are_named() {
    for precision in PRECISIONS {
        let (kernel, read) = (Kernel::portable(precision), std::sync::Mutex::new(Vec::new()));
        let numbers = [1.0, 2.0, 3.0, 4.0];
        let rows = |rows: std::ops::Range<usize>| {
            read.lock().map_err(|error| error.to_string())?.push(rows.clone());
            Ok::<_, String>(std::borrow::Cow::Borrowed(&numbers[rows]))
        };
        let packed = Packed::read(kernel, 1, &[Some(2), Some(3), None, None, Some(0), Some(0)], &rows).expect("nothing fails");
        assert_eq!((packed.columns(), packed.bytes()), (6, 4 * COLUMNS * kernel.lines(1)));
        assert_eq!(read.into_inner().expect("nobody panicked"), [2..4, 0..1, 0..1]);
        let mut rows = Rows::default();
        rows.reset(kernel, 1, 1);
        rows.encode(kernel, 0, &[2.0]);
        let expected = [6.0, 8.0, 0.0, 0.0, 2.0, 2.0, 0.0];
        packed.product(&mut rows, packed.panels(), |_, _, tile| {
            assert!(tile[0].iter().zip(expected).all(|(x, y): (&f32, f32)| (x - y).abs() < 1e-5), "{precision:?}: {tile:?}");
        });
    }
}

#[test]
fn what_cannot_be_read_is_not_packed() {
    let refused = Packed::read(Kernel::portable(Precision::F32), 1, &[Some(0)], &|_| Err("no"));
    assert_eq!(refused.err(), Some("no"));
}

#[test]
fn what_is_no_number_does_not_become_one() {
    for precision in PRECISIONS {
        for (left, right) in [([1.0, f32::NAN, 2.0], [1.0, 1.0, 1.0]), ([1.0, 1.0, 1.0], [f32::NAN, 0.0, 1.0])] {
            for set in InstructionSet::tested() {
                let found = multiplied(Kernel::of(precision, set), &left, (&right, 3));
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
