//! Relations whose rows are no files but are computed when a query names them.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::{ExecutionPlan, execute_stream_partitioned};
use datafusion::prelude::DataFrame;
use tokio::sync::OnceCell;

use crate::kept::{Kept, KeptRows};

/// How the rows come about.
#[async_trait]
pub trait Rows: Debug + Send + Sync + 'static {
    /// Columns of the rows.
    fn schema(&self) -> SchemaRef;

    /// All of them.
    async fn compute(&self, session: &dyn Session) -> Result<Arc<dyn TableProvider>>;
}

/// The relation of such rows.
#[derive(Debug)]
pub struct Computed<R> {
    rows: R,
    /// What was computed, where it is kept.
    kept: Option<OnceCell<Arc<dyn TableProvider>>>,
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
#[derive(Debug)]
pub struct Query {
    plan: LogicalPlan,
    /// Whose memory and disk hold the rows.
    runtime: Arc<RuntimeEnv>,
}

impl Query {
    /// # Errors
    /// Where the query cannot be optimized.
    pub fn new(query: DataFrame, runtime: Arc<RuntimeEnv>) -> Result<Self> {
        Ok(Self { plan: query.into_optimized_plan()?, runtime })
    }
}

#[async_trait]
impl Rows for Query {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.plan.schema().inner())
    }

    async fn compute(&self, session: &dyn Session) -> Result<Arc<dyn TableProvider>> {
        let physical = match session.as_any().downcast_ref::<SessionState>() {
            Some(state) => state.query_planner().create_physical_plan(&self.plan, state).await?,
            None => session.create_physical_plan(&self.plan).await?,
        };
        let streams = execute_stream_partitioned(physical, session.task_ctx())?;
        let kept = Kept::of(&Rows::schema(self), streams, &self.runtime).await?;
        Ok(Arc::new(KeptRows(Arc::new(kept))))
    }
}
