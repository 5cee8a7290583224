//! Relations whose rows are no files but are computed when a query names them.

use std::any::Any;
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
use crate::renewal::Renewal;

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

/// The rows of a query that were computed; `None` where nobody asked for them, or the relation is none of a query.
pub(crate) fn kept(provider: &dyn TableProvider) -> Option<Arc<Kept>> {
    let computed = (provider as &dyn Any).downcast_ref::<Computed<Query>>()?;
    let rows = computed.kept.as_ref()?.get()?;
    (rows.as_ref() as &dyn Any).downcast_ref::<KeptRows>().map(|rows| Arc::clone(&rows.0))
}

/// Whether rows of the relation may hold on at later moments.
pub(crate) fn is_renewed(provider: &dyn TableProvider) -> bool {
    (provider as &dyn Any).downcast_ref::<Computed<Query>>().is_some_and(|computed| computed.rows.renewed.is_some())
}

/// The rows of a query, by its optimized plan. It is not optimized again: a second turn may lose a filter that the first has moved.
#[derive(Debug)]
pub struct Query {
    plan: LogicalPlan,
    /// Whose memory and disk hold the rows.
    runtime: Arc<RuntimeEnv>,
    renewed: Option<Renewed>,
}

/// That rows of an earlier moment may still hold.
#[derive(Debug)]
pub(crate) struct Renewed {
    /// Whose rows they are.
    pub view: String,
    /// The column that says whose a row is.
    pub key: String,
    /// What there is of earlier moments.
    pub renewal: Arc<Renewal>,
}

impl Query {
    /// # Errors
    /// Where the query cannot be optimized.
    pub fn new(query: DataFrame, runtime: Arc<RuntimeEnv>) -> Result<Self> {
        Ok(Self { plan: query.into_optimized_plan()?, runtime, renewed: None })
    }

    /// The same query, whose rows are taken over from an earlier moment where they still hold.
    pub(crate) fn renewed(self, renewed: Renewed) -> Self {
        Self { renewed: Some(renewed), ..self }
    }
}

#[async_trait]
impl Rows for Query {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.plan.schema().inner())
    }

    async fn compute(&self, session: &dyn Session) -> Result<Arc<dyn TableProvider>> {
        if let Some(Renewed { view, key, renewal }) = &self.renewed
            && let Some(kept) = renewal.rows(view, key).await?
        {
            return Ok(Arc::new(KeptRows(kept)));
        }
        let physical = match session.as_any().downcast_ref::<SessionState>() {
            Some(state) => state.query_planner().create_physical_plan(&self.plan, state).await?,
            None => session.create_physical_plan(&self.plan).await?,
        };
        let streams = execute_stream_partitioned(physical, session.task_ctx())?;
        let kept = Kept::of(&Rows::schema(self), streams, &self.runtime).await?;
        Ok(Arc::new(KeptRows(Arc::new(kept))))
    }
}
