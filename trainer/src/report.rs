//! What a cycle found, for people, for the registry and for the gate.

use jiff::Timestamp;
use model::Lora;
use schemas::{DatasetId, ModelVersion, Task};
use serde::{Deserialize, Serialize};

/// Why a cycle runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// There is no model yet, or one is asked for that learns from nothing.
    First,
    /// The schedule.
    Scheduled,
    /// Performance alarmed, first in this month.
    Alarm {
        /// First instant of the month.
        since: Timestamp,
    },
}

/// A value with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The value.
    pub auroc: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// One task on one split.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figures {
    /// The task.
    pub task: Task,
    /// `test`, `temporal_test`, `recent`.
    pub split: String,
    /// Examples.
    pub n: usize,
    /// Of them with a label other than 0.
    pub positives: usize,
    /// One-vs-rest macro.
    pub auroc: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Expected calibration error, 15 bins.
    pub ece: f64,
    /// The starting model's, on the same examples.
    pub zero_shot: Interval,
}

/// One cycle.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Why it ran.
    pub reason: Reason,
    /// What came of it.
    pub model_version: ModelVersion,
    /// What it learned from.
    pub dataset_id: DatasetId,
    /// Every task on every split that was measured.
    pub figures: Vec<Figures>,
    /// A refresh's advantage over the champion on the same recent examples, mean AUROC.
    pub advantage: Option<Interval>,
    /// The gate's diagnosis, where it refused.
    pub refused: Option<String>,
    /// Whether it is live now.
    pub promoted: bool,
    /// Notes read, repeats included.
    pub notes_read: usize,
    /// Tokens read, repeats included.
    pub tokens_read: usize,
    /// The adapters that alone learned; nothing where the whole model did.
    pub lora: Option<Lora>,
}

impl Report {
    /// The figures of a task on a split.
    #[must_use]
    pub fn figures(&self, task: Task, split: &str) -> Option<&Figures> {
        self.figures.iter().find(|figures| figures.task == task && figures.split == split)
    }
}
