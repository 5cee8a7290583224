//! What the scorer is told.

use serde::{Deserialize, Serialize};

/// The `[scorer]` part of the configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// A batch is scored when its notes hold this many tokens (estimated at four bytes each),
    pub budget_tokens: usize,
    /// or when its oldest note has waited this long.
    pub batch_age_ms: u64,
    /// How many notes' last predictions are remembered here; older ones are asked of the warehouse.
    pub remembered_notes: usize,
    /// Pause between two attempts at a publication that failed.
    pub retry_ms: u64,
    /// How often drift is judged.
    pub monitor_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { budget_tokens: 16_384, batch_age_ms: 20, remembered_notes: 200_000, retry_ms: 1_000, monitor_ms: 5_000 }
    }
}
