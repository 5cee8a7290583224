//! What is done beside the appends: merging small files, summing up logs in checkpoints, removing what no kept version needs.
//!
//! Each piece of work is bounded and may fail: the next turn tries again, and nothing is lost by it.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use datafusion::execution::SessionState;
use deltalake_core::kernel::transaction::CommitProperties;
use deltalake_core::operations::vacuum::VacuumMode;
use deltalake_core::{DeltaTable, DeltaTableError, checkpoints};
use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use schemas::Table;

use crate::error::CompactError;
use crate::layout;
use crate::store::Warehouse;

/// A commit of rows or of merged files does nothing else: checkpoints and clearing away have turns of their own.
pub fn commit_alone(properties: CommitProperties) -> CommitProperties {
    properties.with_create_checkpoint(false).with_cleanup_expired_logs(Some(false))
}

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

    /// Removes files and log entries that no version of the last `keep_days` needs, by the store's own clock.
    ///
    /// # Errors
    /// Where the store is away; the next turn tries again.
    pub async fn vacuum(&self) -> Result<(), CompactError> {
        for table in Table::ALL {
            let failed = |source| CompactError { table: table.as_str(), source };
            let delta = self.keeping_as_configured(table).await.map_err(failed)?;
            let vacuum = delta.clone().vacuum().with_mode(VacuumMode::Full).with_enforce_retention_duration(false);
            vacuum.with_commit_properties(commit_alone(CommitProperties::default())).await.map_err(failed)?;
            checkpoints::cleanup_metadata(&delta, None).await.map_err(failed)?;
        }
        Ok(())
    }

    /// The table, told for how long history is kept where that has changed since it was made.
    async fn keeping_as_configured(&self, table: Table) -> Result<DeltaTable, DeltaTableError> {
        let keep_days = self.0.settings.keep_days.max(1);
        let delta = self.snapshot(table, None).await?;
        let kept = delta.snapshot()?.table_config().deleted_file_retention_duration;
        if kept == Some(Duration::from_secs(u64::from(keep_days) * 86_400)) {
            return Ok(delta);
        }
        let properties = layout::configuration(table, keep_days).into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        delta.set_tbl_properties().with_properties(properties).await
    }

    async fn merge_files(&self, table: Table) -> Result<(), DeltaTableError> {
        let target = NonZeroU64::new(self.0.settings.compact_target_mb << 20).unwrap_or(NonZeroU64::MIN);
        let delta = self.snapshot(table, None).await?;
        let small = delta.snapshot()?.snapshot().log_data().iter().filter(|file| file.size() < target.get().cast_signed()).count();
        if small < self.0.settings.compact_files {
            return Ok(());
        }
        // One file at a time.
        let session = Arc::<SessionState>::clone(&self.0.plumbing);
        let merge = delta.optimize().with_target_size(target).with_max_concurrent_tasks(1).with_session_state(session);
        merge.with_writer_properties(layout::writing()).with_commit_properties(commit_alone(CommitProperties::default())).await?;
        Ok(())
    }

    /// A reader starts at the newest checkpoint: it must not lie thousands of commits back.
    async fn sum_up(&self, table: Table) -> Result<(), DeltaTableError> {
        let delta = self.snapshot(table, None).await?;
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

/// Version of the newest checkpoint; 0 where there is none.
async fn last_checkpoint(delta: &DeltaTable) -> u64 {
    let log = delta.log_store();
    let hint = async {
        let found = log.object_store(None).get(&Path::from("_delta_log/_last_checkpoint")).await.ok()?;
        let hint: serde_json::Value = serde_json::from_slice(&found.bytes().await.ok()?).ok()?;
        hint.get("version")?.as_u64()
    };
    hint.await.unwrap_or(0)
}
