//! Export to MEDS 0.4 (Medical Event Data Standard): shards of events sorted by subject and time, subjects' splits, codes, and the labels
//! of every task, as they were known at one instant. The same instant gives the same bytes, as with datasets.
//!
//! A subject is a living identity, merges resolved. Shards hold whole subjects of one split and stream to their files.

mod labels;
mod shards;
mod subject;
#[cfg(test)]
mod tests;

use std::path::Path;

use datafusion::prelude::SessionContext;
use jiff::Timestamp;
use schemas::{DatasetId, Digest};
use serde::Serialize;

use crate::dataset::{self, Basis, DatasetError};
use crate::error::{QueryError, ReadError};
use crate::read::AsOf;
use crate::settings::{DEFAULT_RULE, TaskSplits};
use crate::staged::{FolderError, Staged};
use crate::store::Warehouse;

pub use subject::subject;

/// Version of the standard.
const MEDS_VERSION: &str = "0.4";
/// Number of the rules of exports that stand in code and of their files' layout; raised when the same basis would give other bytes.
const FORMAT: u32 = 1;
/// What a finished export holds.
const METADATA: &str = "metadata/dataset.json";

/// No export was written.
#[derive(Debug, thiserror::Error)]
pub enum MedsError {
    /// Nothing has landed yet.
    #[error("nothing was known by then: the warehouse holds no record of that time")]
    Nothing,
    /// One in 2^63 for two patients: export with another release.
    #[error("two patients have the same subject id; nothing was written")]
    Collision,
    /// Try again.
    #[error("could not read the tables")]
    Read(#[from] ReadError),
    /// Try again.
    #[error("could not read the facts")]
    Query(#[from] QueryError),
    /// Mend the folder.
    #[error("could not write the export")]
    Folder(#[from] FolderError),
}

impl From<DatasetError> for MedsError {
    fn from(error: DatasetError) -> Self {
        match error {
            DatasetError::Nothing | DatasetError::Task { .. } => Self::Nothing,
            DatasetError::Read(source) => Self::Read(source),
            DatasetError::Query(source) => Self::Query(source),
            DatasetError::Folder(source) => Self::Folder(source),
        }
    }
}

/// What was exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MedsExport {
    /// Digest of what the export is made of; in `metadata/dataset.json` the dataset's version.
    pub dataset_version: DatasetId,
    /// Only what was known then.
    pub as_known_at: Timestamp,
    /// Subjects.
    pub subjects: u64,
    /// Events, static ones too.
    pub events: u64,
    /// Files of events.
    pub shards: u64,
    /// Labels of all tasks.
    pub labels: u64,
}

/// `metadata/dataset.json`. It names no time of creation: the same data give the same bytes.
#[derive(Serialize)]
struct Metadata<'a> {
    dataset_name: &'static str,
    dataset_version: &'a DatasetId,
    etl_name: &'static str,
    etl_version: &'static str,
    meds_version: &'static str,
    raw_source_id_columns: [&'static str; 1],
    other_extension_columns: [&'static str; 1],
}

/// What decides the bytes of an export. Its subjects are split by the shares and the salt of the rule for tasks without one of their own, which no task
/// need go by.
#[derive(Serialize)]
struct Made<'a> {
    format: u32,
    /// Rows, views, tasks and their splits.
    dataset: DatasetId,
    /// The SQL of the rows.
    rows: &'a str,
    folds: [u32; 3],
    salt: &'a str,
    /// Subjects a shard, at most.
    subjects: u64,
}

impl<'a> Made<'a> {
    fn of(dataset: DatasetId, rows: &'a str, rule: &'a TaskSplits, subjects: u64) -> Self {
        Self { format: FORMAT, dataset, rows, folds: rule.folds, salt: &rule.salt, subjects }
    }

    /// Sixteen hexadecimal digits of the digest of all of it.
    fn version(&self) -> DatasetId {
        let whole = serde_json::to_vec(self).unwrap_or_default();
        DatasetId(Digest::of(&whole).to_string().chars().take(16).collect())
    }
}

/// An export whose rows are settled, and with them its version, and of which nothing is written. Dropped, it leaves nothing.
#[must_use = "nothing is written until `write` is called"]
pub struct MedsDraft {
    staged: Staged,
    ctx: SessionContext,
    /// The same relations, with memory to sort in.
    sorting: SessionContext,
    tasks: Vec<String>,
    rule: TaskSplits,
    subjects: u64,
    version: DatasetId,
    as_known_at: Timestamp,
}

impl MedsDraft {
    /// Its version.
    pub fn version(&self) -> &DatasetId {
        &self.version
    }

    /// Only what was known then.
    pub fn as_known_at(&self) -> Timestamp {
        self.as_known_at
    }

    /// Writes the files, whatever has landed since, and puts the folder in its place.
    ///
    /// # Errors
    /// See [`MedsError`]; the folder is then as it was before.
    pub async fn write(self) -> Result<MedsExport, MedsError> {
        let Self { staged, ctx, sorting, tasks, rule, subjects, version, as_known_at } = self;
        let written = shards::write(&ctx, &sorting, &rule, &staged, subjects).await?;
        let mut labels = 0;
        for task in &tasks {
            labels += labels::write(&ctx, task, &staged).await?;
        }
        let metadata = Metadata {
            dataset_name: "wardstream",
            dataset_version: &version,
            etl_name: "wardstream export meds",
            etl_version: env!("CARGO_PKG_VERSION"),
            meds_version: MEDS_VERSION,
            raw_source_id_columns: ["encounter_id"],
            other_extension_columns: ["known_at"],
        };
        staged.put(METADATA, &serde_json::to_vec_pretty(&metadata).unwrap_or_default())?;
        staged.finish()?;
        let shards::Written { subjects, events, shards } = written;
        Ok(MedsExport { dataset_version: version, as_known_at, subjects, events, shards, labels })
    }
}

impl Warehouse {
    /// Begins an export at `out` of everything known at `at`, or by the log's watermark, at most `subjects` of them a shard.
    ///
    /// # Errors
    /// See [`MedsError`]; the folder is then as it was before.
    pub async fn export_meds(&self, at: &AsOf, out: &Path, subjects: u64) -> Result<MedsDraft, MedsError> {
        let staged = Staged::begin(out, METADATA)?;
        let as_known_at = self.resolved(at).await?.ok_or(MedsError::Nothing)?;
        let ctx = self.session(&AsOf { known_at: Some(as_known_at), ..at.clone() }).await?;
        let tasks = dataset::tasks(&ctx).await?;
        let basis = Basis::read(&ctx, "meds", &tasks, self.ruled(), as_known_at).await?;
        let (rule, subjects) = (self.splits().of(DEFAULT_RULE), subjects.max(1));
        let version = Made::of(basis.id(), &shards::rules(), &rule, subjects).version();
        let sorting = dataset::spilling(&ctx, self.export_bytes())?;
        Ok(MedsDraft { staged, ctx, sorting, tasks, rule, subjects, version, as_known_at })
    }
}
