//! A relation that is computed once, when it is first asked for.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::datasource::{MemTable, TableProvider, TableType};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::{ExecutionPlan, collect};
use tokio::sync::OnceCell;

/// A plan and, once somebody has asked, its rows.
#[derive(Debug)]
pub struct Lazy {
    plan: LogicalPlan,
    schema: SchemaRef,
    rows: OnceCell<MemTable>,
}

impl Lazy {
    /// Nothing is computed yet.
    pub fn new(plan: LogicalPlan) -> Self {
        let schema = Arc::clone(plan.schema().inner());
        Self { plan, schema, rows: OnceCell::new() }
    }

    async fn compute(&self, session: &dyn Session) -> Result<MemTable> {
        let physical = session.create_physical_plan(&self.plan).await?;
        let batches = collect(physical, session.task_ctx()).await?;
        // The physical plan may know more columns to be never NULL than the logical one promises.
        let batches = batches.into_iter().map(|batch| Ok(batch.with_schema(Arc::clone(&self.schema))?)).collect::<Result<Vec<_>>>()?;
        MemTable::try_new(Arc::clone(&self.schema), vec![batches])
    }
}

#[async_trait]
impl TableProvider for Lazy {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
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
        let rows = self.rows.get_or_try_init(|| self.compute(state)).await?;
        rows.scan(state, projection, filters, limit).await
    }
}
