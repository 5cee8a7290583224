//! Datasets: a task's examples at one instant as Parquet, with a manifest that says what they are made of. The same id gives the same
//! bytes, in any process, on any number of threads, however the tables' files lie.
//!
//! Texts stream from the tables to the files and are sorted within the query pool; what does not fit spills to disk.

mod basis;
mod files;
#[cfg(test)]
pub(crate) mod fixture;
mod outside;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use datafusion::prelude::SessionContext;
use jiff::Timestamp;
use schemas::DatasetId;
use serde::Serialize;

use crate::error::{QueryError, ReadError};
use crate::read::{AsOf, ints, texts};
use crate::staged::{FolderError, Staged};
use crate::store::Warehouse;

use basis::Ruled;
pub use basis::{ALL, Basis};
use files::as_written;
pub use files::{Counted, FileOf};
pub(crate) use files::{sorted, spilling};
pub use outside::Outside;

/// What a finished dataset's folder holds beside its files.
const MANIFEST: &str = "manifest.json";

/// No dataset was written.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// Mend the command.
    #[error("there is no task `{task}` with stays by then; there are: {}, and `all`", known.join(", "))]
    Task {
        /// As asked.
        task: String,
        /// Those that have stays.
        known: Vec<String>,
    },
    /// Nothing has landed yet.
    #[error("nothing was known by then: the warehouse holds no record of that time")]
    Nothing,
    /// Try again.
    #[error("could not read the tables")]
    Read(#[from] ReadError),
    /// Try again.
    #[error("could not read the examples")]
    Query(#[from] QueryError),
    /// Mend the folder.
    #[error("could not write the dataset")]
    Folder(#[from] FolderError),
}

/// How many stays came, left and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Of which task.
    pub task: String,
    /// Step by step.
    pub step: i64,
    /// Why they are counted here.
    pub reason: String,
    /// Stays.
    pub encounters: i64,
}

/// What `manifest.json` says. All but `program` follows from the id.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Manifest {
    /// Digest of the basis.
    pub dataset_id: DatasetId,
    /// What the dataset is made of.
    #[serde(flatten)]
    pub basis: Basis,
    /// Examples of each split.
    pub counts: BTreeMap<String, Counted>,
    /// How the stays became examples.
    pub attrition: Vec<Step>,
    /// The files beside the manifest.
    pub files: Vec<FileOf>,
    /// Which release wrote it.
    pub program: &'static str,
    /// Where the examples lie, if no configured period holds any of them. Not in the file.
    #[serde(skip)]
    pub outside: Option<Outside>,
}

/// One moment of the tables.
struct Moment {
    ctx: SessionContext,
    basis: Basis,
    tasks: Vec<String>,
    /// Of its tasks, in words, under the names of their rules.
    periods: BTreeMap<String, String>,
}

/// A dataset whose rows are settled, and with them its id, and of which nothing is written. Dropped, it leaves nothing.
#[must_use = "nothing is written until `write` is called"]
pub struct DatasetDraft {
    staged: Staged,
    moment: Moment,
    sort_bytes: usize,
}

impl DatasetDraft {
    /// Its id.
    pub fn id(&self) -> DatasetId {
        self.moment.basis.id()
    }

    /// Only what was known then.
    pub fn as_known_at(&self) -> Timestamp {
        self.moment.basis.as_known_at
    }

    /// Writes the files, whatever has landed since, and puts the folder in its place.
    ///
    /// # Errors
    /// See [`DatasetError`]; the folder is then as it was before.
    pub async fn write(self) -> Result<Manifest, DatasetError> {
        let Self { staged, moment: Moment { ctx, basis, tasks, periods }, sort_bytes } = self;
        let (files, counts) = files::write(&as_written(&spilling(&ctx, sort_bytes)?), &basis, &staged).await?;
        let is_empty = counts.values().all(|split| split.examples == 0);
        let manifest = Manifest {
            dataset_id: basis.id(),
            counts,
            attrition: attrition(&ctx, &tasks).await?,
            files,
            program: concat!("wardstream ", env!("CARGO_PKG_VERSION")),
            outside: if is_empty { outside::found(&ctx, &tasks, periods).await? } else { None },
            basis,
        };
        let mut text = serde_json::to_vec_pretty(&manifest).unwrap_or_default();
        text.push(b'\n');
        staged.put(MANIFEST, &text)?;
        staged.finish()?;
        Ok(manifest)
    }
}

