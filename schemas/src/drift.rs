//! A drift alarm as it stands on `drift.alert.v1`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What moved. A plumbing change (the feed) is told apart from a population change (the patients).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriftKind {
    /// Measured against mature labels.
    Performance,
    /// Estimated before labels are mature.
    Estimated,
    /// The inputs or scores of the people who come.
    Population,
    /// The messages: missing fields, templates, unmapped shares.
    Plumbing,
}

impl DriftKind {
    /// The text in `drift.kind`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Performance => "performance",
            Self::Estimated => "estimated",
            Self::Population => "population",
            Self::Plumbing => "plumbing",
        }
    }
}

/// One alarm. `alert_id` is derived from everything that names it, so a repeat carries the same id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriftAlert {
    /// UUID v5 of task, model version, month, kind and measure; `ce_id` of the record.
    pub alert_id: uuid::Uuid,
    /// The task, or `all` for what concerns the feed as a whole.
    pub task: String,
    /// The model whose predictions are judged; empty for what concerns the feed.
    pub model_version: String,
    /// First instant of the month that was judged.
    pub month: Timestamp,
    /// What moved.
    pub kind: DriftKind,
    /// `auroc`, `psi_score`, `missing_visit_number`, ...
    pub measure: String,
    /// The month's value.
    pub value: f64,
    /// Lower end of its interval.
    pub low: Option<f64>,
    /// Upper end of its interval.
    pub high: Option<f64>,
    /// The limit that was passed.
    pub limit: f64,
    /// The log's watermark when the alarm was raised.
    pub alarmed_at: Timestamp,
}

impl DriftAlert {
    /// The id of the alarm about this measure of this model in this month.
    #[must_use]
    pub fn derive_id(task: &str, model_version: &str, month: Timestamp, kind: DriftKind, measure: &str) -> uuid::Uuid {
        let name = [task, model_version, &month.to_string(), kind.as_str(), measure].join("\u{1f}");
        uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes())
    }
}
