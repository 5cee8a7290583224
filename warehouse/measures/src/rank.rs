//! Measures that only ask which score is above which: AUROC, its errors, average precision. Ties count half.

use crate::order;
use crate::ranking::{Kinds, Ranking, Run};
use crate::rows::Rows;

/// A class against the rest.
struct Against {
    scores: Scores,
    hits: f64,
    misses: f64,
}

enum Scores {
    Counted(Ranking),
    Weighed { hits: Side, misses: Side },
}

/// One side of a class: the scores of its rows, or of all others, smallest first.
struct Side {
    keys: Vec<u64>,
    weights: Vec<f64>,
}

impl Side {
    /// Equal scores stand in the order of their weights, so that sums over them have the same bits however the rows came.
    fn new(mut rows: Vec<(u64, u64)>) -> Self {
        rows.sort_unstable();
        Self { keys: rows.iter().map(|row| row.0).collect(), weights: rows.iter().map(|row| f64::from_bits(row.1)).collect() }
    }

    /// Takes the rows whose score is `key` from the end of the first `upto`; what they weigh.
    fn take(&self, key: u64, upto: &mut usize) -> f64 {
        let end = *upto;
        while *upto > 0 && self.keys[*upto - 1] == key {
            *upto -= 1;
        }
        self.weights[*upto..end].iter().sum()
    }
}

/// The scores of one class where a row has several.
fn gathered(rows: &Rows, class: u8) -> Vec<f64> {
    let (width, column) = (rows.width().max(1), rows.column(class));
    rows.pieces().into_iter().flat_map(|piece| piece.chunks_exact(width)).map(|row| row[column]).collect()
}

impl Against {
    /// `None` where a score is NaN.
    fn new(rows: &Rows, class: u8) -> Option<Self> {
        let gathered = if rows.width() > 1 { gathered(rows, class) } else { Vec::new() };
        let pieces = if rows.width() > 1 { vec![&gathered[..]] } else { rows.pieces() };
        if !rows.weights().is_empty() {
            return Some(Self::weighed(rows, class, &pieces));
        }
        let hits = rows.labels().iter().filter(|label| **label == class).count();
        let mut rest = rows.labels();
        let mut runs = Vec::with_capacity(pieces.len());
        for numbers in pieces {
            let (labels, others) = rest.split_at(numbers.len());
            rest = others;
            runs.push(Run { numbers, kinds: Kinds::Labelled(labels, class) });
        }
        let ranking = Ranking::new(&runs)?;
        Some(Self { scores: Scores::Counted(ranking), hits: hits as f64, misses: (rows.len() - hits) as f64 })
    }

    fn weighed(rows: &Rows, class: u8, pieces: &[&[f64]]) -> Self {
        let (mut hits, mut misses) = (Vec::new(), Vec::new());
        for ((score, label), weight) in pieces.iter().copied().flatten().zip(rows.labels()).zip(rows.weights()) {
            // What weighs nothing is as if it were not there.
            if *weight > 0.0 {
                let side = if *label == class { &mut hits } else { &mut misses };
                side.push((order::key(*score), weight.to_bits()));
            }
        }
        let (hits, misses) = (Side::new(hits), Side::new(misses));
        let total = |side: &Side| side.weights.iter().sum();
        Self { hits: total(&hits), misses: total(&misses), scores: Scores::Weighed { hits, misses } }
    }

    /// Each distinct score from the highest down: what weighs on it among the hits and among the misses.
    fn scores(&self, mut take: impl FnMut(f64, f64)) {
        let (of_hits, of_misses) = match &self.scores {
            Scores::Counted(ranking) => return ranking.falling(take),
            Scores::Weighed { hits, misses } => (hits, misses),
        };
        let (mut hits, mut misses) = (of_hits.keys.len(), of_misses.keys.len());
        while hits > 0 || misses > 0 {
            let top = |side: &Side, upto: usize| upto.checked_sub(1).map(|at| side.keys[at]);
            let key = top(of_hits, hits).max(top(of_misses, misses)).unwrap_or_default();
            let hit = of_hits.take(key, &mut hits);
            take(hit, of_misses.take(key, &mut misses));
        }
    }

    /// What the hits weigh, and the misses; `None` where one side is empty.
    fn totals(&self) -> Option<(f64, f64)> {
        let (hits, misses) = (self.hits, self.misses);
        (hits > 0.0 && misses > 0.0).then_some((hits, misses))
    }

