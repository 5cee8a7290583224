//! Relations whose rows are no files but are computed when a query names them.

use std::any::Any;
use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::catalog::{MemoryCatalogProviderList, Session};
use datafusion::common::plan_err;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SessionState, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::OptimizerConfig as _;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties as _};
use datafusion::prelude::DataFrame;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::sync::OnceCell;

use crate::kept::{Kept, KeptRows};
use crate::pools;
use crate::renewal::Renewal;
use crate::session::{configured, of_views};
use crate::statement;
use crate::tasks::TaskError;

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

/// Whether the relation has rows of subjects, which hold on at later moments.
pub(crate) fn is_renewed(provider: &dyn TableProvider) -> bool {
    let computed = (provider as &dyn Any).downcast_ref::<Computed<Query>>();
    computed.and_then(|computed| computed.rows.renewed.as_ref()).is_some_and(|renewed| renewed.key.is_some())
}

/// The rows of a query.
#[derive(Debug)]
pub struct Query {
    /// Whose rows these are together. One is run after the other, so that memory is that of one.
    parts: Vec<LogicalPlan>,
    /// What optimizes the parts once somebody asks for the rows: of all views few are asked for at one moment. Parts without are optimized, and never twice: a
    /// second turn may lose a filter that the first has moved.
    optimizing: Option<SessionState>,
    /// The tasks whose rows the parts are, where they are of tasks.
    tasks: Vec<String>,
    schema: SchemaRef,
    /// Whose memory and disk hold the rows.
    runtime: Arc<RuntimeEnv>,
    renewed: Option<Renewed>,
}

/// That rows of an earlier moment may still hold.
#[derive(Debug)]
pub(crate) struct Renewed {
    /// Whose rows they are.
    pub view: String,
    /// The column that says of which subject a row is; none where rows are of records.
    pub key: Option<String>,
    /// What there is of earlier moments.
    pub renewal: Arc<Renewal>,
}

impl Query {
    /// # Errors
    /// Where the query has no types.
    pub fn new(query: DataFrame, runtime: Arc<RuntimeEnv>) -> Result<Self> {
        Self::in_parts(vec![query], runtime)
    }

    /// The rows of several queries of the same columns.
    ///
    /// # Errors
    /// Where there is none, their columns differ, or one has no types.
    pub fn in_parts(queries: Vec<DataFrame>, runtime: Arc<RuntimeEnv>) -> Result<Self> {
        let (mut parts, mut optimizing) = (Vec::new(), None);
        for query in queries {
            let (state, plan) = query.into_parts();
            parts.push(state.analyzer().execute_and_check(plan, &state.options(), |_, _| {})?);
            optimizing.get_or_insert(state);
        }
        let mut schema: Option<Schema> = None;
        for part in parts.iter().map(|part| part.schema().as_arrow()) {
            schema = Some(match schema {
                Some(all) => both(&all, part)?,
                None => part.clone(),
            });
        }
        let Some(schema) = schema else { return plan_err!("a relation of no query has no columns") };
        // Without the relations that it knows: this is going to be one of them, and would hold itself.
        let optimizing = optimizing.map(|state| {
            let config = state.config().clone();
            configured(state, config).with_catalog_list(Arc::new(MemoryCatalogProviderList::new())).build()
        });
        Ok(Self { parts, optimizing, tasks: Vec::new(), schema: Arc::new(schema), runtime, renewed: None })
    }

    /// The rows of a query that puts the rows of several behind one another (`UNION ALL`), which are its parts.
    ///
    /// # Errors
    /// Where the query cannot be optimized.
    pub fn by_branches(query: DataFrame, runtime: Arc<RuntimeEnv>) -> Result<Self> {
        let plan = query.into_optimized_plan()?;
        let schema = Arc::clone(plan.schema().inner());
        let parts = match plan {
            LogicalPlan::Union(union) => union.inputs.into_iter().map(Arc::unwrap_or_clone).collect(),
            one => vec![one],
        };
        Ok(Self { parts, optimizing: None, tasks: Vec::new(), schema, runtime, renewed: None })
    }

    /// The same query, each part of which says the rows of one of these tasks. One that fails by what it says leaves its own rows out, and no other's.
    pub(crate) fn of_tasks(self, tasks: Vec<String>) -> Self {
        Self { tasks, ..self }
    }

    /// The same query, whose rows are taken over from an earlier moment where they still hold.
    pub(crate) fn renewed(self, renewed: Renewed) -> Self {
        Self { renewed: Some(renewed), ..self }
    }
}

