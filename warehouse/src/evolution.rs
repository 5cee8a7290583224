//! Tables of other releases: what this release adds to an older one's tables, and which it must not touch.
//!
//! All tables are looked at before any is changed. Columns are only ever added, may be NULL, and are added in the log before the first
//! row is written; whoever loses a race for it looks again.

use std::collections::BTreeMap;

use datafusion::arrow::array::RecordBatch;
use deltalake_core::kernel::StructType;
use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel as _;
use deltalake_core::kernel::transaction::PROTOCOL;
use deltalake_core::{DeltaTable, DeltaTableError, StructField};
use schemas::Table;

use crate::error::OpenError;
use crate::layout;

/// How often a race for a change of the tables may be lost at opening.
const ATTEMPTS: usize = 8;

/// What a table is to this release.
enum Found {
    /// Its own.
    Ours(DeltaTable),
    /// An older release's, without these columns.
    Older(DeltaTable, Vec<StructField>),
    /// Not there yet.
    Absent(DeltaTable),
}

/// Opens all tables as this release writes them.
///
/// # Errors
/// Where one cannot be read, or is another release's and cannot be brought forward: then none was changed.
pub async fn open_all(
    build: impl Fn(Table) -> Result<DeltaTable, OpenError>,
    keep_days: u32,
) -> Result<BTreeMap<Table, DeltaTable>, OpenError> {
    let mut attempts = 0;
    loop {
        let mut found = Vec::new();
        for table in Table::ALL {
            found.push((table, look(table, build(table)?).await?));
        }
        attempts += 1;
        match bring_forward(found, keep_days).await {
            Ok(tables) => return Ok(tables),
            Err(error) if attempts >= ATTEMPTS => return Err(error),
            Err(error) => tracing::debug!(%error, "another process opened the tables at the same time; looking again"),
        }
    }
}

/// Reads what a table is; changes nothing.
async fn look(table: Table, mut delta: DeltaTable) -> Result<Found, OpenError> {
    let failed = |source| OpenError::Table { table: table.as_str(), source };
    match delta.load().await {
        Ok(()) => {}
        Err(DeltaTableError::NotATable(_)) => return Ok(Found::Absent(delta)),
        Err(source) if is_newer_protocol(&source) => return Err(OpenError::Protocol { table: table.as_str(), source }),
        Err(source) => return Err(failed(source)),
    }
    let snapshot = delta.snapshot().map_err(failed)?;
    PROTOCOL
        .can_write_to(snapshot.snapshot())
        .map_err(|source| OpenError::Protocol { table: table.as_str(), source: DeltaTableError::Transaction { source } })?;
    let missing = missing(table, &snapshot.schema())?;
    Ok(if missing.is_empty() { Found::Ours(delta) } else { Found::Older(delta, missing) })
}

/// The kernel refuses a log that needs a newer reader before it shows anything of it, in words of several kinds.
fn is_newer_protocol(error: &DeltaTableError) -> bool {
    let DeltaTableError::KernelError(_) = error else { return false };
    let said = error.to_string().to_lowercase();
    !said.contains("found") && ["unsupported", "not supported", "protocol", "feature"].iter().any(|word| said.contains(word))
}

/// The columns that the stored table lacks, all of which may be NULL.
fn missing(table: Table, stored: &StructType) -> Result<Vec<StructField>, OpenError> {
    let name = table.as_str();
    let wanted: StructType = table.schema().as_ref().try_into_kernel().map_err(|source| OpenError::Columns { table: name, source })?;
    if let Some(unknown) = stored.fields().find(|field| wanted.field(field.name()).is_none()) {
        return Err(OpenError::Newer { table: name, column: unknown.name().clone() });
    }
    let mut missing = Vec::new();
    for field in wanted.fields() {
        match stored.field(field.name()) {
            None if field.is_nullable() => missing.push(field.clone()),
            None => return Err(OpenError::Schema { table: name, column: field.name().clone() }),
            Some(there) if there.data_type() == field.data_type() && there.is_nullable() == field.is_nullable() => {}
            Some(there) => {
                return Err(OpenError::Changed { table: name, column: field.name().clone(), stored: shown(there), wanted: shown(field) });
            }
        }
    }
    Ok(missing)
}

fn shown(field: &StructField) -> String {
    format!("{}{}", field.data_type(), if field.is_nullable() { "" } else { " not null" })
}

async fn bring_forward(found: Vec<(Table, Found)>, keep_days: u32) -> Result<BTreeMap<Table, DeltaTable>, OpenError> {
    let mut tables = BTreeMap::new();
    for (table, found) in found {
        let delta = match found {
            Found::Ours(delta) => Ok(delta),
            Found::Older(delta, missing) => {
                tracing::info!(table = table.as_str(), columns = missing.len(), "adding columns to a table of an older release");
                delta.add_columns().with_fields(missing).await
            }
            Found::Absent(delta) => {
                let empty = delta.write(vec![RecordBatch::new_empty(table.schema())]);
                empty.with_configuration(layout::configuration(table, keep_days)).await
            }
        };
        tables.insert(table, delta.map_err(|source| OpenError::Table { table: table.as_str(), source })?);
    }
    Ok(tables)
}

#[cfg(test)]
mod tests;
