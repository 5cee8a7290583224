//! How good a model is: AUROC as scikit-learn has it, bootstrap intervals, calibration, thresholds. Pure.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use warehouse::measures::{self, Judged};

use crate::report::Interval;

/// Area under the ROC curve by weighted counts, ties half; `None` where one side is empty. `order` sorts the scores.
fn weighted_auroc(order: &[usize], scores: &[f64], hits: &[bool], weights: &[u32]) -> Option<f64> {
    let (mut below, mut won, mut positives) = (0.0, 0.0, 0.0);
    for tied in order.chunk_by(|a, b| scores.get(*a) == scores.get(*b)) {
        let (mut hit, mut miss) = (0.0, 0.0);
        for row in tied {
            let weight = f64::from(weights.get(*row).copied().unwrap_or(0));
            if hits.get(*row).copied().unwrap_or(false) { hit += weight } else { miss += weight }
        }
        won += hit * (below + miss / 2.0);
        below += miss;
        positives += hit;
    }
    (positives > 0.0 && below > 0.0).then(|| won / (positives * below))
}

/// One class against the rest, prepared for many weightings.
struct Against {
    order: Vec<usize>,
    scores: Vec<f64>,
    hits: Vec<bool>,
}

/// Of two classes the second; of more, each that occurs.
fn against(labels: &[i32], probabilities: &[Vec<f64>]) -> Vec<Against> {
    let classes = probabilities.iter().map(Vec::len).max().unwrap_or(0);
    let asked: Vec<usize> = if classes == 2 { vec![1] } else { (0..classes).collect() };
    asked
        .into_iter()
        .filter(|class| labels.iter().any(|label| usize::try_from(*label) == Ok(*class)))
        .map(|class| {
            let scores: Vec<f64> = probabilities.iter().map(|row| row.get(class).copied().unwrap_or(0.0)).collect();
            let hits = labels.iter().map(|label| usize::try_from(*label) == Ok(class)).collect();
            let mut order: Vec<usize> = (0..scores.len()).collect();
            order.sort_by(|a, b| scores.get(*a).partial_cmp(&scores.get(*b)).unwrap_or(std::cmp::Ordering::Equal));
            Against { order, scores, hits }
        })
        .collect()
}

fn macro_mean(sides: &[Against], weights: &[u32]) -> Option<f64> {
    let each: Vec<f64> = sides.iter().filter_map(|side| weighted_auroc(&side.order, &side.scores, &side.hits, weights)).collect();
    (!each.is_empty()).then(|| each.iter().sum::<f64>() / each.len() as f64)
}

/// One-vs-rest macro AUROC; of two classes that of the second. `None` where it is not defined.
#[must_use]
pub fn auroc_ovr(labels: &[i32], probabilities: &[Vec<f64>]) -> Option<f64> {
    macro_mean(&against(labels, probabilities), &vec![1; labels.len()])
}

/// AUROC with its 95 % interval: 1.96 standard deviations of `resamples` bootstrap resamples either way.
#[must_use]
pub fn auroc_interval(labels: &[i32], probabilities: &[Vec<f64>], resamples: usize, seed: u64) -> Option<Interval> {
    let sides = against(labels, probabilities);
    let auroc = macro_mean(&sides, &vec![1; labels.len()])?;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let drawn: Vec<f64> = (0..resamples).filter_map(|_| macro_mean(&sides, &resample(&mut random, labels.len()))).collect();
    let half = 1.96 * deviation(&drawn);
    Some(Interval { auroc, low: auroc - half, high: auroc + half })
}

/// How often each row is drawn.
fn resample(random: &mut ChaCha8Rng, rows: usize) -> Vec<u32> {
    let mut weights = vec![0; rows];
    for _ in 0..rows {
        if let Some(weight) = weights.get_mut(random.random_range(0..rows)) {
            *weight += 1;
        }
    }
    weights
}

fn deviation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len().saturating_sub(1).max(1) as f64).sqrt()
}

