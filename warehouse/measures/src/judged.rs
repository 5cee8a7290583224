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
    let mut sums = Sums::new(Measure::Ece);
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
}
