//! AdamW with clipping, fused: one walk over the weights a step, shared by the threads of the pool at hand.

use rayon::iter::{IndexedParallelIterator as _, ParallelIterator as _};
use rayon::slice::{ParallelSlice as _, ParallelSliceMut as _};
use serde::{Deserialize, Serialize};

use crate::kernels::dot;
use crate::vectorised::vectorised;

/// How a step changes the weights. The rate by step is the trainer's: it sets `learning_rate` before each.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Recipe {
    /// Of this step.
    pub learning_rate: f32,
    /// Share of the note's next-token loss beside the answers' loss.
    pub next_token_weight: f32,
    /// Decay of the gradient's mean and of its square.
    pub betas: (f32, f32),
    /// Added to the root of the squares.
    pub epsilon: f32,
    /// Of matrices, not of norms; times the learning rate.
    pub weight_decay: f32,
    /// Largest norm of the whole gradient; infinite for no clipping.
    pub clip: f32,
}

/// What a small model learns with from scratch.
impl Default for Recipe {
    fn default() -> Self {
        Self { learning_rate: 2e-3, next_token_weight: 0.3, betas: (0.9, 0.98), epsilon: 1e-8, weight_decay: 0.01, clip: 1.0 }
    }
}

impl Recipe {
    /// What the gradient is multiplied with so that its norm does not pass the limit.
    pub(crate) fn clipping(&self, norm: f64) -> f32 {
        if norm > f64::from(self.clip) { (f64::from(self.clip) / norm) as f32 } else { 1.0 }
    }
}

/// The gradient's norm; runs of fixed length are added in order, so it does not depend on the number of threads.
pub(crate) fn norm(gradient: &[f32]) -> f64 {
    let runs: Vec<f64> = gradient.par_chunks(4096).with_min_len(16).map(|run| f64::from(squares(run))).collect();
    runs.iter().sum::<f64>().sqrt()
}

vectorised! {
fn squares(run: &[f32]) -> f32 {
    dot(run, run)
}
}

/// Numbers that one thread moves at a time.
const RUN: usize = 1 << 16;

/// One tensor's step.
pub(crate) struct Update<'a> {
    pub gradient: &'a [f32],
    /// From clipping.
    pub scale: f32,
    pub decay: f32,
    /// Steps taken, this one included.
    pub steps: u64,
}

/// The numbers of a recipe for one step, corrected for the means' beginning at zero.
pub(crate) struct Move {
    pub betas: (f32, f32),
    /// Of the gradient.
    pub scale: f32,
    /// Of the mean's share of the root of the squares.
    pub rate: f32,
    /// Of the mean of the squares.
    pub unbias: f32,
    /// What decay leaves of a weight.
    pub keep: f32,
    pub epsilon: f32,
}

impl Move {
    /// Of the `steps`th step, this one included.
    pub fn of(recipe: &Recipe, (scale, decay): (f32, f32), steps: u64) -> Self {
        let (beta, gamma) = recipe.betas;
        let power = i32::try_from(steps).unwrap_or(i32::MAX);
        Self {
            betas: recipe.betas,
            scale,
            rate: recipe.learning_rate / (1.0 - beta.powi(power)),
            unbias: 1.0 / (1.0 - gamma.powi(power)),
            keep: 1.0 - recipe.learning_rate * decay,
            epsilon: recipe.epsilon,
        }
    }
}

impl Update<'_> {
    /// Moves `weights` and the running means of gradient and square.
    pub fn apply(&self, recipe: &Recipe, weights: &mut [f32], first: &mut [f32], second: &mut [f32]) {
        let by = Move::of(recipe, (self.scale, self.decay), self.steps);
        let states = first.par_chunks_mut(RUN).zip(second.par_chunks_mut(RUN));
        let runs = weights.par_chunks_mut(RUN).zip(states).zip(self.gradient.par_chunks(RUN));
        runs.for_each(|((weights, (first, second)), gradient)| walk(&by, weights, (first, second), gradient));
    }
}

