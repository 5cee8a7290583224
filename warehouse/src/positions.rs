//! `table_positions`: how far the tables' own logs say that each partition has landed. `conservation` holds the rows against it,
//! so that even a lost last record is seen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{AsArray, Int32Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::datasource::{MemTable, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::collect;
use datafusion::prelude::SessionContext;
use deltalake_core::DeltaTable;
use schemas::{Table, TopicPartition};

use crate::append::app_id;
use crate::computed::Rows;
use crate::transactions;

/// Every partition that any table has a row of.
const PARTITIONS: &str = "SELECT topic, \"partition\" FROM message_rows UNION SELECT source_topic, source_partition FROM event_rows \
                          UNION SELECT source_topic, source_partition FROM note_rows UNION SELECT source_topic, source_partition FROM prediction_rows";

/// The relation, asked of the logs when somebody first wants it. Without tables it is empty: of an earlier instant the logs
/// say nothing.
pub struct LogPositions {
    partitions: LogicalPlan,
    tables: BTreeMap<Table, DeltaTable>,
    schema: SchemaRef,
}

impl std::fmt::Debug for LogPositions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogPositions").finish_non_exhaustive()
    }
}

impl LogPositions {
    /// Over the base relations that `ctx` holds.
    pub async fn new(ctx: &SessionContext, tables: BTreeMap<Table, DeltaTable>) -> Result<Self> {
        Ok(Self { partitions: ctx.sql(PARTITIONS).await?.into_optimized_plan()?, tables, schema: schema() })
    }
}

#[async_trait]
impl Rows for LogPositions {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    async fn compute(&self, session: &dyn Session) -> Result<Arc<dyn TableProvider>> {
        let mut rows = Vec::new();
        if !self.tables.is_empty() {
            let failed = |error| DataFusionError::External(Box::new(error));
            let physical = session.create_physical_plan(&self.partitions).await?;
            let partitions = distinct(&collect(physical, session.task_ctx()).await?)?;
            for (table, delta) in &self.tables {
                let of_all = transactions::of_all(delta).await.map_err(failed)?;
                for partition in &partitions {
                    let id = app_id(partition);
                    let last = match &of_all {
                        Some(known) => known.get(&id).copied(),
                        None => {
                            delta.snapshot().map_err(failed)?.transaction_version(delta.log_store().as_ref(), id).await.map_err(failed)?
                        }
                    };
                    rows.extend(last.map(|last| (table.as_str(), partition.clone(), last)));
                }
            }
        }
        let columns = vec![
            Arc::new(rows.iter().map(|row| Some(row.0)).collect::<StringArray>()) as _,
            Arc::new(rows.iter().map(|row| Some(row.1.topic.as_str())).collect::<StringArray>()) as _,
            Arc::new(rows.iter().map(|row| row.1.partition).collect::<Int32Array>()) as _,
            Arc::new(rows.iter().map(|row| row.2).collect::<Int64Array>()) as _,
        ];
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        Ok(Arc::new(MemTable::try_new(Arc::clone(&self.schema), vec![vec![rows]])?))
    }
}

/// Table, topic, partition, and the last offset that the table's log says it holds.
fn schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(vec![
        text("table_name"),
        text("topic"),
        Field::new("partition", DataType::Int32, false),
        Field::new("last_offset", DataType::Int64, false),
    ]))
}

fn distinct(batches: &[RecordBatch]) -> Result<BTreeSet<TopicPartition>> {
    let mut found = BTreeSet::new();
    for batch in batches {
        let topics = cast(batch.column(0), &DataType::Utf8)?;
        let partitions = cast(batch.column(1), &DataType::Int32)?;
        for (topic, partition) in topics.as_string::<i32>().iter().zip(partitions.as_primitive::<Int32Type>()) {
            found.extend(topic.zip(partition).map(|(topic, partition)| TopicPartition { topic: topic.to_owned(), partition }));
        }
    }
    Ok(found)
}
