//! Measures that add up over rows: nothing is kept of a row but what it adds, exactly, so that rows can leave as they came.

use crate::exact::ExactSum;
use crate::rows::Rows;

/// Bins of calibration (L1 section 3).
pub const BINS: usize = 15;

/// What is added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Measure {
    /// Mean squared distance of the probability of class 1 from what happened; for several classes summed over them (Brier 1950).
    Brier,
    /// Mean negative logarithm of the probability of what happened, cut at 2^-52 from 0 and 1 as in scikit-learn.
    LogLoss,
    /// Expected calibration error over fifteen equal bins (Guo 2017): of class 1, of several classes of the most probable.
    Ece,
    /// The bins themselves.
    Calibration,
    /// Share of the rows of class 1 whose score is at or above the threshold.
    Sensitivity,
    /// Share of class 1 among the rows at or above the threshold.
    PositivePredictiveValue,
}

/// One bin of calibration: `low < score <= high`; 0 is in the first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bin {
    /// Exclusive.
    pub low: f64,
    /// Inclusive.
    pub high: f64,
    /// Rows.
    pub n: u64,
    /// Their mean score, by weight; `None` for an empty bin.
    pub score: Option<f64>,
    /// The share of them that happened, by weight; `None` for an empty bin.
    pub observed: Option<f64>,
}

/// Sums of one measure.
#[derive(Clone, Debug)]
pub struct Sums {
    measure: Measure,
    sums: Vec<ExactSum>,
    /// Rows that are no numbers, or no probabilities where those are asked.
    unusable: i64,
}

/// Sums a bin of calibration: rows, weight, score, hits.
const A_BIN: usize = 4;

fn edge(bin: usize) -> f64 {
    if bin == BINS { 1.0 } else { bin as f64 * (1.0 / BINS as f64) }
}

/// The whole part of a number that is not negative.
#[expect(clippy::cast_sign_loss, reason = "a count is not negative")]
fn counted(number: f64) -> usize {
    number as usize
}

/// The bin of a probability: as many edges between bins as lie below it.
fn bin(score: f64) -> usize {
    let mut bin = counted(score * BINS as f64).min(BINS - 1);
    while bin > 0 && score <= edge(bin) {
        bin -= 1;
    }
    while bin + 1 < BINS && score > edge(bin + 1) {
        bin += 1;
    }
    bin
}

/// The score that calibration asks about, and whether it hit: class 1 of two, else the most probable, the first of equals.
fn stated(scores: &[f64], label: u8) -> (f64, bool) {
    let class = match scores {
        [_] => return (scores[0], label == 1),
        [_, _] => 1,
        _ => (1..scores.len()).fold(0, |best, class| if scores[class] > scores[best] { class } else { best }),
    };
    (scores[class], usize::from(label) == class)
}

fn happened(hit: bool) -> f64 {
    f64::from(u8::from(hit))
}

fn squared(scores: &[f64], label: u8) -> f64 {
    let of = |class: usize, score: f64| (score - happened(usize::from(label) == class)).powi(2);
    match scores {
        [score] | [_, score] => of(1, *score),
        _ => scores.iter().enumerate().map(|(class, score)| of(class, *score)).sum(),
    }
}

fn surprise(scores: &[f64], label: u8) -> f64 {
    let probability = match (scores, label) {
        ([score], 0) => 1.0 - score,
        ([score], _) => *score,
        _ => scores.get(usize::from(label)).copied().unwrap_or(0.0),
    };
    -probability.clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln()
}

impl Sums {
    /// None yet.
    #[must_use]
    pub fn new(measure: Measure) -> Self {
        let count = match measure {
            Measure::Brier | Measure::LogLoss | Measure::Sensitivity | Measure::PositivePredictiveValue => 2,
            Measure::Ece => 1 + BINS,
            Measure::Calibration => A_BIN * BINS,
        };
        Self { measure, sums: vec![ExactSum::default(); count], unusable: 0 }
    }

    /// Takes rows in.
    pub fn add(&mut self, rows: &Rows) {
        self.take(rows, 1.0);
    }

