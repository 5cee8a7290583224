//! What the warehouse is told.

mod said;
mod splits;

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemas::Table;
use serde::{Deserialize, Serialize};

pub use said::said;
pub use splits::{DEFAULT as DEFAULT_RULE, Period, Splits, SplitsError, TaskSplits, TemporalTest, Unit};

use crate::error::OpenError;
use crate::objects::StoreSettings;
use crate::store;
use crate::tasks::Tasks;

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
    /// Days after an erasure within which no earlier version of the tables holds the patient any more.
    pub erasure_within_days: u32,
    /// Days after which rows are dropped, by table; a table that is not named keeps its rows.
    pub retention: Retention,
    /// The object store of tables and weights.
    pub store: StoreSettings,
    /// Periods and folds of the datasets.
    pub splits: Splits,
    /// The site's own tasks.
    pub tasks: TaskSettings,
    /// Departments whose care is not acute.
    pub departments: Departments,
}

impl Settings {
    /// Reads the files that this part of the configuration names: the site's tasks, and the secrets of the object store. Reaches nothing over a network, and makes
    /// nothing.
    ///
    /// # Errors
    /// With what is wrong in which of them.
    pub async fn check(&self) -> Result<(), OpenError> {
        store::base(&self.url)?;
        self.store.all()?;
        Tasks::open(&self.tasks, &self.departments).await?.hold(&self.splits)?;
        Ok(())
    }
}

/// Where the site's own tasks lie.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TaskSettings {
    /// A folder of `<task>.toml` and `<task>.sql`; none where absent.
    pub folder: Option<PathBuf>,
}

/// Departments whose patients come and go by plan, as the senders code them; capitals and small letters are the same. A list that is
/// stated stands for the one below.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Departments {
    /// Rehabilitation.
    pub rehabilitation: Vec<String>,
    /// Dialysis.
    pub dialysis: Vec<String>,
    /// Palliative care and hospice.
    pub palliative: Vec<String>,
}

impl Default for Departments {
    fn default() -> Self {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            rehabilitation: list(&["REH", "REHAB", "REHABILITATION", "PMR", "PM&R"]),
            dialysis: list(&["DIA", "DIAL", "DIALYSIS", "HEMODIALYSIS"]),
            palliative: list(&["PAL", "PALLIATIVE", "PALLIATIVE CARE", "HOSPICE"]),
        }
    }
}

/// Days for which a table keeps its rows, counted from `known_at`. Of `messages` the bytes go, the rows stay.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Retention(pub BTreeMap<Table, u32>);

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: ".wardstream/warehouse".to_owned(),
            memory_limit_mb: 1_536,
            compact_files: 64,
            compact_target_mb: 16,
            checkpoint_commits: 100,
            keep_days: 30,
            erasure_within_days: 7,
            retention: Retention::default(),
            store: StoreSettings::default(),
            splits: Splits::default(),
            tasks: TaskSettings::default(),
            departments: Departments::default(),
        }
    }
}
