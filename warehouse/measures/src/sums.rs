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
    /// Share of the rows of class 1 whose score is at or above the threshold. Asks about two classes, as the next does.
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
    /// What all readings share, then what each adds up.
    sums: Vec<ExactSum>,
    /// Rows that are no numbers, or no probabilities where those are asked.
    unusable: i64,
    /// Rows of more than two classes.
    several: i64,
}

/// Sums a bin of calibration: rows, weight, score, hits.
const A_BIN: usize = 4;

/// How scores are read: of two classes the second is asked, of several all are. Beside a row of several one of two is read as one of these, and
/// whether such a row comes, or leaves, is not known before: rows of two are added up in both readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    Two,
    Several,
}

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

/// The score that is asked about, and whether it hit: class 1 of two, else the most probable, the first of equals.
fn stated(scores: &[f64], label: u8, reading: Reading) -> (f64, bool) {
    let class = match (scores, reading) {
        ([score], _) => return (*score, label == 1),
        (_, Reading::Two) => 1,
        (_, Reading::Several) => (1..scores.len()).fold(0, |best, class| if scores[class] > scores[best] { class } else { best }),
    };
    (scores[class], usize::from(label) == class)
}

fn happened(hit: bool) -> f64 {
    f64::from(u8::from(hit))
}