/// Two models' answers to the same questions of one task.
pub struct Paired {
    /// What happened.
    pub labels: Vec<i32>,
    /// The new model's probabilities.
    pub new: Vec<Vec<f64>>,
    /// The old model's.
    pub old: Vec<Vec<f64>>,
}

/// By how much the new model's AUROC is above the old one's, mean over tasks, with its bootstrap interval.
#[must_use]
pub fn advantage(tasks: &[Paired], resamples: usize, seed: u64) -> Option<Interval> {
    let sides: Vec<_> =
        tasks.iter().map(|task| (against(&task.labels, &task.new), against(&task.labels, &task.old), task.labels.len())).collect();
    let mean = |weights: &mut dyn FnMut(usize) -> Vec<u32>| {
        let each: Vec<f64> = sides
            .iter()
            .filter_map(|(new, old, rows)| {
                let weights = weights(*rows);
                Some(macro_mean(new, &weights)? - macro_mean(old, &weights)?)
            })
            .collect();
        (!each.is_empty()).then(|| each.iter().sum::<f64>() / each.len() as f64)
    };
    let auroc = mean(&mut |rows| vec![1; rows])?;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let drawn: Vec<f64> = (0..resamples).filter_map(|_| mean(&mut |rows| resample(&mut random, rows))).collect();
    let half = 1.96 * deviation(&drawn);
    Some(Interval { auroc, low: auroc - half, high: auroc + half })
}

/// Expected calibration error by the rule that drift is watched by; 0 of nothing.
#[must_use]
pub fn ece(labels: &[i32], probabilities: &[Vec<f64>]) -> f64 {
    measures::ece(&judged(labels, probabilities)).unwrap_or(0.0)
}

/// How good the answers to one question are. What is not defined of so few rows, or of one class alone, is nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quality {
    /// Answers.
    pub n: usize,
    /// Of them with a label other than 0.
    pub positives: usize,
    /// One-vs-rest macro; of two classes that of the second.
    pub auroc: Option<f64>,
    /// Mean squared distance from what happened.
    pub brier: Option<f64>,
    /// Expected calibration error, 15 bins.
    pub ece: Option<f64>,
    /// Mean negative natural logarithm of the probability of what happened.
    pub log_loss: Option<f64>,
}

/// Measures answers by the rules that SQL measures predictions by. Labels are `0..classes`; a row has one probability a class.
#[must_use]
pub fn quality(labels: &[i32], probabilities: &[Vec<f64>]) -> Quality {
    let rows = judged(labels, probabilities);
    Quality {
        n: rows.len(),
        positives: labels.iter().filter(|label| **label > 0).count(),
        auroc: measures::auroc_ovr(&rows),
        brier: measures::brier(&rows),
        ece: measures::ece(&rows),
        log_loss: measures::log_loss(&rows),
    }
}

/// The rows as SQL measures them. A label that is no class is hit by none.
fn judged(labels: &[i32], probabilities: &[Vec<f64>]) -> Vec<Judged> {
    let label = |label: &i32| usize::try_from(*label).unwrap_or(usize::MAX);
    labels.iter().zip(probabilities).map(|(one, row)| Judged { label: label(one), probabilities: row.clone() }).collect()
}

