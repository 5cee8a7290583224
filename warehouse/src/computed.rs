//! Relations whose rows are no files but are computed when a query names them.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::Session;
use datafusion::datasource::{MemTable, TableProvider, TableType};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::{ExecutionPlan, collect};
use tokio::sync::OnceCell;

/// How the rows come about.
#[async_trait]
pub trait Rows: Debug + Send + Sync + 'static {
    /// Columns of the rows.
    fn schema(&self) -> SchemaRef;

    /// All of them.
    async fn compute(&self, session: &dyn Session) -> Result<MemTable>;
}

/// The relation of such rows.
#[derive(Debug)]
pub struct Computed<R> {
    rows: R,
    /// What was computed, where it is kept.
    kept: Option<OnceCell<MemTable>>,
}

impl<R: Rows> Computed<R> {
    /// Computed when it is first asked for, and kept.
    pub fn once(rows: R) -> Self {
        Self { rows, kept: Some(OnceCell::new()) }
    }

    /// Computed anew by every query that names it.
    pub fn anew(rows: R) -> Self {
        Self { rows, kept: None }
    }
}

#[async_trait]
impl<R: Rows> TableProvider for Computed<R> {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match &self.kept {
            Some(kept) => kept.get_or_try_init(|| self.rows.compute(state)).await?.scan(state, projection, filters, limit).await,
            None => self.rows.compute(state).await?.scan(state, projection, filters, limit).await,
        }
    }
}

/// The rows of a query, by its optimized plan. It is not optimized again: a second turn may lose a filter that the first has moved.
#[async_trait]
impl Rows for LogicalPlan {
    fn schema(&self) -> SchemaRef {
        Arc::clone(LogicalPlan::schema(self).inner())
    }

    async fn compute(&self, session: &dyn Session) -> Result<MemTable> {
        let schema = Rows::schema(self);
        let physical = match session.as_any().downcast_ref::<SessionState>() {
            Some(state) => state.query_planner().create_physical_plan(self, state).await?,
            None => session.create_physical_plan(self).await?,
        };
        let batches = collect(physical, session.task_ctx()).await?;
        let batches = batches.iter().map(|batch| kept(batch, &schema)).collect::<Result<Vec<_>>>()?;
        MemTable::try_new(schema, vec![batches])
    }
}

/// Rows that can be kept: without the buffers of whole files that views of texts share, which would be held, and counted again by every
/// sort over them, with each batch. The schema is the promised one: the physical plan may know more columns to be never NULL.
fn kept(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(|column| match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()) as ArrayRef,
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
        _ => Arc::clone(column),
    });
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns.collect(), &rows)?)
}
