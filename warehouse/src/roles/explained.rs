//! What EXPLAIN says of files: their names, and not where they lie.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt as _;

/// How the engine begins a list of files.
const FILES: &str = "file_groups={";

/// The rows as they come, or those of an explained plan without the folders of its files.
pub(super) fn without_places(plan: &LogicalPlan, rows: SendableRecordBatchStream) -> SendableRecordBatchStream {
    if !matches!(plan, LogicalPlan::Explain(_) | LogicalPlan::Analyze(_)) {
        return rows;
    }
    let schema = rows.schema();
    Box::pin(RecordBatchStreamAdapter::new(schema, rows.map(|batch| batch.and_then(|batch| told(&batch)))))
}

fn told(batch: &RecordBatch) -> Result<RecordBatch> {
    let column = |column: &ArrayRef| -> ArrayRef {
        match column.data_type() {
            DataType::Utf8 => Arc::new(column.as_string::<i32>().iter().map(|text| Some(names_alone(text?))).collect::<StringArray>()),
            _ => Arc::clone(column),
        }
    };
    Ok(RecordBatch::try_new(batch.schema(), batch.columns().iter().map(column).collect())?)
}

/// The text with each file's last name in the place of its path.
fn names_alone(text: &str) -> String {
    let mut parts = text.split(FILES);
    let mut said = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        said.push_str(FILES);
        let end = part.find('}').unwrap_or(part.len());
        let (files, rest) = part.split_at(end);
        for piece in files.split_inclusive(['[', ' ', ',']) {
            said.push_str(piece.rsplit('/').next().unwrap_or(piece));
        }
        said.push_str(rest);
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_and_its_place_is_not() {
        let said = "DataSourceExec: file_groups={2 groups: [[srv/wh/events/month=2024-01/a.parquet:0..10, srv/wh/events/b.parquet], [srv/c.parquet]]}, \
            projection=[a / b], file_type=parquet\nDataSourceExec: file_groups={1 group: [[srv/d.parquet, ...]]}, predicate=a / 2 > 1";
        let told = "DataSourceExec: file_groups={2 groups: [[a.parquet:0..10, b.parquet], [c.parquet]]}, \
            projection=[a / b], file_type=parquet\nDataSourceExec: file_groups={1 group: [[d.parquet, ...]]}, predicate=a / 2 > 1";
        assert_eq!(names_alone(said), told);
        assert_eq!(names_alone("ProjectionExec: expr=[a / b]"), "ProjectionExec: expr=[a / b]");
    }
}