    /// Takes away rows that were taken in.
    pub fn retract(&mut self, rows: &Rows) {
        self.take(rows, -1.0);
    }

    fn take(&mut self, rows: &Rows, sign: f64) {
        let width = rows.width().max(1);
        let (scores, weighted) = (rows.scores(), !rows.weights().is_empty());
        let mut total = 0.0;
        for (row, (scores, label)) in scores.chunks_exact(width).zip(rows.labels()).enumerate() {
            let weight = if weighted { rows.weights()[row] } else { 1.0 };
            let threshold = rows.thresholds().get(row).copied().unwrap_or(0.0);
            if !self.is_usable(scores, threshold) || !weight.is_finite() || weight < 0.0 {
                self.unusable += if sign > 0.0 { 1 } else { -1 };
                continue;
            }
            total += 1.0;
            self.take_one((scores, *label, threshold), sign * weight, weighted);
        }
        if !weighted && !matches!(self.measure, Measure::Calibration | Measure::Sensitivity | Measure::PositivePredictiveValue) {
            self.sums[0].add(sign * total);
        }
    }

    fn is_usable(&self, scores: &[f64], threshold: f64) -> bool {
        match self.measure {
            Measure::Sensitivity | Measure::PositivePredictiveValue => !scores.iter().any(|score| score.is_nan()) && !threshold.is_nan(),
            _ => scores.iter().all(|score| (0.0..=1.0).contains(score)),
        }
    }

    fn take_one(&mut self, (scores, label, threshold): (&[f64], u8, f64), weight: f64, weighted: bool) {
        let sums = &mut self.sums;
        match self.measure {
            Measure::Brier => sums[1].add(weight * squared(scores, label)),
            Measure::LogLoss => sums[1].add(weight * surprise(scores, label)),
            Measure::Ece => {
                let (score, hit) = stated(scores, label);
                sums[1 + bin(score)].add(weight * (score - happened(hit)));
            }
            Measure::Calibration => {
                let (score, hit) = stated(scores, label);
                let first = A_BIN * bin(score);
                let terms = [1.0_f64.copysign(weight), weight, weight * score, weight * happened(hit)];
                sums[first..first + A_BIN].iter_mut().zip(terms).for_each(|(sum, term)| sum.add(term));
                return;
            }
            Measure::Sensitivity | Measure::PositivePredictiveValue => {
                let (score, hit) = stated(scores, label);
                let above = score >= threshold;
                let counts = if self.measure == Measure::Sensitivity { hit } else { above };
                sums[0].add(weight * happened(counts));
                sums[1].add(weight * happened(hit && above));
                return;
            }
        }
        if weighted {
            sums[0].add(weight);
        }
    }

    /// Takes in other sums of the same measure, as `state` gives them.
    pub fn merge(&mut self, state: &[f64]) {
        let mut rest = state.iter().copied();
        self.unusable += rest.next().unwrap_or(0.0) as i64;
        for sum in &mut self.sums {
            let parts = counted(rest.next().unwrap_or(0.0));
            rest.by_ref().take(parts).for_each(|part| sum.add(part));
        }
    }

    /// The sums in one run of numbers: unusable rows, then each sum's number of parts and its parts.
    #[must_use]
    pub fn state(&self) -> Vec<f64> {
        let each = self.sums.iter().flat_map(|sum| std::iter::once(sum.parts().len() as f64).chain(sum.parts().iter().copied()));
        std::iter::once(self.unusable as f64).chain(each).collect()
    }

