//! The three products of a linear layer against plain sums, over ragged shapes, on every kernel at hand.

use rand::SeedableRng as _;

use super::{Into, Matrix, Products, Sheet};
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
