//! How far every application has come with a table, from one reading of its log. The library answers for one application at a time, and
//! reads the log again for each.

use std::collections::HashMap;

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type};
use deltalake_core::{DeltaTable, DeltaTableError};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;

use crate::maintenance::last_checkpoint;

/// Commits that are read beside one another: a store far away answers each after some milliseconds.
const BESIDE: usize = 16;

/// A line of a commit, of which only this matters.
#[derive(Deserialize)]
struct Action {
    txn: Option<Transaction>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Transaction {
    app_id: String,
    version: i64,
}

/// What each application last said of itself, by its id. `None` where the log is not of the form that this reads: a commit that is no longer
/// there without the one checkpoint file that sums it up.
///
/// # Errors
/// Where the log cannot be read.
pub async fn of_all(delta: &DeltaTable) -> Result<Option<HashMap<String, i64>>, DeltaTableError> {
    let Some(newest) = delta.version() else { return Ok(None) };
    let summed_up = Some(last_checkpoint(delta).await).filter(|version| (1..=newest).contains(version));
    let log = delta.log_store();
    let mut found = match summed_up {
        Some(version) => match of_checkpoint(delta, version).await {
            Some(found) => found,
            None => return Ok(None),
        },
        None => HashMap::new(),
    };
    let first = summed_up.map_or(0, |version| version + 1);
    let read = stream::iter(first..=newest).map(|version| {
        let log = log.clone();
        async move { log.read_commit_entry(version).await }
    });
    let mut commits = read.buffered(BESIDE);
    // The oldest first: what is said later stands.
    while let Some(commit) = commits.try_next().await? {
        let Some(commit) = commit else { return Ok(None) };
        for line in commit.split(|byte| *byte == b'\n').filter(|line| memchr::memmem::find(line, b"\"txn\"").is_some()) {
            let action: Action = serde_json::from_slice(line).map_err(|error| DeltaTableError::Generic(error.to_string()))?;
            found.extend(action.txn.map(|said| (said.app_id, said.version)));
        }
    }
    Ok(Some(found))
}

/// What a checkpoint of one file sums up; `None` where there is no such file.
async fn of_checkpoint(delta: &DeltaTable, version: u64) -> Option<HashMap<String, i64>> {
    let path = Path::from(format!("_delta_log/{version:020}.checkpoint.parquet"));
    let bytes = delta.log_store().object_store(None).get(&path).await.ok()?.bytes().await.ok()?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).ok()?;
    let mut found = HashMap::new();
    let said = ProjectionMask::columns(reader.parquet_schema(), ["txn"]);
    for batch in reader.with_projection(said).build().ok()? {
        let batch = batch.ok()?;
        let said = batch.column_by_name("txn")?.as_struct_opt()?;
        let ids = cast(said.column_by_name("appId")?, &DataType::Utf8).ok()?;
        let versions = cast(said.column_by_name("version")?, &DataType::Int64).ok()?;
        let rows = ids.as_string::<i32>().iter().zip(versions.as_primitive::<Int64Type>()).enumerate();
        found.extend(rows.filter(|(row, _)| said.is_valid(*row)).filter_map(|(_, (id, version))| Some((id?.to_owned(), version?))));
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use schemas::{EventCode, Table};

    use super::*;
    use crate::append::app_id;
    use crate::store::tests::{Record, Ward, fact};

    /// Holds one reading of each log against the library's answer for each partition.
    async fn is_the_librarys_answer(ward: &Ward, summed_up: bool) {
        let partitions = ward.warehouse.positions().await.expect("reads").into_keys().collect::<Vec<_>>();
        assert!(!partitions.is_empty());
        for table in [Table::Messages, Table::Events] {
            let delta = ward.warehouse.snapshot(table).await.expect("a table");
            assert_eq!(last_checkpoint(&delta).await > 0, summed_up);
            let found = of_all(&delta).await.expect("reads").expect("of our form");
            for partition in &partitions {
                let id = app_id(partition);
                let alone = delta.snapshot().expect("loaded").transaction_version(delta.log_store().as_ref(), &id).await.expect("reads");
                assert_eq!(found.get(&id).copied(), alone, "{table:?} {id}");
                assert!(alone.is_some());
            }
        }
    }

    #[tokio::test]
    async fn one_reading_of_the_log_says_what_each_application_said_last_with_and_without_a_checkpoint() {
        let mut ward = Ward::told(|settings| (settings.compact_files, settings.checkpoint_commits) = (1_000, 5)).await;
        for patient in 0..8 {
            ward.arrives(vec![Record::of(vec![fact(EventCode::PatientSex, &patient.to_string(), None, None)])]).await;
        }
        is_the_librarys_answer(&ward, false).await;
        ward.warehouse.compact().await.expect("sums up");
        is_the_librarys_answer(&ward, true).await;
        ward.arrives(vec![Record::of(vec![fact(EventCode::PatientSex, "another", None, None)])]).await;
        is_the_librarys_answer(&ward, true).await;
    }
}
