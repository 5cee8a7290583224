//! What the warehouse is told.

mod splits;

use serde::{Deserialize, Serialize};

pub use splits::{DEFAULT as DEFAULT_RULE, Period, Splits, SplitsError, TaskSplits, TemporalTest, Unit};

/// The `[warehouse]` part of the configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// A folder, or an object store's URL.
    pub url: String,
    /// Memory that queries may use together.
    pub memory_limit_mb: usize,
    /// A table is compacted when it holds this many files,
    pub compact_files: usize,
    /// of less than this size.
    pub compact_target_mb: u64,
    /// A table's log is summed up in a checkpoint after this many commits.
    pub checkpoint_commits: u64,
    /// Days for which earlier versions of the tables can be read; what only they need is removed afterwards.
    pub keep_days: u32,
    /// Periods and folds of the datasets.
    pub splits: Splits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: ".wardstream/warehouse".to_owned(),
            memory_limit_mb: 1_536,
            compact_files: 64,
            compact_target_mb: 16,
            checkpoint_commits: 100,
            keep_days: 30,
            splits: Splits::default(),
        }
    }
}