/// The largest of 0.01, 0.02, ... with a recall above 80 % (Nature 619:357, the trial's rule); 0.01 where none has.
#[must_use]
pub fn threshold(labels: &[i32], probabilities: &[Vec<f64>]) -> f64 {
    let positives: Vec<f64> =
        labels.iter().zip(probabilities).filter(|(label, _)| **label == 1).filter_map(|(_, row)| row.get(1).copied()).collect();
    let recall = |limit: f64| positives.iter().filter(|score| **score >= limit).count() as f64 / positives.len().max(1) as f64;
    (1..100).rev().map(|percent| f64::from(percent) / 100.0).find(|limit| recall(*limit) > 0.8).unwrap_or(0.01)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brute(labels: &[i32], probabilities: &[Vec<f64>]) -> f64 {
        let (mut won, mut pairs) = (0.0, 0.0);
        for (a, one) in labels.iter().zip(probabilities) {
            for (b, other) in labels.iter().zip(probabilities) {
                if *a == 1 && *b == 0 {
                    pairs += 1.0;
                    won += if one[1] > other[1] {
                        1.0
                    } else if one[1] == other[1] {
                        0.5
                    } else {
                        0.0
                    };
                }
            }
        }
        won / pairs
    }

    fn drawn(seed: u64, rows: usize) -> (Vec<i32>, Vec<Vec<f64>>) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        (0..rows)
            .map(|_| {
                let score = f64::from(random.random_range(0..20_u32)) / 20.0;
                (i32::from(random.random_bool(0.2 + 0.5 * score)), vec![1.0 - score, score])
            })
            .unzip()
    }

    #[test]
    fn auroc_counts_pairs() {
        for seed in 0..20 {
            let (labels, probabilities) = drawn(seed, 60);
            let area = auroc_ovr(&labels, &probabilities).expect("both classes occur");
            assert!((area - brute(&labels, &probabilities)).abs() < 1e-12);
        }
        assert_eq!(auroc_ovr(&[1, 1], &[vec![0.5, 0.5], vec![0.4, 0.6]]), None);
    }

    /// The gate and the watch over drift must mean the same by AUROC, however each computes it.
    #[test]
    fn auroc_is_that_of_sql() {
        for seed in 0..20 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let labels: Vec<i32> = (0..60).map(|_| random.random_range(0..4)).collect();
            let row = |random: &mut ChaCha8Rng| (0..4).map(|_| f64::from(random.random_range(0..10_u32)) / 10.0).collect();
            let probabilities: Vec<Vec<f64>> = (0..60).map(|_| row(&mut random)).collect();
            for (labels, probabilities) in [(labels, probabilities), drawn(seed, 60)] {
                let own = auroc_ovr(&labels, &probabilities).expect("several classes occur");
                let theirs = measures::auroc_ovr(&judged(&labels, &probabilities)).expect("several classes occur");
                assert!((own - theirs).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn quality_has_each_measure_and_none_of_nothing() {
        let (labels, probabilities) = drawn(4, 60);
        let found = quality(&labels, &probabilities);
        assert_eq!((found.n, found.positives), (60, labels.iter().filter(|label| **label == 1).count()));
        let squares = labels.iter().zip(&probabilities).map(|(label, row)| (f64::from(*label) - row[1]).powi(2)).sum::<f64>();
        assert!(found.brier.is_some_and(|brier| (brier - squares / 60.0).abs() < 1e-12));
        assert!(found.auroc.is_some_and(|area| (area - brute(&labels, &probabilities)).abs() < 1e-12));
        assert!(found.ece.is_some_and(|apart| apart == ece(&labels, &probabilities)) && found.log_loss.is_some_and(|loss| loss > 0.0));
        let none = Quality { n: 0, positives: 0, auroc: None, brier: None, ece: None, log_loss: None };
        assert_eq!(quality(&[], &[]), none);
    }

    #[test]
    fn the_interval_holds_the_area_and_narrows_with_rows() {
        let width = |rows| {
            let (labels, probabilities) = drawn(5, rows);
            let interval = auroc_interval(&labels, &probabilities, 300, 1).expect("both classes occur");
            assert!(interval.low < interval.auroc && interval.auroc < interval.high);
            interval.high - interval.low
        };
        assert!(width(1_000) < width(100) / 2.0);
    }

    #[test]
    fn the_threshold_is_the_largest_with_enough_recall() {
        let labels = [1, 1, 1, 1, 1, 1, 0];
        let probabilities: Vec<Vec<f64>> = [0.9, 0.8, 0.7, 0.6, 0.5, 0.05, 0.99].iter().map(|score| vec![1.0 - score, *score]).collect();
        assert_eq!(threshold(&labels, &probabilities), 0.5);
    }

    #[test]
    fn a_model_that_ranks_better_has_an_advantage() {
        let (labels, good) = drawn(9, 400);
        let bad = good.iter().map(|row| vec![row[1], row[0]]).collect();
        let advantage = advantage(&[Paired { labels, new: good, old: bad }], 200, 1).expect("both classes occur");
        assert!(advantage.low > 0.0);
    }
}
