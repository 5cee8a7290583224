//! Whether a model bears weights of 8 bits of which nobody measured it: it reads one page in them, and in the form that it would have otherwise.
//!
//! What they do follows from the outliers among a model's activations: no look at its weights tells. One page is no measure of a ranking, and a
//! manifest that has one is believed; but 8 bits that harm a model harm about every page of it.

use std::fmt;

use schemas::Task;

use super::{Answer, Asked};
use crate::packed::Precision;

/// How far apart an answer may be in 8 bits and in the wider form: half of the 1e-2 that are promised, for the other half is the wider form's own,
/// which was found to lie as far from what the weights say.
const LIMIT: f64 = 5e-3;

/// What is read: a made-up note that asks something of every question.
const NOTE: &str = "71-year-old woman with heart failure, type 2 diabetes and chronic kidney disease, admitted with three days of shortness of breath \
    and swelling of both legs. Blood pressure 98/60, heart rate 112, oxygen saturation 88 % on room air. Potassium 5.6, creatinine 2.4, BNP 1,850, \
    lactate 2.1. Chest X-ray: pulmonary oedema, small effusions on both sides. Furosemide was begun intravenously; cardiology and nephrology were asked. \
    She lives alone and was discharged two weeks ago after a similar stay.";

/// What a model is asked before it answers in 8 bits.
pub(super) const PAGE: Asked<'static> = Asked { text: NOTE, tasks: &Task::ALL };

/// Weights of 8 bits that were asked for and not taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TooCoarse {
    /// By how much they move a probability of one page, at most; infinitely where they give no number.
    pub apart: f64,
    /// What the model answers in instead.
    pub instead: Precision,
}

impl fmt::Display for TooCoarse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (apart, instead) = (self.apart, self.instead.as_str());
        write!(f, "int8 moves an answer of this model by {apart:.4}, and {LIMIT} is the most that is allowed: it answers in {instead}")
    }
}

/// What the answers to [`PAGE`] say of 8 bits: nothing, or that they are too coarse beside the other form. Of a page that could not be read there are none.
pub(super) fn judged(eighth: Option<&[Answer]>, (wider, instead): (Option<&[Answer]>, Precision)) -> Option<TooCoarse> {
    let apart = eighth.zip(wider).map_or(f64::INFINITY, |(one, other)| {
        let probabilities = |answers: &[Answer]| answers.iter().flat_map(|answer| answer.probabilities.clone()).collect::<Vec<_>>();
        probabilities(one).iter().zip(probabilities(other)).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max)
    });
    (apart > LIMIT).then_some(TooCoarse { apart, instead })
}

#[cfg(test)]
mod tests;