impl Warehouse {
    /// Begins a dataset at `out`: the splits of `task`, or of `all` tasks together, as known at `at`, or by the log's watermark. The splits of `all` are those
    /// that hold for all tasks: no patient of its training split is in another split of any task.
    ///
    /// # Errors
    /// See [`DatasetError`]; the folder is then as it was before.
    pub async fn dataset(&self, task: &str, at: &AsOf, out: &Path) -> Result<DatasetDraft, DatasetError> {
        let staged = Staged::begin(out, MANIFEST)?;
        Ok(DatasetDraft { staged, moment: self.moment(task, at).await?, sort_bytes: self.export_bytes() })
    }

    /// The id that [`Warehouse::dataset`] would have, without a folder.
    ///
    /// # Errors
    /// See [`DatasetError`].
    pub async fn dataset_id(&self, task: &str, at: &AsOf) -> Result<DatasetId, DatasetError> {
        Ok(self.moment(task, at).await?.basis.id())
    }

    pub(crate) fn ruled(&self) -> Ruled<'_> {
        Ruled { tasks: self.tasks(), splits: self.splits() }
    }

    async fn moment(&self, task: &str, at: &AsOf) -> Result<Moment, DatasetError> {
        let known_at = self.resolved(at).await?.ok_or(DatasetError::Nothing)?;
        // One session: whatever lands meanwhile is in none of its relations.
        let ctx = self.session(&AsOf { known_at: Some(known_at), ..at.clone() }).await?;
        let known = tasks(&ctx).await?;
        let tasks = if task == ALL { known } else { known.iter().filter(|known| *known == task).cloned().collect() };
        if tasks.is_empty() {
            return Err(DatasetError::Task { task: task.to_owned(), known: self::tasks(&ctx).await? });
        }
        let basis = Basis::read(&ctx, task, &tasks, self.ruled(), known_at).await?;
        let periods = outside::periods(self.splits(), &tasks);
        Ok(Moment { ctx, basis, tasks, periods })
    }

    /// Memory in which an export's rows are joined and sorted.
    pub(crate) fn export_bytes(&self) -> usize {
        self.0.settings.memory_limit_mb << 20
    }

    /// The instant that is asked for; without one, everything up to the watermark.
    pub(crate) async fn resolved(&self, at: &AsOf) -> Result<Option<Timestamp>, ReadError> {
        match (at.known_at, &at.pin) {
            (Some(known_at), _) => Ok(Some(known_at)),
            (None, Some(pin)) => Ok(pin.watermark),
            (None, None) => self.watermark().await,
        }
    }
}

/// Tasks that have stays.
pub(crate) async fn tasks(ctx: &SessionContext) -> Result<Vec<String>, QueryError> {
    let mut names = Vec::new();
    for batch in ctx.sql("SELECT DISTINCT task FROM labels ORDER BY task").await?.collect().await? {
        names.extend(texts(&batch, "task")?.into_iter().flatten());
    }
    Ok(names)
}

async fn attrition(ctx: &SessionContext, tasks: &[String]) -> Result<Vec<Step>, QueryError> {
    let mut steps = Vec::new();
    let sql = "SELECT task, CAST(step AS BIGINT) AS step, reason, CAST(encounters AS BIGINT) AS encounters FROM attrition ORDER BY task, step, reason";
    for batch in ctx.sql(sql).await?.collect().await? {
        let (of, reasons) = (texts(&batch, "task")?, texts(&batch, "reason")?);
        let (numbers, encounters) = (ints(&batch, "step")?, ints(&batch, "encounters")?);
        let rows = of.into_iter().zip(reasons).zip(numbers.into_iter().zip(encounters));
        steps.extend(rows.filter_map(|((task, reason), (step, encounters))| {
            Some(Step { task: task?, step: step?, reason: reason.unwrap_or_default(), encounters: encounters? })
        }));
    }
    steps.retain(|step| tasks.contains(&step.task));
    Ok(steps)
}
