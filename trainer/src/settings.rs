//! What the trainer is told.

use model::{Devices, Lora};
use serde::{Deserialize, Serialize};

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
    /// What decides the steps of a cycle: a checkpoint of a run under other ones is no beginning of this.
    pub(crate) fn of_steps(&self) -> String {
        let lengths = [self.vocabulary, self.tokenizer_notes, self.batch_notes, self.first_notes, self.refresh_notes, self.warm_up_steps];
        let rates = [self.first_learning_rate, self.refresh_learning_rate, self.next_token_weight];
        format!("{lengths:?} {rates:?} {}", self.seed)
    }
}

impl Default for Settings {
    fn default() -> Self {
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
            next_token_weight: 0.3,
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