fn squared(scores: &[f64], label: u8, reading: Reading) -> f64 {
    let of = |class: usize, score: f64| (score - happened(usize::from(label) == class)).powi(2);
    match (scores, reading) {
        ([score] | [_, score], Reading::Two) => of(1, *score),
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

impl Measure {
    /// Sums that all readings share.
    fn shared(self) -> usize {
        usize::from(self != Self::Calibration)
    }

    /// Sums of each reading.
    fn own(self) -> usize {
        match self {
            Self::Brier | Self::LogLoss | Self::Sensitivity | Self::PositivePredictiveValue => 1,
            Self::Ece => BINS,
            Self::Calibration => A_BIN * BINS,
        }
    }

    /// The readings that a row with so many scores has. Some measures have but one.
    fn readings(self, scores: usize) -> &'static [Reading] {
        match (self, scores) {
            (Self::LogLoss | Self::Sensitivity | Self::PositivePredictiveValue, _) | (_, 0 | 1) => &[Reading::Two],
            (_, 2) => &[Reading::Two, Reading::Several],
            _ => &[Reading::Several],
        }
    }

    /// Where the sums of a reading begin.
    fn first(self, reading: Reading) -> usize {
        self.shared() + if reading == Reading::Several { self.own() } else { 0 }
    }
}

impl Sums {
    /// None yet.
    #[must_use]
    pub fn new(measure: Measure) -> Self {
        let count = measure.shared() + 2 * measure.own();
        Self { measure, sums: vec![ExactSum::default(); count], unusable: 0, several: 0 }
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
            let usable = self.is_usable(scores, threshold) && weight.is_finite() && weight >= 0.0;
            // What weighs nothing is as if it were not there, but that calibration counts it in its bin.
            if weight == 0.0 && !(usable && self.measure == Measure::Calibration) {
                continue;
            }
            let came = if sign > 0.0 { 1 } else { -1 };
            if !usable {
                self.unusable += came;
                continue;
            }
            total += 1.0;
            self.several += if width > 2 { came } else { 0 };
            for reading in self.measure.readings(width) {
                self.take_one((scores, *label, threshold), sign * weight, *reading);
            }
            if weighted && !matches!(self.measure, Measure::Calibration | Measure::Sensitivity | Measure::PositivePredictiveValue) {
                self.sums[0].add(sign * weight);
            }
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

    fn take_one(&mut self, (scores, label, threshold): (&[f64], u8, f64), weight: f64, reading: Reading) {
        let (sums, first) = (&mut self.sums, self.measure.first(reading));
        match self.measure {
            Measure::Brier => sums[first].add(weight * squared(scores, label, reading)),
            Measure::LogLoss => sums[first].add(weight * surprise(scores, label)),
            Measure::Ece => {
                let (score, hit) = stated(scores, label, reading);
                sums[first + bin(score)].add(weight * (score - happened(hit)));
            }
            Measure::Calibration => {
                let (score, hit) = stated(scores, label, reading);
                let first = first + A_BIN * bin(score);
                let terms = [1.0_f64.copysign(weight), weight, weight * score, weight * happened(hit)];
                sums[first..first + A_BIN].iter_mut().zip(terms).for_each(|(sum, term)| sum.add(term));
            }
            Measure::Sensitivity | Measure::PositivePredictiveValue => {
                let (score, hit) = stated(scores, label, reading);
                let above = score >= threshold;
                let counts = if self.measure == Measure::Sensitivity { hit } else { above };
                sums[0].add(weight * happened(counts));
                sums[first].add(weight * happened(hit && above));
            }
        }
    }

    /// Takes in other sums of the same measure, as `state` gives them.
    pub fn merge(&mut self, state: &[f64]) {
        let mut rest = state.iter().copied();
        self.unusable += rest.next().unwrap_or(0.0) as i64;
        self.several += rest.next().unwrap_or(0.0) as i64;
        for sum in &mut self.sums {
            let parts = counted(rest.next().unwrap_or(0.0));
            rest.by_ref().take(parts).for_each(|part| sum.add(part));
        }
    }

    /// The sums in one run of numbers: unusable rows and those of several classes, then each sum's number of parts and its parts.
    #[must_use]
    pub fn state(&self) -> Vec<f64> {
        let each = self.sums.iter().flat_map(|sum| std::iter::once(sum.parts().len() as f64).chain(sum.parts().iter().copied()));
        [self.unusable as f64, self.several as f64].into_iter().chain(each).collect()
    }

    /// What the rows that are there add up to, as they are read.
    fn read(&self) -> &[ExactSum] {
        let several = self.several != 0 && self.measure.readings(2).contains(&Reading::Several);
        let first = self.measure.first(if several { Reading::Several } else { Reading::Two });
        &self.sums[first..first + self.measure.own()]
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
                self.read().iter().for_each(|bin| apart.add(bin.value().abs()));
                Some(apart.value() / total)
            }
            _ => Some(self.read()[0].value() / total),
        }
    }

    /// The bins of `Calibration`; `None` without a row, or where a row was no number.
    #[must_use]
    pub fn bins(&self) -> Option<Vec<Bin>> {
        let bins: Vec<Bin> = self
            .read()
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

    /// Rows of two classes are read as their neighbours are, whichever comes first and whoever leaves.
    #[test]
    fn a_row_of_two_classes_beside_one_of_three_is_one_of_three() {
        let (two, three) =
            (Rows::new(2, vec![1], vec![0.3, 0.7]).expect("classes"), Rows::new(3, vec![2], vec![0.2, 0.2, 0.6]).expect("classes"));
        let padded = Rows::new(3, vec![1, 2], vec![0.3, 0.7, 0.0, 0.2, 0.2, 0.6]).expect("classes");
        for measure in [Measure::Brier, Measure::LogLoss, Measure::Ece, Measure::Calibration] {
            let of = |all: &[&Rows]| {
                let mut sums = Sums::new(measure);
                all.iter().for_each(|rows| sums.add(rows));
                sums
            };
            let expected = told(&of(&[&padded]));
            assert_eq!((told(&of(&[&two, &three])), told(&of(&[&three, &two]))), (expected.clone(), expected.clone()), "{measure:?}");
            let mut merged = of(&[&two]);
            merged.merge(&of(&[&three]).state());
            assert_eq!(told(&merged), expected, "{measure:?}");
            merged.retract(&three);
            assert_eq!(told(&merged), told(&of(&[&two])), "{measure:?}");
        }
    }

    #[test]
    fn what_weighs_nothing_counts_nowhere_whatever_it_says() {
        for measure in ALL {
            let mut sums = Sums::new(measure);
            sums.add(&drawn(1, 10));
            let before = told(&sums);
            let scores: Vec<f64> = if measure == Measure::Calibration { vec![f64::NAN, 2.0] } else { vec![f64::NAN, 0.5] };
            sums.add(&Rows::new(1, vec![1, 0], scores).expect("binary").with_weights(vec![0.0, 0.0]));
            assert_eq!(told(&sums), before, "{measure:?}");
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