/// The columns of rows of either schema.
fn both(one: &Schema, other: &Schema) -> Result<Schema> {
    let alike = |(one, other): (&FieldRef, &FieldRef)| one.name() == other.name() && one.data_type() == other.data_type();
    if one.fields().len() != other.fields().len() || !one.fields().iter().zip(other.fields()).all(alike) {
        return plan_err!("the parts of a relation have different columns: {one} and {other}");
    }
    let fields = one.fields().iter().zip(other.fields());
    Ok(Schema::new(
        fields.map(|(one, other)| one.as_ref().clone().with_nullable(one.is_nullable() || other.is_nullable())).collect::<Vec<_>>(),
    ))
}

#[async_trait]
impl Rows for Query {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    async fn compute(&self, session: &dyn Session) -> Result<Arc<dyn TableProvider>> {
        let held = match &self.renewed {
            Some(Renewed { view, key: Some(key), renewal }) => renewal.rows(view, key).await?,
            Some(Renewed { view, key: None, renewal }) => renewal.of_records(view).await,
            None => None,
        };
        if let Some(kept) = held {
            return Ok(Arc::new(KeptRows(kept)));
        }
        let Some(state) = session.as_any().downcast_ref::<SessionState>() else {
            return plan_err!("a session of another engine cannot compute rows");
        };
        let state = &of_views(state);
        let mut left_out = Vec::new();
        loop {
            match self.kept(state, &left_out).await {
                Err(error) => match failed(&error).filter(|task| !left_out.contains(task)) {
                    Some(task) => {
                        tracing::error!(%error, "the task has no labels until its query is mended");
                        left_out.push(task);
                    }
                    None => return Err(error),
                },
                Ok(kept) => return Ok(Arc::new(KeptRows(Arc::new(kept)))),
            }
        }
    }
}

/// The task whose query could not be answered.
fn failed(error: &DataFusionError) -> Option<String> {
    match error.find_root() {
        DataFusionError::External(error) => error.downcast_ref::<TaskError>().map(|error| error.task().to_owned()),
        _ => None,
    }
}

impl Query {
    /// The rows of all parts but those of tasks that are left out.
    async fn kept(&self, state: &SessionState, left_out: &[String]) -> Result<Kept> {
        // What the plans name was computed while they were made: nothing waits for another turn from here on.
        let streams = self.streams(state, left_out).await?;
        let _turn = pools::turn(self.runtime.memory_pool.as_ref()).await;
        match Kept::of(&self.schema, streams, &self.runtime).await {
            Err(error) if statement::is_short(&error) => {
                let streams = self.streams(&statement::sorting(state, &error).await?, left_out).await?;
                Kept::of(&self.schema, streams, &self.runtime).await
            }
            kept => kept,
        }
    }

    /// The partitions of the parts, part behind part. None runs yet.
    async fn streams(&self, state: &SessionState, left_out: &[String]) -> Result<Vec<BoxStream<'static, Result<RecordBatch>>>> {
        let mut streams = Vec::new();
        for (index, part) in self.parts.iter().enumerate() {
            let task = self.tasks.get(index).cloned();
            if task.as_ref().is_some_and(|task| left_out.contains(task)) {
                continue;
            }
            let part = match &self.optimizing {
                Some(optimizing) => Cow::Owned(optimizing.optimizer().optimize(part.clone(), optimizing, |_, _| {})?),
                None => Cow::Borrowed(part),
            };
            let physical = state.query_planner().create_physical_plan(part.as_ref(), state).await?;
            let rows = (0..physical.output_partitioning().partition_count()).map(|place| {
                let task = task.clone();
                begun(&physical, place, state.task_ctx()).map_err(move |error| of_task(error, task.as_deref())).boxed()
            });
            join_ends(&mut streams, rows);
        }
        Ok(streams)
    }
}

/// What is wrong with the values that a task's query makes, in that task's name.
fn of_task(error: DataFusionError, task: Option<&str>) -> DataFusionError {
    match (error.find_root(), task) {
        (DataFusionError::ArrowError(..) | DataFusionError::Execution(_), Some(task)) => {
            DataFusionError::External(Box::new(TaskError::unanswered(task, &error)))
        }
        _ => error,
    }
}

/// The rows of one partition, which begins to run when the first is asked for. The plan is given back then: what it holds goes with its last row.
fn begun(plan: &Arc<dyn ExecutionPlan>, place: usize, context: Arc<TaskContext>) -> BoxStream<'static, Result<RecordBatch>> {
    let plan = Arc::clone(plan);
    stream::once(async move { plan.execute(place, context) }).try_flatten().boxed()
}