    fn auroc(&self) -> Option<f64> {
        let (hits, misses) = self.totals()?;
        let (mut above, mut won) = (0.0, 0.0);
        self.scores(|hit, missed| {
            won += missed * (above + hit / 2.0);
            above += hit;
        });
        Some(won / (hits * misses))
    }

    fn average_precision(&self) -> Option<f64> {
        let hits = self.hits;
        let (mut seen, mut hit_so_far, mut area) = (0.0, 0.0, 0.0);
        self.scores(|hit, missed| {
            seen += hit + missed;
            hit_so_far += hit;
            area += hit / hits * (hit_so_far / seen);
        });
        (hits > 0.0).then_some(area)
    }

    /// After Hanley and McNeil 1982.
    fn hanley_mcneil(&self) -> Option<f64> {
        let (hits, misses) = self.totals()?;
        let area = self.auroc()?;
        let (q1, q2) = (area / (2.0 - area), 2.0 * area * area / (1.0 + area));
        let variance = area * (1.0 - area) + (hits - 1.0) * (q1 - area * area) + (misses - 1.0) * (q2 - area * area);
        Some((variance.max(0.0) / (hits * misses)).sqrt())
    }

    /// The AUROC and its deviation after DeLong, DeLong and Clarke-Pearson 1988: the spread of each row's share of pairs won.
    fn delong(&self) -> Option<(f64, f64)> {
        let (hits, misses) = self.totals().filter(|(hits, misses)| *hits > 1.0 && *misses > 1.0)?;
        let area = self.auroc()?;
        let (mut hits_above, mut misses_above, mut of_hits, mut of_misses) = (0.0, 0.0, 0.0, 0.0);
        self.scores(|hit, missed| {
            let won = (misses - misses_above - missed / 2.0) / misses;
            let lost = (hits_above + hit / 2.0) / hits;
            of_hits += hit * (won - area) * (won - area);
            of_misses += missed * (lost - area) * (lost - area);
            hits_above += hit;
            misses_above += missed;
        });
        Some((area, (of_hits / (hits - 1.0) / hits + of_misses / (misses - 1.0) / misses).sqrt()))
    }
}

/// A measure of each class asked; `None` where one of them has none, or no class is asked.
fn of_each(rows: &Rows, measure: fn(&Against) -> Option<f64>) -> Option<Vec<f64>> {
    if !rows.usable() {
        return Some(vec![f64::NAN]);
    }
    let each = rows.asked().into_iter().map(|class| measure(&Against::new(rows, class)?)).collect::<Option<Vec<_>>>()?;
    (!each.is_empty()).then_some(each)
}

fn mean(each: &[f64]) -> f64 {
    each.iter().sum::<f64>() / each.len() as f64
}

/// Area under the ROC curve of class 1; of several classes one against the rest, macro mean over those that occur.
/// `None` where only one class occurs.
#[must_use]
pub fn auroc(rows: &Rows) -> Option<f64> {
    of_each(rows, Against::auroc).map(|each| mean(&each))
}

/// Area under the precision-recall curve as average precision; macro as `auroc`. `None` without a row of the class.
#[must_use]
pub fn auprc(rows: &Rows) -> Option<f64> {
    of_each(rows, Against::average_precision).map(|each| mean(&each))
}

/// Standard error of an AUROC after Hanley and McNeil 1982; for several classes the root of the mean square, which
/// does not count on the classes' errors cancelling out. Takes no weights.
#[must_use]
pub fn auroc_error(rows: &Rows) -> Option<f64> {
    of_each(rows, Against::hanley_mcneil).map(|each| (each.iter().map(|error| error * error).sum::<f64>() / each.len() as f64).sqrt())
}

