//! Measures of judged predictions that stand in rows, for those who have few.

use crate::rank;
use crate::rows::{NO_CLASS, Rows};
use crate::sums::{Measure, Sums};

/// One judged prediction.
#[derive(Clone, Debug)]
pub struct Judged {
    /// `0..probabilities.len()`.
    pub label: usize,
    /// One a class.
    pub probabilities: Vec<f64>,
}

/// A class that a row does not name has the probability 0 there; a label that is no class is hit by none.
fn columns(rows: &[Judged]) -> Rows {
    let width = rows.iter().map(|row| row.probabilities.len()).max().unwrap_or(0).max(2);
    let labels = rows.iter().map(|row| u8::try_from(row.label).unwrap_or(NO_CLASS)).collect();
    let padded = |row: &Judged| (0..width).map(|class| row.probabilities.get(class).copied().unwrap_or(0.0)).collect::<Vec<_>>();
    // Only a single score a row asks something of its label.
    Rows::new(width, labels, rows.iter().flat_map(padded).collect::<Vec<_>>()).unwrap_or_default()
}

/// One against the rest, macro mean over the classes that occur; of two classes the AUROC of the second.
#[must_use]
pub fn auroc_ovr(rows: &[Judged]) -> Option<f64> {
    rank::auroc(&columns(rows))
}

/// Expected calibration error over fifteen equal bins: of the second class where there are two, of the most probable
/// class where there are more.
#[must_use]
pub fn ece(rows: &[Judged]) -> Option<f64> {
    summed(rows, Measure::Ece)
}

/// Mean squared distance of the probability of the second class from what happened; of more than two classes summed over them (Brier 1950).
#[must_use]
pub fn brier(rows: &[Judged]) -> Option<f64> {
    summed(rows, Measure::Brier)
}

/// Mean negative natural logarithm of the probability of what happened.
#[must_use]
pub fn log_loss(rows: &[Judged]) -> Option<f64> {
    summed(rows, Measure::LogLoss)
}

fn summed(rows: &[Judged], measure: Measure) -> Option<f64> {
    let mut sums = Sums::new(measure);
    sums.add(&columns(rows));
    sums.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_class_has_no_auroc() {
        assert_eq!(auroc_ovr(&[]), None);
        assert_eq!(auroc_ovr(&[Judged { label: 1, probabilities: vec![0.1, 0.9] }]), None);
    }

    #[test]
    fn a_sure_and_right_model_is_calibrated() {
        let rows = [Judged { label: 1, probabilities: vec![0.0, 1.0] }, Judged { label: 0, probabilities: vec![1.0, 0.0] }];
        assert_eq!((ece(&rows), auroc_ovr(&rows)), (Some(0.0), Some(1.0)));
    }

    /// By hand: of two classes the second counts, of three all do.
    #[test]
    fn brier_and_log_loss_are_those_of_their_definitions() {
        let two = [Judged { label: 1, probabilities: vec![0.2, 0.8] }, Judged { label: 0, probabilities: vec![0.7, 0.3] }];
        let near = |found: Option<f64>, expected: f64| found.is_some_and(|found| (found - expected).abs() < 1e-12);
        assert!(near(brier(&two), (0.04 + 0.09) / 2.0));
        assert!(near(log_loss(&two), -(0.8_f64.ln() + 0.7_f64.ln()) / 2.0));
        let three = [Judged { label: 2, probabilities: vec![0.1, 0.3, 0.6] }];
        assert!(near(brier(&three), 0.01 + 0.09 + 0.16) && near(log_loss(&three), -0.6_f64.ln()));
        assert_eq!((brier(&[]), log_loss(&[])), (None, None));
    }
}
