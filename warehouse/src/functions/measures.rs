//! Measures of predictions against labels. NULL labels are left out before; NULL answers say "not defined here".

/// One judged prediction.
#[derive(Clone, Debug)]
pub struct Judged {
    /// `0..probabilities.len()`.
    pub label: usize,
    /// One a class.
    pub probabilities: Vec<f64>,
}

/// Area under the ROC curve of `score` for `positive`, ties counted half; `None` where one side is empty.
pub fn auroc(mut scored: Vec<(f64, bool)>) -> Option<f64> {
    scored.sort_by(|a, b| a.0.total_cmp(&b.0));
    let positives = scored.iter().filter(|one| one.1).count() as f64;
    let negatives = scored.len() as f64 - positives;
    let mut rank_sum = 0.0;
    let mut rank = 0.0;
    for tied in scored.chunk_by(|a, b| a.0 == b.0) {
        let count = tied.len() as f64;
        rank_sum += tied.iter().filter(|one| one.1).count() as f64 * (rank + (count + 1.0) / 2.0);
        rank += count;
    }
    (positives > 0.0 && negatives > 0.0).then(|| (rank_sum - positives * (positives + 1.0) / 2.0) / (positives * negatives))
}

fn against(rows: &[Judged], class: usize) -> Vec<(f64, bool)> {
    rows.iter().map(|row| (row.probabilities.get(class).copied().unwrap_or(0.0), row.label == class)).collect()
}

/// The classes that are asked one against the rest: the second of two, or every one of more that occurs.
fn classes(rows: &[Judged]) -> Vec<usize> {
    match rows.iter().map(|row| row.probabilities.len()).max() {
        Some(2) => vec![1],
        Some(count) => (0..count).filter(|class| rows.iter().any(|row| row.label == *class)).collect(),
        None => Vec::new(),
    }
}

/// One against the rest, macro mean over the classes that occur; of two classes the AUROC of the second.
pub fn auroc_ovr(rows: &[Judged]) -> Option<f64> {
    let each = classes(rows).into_iter().map(|class| auroc(against(rows, class))).collect::<Option<Vec<_>>>()?;
    (!each.is_empty()).then(|| each.iter().sum::<f64>() / each.len() as f64)
}

/// Standard error of an AUROC after Hanley and McNeil 1982; for several classes the root of the mean square, which
/// does not count on the classes' errors cancelling out.
pub fn auroc_error(rows: &[Judged]) -> Option<f64> {
    let each = classes(rows).into_iter().map(|class| hanley_mcneil(against(rows, class))).collect::<Option<Vec<_>>>()?;
    (!each.is_empty()).then(|| (each.iter().map(|error| error * error).sum::<f64>() / each.len() as f64).sqrt())
}

fn hanley_mcneil(scored: Vec<(f64, bool)>) -> Option<f64> {
    let positives = scored.iter().filter(|one| one.1).count() as f64;
    let negatives = scored.len() as f64 - positives;
    let area = auroc(scored)?;
    let (q1, q2) = (area / (2.0 - area), 2.0 * area * area / (1.0 + area));
    let variance = area * (1.0 - area) + (positives - 1.0) * (q1 - area * area) + (negatives - 1.0) * (q2 - area * area);
    Some((variance.max(0.0) / (positives * negatives)).sqrt())
}

/// Area under the precision-recall curve as average precision, macro over the classes asked.
pub fn auprc(rows: &[Judged]) -> Option<f64> {
    let each = classes(rows).into_iter().map(|class| average_precision(against(rows, class))).collect::<Option<Vec<_>>>()?;
    (!each.is_empty()).then(|| each.iter().sum::<f64>() / each.len() as f64)
}

fn average_precision(mut scored: Vec<(f64, bool)>) -> Option<f64> {
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    let positives = scored.iter().filter(|one| one.1).count() as f64;
    let (mut seen, mut hit, mut area) = (0.0, 0.0, 0.0);
    for tied in scored.chunk_by(|a, b| a.0 == b.0) {
        let hits = tied.iter().filter(|one| one.1).count() as f64;
        seen += tied.len() as f64;
        hit += hits;
        area += hits / positives * (hit / seen);
    }
    (positives > 0.0).then_some(area)
}

/// Mean squared distance of the probabilities from what happened: of the second class where there are two, summed over
/// the classes where there are more (Brier 1950).
pub fn brier(rows: &[Judged]) -> Option<f64> {
    let asked: Vec<usize> = match rows.iter().map(|row| row.probabilities.len()).max()? {
        2 => vec![1],
        count => (0..count).collect(),
    };
    let total: f64 =
        asked.iter().flat_map(|class| against(rows, *class)).map(|(score, hit)| (score - f64::from(u8::from(hit))).powi(2)).sum();
    Some(total / rows.len() as f64)
}

/// Expected calibration error over fifteen equal bins: of the second class where there are two, of the most probable
/// class where there are more.
pub fn ece(rows: &[Judged]) -> Option<f64> {
    const BINS: usize = 15;
    let mut bins = [(0.0_f64, 0.0_f64, 0.0_f64); BINS];
    for row in rows {
        let best = (0..row.probabilities.len())
            .max_by(|a, b| row.probabilities.get(*a).partial_cmp(&row.probabilities.get(*b)).unwrap_or(std::cmp::Ordering::Equal))?;
        let class = if row.probabilities.len() == 2 { 1 } else { best };
        let score = row.probabilities.get(class).copied()?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a probability times fifteen is a small non-negative number"
        )]
        let bin = ((score * BINS as f64) as usize).min(BINS - 1);
        if let Some(bin) = bins.get_mut(bin) {
            *bin = (bin.0 + 1.0, bin.1 + score, bin.2 + f64::from(u8::from(row.label == class)));
        }
    }
    (!rows.is_empty()).then(|| bins.iter().map(|(_, scores, hits)| (scores - hits).abs()).sum::<f64>() / rows.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brute(scored: &[(f64, bool)]) -> f64 {
        let (mut won, mut pairs) = (0.0, 0.0);
        for (a, _) in scored.iter().filter(|one| one.1) {
            for (b, _) in scored.iter().filter(|one| !one.1) {
                pairs += 1.0;
                won += if a > b {
                    1.0
                } else if a == b {
                    0.5
                } else {
                    0.0
                };
            }
        }
        won / pairs
    }

    #[test]
    fn auroc_counts_pairs_and_ties_half() {
        let mut state = 7_u64;
        for _ in 0..50 {
            let scored: Vec<(f64, bool)> = (0..40)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (((state >> 33) % 10) as f64, (state >> 50).is_multiple_of(3))
                })
                .collect();
            match auroc(scored.clone()) {
                Some(area) => assert!((area - brute(&scored)).abs() < 1e-12),
                None => assert!(scored.iter().all(|one| one.1) || scored.iter().all(|one| !one.1)),
            }
        }
    }

    #[test]
    fn one_class_has_no_auroc() {
        assert_eq!(auroc(vec![(0.1, true), (0.2, true)]), None);
        assert_eq!(auroc_ovr(&[]), None);
    }

    #[test]
    fn a_sure_and_right_model_is_calibrated() {
        let rows = [Judged { label: 1, probabilities: vec![0.0, 1.0] }, Judged { label: 0, probabilities: vec![1.0, 0.0] }];
        assert_eq!((ece(&rows), brier(&rows), auprc(&rows), auroc_ovr(&rows)), (Some(0.0), Some(0.0), Some(1.0), Some(1.0)));
    }
}