/// Puts each of the streams behind another.
fn join_ends(
    ends: &mut Vec<BoxStream<'static, Result<RecordBatch>>>,
    streams: impl Iterator<Item = BoxStream<'static, Result<RecordBatch>>>,
) {
    let first = ends.is_empty();
    let parts = ends.len().max(1);
    for (place, rows) in streams.enumerate() {
        match ends.get_mut(place % parts).filter(|_| !first) {
            Some(end) => *end = std::mem::replace(end, stream::empty().boxed()).chain(rows).boxed(),
            None => ends.push(rows),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::error::DataFusionError;
    use datafusion::execution::runtime_env::RuntimeEnvBuilder;
    use datafusion::prelude::SessionContext;

    use super::*;
    use crate::pools::WarehousePool;
    use crate::session::empty_session;

    /// Rows of a join, computed in so much memory; and whether they are kept.
    async fn joined(bytes: usize, sql: &[&str]) -> (SessionContext, Result<String>) {
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(WarehousePool::new(bytes))).build_arc().expect("a runtime");
        let ctx = empty_session(&runtime);
        for (name, step) in [("many", 3), ("more", 2)] {
            let rows = format!("SELECT value, 'the text that stands beside number ' || value AS text FROM range(0, 1200000, {step})");
            ctx.register_table(name, ctx.sql(&rows).await.expect("plans").into_view()).expect("is known");
        }
        let mut frames = Vec::new();
        for sql in sql {
            frames.push(ctx.sql(sql).await.expect("plans"));
        }
        let query = Query::in_parts(frames, runtime).expect("has columns");
        ctx.register_table("computed", Arc::new(Computed::once(query))).expect("is known");
        let answered = async {
            let sql = "SELECT count(*), count(a), count(b), sum(v), min(a), max(b), sum(strpos(a, '9')) FROM computed";
            Ok(pretty_format_batches(&ctx.sql(sql).await?.collect().await?)?.to_string())
        };
        let answered = answered.await;
        (ctx, answered)
    }

    #[tokio::test]
    async fn a_join_that_does_not_fit_into_memory_gives_the_same_rows() {
        let all = ["SELECT m.value AS v, m.text AS a, n.text AS b FROM many AS m FULL JOIN more AS n ON n.text = m.text"];
        let (_, ample) = joined(1 << 30, &all).await;
        let (ctx, scarce) = joined(38 << 20, &all).await;
        let held = ctx.sql(all[0]).await.expect("plans").collect().await.expect_err("so large a side cannot be held");
        assert!(matches!(held.find_root(), DataFusionError::ResourcesExhausted(_)), "{held}");
        assert_eq!(scarce.expect("joins on disk"), ample.expect("joins in memory"));
    }

    #[tokio::test]
    async fn parts_are_one_relation() {
        let parts = [
            "SELECT value AS v, text AS a, CAST(NULL AS VARCHAR) AS b FROM many WHERE value % 2 = 0",
            "SELECT value AS v, text AS a, CAST(text AS VARCHAR) AS b FROM many WHERE value % 2 = 1",
        ];
        let whole = ["SELECT value AS v, text AS a, CASE WHEN value % 2 = 1 THEN CAST(text AS VARCHAR) END AS b FROM many"];
        assert_eq!(joined(1 << 30, &parts).await.1.expect("answers"), joined(1 << 30, &whole).await.1.expect("answers"));
    }

    #[tokio::test]
    async fn a_task_that_divides_by_zero_leaves_out_its_own_rows_alone() {
        let ctx = SessionContext::new();
        let mut frames = Vec::new();
        for divisor in ["v", "v - 3"] {
            frames.push(ctx.sql(&format!("SELECT 6 / ({divisor}) AS a FROM (VALUES (1), (2), (3)) AS t(v)")).await.expect("plans"));
        }
        let query = Query::in_parts(frames, ctx.runtime_env()).expect("has columns");
        let tasks = ["whole", "broken"].map(str::to_owned).to_vec();
        ctx.register_table("computed", Arc::new(Computed::once(query.of_tasks(tasks)))).expect("is known");
        let answered =
            ctx.sql("SELECT sum(a) AS total, count(*) AS rows FROM computed").await.expect("plans").collect().await.expect("answers");
        let told = pretty_format_batches(&answered).expect("rows").to_string();
        assert!(told.contains("| 11    | 3    |"), "{told}");
    }

    #[tokio::test]
    async fn parts_of_different_columns_are_refused() {
        let ctx = SessionContext::new();
        let mut frames = Vec::new();
        for sql in ["SELECT 1 AS a", "SELECT 'one' AS a"] {
            frames.push(ctx.sql(sql).await.expect("plans"));
        }
        let refused = Query::in_parts(frames, ctx.runtime_env()).expect_err("differ");
        assert!(refused.to_string().contains("different columns"), "{refused}");
        assert!(Query::in_parts(Vec::new(), ctx.runtime_env()).is_err());
    }
}
