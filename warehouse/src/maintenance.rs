//! What is done beside the appends: merging small files, summing up logs in checkpoints, removing what no kept version needs.
//!
//! Each piece of work is bounded and may fail: the next turn tries again, and nothing is lost by it.

mod exclusive;

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use datafusion::execution::SessionState;
use deltalake_core::kernel::transaction::CommitProperties;
use deltalake_core::operations::vacuum::VacuumMode;
use deltalake_core::{DeltaTable, DeltaTableError, checkpoints};
use jiff::Timestamp;
use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use schemas::Table;

pub use exclusive::apart;

use crate::erasure::{self, Since};
use crate::error::{CompactError, EraseError, VacuumError};
use crate::layout;
use crate::store::Warehouse;

/// A commit of rows or of merged files does nothing else: checkpoints and clearing away have turns of their own.
pub fn commit_alone(properties: CommitProperties) -> CommitProperties {
    properties.with_create_checkpoint(false).with_cleanup_expired_logs(Some(false))
}

const DAY: Duration = Duration::from_secs(86_400);

impl Warehouse {
    /// Merges the small files of tables that hold many, and leaves those alone that have grown to the target: a row is rewritten a
    /// few times in its life, however large its table. Then sums up logs that have grown. Runs beside appends.
    ///
    /// # Errors
    /// Where an append came between; the next turn tries again.
    pub async fn compact(&self) -> Result<(), CompactError> {
        for table in Table::ALL {
            let failed = |source| CompactError { table: table.as_str(), source };
            self.merge_files(table).await.map_err(failed)?;
            self.sum_up(table).await.map_err(failed)?;
        }
        Ok(())
    }

    /// Drops rows past their retention, then removes files and log entries that no version of the last `keep_days` needs; earlier, where
    /// a patient was erased `erasure_within_days` ago. By the store's own clock; `now` is the wall clock's.
    ///
    /// # Errors
    /// Where the store is away; the next turn tries again.
    pub async fn vacuum(&self, now: Timestamp) -> Result<(), VacuumError> {
        self.apply_retention(now).await?;
        let within = DAY * self.0.settings.erasure_within_days;
        for table in Table::ALL {
            self.vacuum_table(table, now, within).await.map_err(|source| CompactError { table: table.as_str(), source })?;
        }
        Ok(())
    }

    /// Removes at once what only versions before the last erasure need. A query that began before it may end for want of a file.
    ///
    /// # Errors
    /// Where the store is away: run it again.
    pub async fn forget_erased(&self, now: Timestamp) -> Result<(), EraseError> {
        for table in Table::ALL {
            self.vacuum_table(table, now, Duration::ZERO).await.map_err(|source| EraseError::Table { table: table.as_str(), source })?;
        }
        Ok(())
    }

    async fn vacuum_table(&self, table: Table, now: Timestamp, within: Duration) -> Result<(), DeltaTableError> {
        let delta = self.keeping_as_configured(table).await?;
        let keep = DAY * self.0.settings.keep_days.max(1);
        let marks = erasure::pending(&delta).await?;
        let since = marks.map(|marks| marks.since(now));
        let (kept, mode) = kept_for(keep, since, within);
        // Files that no log names are looked for too before an erasure counts as done with.
        let is_settled = mode == VacuumMode::Full && since.is_some_and(|since| kept <= since.newest);
        let retention = chrono::Duration::from_std(kept).unwrap_or(chrono::Duration::MAX);
        let vacuum = delta.clone().vacuum().with_mode(mode).with_retention_period(retention).with_enforce_retention_duration(false);
        vacuum.with_commit_properties(commit_alone(CommitProperties::default())).await?;
        checkpoints::cleanup_metadata(&delta, None).await?;
        if let Some(marks) = marks.filter(|_| is_settled)
            && let Err(error) = erasure::settle(self, table, marks.newest).await
        {
            tracing::debug!(table = table.as_str(), %error, "history is gone; the next vacuum says so");
        }
        Ok(())
    }

    /// The table, told for how long history is kept where that has changed since it was made.
    async fn keeping_as_configured(&self, table: Table) -> Result<DeltaTable, DeltaTableError> {
        let keep_days = self.0.settings.keep_days.max(1);
        let delta = self.snapshot(table).await?;
        let kept = delta.snapshot()?.table_config().deleted_file_retention_duration;
        if kept == Some(Duration::from_secs(u64::from(keep_days) * 86_400)) {
            return Ok(delta);
        }
        let properties = layout::configuration(table, keep_days).into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        delta.set_tbl_properties().with_properties(properties).await
    }

    async fn merge_files(&self, table: Table) -> Result<(), DeltaTableError> {
        let target = NonZeroU64::new(self.0.settings.compact_target_mb << 20).unwrap_or(NonZeroU64::MIN);
        let delta = self.snapshot(table).await?;
        let kept = delta.snapshot()?.snapshot();
        let small = kept.log_data().iter().filter(|file| file.size() < target.get().cast_signed()).count();
        if small < self.0.settings.compact_files {
            return Ok(());
        }
        // One file at a time.
        let session = Arc::<SessionState>::clone(&self.0.plumbing);
        let merge =
            exclusive::apart(&delta).await?.optimize().with_target_size(target).with_max_concurrent_tasks(1).with_session_state(session);
        merge.with_writer_properties(layout::merging(table)).with_commit_properties(commit_alone(CommitProperties::default())).await?;
        Ok(())
    }

    /// A reader starts at the newest checkpoint: it must not lie thousands of commits back.
    async fn sum_up(&self, table: Table) -> Result<(), DeltaTableError> {
        let delta = self.snapshot(table).await?;
        let version = delta.version().unwrap_or(0);
        if version.saturating_sub(last_checkpoint(&delta).await) >= self.0.settings.checkpoint_commits.max(1) {
            checkpoints::create_checkpoint(&delta, None).await?;
            // What a table knows grows with each commit since it was loaded: begin anew at the checkpoint.
            let mut fresh = DeltaTable::new(delta.log_store());
            fresh.load().await?;
            self.writer(table).await.renew(fresh);
        }
        Ok(())
    }
}

/// For how long history is kept, and how thoroughly the rest is looked for. History before an erasure goes from one day before its time is
/// up; where others followed, it goes no further than each of them allows, in turn after turn, until it has gone beyond the last. Files that
/// no log names may be an append's that is under way, unless they are a day old.
fn kept_for(keep: Duration, erased: Option<Since>, within: Duration) -> (Duration, VacuumMode) {
    let kept = match erased {
        Some(since) if since.oldest + DAY >= within => since.newest.max(within.saturating_sub(DAY)).min(since.oldest).min(keep),
        _ => keep,
    };
    (kept, if kept >= DAY { VacuumMode::Full } else { VacuumMode::Lite })
}

/// Version of the newest checkpoint; 0 where there is none.
pub async fn last_checkpoint(delta: &DeltaTable) -> u64 {
    let log = delta.log_store();
    let hint = async {
        let found = log.object_store(None).get(&Path::from("_delta_log/_last_checkpoint")).await.ok()?;
        let hint: serde_json::Value = serde_json::from_slice(&found.bytes().await.ok()?).ok()?;
        hint.get("version")?.as_u64()
    };
    hint.await.unwrap_or(0)
}

#[cfg(test)]
mod tests;