vectorised! {
fn walk(by: &Move, weights: &mut [f32], states: (&mut [f32], &mut [f32]), gradient: &[f32]) {
    let (beta, gamma) = by.betas;
    for ((weight, (mean, square)), slope) in weights.iter_mut().zip(states.0.iter_mut().zip(states.1.iter_mut())).zip(gradient) {
        let slope = slope * by.scale;
        *mean = beta * *mean + (1.0 - beta) * slope;
        *square = gamma * *square + (1.0 - gamma) * slope * slope;
        *weight = *weight * by.keep - by.rate * *mean / ((*square * by.unbias).sqrt() + by.epsilon);
    }
}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand, for two steps with gradient 2 and then -1.
    #[test]
    fn two_steps_are_those_of_the_textbook() {
        let recipe = Recipe { learning_rate: 0.1, weight_decay: 0.5, betas: (0.9, 0.99), ..Recipe::default() };
        let (mut weight, mut mean, mut square) = ([1.0_f32], [0.0_f32], [0.0_f32]);
        for (steps, slope) in [(1, 2.0), (2, -1.0)] {
            Update { gradient: &[slope], scale: 1.0, decay: 0.5, steps }.apply(&recipe, &mut weight, &mut mean, &mut square);
        }
        let (mean_2, square_2) = (0.9 * 0.2 - 0.1, 0.99 * 0.04 + 0.01);
        let after_1: f64 = 0.95 - 0.1;
        let expected = after_1 * 0.95 - 0.1 * (mean_2 / 0.19) / (square_2 / 0.0199_f64).sqrt();
        assert!((f64::from(weight[0]) - expected).abs() < 1e-6, "{} is not {expected}", weight[0]);
    }

    /// Beside the definition (Loshchilov and Hutter 2019, algorithm 2) in `f64`, as PyTorch's `AdamW` has it: sixty steps of seven weights, with the decays that are usual.
    #[test]
    fn many_steps_are_those_of_the_definition() {
        let slope = |weight: usize, step: i32| f64::from((step * 37 + weight as i32 * 101) % 41 - 17) / 20.0;
        let mut ends = Vec::new();
        for (beta, gamma) in [(0.9_f64, 0.999_f64), (0.9, 0.95)] {
            let recipe = Recipe { learning_rate: 1e-2, betas: (beta as f32, gamma as f32), weight_decay: 0.1, ..Recipe::default() };
            let mut exact: Vec<[f64; 3]> = (0..7).map(|weight| [f64::from(weight) / 3.0 - 1.0, 0.0, 0.0]).collect();
            let mut weights: Vec<f32> = exact.iter().map(|one| one[0] as f32).collect();
            let (mut first, mut second) = (vec![0.0; 7], vec![0.0; 7]);
            for step in 1..=60 {
                let gradient: Vec<f32> = (0..7).map(|weight| slope(weight, step) as f32).collect();
                let update = Update { gradient: &gradient, scale: 0.5, decay: recipe.weight_decay, steps: step.unsigned_abs().into() };
                update.apply(&recipe, &mut weights, &mut first, &mut second);
                for (index, [weight, mean, square]) in exact.iter_mut().enumerate() {
                    let slope = 0.5 * slope(index, step);
                    *weight -= 0.01 * 0.1 * *weight;
                    *mean = beta * *mean + (1.0 - beta) * slope;
                    *square = gamma * *square + (1.0 - gamma) * slope * slope;
                    let (mean, square) = (*mean / (1.0 - beta.powi(step)), *square / (1.0 - gamma.powi(step)));
                    *weight -= 0.01 * mean / (square.sqrt() + 1e-8);
                }
            }
            for (found, [expected, ..]) in weights.iter().zip(&exact) {
                assert!((f64::from(*found) - expected).abs() < 1e-5, "{found}, expected {expected}");
            }
            ends.push(exact);
        }
        let apart = ends[0].iter().zip(&ends[1]).map(|(one, other)| (one[0] - other[0]).abs()).fold(0.0, f64::max);
        assert!(apart > 1e-3, "both pairs of decays end alike: {apart}");
    }

    #[test]
    fn a_long_gradient_is_cut_to_the_limit() {
        let recipe = Recipe::default();
        assert!((recipe.clipping(4.0) - 0.25).abs() < 1e-7);
        assert!((recipe.clipping(0.5) - 1.0).abs() < 1e-7);
        assert!((norm(&[3.0, 4.0]) - 5.0).abs() < 1e-7);
    }
}
