//! A prediction as it stands on `prediction.v1` and in the `predictions` table. It never carries note text.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::{DatasetId, EncounterId, ModelVersion, NoteId, NoteVersionId, PatientId, PredictionId};
use crate::message::Source;
use crate::task::Task;

/// Who sees a prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The champion: meant to be acted on.
    Live,
    /// A challenger: recorded, never acted on.
    Silent,
}

impl Mode {
    /// The text in `predictions.mode`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Silent => "silent",
        }
    }
}

/// One published prediction, or the retraction of one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Derived from task, note version and model version; `ce_id` of the record.
    pub prediction_id: PredictionId,
    /// What was asked.
    pub task: Task,
    /// The stay, where the note named it.
    pub encounter_id: Option<EncounterId>,
    /// The patient, before merges.
    pub patient_id: Option<PatientId>,
    /// The note that was read.
    pub note_id: NoteId,
    /// The version of it that was read.
    pub note_version_id: NoteVersionId,
    /// Prediction time *p*: when the note became known, in the log's time.
    pub predicted_at: Timestamp,
    /// Who answered.
    pub model_version: ModelVersion,
    /// What that model learned from.
    pub dataset_id: Option<DatasetId>,
    /// One probability a class, in class order; empty for a retraction.
    pub probabilities: Vec<f64>,
    /// Of class 1 where there are two classes, of the most probable class otherwise.
    pub probability: Option<f64>,
    /// Decision threshold of a two-class task.
    pub threshold: Option<f64>,
    /// `probability >= threshold`, or the most probable class.
    pub decision: Option<i32>,
    /// Who sees it.
    pub mode: Mode,
    /// Tokens of the note that were read.
    pub tokens_read: u32,
    /// Whether the note was longer than what was read.
    pub truncated: bool,
    /// The prediction that this one takes the place of: about an earlier version of the note, or about a note that this one replaces. One that takes
    /// the place of several is said once for each.
    pub supersedes: Option<PredictionId>,
    /// The prediction that this record takes back: its note was, or another patient's note replaces it.
    pub retracts: Option<PredictionId>,
    /// The record of `clinical.note.v1` that was answered.
    pub source: Source,
}
