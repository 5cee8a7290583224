//! Names on the wire.

use serde::{Deserialize, Serialize};

/// Canonical notes, from ingest to the scorer.
pub const CLINICAL_NOTE: &str = "clinical.note.v1";
/// Predictions and retractions, from the scorer to whoever acts, and back into the warehouse.
pub const PREDICTION: &str = "prediction.v1";
/// Drift alarms.
pub const DRIFT_ALERT: &str = "drift.alert.v1";
/// What Wardstream publishes and reads back into its own tables.
pub const READ_BACK: [&str; 2] = [PREDICTION, DRIFT_ALERT];
/// Raw HL7 v2, by default.
pub const HL7_RAW: &str = "hl7.raw";
/// Raw FHIR R4, by default.
pub const FHIR_RAW: &str = "fhir.raw";

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicPartition {
    /// Topic name.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
}

impl std::fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}
