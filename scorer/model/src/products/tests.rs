//! The three products of a linear layer against plain sums, over ragged shapes, on every kernel at hand.

use rand::SeedableRng as _;

use super::{Dropout, Into, Matrix, Pair, PairSlopes, Products, Sheet};
use crate::kernels::Normed;
use crate::packed::{InstructionSet, Kernel, Precision};

fn numbers(count: usize, random: &mut impl rand::Rng) -> Vec<f32> {
    (0..count).map(|_| random.random_range(-1.0..1.0)).collect()
}

fn close(found: &[f32], expected: impl Fn(usize) -> f32, tolerance: f32, name: &str) {
    for (at, value) in found.iter().enumerate() {
        assert!((value - expected(at)).abs() <= tolerance, "{name} at {at}: {value}, expected {}", expected(at));
    }
}

#[test]
fn a_linear_layer_and_its_gradients_are_plain_sums_on_every_kernel() {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    for (rows, inner, outputs) in [(1, 1, 1), (3, 5, 2), (37, 66, 41), (130, 31, 100), (5, 2100, 33), (2101, 7, 12), (9, 40, 2060)] {
        let (input, weight) = (numbers(rows * inner, &mut random), numbers(outputs * inner, &mut random));
        let (slopes, start) = (numbers(rows * outputs, &mut random), numbers(outputs * inner, &mut random));
        for set in InstructionSet::tested() {
            for (precision, rounding) in [(Precision::F32, 2e-6), (Precision::Bf16, 8e-3)] {
                let name = format!("{rows} x {inner} x {outputs}, {precision:?} on {set:?}");
                let tolerance = |count: usize| rounding * (count as f32).sqrt().max(2.0);
                let mut products = Products::new(Kernel::of(precision, set));
                let (x, w, d) = (Matrix::plain(&input, inner), Matrix::plain(&weight, inner), Matrix::plain(&slopes, outputs));
                let mut out = vec![0.5; rows * outputs];
                products.linear(&mut Sheet::new(&mut out, outputs), Into::Add, x, w);
                let sum = |at: usize| (0..inner).map(|k| input[at / outputs * inner + k] * weight[at % outputs * inner + k]).sum::<f32>();
                close(&out, |at| 0.5 + sum(at), tolerance(inner), &name);
                let mut back = vec![9.0; rows * inner];
                products.linear_input(&mut Sheet::new(&mut back, inner), Into::Replace, d, w);
                let sum = |at: usize| (0..outputs).map(|o| slopes[at / inner * outputs + o] * weight[o * inner + at % inner]).sum::<f32>();
                close(&back, sum, tolerance(outputs), &name);
                let mut towards = start.clone();
                products.linear_weight(&mut towards, d, x);
                let sum = |at: usize| (0..rows).map(|r| slopes[r * outputs + at / inner] * input[r * inner + at % inner]).sum::<f32>();
                close(&towards, |at| start[at] + sum(at), tolerance(rows), &name);
            }
        }
    }
}

/// Beside whatever was there, with and without numbers that are dropped; the input is read as it is made.
#[test]
fn a_thin_pair_and_its_gradients_are_plain_sums_on_every_kernel() {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(4);
    let (rows, inner, outputs, rank, scale) = (70, 41, 37, 3, 1.5);
    let (input, down, up) = (numbers(rows * inner, &mut random), numbers(rank * inner, &mut random), numbers(outputs * rank, &mut random));
    let (slopes, inverse) = (numbers(rows * outputs, &mut random), vec![1.0; rows]);
    let weight = vec![1.0; inner];
    let pair = Pair { down: &down, up: &up, rank, scale };
    for dropout in [None, Some(Dropout::new(0.4, 9, 5))] {
        let left = Matrix::normed(Normed { input: &input, inverse: &inverse, weight: &weight }).dropped(dropout);
        let mut kept = input.clone();
        if let Some(dropout) = dropout {
            kept.chunks_exact_mut(inner).enumerate().for_each(|(row, numbers)| dropout.drop(row, 0, numbers));
        }
        let narrow = |row: usize, r: usize| scale * (0..inner).map(|k| kept[row * inner + k] * down[r * inner + k]).sum::<f32>();
        let back = |row: usize, r: usize| scale * (0..outputs).map(|o| slopes[row * outputs + o] * up[o * rank + r]).sum::<f32>();
        for set in InstructionSet::ALL.into_iter().filter(|set| set.is_here()) {
            for (precision, rounding) in [(Precision::F32, 1e-4), (Precision::Bf16, 2e-1)] {
                let name = format!("{precision:?} on {set:?}, {dropout:?}");
                let mut products = Products::new(Kernel::of(precision, set));
                let mut out = vec![0.5; rows * 40];
                products.pair(&mut Sheet { numbers: &mut out, stride: 40, first: 2 }, left, pair);
                let sum = |at: usize| (0..rank).map(|r| narrow(at / 40, r) * up[(at % 40 - 2) * rank + r]).sum::<f32>();
                close(&out, |at| 0.5 + if (2..39).contains(&(at % 40)) { sum(at) } else { 0.0 }, rounding, &name);
                let (mut to, mut towards_down, mut towards_up) = (vec![0.5; rows * inner], vec![0.5; down.len()], vec![0.5; up.len()]);
                let towards = PairSlopes { down: &mut towards_down, up: &mut towards_up };
                products.pair_back(&mut to, (Matrix::plain(&slopes, outputs), left), pair, towards);
                // What is dropped has no slope, and what is kept has as much more as it counts.
                let counts = |at: usize| kept[at] / input[at];
                let sum = |at: usize| counts(at) * (0..rank).map(|r| back(at / inner, r) * down[r * inner + at % inner]).sum::<f32>();
                close(&to, |at| 0.5 + sum(at), rounding, &name);
                let sum = |at: usize| (0..rows).map(|row| back(row, at / inner) * kept[row * inner + at % inner]).sum::<f32>();
                close(&towards_down, |at| 0.5 + sum(at), rounding, &name);
                let sum = |at: usize| (0..rows).map(|row| slopes[row * outputs + at / rank] * narrow(row, at % rank)).sum::<f32>();
                close(&towards_up, |at| 0.5 + sum(at), 2.0 * rounding, &name);
            }
        }
    }
}

/// Some columns of what is wider, from rows that are made as they are read.
#[test]
fn parts_and_rows_made_on_the_way_are_those_written_down() {
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(2);
    let (rows, width) = (21, 70);
    let (input, inverse, norm) = (numbers(rows * width, &mut random), numbers(rows, &mut random), numbers(width, &mut random));
    let weight = numbers(13 * 50, &mut random);
    let written: Vec<f32> = (0..rows * width).map(|at| input[at] * inverse[at / width] * norm[at % width]).collect();
    let mut products = Products::new(Kernel::of(Precision::F32, InstructionSet::widest()));
    let normed = Normed { input: &input, inverse: &inverse, weight: &norm };
    let both = [Matrix::normed(normed), Matrix::plain(&written, width)].map(|matrix| {
        let mut out = vec![7.0; rows * 40];
        let part = matrix.of_columns(11..61);
        products.linear(&mut Sheet { numbers: &mut out, stride: 40, first: 20 }, Into::Replace, part, Matrix::plain(&weight, 50));
        out
    });
    assert_eq!(both[0], both[1]);
    assert!(both[0].iter().enumerate().all(|(at, value)| (20..33).contains(&(at % 40)) != (*value == 7.0)));
}
