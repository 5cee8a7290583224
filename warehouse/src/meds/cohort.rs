//! The readmission cohort straight from the files of an export: what ACES answers from the same files, to be measured beside it.

use std::path::Path;

use datafusion::arrow::array::AsArray;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};

use crate::error::QueryError;

const COHORT: &str = include_str!("../../meds/readmission.sql");
/// The few rows of all that the rules look at.
const FACTS: &str = "SELECT subject_id, time, code FROM data \
     WHERE starts_with(code, 'HOSPITAL_') OR starts_with(code, 'DISCHARGED_FROM//') OR strpos(code, '//readmission') > 0";
/// Shards lie in a folder for each split.
const SUBFOLDERS: &str = "datafusion.execution.listing_table_ignore_subdirectory";
/// Of the many rows whose code is none of those, no other column is decoded.
const PUSHDOWN: &str = "datafusion.execution.parquet.pushdown_filters";
/// Threads, as many as the views have.
const THREADS: usize = 2;

/// Stays that count, and those that were followed by another within 30 days.
///
/// # Errors
/// Where the folder is no export.
pub async fn readmission(export: &Path) -> Result<(usize, usize), QueryError> {
    let ctx = SessionContext::new_with_config(
        SessionConfig::new().with_target_partitions(THREADS).set_bool(SUBFOLDERS, false).set_bool(PUSHDOWN, true),
    );
    let options = ParquetReadOptions::default().parquet_pruning(true);
    ctx.register_parquet("data", export.join("data").display().to_string(), options).await?;
    ctx.register_table("facts", ctx.sql(FACTS).await?.into_view())?;
    let (mut stays, mut returned) = (0, 0);
    for batch in ctx.sql(COHORT).await?.collect().await? {
        stays += batch.num_rows();
        returned += batch.column_by_name("boolean_value").map_or(0, |column| column.as_boolean().true_count());
    }
    Ok((stays, returned))
}
