//! What was appended to a table between two of its versions, by its log: merged files say nothing new.

use std::ops::RangeInclusive;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::{DataFusionError, Result};
use deltalake_core::DeltaTable;
use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;

use crate::moments::fitted;

/// A line of a commit, as far as it matters here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Action {
    add: Option<File>,
    remove: Option<File>,
    meta_data: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    path: String,
    data_change: bool,
}

/// The files that these versions appended. `None` where rows went, columns came, or the log is no longer there.
///
/// # Errors
/// Where the log cannot be read.
async fn appended(delta: &DeltaTable, versions: RangeInclusive<u64>) -> Result<Option<Vec<String>>> {
    let failed = |error| DataFusionError::External(Box::new(error));
    let log = delta.log_store();
    let mut files = Vec::new();
    for version in versions {
        let Some(commit) = log.read_commit_entry(version).await.map_err(failed)? else { return Ok(None) };
        for line in commit.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let action: Action = serde_json::from_slice(line).map_err(|error| DataFusionError::External(Box::new(error)))?;
            if action.meta_data.is_some() || action.remove.is_some_and(|file| file.data_change) {
                return Ok(None);
            }
            files.extend(action.add.filter(|file| file.data_change).map(|file| file.path));
        }
    }
    Ok(Some(files))
}

/// The rows that these versions appended, in these columns. `None` where more than that was done to the table.
///
/// # Errors
/// Where the log or a file cannot be read.
pub async fn rows(delta: &DeltaTable, versions: RangeInclusive<u64>, schema: &SchemaRef) -> Result<Option<Vec<RecordBatch>>> {
    let Some(files) = appended(delta, versions).await? else { return Ok(None) };
    let store = delta.log_store().object_store(None);
    let mut rows = Vec::new();
    for file in files {
        let path = Path::from_url_path(&file).map_err(|error| DataFusionError::External(Box::new(error)))?;
        let found = store.get(&path).await.map_err(|error| DataFusionError::ObjectStore(Box::new(error)))?;
        let bytes = found.bytes().await.map_err(|error| DataFusionError::ObjectStore(Box::new(error)))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let columns = ProjectionMask::columns(reader.parquet_schema(), names);
        for batch in reader.with_projection(columns).build()? {
            let batch = batch?;
            let places =
                schema.fields().iter().map(|field| batch.schema().index_of(field.name())).collect::<std::result::Result<Vec<_>, _>>()?;
            rows.push(fitted(&batch.project(&places)?, schema)?);
        }
    }
    Ok(Some(rows))
}
