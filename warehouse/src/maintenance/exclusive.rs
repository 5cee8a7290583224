//! Commits that put other files in the place of some, kept apart from each other.
//!
//! Delta's own check asks whether rows were changed, and lets two merges of the same files pass, or a merge and an erasure: every row of
//! those files would then stand twice. Here the later commit is refused.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use deltalake_core::kernel::Version;
use deltalake_core::kernel::transaction::TransactionError;
use deltalake_core::logstore::{CommitOrBytes, LogStore, LogStoreConfig, LogStoreRef};
use deltalake_core::{DeltaResult, DeltaTable, DeltaTableError};
use object_store::ObjectStore;
use uuid::Uuid;

/// The table at its present version, for one commit that replaces files. What comes of it is to be read from the table's own log anew.
pub async fn apart(delta: &DeltaTable) -> Result<DeltaTable, DeltaTableError> {
    let since = delta.version().unwrap_or(0);
    let mut apart = DeltaTable::new(Arc::new(Exclusive { log: delta.log_store(), since }));
    apart.load_version(since).await?;
    Ok(apart)
}

/// A log whose commits are refused where one after `since` removed a file that they remove too.
struct Exclusive {
    log: LogStoreRef,
    since: Version,
}

/// The files are no longer there to be replaced: plan anew.
#[derive(Debug, thiserror::Error)]
#[error("another commit replaced the same files first")]
struct Overtaken;

/// Paths of the files that a commit takes out of the table.
fn removed(commit: &[u8]) -> BTreeSet<String> {
    let actions = commit.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
    actions.filter_map(|action| Some(action.get("remove")?.get("path")?.as_str()?.to_owned())).collect()
}

fn refused(msg: &str, source: impl std::error::Error + Send + Sync + 'static) -> TransactionError {
    TransactionError::LogStoreError { msg: msg.to_owned(), source: Box::new(source) }
}

#[async_trait]
impl LogStore for Exclusive {
    fn name(&self) -> String {
        self.log.name()
    }

    async fn refresh(&self) -> DeltaResult<()> {
        self.log.refresh().await
    }

    async fn read_commit_entry(&self, version: Version) -> DeltaResult<Option<Bytes>> {
        self.log.read_commit_entry(version).await
    }

    async fn write_commit_entry(&self, version: Version, commit: CommitOrBytes, operation: Uuid) -> Result<(), TransactionError> {
        if let CommitOrBytes::LogBytes(bytes) = &commit {
            let ours = removed(bytes);
            for earlier in self.since + 1..version {
                let read = self.log.read_commit_entry(earlier).await.map_err(|source| refused("could not read a commit", source))?;
                if read.is_none_or(|bytes| !removed(&bytes).is_disjoint(&ours)) {
                    return Err(refused("files were replaced twice", Overtaken));
                }
            }
        }
        self.log.write_commit_entry(version, commit, operation).await
    }

    async fn abort_commit_entry(&self, version: Version, commit: CommitOrBytes, operation: Uuid) -> Result<(), TransactionError> {
        self.log.abort_commit_entry(version, commit, operation).await
    }

    async fn get_latest_version(&self, start: Version) -> DeltaResult<Version> {
        self.log.get_latest_version(start).await
    }

    fn object_store(&self, operation: Option<Uuid>) -> Arc<dyn ObjectStore> {
        self.log.object_store(operation)
    }

    fn root_object_store(&self, operation: Option<Uuid>) -> Arc<dyn ObjectStore> {
        self.log.root_object_store(operation)
    }

    fn config(&self) -> &LogStoreConfig {
        self.log.config()
    }
}
