//! Labels in the MEDS label schema, one file a task: `task_labels/TASK/0.parquet`, sorted by subject and prediction time.
//! Every example counts, whatever its split; the note that is asked became known at prediction time.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::prelude::SessionContext;
use futures::TryStreamExt as _;
use schemas::Task;

use super::MedsError;
use crate::columnar::{Layout, Rows};
use crate::error::QueryError;
use crate::literal::quoted;
use crate::staged::Staged;
use crate::statement;

/// The column that holds a task's labels, and its type: two classes are a boolean, more an integer, a measure a number.
fn value(task: &str, label: &DataType) -> Field {
    let binary = task.parse::<Task>().is_ok_and(|task| task.classes() == 2);
    match label {
        _ if binary => Field::new("boolean_value", DataType::Boolean, true),
        kind if kind.is_integer() => Field::new("integer_value", DataType::Int64, true),
        _ => Field::new("float_value", DataType::Float32, true),
    }
}

/// How many labels were written.
pub async fn write(ctx: &SessionContext, task: &str, staged: &Staged) -> Result<u64, MedsError> {
    let named = quoted(task);
    let classes =
        ctx.sql(&format!("SELECT task FROM task_rules WHERE task = {named} AND classes IS NULL")).await.map_err(QueryError::from)?;
    let label = if classes.count().await.map_err(QueryError::from)? == 0 { "label" } else { "value" };
    let sql = format!(
        "SELECT meds_subject(patient_id) AS subject_id, prediction_at, {label} FROM examples WHERE task = {named} \
         ORDER BY subject_id, prediction_at, encounter_id"
    );
    let frame = ctx.sql(&sql).await.map_err(QueryError::from)?;
    let label = frame.schema().as_arrow().field(2).data_type().clone();
    let schema = Arc::new(Schema::new(vec![
        Field::new("subject_id", DataType::Int64, false),
        Field::new("prediction_time", DataType::Timestamp(TimeUnit::Microsecond, None), false),
        value(task, &label),
    ]));
    let name = format!("task_labels/{task}/0.parquet");
    let mut rows = Rows::begin(staged.create(&name)?, schema, Layout::TEXTS).map_err(staged.encoding(&name))?;
    let mut stream = statement::rows(frame).await.map_err(QueryError::from)?;
    while let Some(batch) = stream.try_next().await.map_err(QueryError::from)? {
        rows.push(&batch).map_err(staged.encoding(&name))?;
    }
    let count = rows.rows();
    let file = rows.end().map_err(staged.encoding(&name))?;
    staged.close(&name, file)?;
    Ok(count)
}
