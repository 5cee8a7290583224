//! Rows of (label, score or probabilities, weight, threshold) in columns: never an allocation a row.

use std::borrow::Cow;
use std::fmt;

use crate::column::Column;

/// A label is none: mend the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowsError {
    /// Negative or not whole.
    NoClass,
    /// Beside one score there are two classes.
    NotBinary,
}

impl fmt::Display for RowsError {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::NoClass => "a label is a class: 0, 1, 2, ...",
            Self::NotBinary => "beside one score a label is 0 or 1; several classes need the list of their probabilities",
        })
    }
}

impl std::error::Error for RowsError {}

/// Judged predictions in columns. Rows leave in the order in which they came.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// Scores a row: 1 for the score of class 1, else the probabilities of the classes `0..width`.
    width: usize,
    labels: Vec<u8>,
    /// `[rows * width]`, of the rows that have not left.
    scores: Column,
    /// Empty, or one a row.
    weights: Vec<f64>,
    /// Empty, or one a row.
    thresholds: Vec<f64>,
    /// Rows that have left and whose labels, weights and thresholds still stand at the front.
    left: usize,
}

/// The largest label that is told apart; those above hit no class, as do those beyond the probabilities.
pub const NO_CLASS: u8 = u8::MAX;

/// The classes of labels as stated.
///
/// # Errors
/// Where one is negative.
pub fn classes(labels: &[i64]) -> Result<Vec<u8>, RowsError> {
    // Negative in the end where any is.
    if labels.iter().fold(0, |any, label| any | label) < 0 {
        return Err(RowsError::NoClass);
    }
    Ok(labels.iter().map(|label| u8::try_from(*label).unwrap_or(NO_CLASS)).collect())
}

impl Rows {
    /// Rows of columns: `scores` is `[labels * width]`; `weights` and `thresholds` are empty or one a row.
    ///
    /// # Errors
    /// Where a label beside one score is neither 0 nor 1.
    #[must_use = "the rows are given back"]
    pub fn new(width: usize, labels: Vec<u8>, scores: impl Into<Column>) -> Result<Self, RowsError> {
        if width == 1 && labels.iter().any(|label| *label > 1) {
            return Err(RowsError::NotBinary);
        }
        Ok(Self { width, labels, scores: scores.into(), ..Self::default() })
    }

    /// The rows with a weight each; empty for none.
    #[must_use]
    pub fn with_weights(self, weights: Vec<f64>) -> Self {
        Self { weights, ..self }
    }

    /// The rows with a threshold each; empty for none.
    #[must_use]
    pub fn with_thresholds(self, thresholds: Vec<f64>) -> Self {
        Self { thresholds, ..self }
    }

    /// Rows that have come and not left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len() - self.left
    }

    /// Whether none is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Scores a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// One label a row.
    #[must_use]
    pub fn labels(&self) -> &[u8] {
        &self.labels[self.left..]
    }

    /// `[rows * width]` in one run; copied together where they came in several.
    #[must_use]
    pub fn scores(&self) -> Cow<'_, [f64]> {
        self.scores.whole()
    }

    /// `[rows * width]` in runs of whole rows, as they came.
    #[must_use]
    pub fn pieces(&self) -> Vec<&[f64]> {
        self.scores.pieces()
    }

    /// Empty, or one a row.
    #[must_use]
    pub fn weights(&self) -> &[f64] {
        self.weights.get(self.left..).unwrap_or_default()
    }

    /// Empty, or one a row.
    #[must_use]
    pub fn thresholds(&self) -> &[f64] {
        self.thresholds.get(self.left..).unwrap_or_default()
    }

    /// Takes in other rows behind these, without their thresholds. Lists of different lengths: a class that is not named has the
    /// probability 0.
    pub fn append(&mut self, other: Self) {
        if other.is_empty() {
            return;
        }
        if self.labels.is_empty() {
            self.width = other.width;
        }
        let (width, widest) = (other.width, self.width.max(other.width));
        self.widen(widest);
        self.labels.extend_from_slice(other.labels());
        self.weights.extend_from_slice(other.weights());
        if width == widest {
            self.scores.append(other.scores);
        } else {
            self.scores.append(widened(&other.scores.whole(), width, widest).collect::<Vec<_>>().into());
        }
    }

    /// Takes in rows as `take` gives them: `scores` is `[labels * width]`, `weights` is empty or one a row.
    pub fn extend(&mut self, labels: &[u8], scores: Column, weights: &[f64]) {
        let width = scores.len().checked_div(labels.len()).unwrap_or(0);
        self.append(Self { width, labels: labels.to_vec(), scores, weights: weights.to_vec(), ..Self::default() });
    }

    /// The columns of the rows that have not left: labels, scores, weights. No row stays.
    pub fn take(&mut self) -> (Vec<u8>, Column, Vec<f64>) {
        let mut rows = std::mem::take(self);
        rows.labels.drain(..rows.left);
        rows.weights.drain(..rows.left.min(rows.weights.len()));
        (rows.labels, rows.scores, rows.weights)
    }

    fn widen(&mut self, width: usize) {
        if self.width != width {
            self.scores = widened(&self.scores.whole(), self.width, width).collect::<Vec<_>>().into();
            self.width = width;
        }
    }

    /// Lets the first `count` rows go.
    pub fn forget_first(&mut self, count: usize) {
        let count = count.min(self.len());
        self.left += count;
        self.scores.forget_first(count * self.width);
        // Moving what is left pays once it is less than what has gone.
        if self.left > 64 && self.left * 2 > self.labels.len() {
            self.labels.drain(..self.left);
            self.weights.drain(..self.left.min(self.weights.len()));
            self.thresholds.drain(..self.left.min(self.thresholds.len()));
            self.left = 0;
        }
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn size(&self) -> usize {
        self.labels.capacity() + self.scores.size() + (self.weights.capacity() + self.thresholds.capacity()) * size_of::<f64>()
    }

    /// The classes that are asked one against the rest: class 1 of two, or every one of more that occurs.
    #[must_use]
    pub fn asked(&self) -> Vec<u8> {
        if self.width <= 2 {
            return if self.is_empty() { Vec::new() } else { vec![1] };
        }
        let mut occurs = [false; 256];
        let weights = self.weights();
        let counts = |row: usize| weights.get(row).is_none_or(|weight| *weight != 0.0);
        self.labels().iter().enumerate().filter(|(row, _)| counts(*row)).for_each(|(_, label)| occurs[usize::from(*label)] = true);
        (0..NO_CLASS).filter(|class| occurs[usize::from(*class)] && usize::from(*class) < self.width).collect()
    }

    /// Where the score of a class stands in a row.
    #[must_use]
    pub fn column(&self, class: u8) -> usize {
        if self.width == 1 { 0 } else { usize::from(class) }
    }

    /// Whether every weight is one that can weigh, and every score that one weighs a number.
    #[must_use]
    pub fn usable(&self) -> bool {
        // A sum is NaN if any number is, and asks no branch a row.
        let is_nan = |scores: &[f64]| scores.iter().map(|score| if score.is_nan() { f64::NAN } else { 0.0 }).sum::<f64>().is_nan();
        let weights = self.weights();
        if weights.is_empty() {
            return !self.pieces().into_iter().any(is_nan);
        }
        let rows = self.pieces().into_iter().flat_map(|piece| piece.chunks_exact(self.width.max(1)));
        rows.zip(weights).all(|(scores, weight)| *weight == 0.0 || weight.is_finite() && *weight > 0.0 && !is_nan(scores))
    }
}

