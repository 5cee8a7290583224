//! Whether a step's loss is one that training should not go on from.

use serde::{Deserialize, Serialize};

use crate::bits;
use crate::learner::StepReport;

/// Steps that are seen before their spread says what a spike is.
const SEEN: u32 = 20;
/// Until then, how many times the mean a loss may be, and [`EARLY_SLACK`] above that: a model that learns does not come near.
const EARLY: f64 = 3.0;
/// Nats.
const EARLY_SLACK: f64 = 2.0;
/// Weight of one step in the running figures.
const SHARE: f64 = 0.05;
/// How many mean deviations above the mean a loss may lie.
const DEVIATIONS: f64 = 8.0;
/// What a loss may always lie above the mean, in nats.
const SLACK: f64 = 0.5;

/// What the losses of the steps before were like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    steps: u32,
    #[serde(with = "bits")]
    mean: f64,
    #[serde(with = "bits")]
    deviation: f64,
}

impl Watch {
    /// Whether `report` shows a loss or a gradient that is no number, or a loss far above those before; only others are learned from.
    pub fn spikes(&mut self, report: &StepReport) -> bool {
        if !report.loss.is_finite() || !report.gradient_norm.is_finite() {
            return true;
        }
        let above = report.loss - self.mean;
        let most = match self.steps {
            0 => f64::INFINITY,
            1..SEEN => (EARLY - 1.0) * self.mean + EARLY_SLACK,
            _ => DEVIATIONS * self.deviation + SLACK,
        };
        if above > most {
            return true;
        }
        self.steps = self.steps.saturating_add(1);
        let share = SHARE.max(1.0 / f64::from(self.steps));
        if self.steps > 1 {
            self.deviation += share * (above.abs() - self.deviation);
        }
        self.mean += share * above;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(loss: f64) -> StepReport {
        StepReport { loss, answer_loss: loss, gradient_norm: 1.0, tokens: 1, skipped: !loss.is_finite() }
    }

    #[test]
    fn a_loss_far_above_the_others_spikes_and_one_that_wavers_does_not() {
        let mut watch = Watch::default();
        assert!(watch.spikes(&report(f64::NAN)));
        for step in 0..200_u32 {
            let wavering = 2.0 - f64::from(step) * 0.005 + f64::from(step * 7 % 5) * 0.1;
            assert!(!watch.spikes(&report(wavering)), "step {step}");
        }
        assert!(!watch.spikes(&report(1.6)));
        assert!(watch.spikes(&report(6.0)) && watch.spikes(&report(f64::INFINITY)));
        assert!(!watch.spikes(&report(1.1)), "what spiked is not learned from");
    }

    /// Weights whose loss is a number and whose gradient is none learn nothing any more.
    #[test]
    fn a_gradient_that_is_no_number_spikes() {
        let mut watch = Watch::default();
        assert!(!watch.spikes(&report(2.4)));
        assert!(watch.spikes(&StepReport { gradient_norm: f64::NAN, ..report(2.4) }) && !watch.spikes(&report(2.4)));
    }

    /// Weights that the first steps spoiled do not become the measure of the others.
    #[test]
    fn the_first_losses_spike_where_they_are_many_times_those_before() {
        let mut watch = Watch::default();
        assert!(!watch.spikes(&report(2.4)) && !watch.spikes(&report(4.0)) && watch.spikes(&report(400.0)));
        assert!(!watch.spikes(&report(2.2)) && watch.spikes(&report(30.0)));
    }
}
