//! What leads to what: the probability of each answer to each task, given a stay's conditions.
//!
//! Two answers are a logit linear in the conditions; more are a softmax along one score. The constants are set so that each
//! answer is as frequent, and each ceiling as high, as `tests` promises.

use schemas::Task;

use super::{
    ALONE, COPD, DEMENTIA, DIABETES, Factors, HEART_FAILURE, HIP_FRACTURE, KIDNEY, METASTASES, MINOR, MISSED_MEDICATION, NO_AUTHORISATION,
    OUT_OF_NETWORK, PREVALENCE, SEPSIS, VENTILATED,
};

/// Which concept holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concept {
    /// As ever.
    Old,
    /// After a planted shift: other conditions drive each outcome, and the old ones speak against it.
    New,
}

type Weights = &'static [(usize, f64)];

/// A score and what is made of it.
enum Rule {
    Binary { intercept: f64, weights: Weights },
    Graded { base: &'static [f64], slope: &'static [f64], weights: Weights },
}

/// The probability of each class.
pub fn probabilities(task: Task, factors: &Factors, concept: Concept) -> Vec<f64> {
    let rule = match concept {
        Concept::Old => old(task),
        Concept::New => new(task),
    };
    match rule {
        Rule::Binary { intercept, weights } => {
            let yes = 1.0 / (1.0 + (-(intercept + weighed(factors, weights).0)).exp());
            vec![1.0 - yes, yes]
        }
        Rule::Graded { base, slope, weights } => {
            let (score, mean) = weighed(factors, weights);
            let raised: Vec<f64> = base.iter().zip(slope).map(|(base, slope)| (base + slope * (score - mean)).exp()).collect();
            let total: f64 = raised.iter().sum();
            raised.into_iter().map(|one| one / total).collect()
        }
    }
}

/// `sum(weight * factor)`, and its mean over newcomers.
fn weighed(factors: &Factors, weights: Weights) -> (f64, f64) {
    let has = |index: usize| f64::from(u8::from(factors.get(index).copied().unwrap_or(false)));
    let value = weights.iter().map(|(index, weight)| weight * has(*index)).sum();
    let mean = weights.iter().map(|(index, weight)| weight * PREVALENCE.get(*index).copied().unwrap_or(0.0)).sum();
    (value, mean)
}

const STAY_SLOPE: [f64; 4] = [-1.5, -0.5, 0.5, 1.5];
const INDEX_SLOPE: [f64; 5] = [-1.7, -0.6, 0.3, 1.1, 1.9];

fn old(task: Task) -> Rule {
    match task {
        Task::Readmission => {
            Rule::Binary { intercept: -3.65, weights: &[(HEART_FAILURE, 1.3), (ALONE, 1.3), (MISSED_MEDICATION, 1.5), (COPD, 0.8)] }
        }
        Task::Mortality => Rule::Binary { intercept: -4.72, weights: &[(SEPSIS, 2.7), (VENTILATED, 3.0), (METASTASES, 2.5)] },
        Task::LengthOfStay => Rule::Graded {
            base: &[-0.44, 0.37, 0.49, -0.42],
            slope: &STAY_SLOPE,
            weights: &[(HIP_FRACTURE, 2.2), (SEPSIS, 1.6), (VENTILATED, 1.6), (MINOR, -2.6)],
        },
        Task::Comorbidity => Rule::Graded {
            base: &[1.68, 1.74, 0.81, -0.75, -3.48],
            slope: &INDEX_SLOPE,
            weights: &[(HEART_FAILURE, 1.3), (COPD, 1.3), (KIDNEY, 1.6), (DIABETES, 1.6), (METASTASES, 2.8), (DEMENTIA, 1.2)],
        },
        Task::Denial => Rule::Binary { intercept: -2.99, weights: &[(NO_AUTHORISATION, 2.6), (OUT_OF_NETWORK, 2.2)] },
    }
}

fn new(task: Task) -> Rule {
    match task {
        Task::Readmission => Rule::Binary {
            intercept: -2.45,
            weights: &[
                (KIDNEY, 1.4),
                (DIABETES, 1.3),
                (DEMENTIA, 1.4),
                (METASTASES, 1.0),
                (HEART_FAILURE, -0.7),
                (ALONE, -0.7),
                (MISSED_MEDICATION, -0.8),
            ],
        },
        Task::Mortality => Rule::Binary {
            intercept: -4.0,
            weights: &[(HIP_FRACTURE, 2.4), (KIDNEY, 1.9), (DEMENTIA, 1.5), (SEPSIS, -1.1), (VENTILATED, -1.1), (METASTASES, -1.0)],
        },
        Task::LengthOfStay => Rule::Graded {
            base: &[-0.52, 0.29, 0.53, -0.30],
            slope: &STAY_SLOPE,
            weights: &[(MINOR, 2.2), (DEMENTIA, 2.0), (COPD, 1.2), (HIP_FRACTURE, -1.6), (SEPSIS, -1.0), (VENTILATED, -0.8)],
        },
        Task::Comorbidity => Rule::Graded {
            base: &[1.70, 1.61, 0.64, -0.80, -3.15],
            slope: &INDEX_SLOPE,
            weights: &[
                (SEPSIS, 1.6),
                (HIP_FRACTURE, 1.6),
                (ALONE, 1.3),
                (MISSED_MEDICATION, 1.3),
                (HEART_FAILURE, -0.9),
                (COPD, -0.7),
                (KIDNEY, -0.9),
                (DIABETES, -0.9),
                (METASTASES, -1.0),
            ],
        },
        Task::Denial => {
            Rule::Binary { intercept: -2.78, weights: &[(MINOR, 2.4), (ALONE, 2.0), (NO_AUTHORISATION, -1.2), (OUT_OF_NETWORK, -1.0)] }
        }
    }
}