fn widened(scores: &[f64], from: usize, to: usize) -> impl Iterator<Item = f64> + '_ {
    scores.chunks(from.max(1)).flat_map(move |row| row.iter().copied().chain(std::iter::repeat_n(0.0, to - from)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::Shared;
    use std::sync::Arc;

    #[test]
    fn rows_leave_in_the_order_in_which_they_came() {
        let mut rows = Rows::default();
        for turn in 0..300 {
            let one = Rows::new(1, vec![u8::from(turn % 3 == 0)], vec![f64::from(turn)]).expect("binary");
            rows.append(one.with_weights(vec![f64::from(turn) + 0.5]));
            if turn >= 10 {
                rows.forget_first(1);
            }
        }
        assert_eq!(rows.scores(), (290..300).map(f64::from).collect::<Vec<_>>());
        assert_eq!(rows.weights(), (290..300).map(|one| f64::from(one) + 0.5).collect::<Vec<_>>());
        assert_eq!(rows.labels(), [0, 1, 0, 0, 1, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_class_that_a_shorter_list_does_not_name_has_no_probability() {
        let mut rows = Rows::new(2, vec![1], vec![0.4, 0.6]).expect("classes");
        rows.append(Rows::new(3, vec![2], vec![0.1, 0.2, 0.7]).expect("classes"));
        rows.append(Rows::new(2, vec![0], vec![0.9, 0.1]).expect("classes"));
        assert_eq!(*rows.scores(), [0.4, 0.6, 0.0, 0.1, 0.2, 0.7, 0.9, 0.1, 0.0]);
    }

    #[test]
    fn rows_that_come_in_large_batches_are_those_that_came_in_small_ones() {
        let label = |row: usize| u8::from(row.is_multiple_of(3));
        let score = |row: usize| row as f64 / 2.0;
        let (mut large, mut small) = (Rows::default(), Rows::default());
        for batch in 0..5 {
            let rows = batch * 3_000..(batch + 1) * 3_000;
            let scores: Shared = Arc::new(rows.clone().map(score).collect::<Vec<_>>());
            large.extend(&rows.clone().map(label).collect::<Vec<_>>(), scores.into(), &[]);
            rows.for_each(|row| small.append(Rows::new(1, vec![label(row)], vec![score(row)]).expect("binary")));
            large.forget_first(1_700);
            small.forget_first(1_700);
            assert_eq!((large.scores(), large.labels()), (small.scores(), small.labels()));
        }
        let [large, small] = [&mut large, &mut small].map(|rows| {
            let (labels, scores, weights) = rows.take();
            (labels, scores.pieces().concat(), weights)
        });
        assert_eq!(large, small);
    }

    #[test]
    fn what_weighs_nothing_is_of_no_class_and_says_nothing() {
        let rows = Rows::new(3, vec![0, 1, 2], vec![0.5, 0.3, 0.2, 0.2, 0.5, 0.3, f64::NAN, 0.0, 0.0]).expect("classes");
        let weighed = rows.clone().with_weights(vec![1.0, 2.0, 0.0]);
        assert_eq!((rows.asked(), rows.usable()), (vec![0, 1, 2], false));
        assert_eq!((weighed.asked(), weighed.usable()), (vec![0, 1], true));
        assert!(!rows.with_weights(vec![1.0, -2.0, 0.0]).usable());
        assert_eq!(crate::auroc(&weighed), Some(1.0));
    }

    #[test]
    fn labels_that_are_no_class_are_refused() {
        assert_eq!(classes(&[1, -1, 0]), Err(RowsError::NoClass));
        assert_eq!(classes(&[1, 255, 1_000, 0]), Ok(vec![1, NO_CLASS, NO_CLASS, 0]));
        assert_eq!(Rows::new(1, vec![2], vec![0.5]).err(), Some(RowsError::NotBinary));
    }
}
