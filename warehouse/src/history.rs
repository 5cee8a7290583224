//! Earlier versions of the tables: which can still be read, and a clear answer where one cannot.
//!
//! Asked when a version is opened, so that no query ends in the middle for want of a file.

use std::collections::HashSet;

use deltalake_core::{DeltaTable, DeltaTableError};
use object_store::ObjectStore;
use object_store::path::Path;
use schemas::Table;

use crate::error::QueryError;
use crate::read::Pin;
use crate::store::Warehouse;

impl Warehouse {
    /// The table as it stood at a version.
    ///
    /// # Errors
    /// Where there is no such version yet, or what it held is no longer kept; the error names the oldest that is.
    pub(crate) async fn snapshot_at(&self, table: Table, version: i64) -> Result<DeltaTable, QueryError> {
        let failed = |source| QueryError::Log { table: table.as_str(), source };
        let now = self.snapshot(table).await.map_err(failed)?;
        let newest = now.version().unwrap_or(0);
        let wanted = u64::try_from(version).ok().filter(|wanted| *wanted <= newest);
        let wanted = wanted.ok_or(QueryError::NoVersion { table: table.as_str(), version, newest })?;
        if wanted == newest {
            return Ok(now);
        }
        let mut past = now.clone();
        if past.load_version(wanted).await.is_ok() && holds_only(&past, &files(&now).map_err(failed)?).map_err(failed)? {
            return Ok(past);
        }
        let stored = stored(&now).await.map_err(failed)?;
        if let Some(past) = readable(&now, wanted, &stored).await {
            return Ok(past);
        }
        let oldest = oldest(&now, wanted, newest, &stored).await;
        Err(QueryError::Version { table: table.as_str(), version, oldest, keep_days: self.0.settings.keep_days })
    }

    /// Whether all that the pin names can still be read: history goes when its time is over, and with what is erased at once.
    ///
    /// # Errors
    /// Where a table's log cannot be read.
    pub async fn stands(&self, pin: &Pin) -> Result<bool, QueryError> {
        for (&table, &version) in &pin.versions {
            match self.snapshot_at(table, version).await {
                Ok(_) => {}
                Err(QueryError::Version { .. } | QueryError::NoVersion { .. }) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

fn files(delta: &DeltaTable) -> Result<HashSet<Path>, DeltaTableError> {
    Ok(delta.snapshot()?.log_data().iter().map(|file| file.object_store_path()).collect())
}

fn holds_only(delta: &DeltaTable, known: &HashSet<Path>) -> Result<bool, DeltaTableError> {
    Ok(delta.snapshot()?.log_data().iter().all(|file| known.contains(&file.object_store_path())))
}

/// The files that lie in the table's folder.
async fn stored(delta: &DeltaTable) -> Result<HashSet<Path>, DeltaTableError> {
    let found = delta.log_store().object_store(None).list_with_delimiter(None).await?;
    Ok(found.objects.into_iter().map(|object| object.location).collect())
}

/// The table at a version whose log can be read and whose files are all there.
async fn readable(delta: &DeltaTable, version: u64, stored: &HashSet<Path>) -> Option<DeltaTable> {
    let mut past = DeltaTable::new(delta.log_store());
    past.load_version(version).await.ok()?;
    holds_only(&past, stored).ok()?.then_some(past)
}

/// From which version on all can be read: between one that cannot and the newest, which can.
async fn oldest(delta: &DeltaTable, mut gone: u64, newest: u64, stored: &HashSet<Path>) -> u64 {
    let mut kept = newest;
    while kept - gone > 1 {
        let middle = gone + (kept - gone) / 2;
        if readable(delta, middle, stored).await.is_some() {
            kept = middle;
        } else {
            gone = middle;
        }
    }
    kept
}

#[cfg(test)]
mod tests;
