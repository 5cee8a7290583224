//! What the trainer is told.

use model::{Devices, Lora, Recipe};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// The `[trainer]` part of the configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Entries of the tokenizer that a first cycle trains.
    pub vocabulary: usize,
    /// Notes whose text the tokenizer is trained on.
    pub tokenizer_notes: usize,
    /// Notes a step.
    pub batch_notes: usize,
    /// Most notes that a first cycle reads, repeats included.
    pub first_notes: usize,
    /// Most notes that a refresh reads, repeats included.
    pub refresh_notes: usize,
    /// Peak learning rate of a first cycle.
    pub first_learning_rate: f32,
    /// Peak learning rate of a refresh.
    pub refresh_learning_rate: f32,
    /// Adapters that a refresh learns beside the champion's weights, which are frozen then; where there are none, all weights learn. What goes
    /// live has them merged. A first cycle learns all weights in any case.
    pub lora: Option<Lora>,
    /// Steps until the peak.
    pub warm_up_steps: usize,
    /// Weight of the next-token loss beside the answers'.
    pub next_token_weight: f32,
    /// AdamW's decays of the gradient's mean and of its square, `[0.9, 0.98]`.
    #[serde(deserialize_with = "betas")]
    pub betas: (f32, f32),
    /// AdamW's decay of matrices, not of norms; times the learning rate.
    #[serde(deserialize_with = "weight_decay")]
    pub weight_decay: f32,
    /// Largest norm of a step's whole gradient, to which a longer one is cut; `inf` for no limit.
    #[serde(deserialize_with = "clip")]
    pub clip: f32,
    /// Where a model learns: `cpu`, or `cuda:0` for an NVIDIA card of a program that was built with the feature `cuda`, or `cuda:0,1` or `cuda:0-3`
    /// for several together of one that was built with `nccl`.
    pub device: Devices,
    /// Threads that compute gradients on a processor.
    pub threads: usize,
    /// Steps between two checkpoints.
    pub checkpoint_steps: usize,
    /// Most examples of a task that one split is measured on.
    pub measured_examples: usize,
    /// Labelled examples that a first cycle waits for; 0 starts none until somebody orders it.
    pub min_first_examples: usize,
    /// Labelled examples since an alarm that a refresh waits for.
    pub min_recent_examples: usize,
    /// Days of the log between two scheduled refreshes; 0 is never.
    pub refresh_days: u32,
    /// Whether a model that passes the gate goes live by itself.
    pub auto_promote: bool,
    /// Of everything that is drawn.
    pub seed: u64,
}

impl Settings {
    /// What decides the steps of a cycle: a checkpoint of a run under other ones is no beginning of this. Of AdamW it tells what is not as usual alone: a cycle
    /// that a release began which knew nothing else goes on.
    pub(crate) fn of_steps(&self) -> String {
        let lengths = [self.vocabulary, self.tokenizer_notes, self.batch_notes, self.first_notes, self.refresh_notes, self.warm_up_steps];
        let rates = [self.first_learning_rate, self.refresh_learning_rate, self.next_token_weight];
        let (of_all, usual) = (format!("{lengths:?} {rates:?} {}", self.seed), Recipe::default());
        if (self.betas, self.weight_decay, self.clip) == (usual.betas, usual.weight_decay, usual.clip) {
            return of_all;
        }
        format!("{of_all} {:?} {} {}", self.betas, self.weight_decay, self.clip)
    }

    /// How a step at this learning rate moves the weights.
    pub(crate) fn recipe(&self, learning_rate: f32) -> Recipe {
        let Self { next_token_weight, betas, weight_decay, clip, .. } = *self;
        Recipe { learning_rate, next_token_weight, betas, weight_decay, clip, ..Recipe::default() }
    }
}

fn betas<'de, D: Deserializer<'de>>(from: D) -> Result<(f32, f32), D::Error> {
    let (mean, square) = <(f32, f32)>::deserialize(from)?;
    if [mean, square].iter().all(|beta| (0.0..1.0).contains(beta)) {
        return Ok((mean, square));
    }
    Err(D::Error::custom(format!("trainer.betas are [{mean}, {square}]: choose both from 0 to below 1, such as [0.9, 0.98]")))
}

fn weight_decay<'de, D: Deserializer<'de>>(from: D) -> Result<f32, D::Error> {
    let decay = f32::deserialize(from)?;
    if decay.is_finite() && decay >= 0.0 {
        return Ok(decay);
    }
    Err(D::Error::custom(format!("trainer.weight_decay is {decay}: choose 0 or more, such as 0.01")))
}

fn clip<'de, D: Deserializer<'de>>(from: D) -> Result<f32, D::Error> {
    let clip = f32::deserialize(from)?;
    if clip > 0.0 {
        return Ok(clip);
    }
    Err(D::Error::custom(format!("trainer.clip is {clip}: choose more than 0, such as 1.0, or inf for no limit")))
}

impl Default for Settings {
    fn default() -> Self {
        let Recipe { next_token_weight, betas, weight_decay, clip, .. } = Recipe::default();
        Self {
            vocabulary: 3_000,
            tokenizer_notes: 1_500,
            batch_notes: 8,
            first_notes: 9_600,
            refresh_notes: 3_600,
            first_learning_rate: 2e-3,
            refresh_learning_rate: 2e-3,
            lora: None,
            warm_up_steps: 50,
            next_token_weight,
            betas,
            weight_decay,
            clip,
            device: Devices::default(),
            threads: 2,
            checkpoint_steps: 200,
            measured_examples: 3_000,
            min_first_examples: 5_000,
            min_recent_examples: 1_200,
            refresh_days: 0,
            auto_promote: true,
            seed: 3407,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// And a checkpoint of a run under others is no beginning of it.
    #[test]
    fn what_is_configured_of_adamw_reaches_the_step() {
        let usual = Settings::default();
        assert_eq!(usual.recipe(2e-3), Recipe::default());
        for settings in [
            Settings { betas: (0.9, 0.999), ..usual.clone() },
            Settings { weight_decay: 0.1, ..usual.clone() },
            Settings { clip: f32::INFINITY, ..usual.clone() },
        ] {
            let recipe = settings.recipe(1e-3);
            assert_eq!((recipe.betas, recipe.weight_decay), (settings.betas, settings.weight_decay));
            assert_eq!((recipe.clip, recipe.learning_rate), (settings.clip, 1e-3));
            assert_ne!(settings.of_steps(), usual.of_steps());
        }
    }

    /// These words lie beside the checkpoints of a cycle that an earlier release began.
    #[test]
    fn a_cycle_that_was_begun_before_adamw_was_configured_goes_on() {
        assert_eq!(Settings::default().of_steps(), "[3000, 1500, 8, 9600, 3600, 50] [0.002, 0.002, 0.3] 3407");
    }
}