    /// The measure; `None` where nothing weighs, NaN where a row was no number. Of `Calibration` there is no one number: `None`.
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        let total = self.sums[0].value();
        if self.unusable != 0 {
            return Some(f64::NAN);
        }
        match self.measure {
            Measure::Calibration => None,
            _ if total <= 0.0 => None,
            Measure::Ece => {
                let mut apart = ExactSum::default();
                self.sums[1..].iter().for_each(|bin| apart.add(bin.value().abs()));
                Some(apart.value() / total)
            }
            _ => Some(self.sums[1].value() / total),
        }
    }

    /// The bins of `Calibration`; `None` without a row, or where a row was no number.
    #[must_use]
    pub fn bins(&self) -> Option<Vec<Bin>> {
        let bins: Vec<Bin> = self
            .sums
            .chunks_exact(A_BIN)
            .enumerate()
            .map(|(bin, sums)| {
                let [n, weight, score, hits] = [0, 1, 2, 3].map(|at| sums[at].value());
                let of = |sum: f64| (weight > 0.0).then(|| sum / weight);
                Bin { low: edge(bin), high: edge(bin + 1), n: counted(n) as u64, score: of(score), observed: of(hits) }
            })
            .collect();
        (self.unusable == 0 && bins.iter().any(|bin| bin.n > 0)).then_some(bins)
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn size(&self) -> usize {
        self.sums.capacity() * size_of::<ExactSum>() + self.sums.iter().map(ExactSum::size).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::Random;

    const ALL: [Measure; 6] =
        [Measure::Brier, Measure::LogLoss, Measure::Ece, Measure::Calibration, Measure::Sensitivity, Measure::PositivePredictiveValue];

    fn drawn(seed: u64, count: usize) -> Rows {
        let mut random = Random::new(seed, 4);
        let mut share = || random.below(1 << 40) as f64 / (1_u64 << 40) as f64;
        let rows: Vec<(u8, f64, f64, f64)> = (0..count).map(|_| (u8::from(share() < 0.3), share(), share() * 3.0, share())).collect();
        let column = |of: fn(&(u8, f64, f64, f64)) -> f64| rows.iter().map(of).collect::<Vec<f64>>();
        let all = Rows::new(1, rows.iter().map(|row| row.0).collect(), column(|row| row.1)).expect("binary");
        all.with_weights(column(|row| row.2)).with_thresholds(column(|row| row.3))
    }

    fn told(sums: &Sums) -> String {
        format!("{:?} {:?}", sums.value().map(f64::to_bits), sums.bins())
    }

    #[test]
    fn partial_sums_merged_in_any_order_give_the_same_bits() {
        for measure in ALL {
            let parts: Vec<Sums> = (0..7)
                .map(|seed| {
                    let mut sums = Sums::new(measure);
                    sums.add(&drawn(seed, 50));
                    sums
                })
                .collect();
            let merged = |from: usize| {
                let mut whole = Sums::new(measure);
                (0..7).for_each(|nth| whole.merge(&parts[(nth * 3 + from) % 7].state()));
                told(&whole)
            };
            assert_eq!((merged(0), merged(0)), (merged(2), merged(5)), "{measure:?}");
        }
    }

    #[test]
    fn rows_that_leave_leave_no_trace() {
        for measure in ALL {
            let mut sums = Sums::new(measure);
            sums.add(&drawn(1, 40));
            sums.add(&drawn(2, 40));
            sums.retract(&drawn(1, 40));
            let mut alone = Sums::new(measure);
            alone.add(&drawn(2, 40));
            assert_eq!(told(&sums), told(&alone), "{measure:?}");
        }
    }

    #[test]
    fn what_is_no_probability_gives_no_number_until_it_leaves() {
        let bad = Rows::new(1, vec![1], vec![1.5]).expect("binary");
        for measure in [Measure::Brier, Measure::LogLoss, Measure::Ece] {
            let mut sums = Sums::new(measure);
            assert_eq!(sums.value(), None);
            sums.add(&drawn(1, 10));
            sums.add(&bad);
            assert!(sums.value().expect("an answer").is_nan());
            sums.retract(&bad);
            assert!(sums.value().expect("an answer").is_finite());
        }
    }

    #[test]
    fn a_score_on_an_edge_is_in_the_bin_below() {
        assert_eq!([0.0, 0.2, 0.200_000_01, 0.6, 1.0].map(bin), [0, 2, 3, 8, 14]);
        assert!((0..BINS).all(|nth| bin(edge(nth + 1)) == nth));
    }
}