/// AUROC of class 1 with its standard deviation after DeLong 1988; `None` with fewer than two rows of either class,
/// and for several classes. Takes no weights.
#[must_use]
pub fn auroc_delong(rows: &Rows) -> Option<(f64, f64)> {
    if !rows.usable() {
        return Some((f64::NAN, f64::NAN));
    }
    let against = Against::new(rows, 1).filter(|_| rows.width() <= 2)?;
    against.delong()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bootstrap::Random;

    /// Labels, scores with many ties, weights.
    fn drawn(seed: u64, count: usize) -> (Vec<u8>, Vec<f64>, Vec<f64>) {
        let mut random = Random::new(seed, 2);
        let mut below = |limit: usize| u8::try_from(random.below(limit)).unwrap_or(0);
        let rows: Vec<(u8, f64, f64)> =
            (0..count).map(|_| (u8::from(below(3) == 0), f64::from(below(9)) / 9.0, f64::from(below(5)))).collect();
        (rows.iter().map(|row| row.0).collect(), rows.iter().map(|row| row.1).collect(), rows.iter().map(|row| row.2).collect())
    }

    fn brute(labels: &[u8], scores: &[f64], weights: &[f64]) -> f64 {
        let (mut won, mut pairs) = (0.0, 0.0);
        for (a, one) in scores.iter().enumerate().filter(|(row, _)| labels[*row] == 1) {
            for (b, other) in scores.iter().enumerate().filter(|(row, _)| labels[*row] == 0) {
                let pair = weights[a] * weights[b];
                pairs += pair;
                won += pair * if one > other { 1.0 } else { f64::from(u8::from(one == other)) / 2.0 };
            }
        }
        won / pairs
    }

    #[test]
    fn auroc_counts_pairs_and_ties_half() {
        for seed in 0..50 {
            let (labels, scores, weights) = drawn(seed, 60);
            let rows = Rows::new(1, labels.clone(), scores.clone()).expect("binary");
            assert!((auroc(&rows).expect("both occur") - brute(&labels, &scores, &[1.0; 60])).abs() < 1e-12);
            let weighted = auroc(&rows.with_weights(weights.clone())).expect("both occur");
            assert!((weighted - brute(&labels, &scores, &weights)).abs() < 1e-12);
        }
    }

    #[test]
    fn large_and_small_counts_are_ranked_alike() {
        let (labels, scores, _) = drawn(3, 120_000);
        let rows = Rows::new(1, labels.clone(), scores.clone()).expect("binary");
        let weighted = rows.clone().with_weights(vec![1.0; labels.len()]);
        assert!((auroc(&rows).expect("both occur") - auroc(&weighted).expect("both occur")).abs() < 1e-12);
    }

    #[test]
    fn the_order_of_the_rows_changes_no_bit() {
        for seed in 0..30 {
            let (labels, scores, weights) = drawn(seed, 200);
            let rows = |turn: usize| {
                let turned = |at: usize| (at * 7 + turn) % 200;
                let of = |from: &[f64]| (0..200).map(|at| from[turned(at)]).collect::<Vec<_>>();
                let labels = (0..200).map(|at| labels[turned(at)]).collect();
                Rows::new(1, labels, of(&scores)).expect("binary").with_weights(of(&weights))
            };
            for measure in [auroc, auprc, auroc_error] {
                let bits = |turn| measure(&rows(turn)).map(f64::to_bits);
                assert_eq!((bits(0), bits(0)), (bits(13), bits(101)));
            }
        }
    }

    #[test]
    fn what_is_not_defined_has_no_answer_and_what_is_no_number_gives_none() {
        let rows = |labels: &[u8], scores: &[f64]| Rows::new(1, labels.to_vec(), scores.to_vec()).expect("binary");
        assert_eq!((auroc(&Rows::default()), auprc(&Rows::default())), (None, None));
        assert_eq!((auroc(&rows(&[1, 1], &[0.1, 0.2])), auprc(&rows(&[1, 1], &[0.1, 0.2]))), (None, Some(1.0)));
        assert_eq!((auroc(&rows(&[0], &[0.1])), auprc(&rows(&[0], &[0.1]))), (None, None));
        assert_eq!(auroc_delong(&rows(&[0, 1], &[0.1, 0.2])), None);
        assert!(auroc(&rows(&[0, 1], &[f64::NAN, 0.2])).expect("an answer").is_nan());
        assert_eq!(auroc(&rows(&[0, 1], &[-0.0, 0.0])), Some(0.5));
        assert_eq!(auroc(&rows(&[0, 1], &[f64::NEG_INFINITY, f64::INFINITY])), Some(1.0));
        assert!(auroc(&rows(&[0, 1], &[0.1, 0.2]).with_weights(vec![1.0, -1.0])).expect("an answer").is_nan());
        assert_eq!(auroc(&rows(&[0, 1, 0], &[0.1, 0.2, 0.9]).with_weights(vec![1.0, 1.0, 0.0])), Some(1.0));
    }
}
