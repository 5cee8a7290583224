//! The gate: the failure signatures of L1 section 8 by name. A model that shows one never goes live.

use crate::report::{Figures, Interval};
use crate::tune::Tuned;

/// What the gate looks at.
pub struct Evidence<'a> {
    /// On the test of the cycle: the same period, or for a refresh the recent examples.
    pub figures: &'a [Figures],
    /// Largest spread of any task's probabilities over the test.
    pub spread: f64,
    /// What training saw.
    pub tuned: Tuned,
    /// For a refresh, its advantage over the champion.
    pub advantage: Option<Interval>,
    /// Whether this is a refresh.
    pub refresh: bool,
}

/// Why the model is refused; `None` where it may go live.
pub fn diagnosis(evidence: &Evidence<'_>) -> Option<String> {
    if evidence.tuned.skipped > 0 && evidence.tuned.skipped * 160 > evidence.tuned.notes.max(1) {
        return Some("nan_loss: more than a few steps had no finite loss".to_owned());
    }
    if evidence.figures.is_empty() {
        return Some("one_class_only: no task has examples of two classes to be measured on".to_owned());
    }
    if evidence.spread < 1e-4 {
        return Some("collapsed_output: the same answer for every note".to_owned());
    }
    if evidence.refresh {
        return match evidence.advantage {
            Some(advantage) if advantage.low > 0.0 => None,
            Some(advantage) => {
                Some(format!("does_not_beat_champion: advantage {:+.3} [{:+.3}, {:+.3}]", advantage.auroc, advantage.low, advantage.high))
            }
            None => Some("does_not_beat_champion: there are no recent examples to compare on".to_owned()),
        };
    }
    let weak: Vec<String> =
        evidence.figures.iter().filter(|figures| figures.low <= figures.zero_shot.high).map(|figures| figures.task.to_string()).collect();
    if !weak.is_empty() {
        return Some(format!("no_better_than_zero_shot: overfitting or a wrong label format; {}", weak.join(", ")));
    }
    if evidence.figures.iter().all(|figures| figures.low <= 0.5) {
        return Some("chance_on_test: no task is better than chance".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::Task;

    fn figures(low: f64, zero_high: f64) -> Figures {
        let zero_shot = Interval { auroc: 0.5, low: 0.4, high: zero_high };
        Figures {
            task: Task::Mortality,
            split: "test".into(),
            n: 100,
            positives: 20,
            auroc: low + 0.05,
            low,
            high: low + 0.1,
            ece: 0.1,
            zero_shot,
        }
    }

    fn refused(figures: &[Figures], spread: f64, advantage: Option<Interval>, refresh: bool) -> Option<String> {
        diagnosis(&Evidence { figures, spread, tuned: Tuned { notes: 100, ..Tuned::default() }, advantage, refresh })
    }

    #[test]
    fn each_failure_has_its_name() {
        let named = |refused: Option<String>, name: &str| refused.is_some_and(|text| text.starts_with(name));
        assert_eq!(refused(&[figures(0.7, 0.55)], 0.3, None, false), None);
        assert!(named(refused(&[figures(0.52, 0.55)], 0.3, None, false), "no_better_than_zero_shot"));
        assert!(named(refused(&[figures(0.7, 0.55)], 0.0, None, false), "collapsed_output"));
        assert!(named(refused(&[], 0.3, None, false), "one_class_only"));
        let worse = Some(Interval { auroc: -0.1, low: -0.2, high: 0.0 });
        assert!(named(refused(&[figures(0.7, 0.55)], 0.3, worse, true), "does_not_beat_champion"));
    }
}
