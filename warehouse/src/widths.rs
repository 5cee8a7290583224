//! Rows that are too wide for a batch of the usual number of them.
//!
//! A batch is so many rows, however long their values are. An operator that writes rows out again (a join, an unnesting, a constant beside each row) writes
//! a long value once for each row that it stands beside: thousands of times a text of some hundred kilobytes, for which no pool is asked. So the width of the
//! rows that come to such an operator is measured, and a statement whose rows are too wide begins anew with fewer of them in a batch, as long as nobody has
//! seen any of its rows. A text that is a view into a buffer is not written out, and counts as nothing.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, GenericListArray, OffsetSizeTrait, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PiecewiseMergeJoinExec, SortMergeJoinExec, SymmetricHashJoinExec,
};
use datafusion::physical_plan::scalar_subquery::ScalarSubqueryExec;
use datafusion::physical_plan::unnest::{ListUnnest, UnnestExec};
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::filled;
use crate::passing::{Pass, PassExec};
use crate::pools;
use crate::session::configured;
use crate::written::{self, BATCH_BYTES};

/// What each row takes for one of several sets by which rows are grouped: all are numbered before the first is looked at.
const SET_BYTES: usize = 8;

/// What a value takes that is no number and lies elsewhere, if it is long.
const OTHER_BYTES: usize = 16;

/// How a statement goes on, as an extension of its session.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Whether somebody has seen rows of it: it cannot begin anew.
    seen: AtomicBool,
}

impl Progress {
    pub(crate) fn rows_are_seen(&self) {
        self.seen.store(true, Ordering::Relaxed);
    }
}

/// Rows of a width of which a batch has too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wide {
    /// The longest row, in bytes.
    row_bytes: usize,
}

impl fmt::Display for Wide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rows of {} bytes are too wide for batches of this many", self.row_bytes)
    }
}

impl std::error::Error for Wide {}

impl Wide {
    /// What the error says of rows that are too wide, if that is what it says.
    pub(crate) fn of(error: &DataFusionError) -> Option<Self> {
        match error.find_root() {
            DataFusionError::External(error) => error.downcast_ref::<Self>().copied(),
            _ => None,
        }
    }

    /// The session with as many rows in a batch as fit; none where one alone does not, or as many do already.
    pub(crate) fn narrower(self, state: &SessionState) -> Option<SessionState> {
        let rows = BATCH_BYTES / self.row_bytes.max(1);
        let is_narrower = rows >= 1 && rows < state.config().batch_size();
        is_narrower.then(|| {
            tracing::info!(row_bytes = self.row_bytes, rows, "wide rows, fewer in a batch");
            configured(state.clone(), state.config().clone().with_batch_size(rows)).build()
        })
    }
}

/// Puts [`Width`] before what writes rows out again, has long groups looked at before they fill batches, and refuses constants that are too long for a batch.
#[derive(Debug)]
pub(crate) struct Widths;

impl PhysicalOptimizerRule for Widths {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = config.execution.batch_size.into();
        plan.transform_up(|plan| {
            plan.apply_expressions(&mut |expr| constants(expr, rows))?;
            if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
                fits(aggregate.group_expr().groups().len() * SET_BYTES, rows, BATCH_BYTES)?;
            }
            measured(plan)
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "widths"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// # Errors
/// Where a constant of the expression is too long to be written out for so many rows: beside each of them, as the argument of an aggregate or a window, or as what
/// a `CASE` gives.
fn constants(expr: &Arc<dyn PhysicalExpr>, rows: usize) -> Result<TreeNodeRecursion> {
    let check = |expr: &Arc<dyn PhysicalExpr>| {
        if let Some(literal) = expr.downcast_ref::<Literal>() {
            fits(constant_bytes(literal.value())?, rows, BATCH_BYTES)?;
        }
        Ok(TreeNodeRecursion::Continue)
    };
    expr.apply(check)
}

fn constant_bytes(value: &ScalarValue) -> Result<usize> {
    Ok(if is_written(&value.data_type()) { written::longest(value.to_array()?.as_ref()) } else { 0 })
}

/// # Errors
/// [`Wide`], where so many of these rows take more than `limit_bytes`.
pub(crate) fn fits(row_bytes: usize, rows: usize, limit_bytes: usize) -> Result<()> {
    if row_bytes.saturating_mul(rows) > limit_bytes { Err(DataFusionError::External(Box::new(Wide { row_bytes }))) } else { Ok(()) }
}

/// The operator with its inputs measured whose rows it writes out again.
fn measured(plan: Arc<dyn ExecutionPlan>) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
    if let Some(filled) = filled::watched(&plan)? {
        return Ok(Transformed::yes(filled));
    }
    let is_join = plan.is::<HashJoinExec>()
        || plan.is::<NestedLoopJoinExec>()
        || plan.is::<CrossJoinExec>()
        || plan.is::<SortMergeJoinExec>()
        || plan.is::<SymmetricHashJoinExec>()
        || plan.is::<PiecewiseMergeJoinExec>();
    let unnest = plan.downcast_ref::<UnnestExec>();
    let is_subquery = plan.is::<ScalarSubqueryExec>();
    if !is_join && !is_subquery && unnest.is_none() {
        return Ok(Transformed::no(plan));
    }
    // What is spread over rows is written once; what stands beside it is written with each.
    let spread: Vec<Spread> = unnest.map(|unnest| unnest.list_column_indices().iter().map(Spread::of).collect()).unwrap_or_default();
    let fixed_bytes = unnest.map_or(0, |unnest| fixed(&unnest.input().schema(), &spread));
    let is_spread = |column: usize| spread.iter().any(|spread| spread.column == column);
    let of = |input: &Arc<dyn ExecutionPlan>| {
        let schema = input.schema();
        let columns = (0..schema.fields().len()).filter(|column| is_written(schema.field(*column).data_type()) && !is_spread(*column));
        let columns: Vec<usize> = columns.collect();
        if columns.is_empty() && fixed_bytes == 0 || input.is::<PassExec<Width>>() {
            return Arc::clone(input);
        }
        PassExec::over(Arc::clone(input), Width { columns, spread: spread.clone(), fixed_bytes })
    };
    // The first input of an operator with subqueries passes through it; each of the others becomes a constant.
    let passes = usize::from(is_subquery);
    let inputs = plan.children().into_iter().enumerate();
    let inputs = inputs.map(|(place, input)| if place < passes { Arc::clone(input) } else { of(input) }).collect();
    Ok(Transformed::yes(plan.replace_children(inputs, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))?))
}

/// What a row takes of those that lists are spread over, beside its long values.
fn fixed(input: &Schema, spread: &[Spread]) -> usize {
    let width = |kind: &DataType| kind.primitive_width().unwrap_or(OTHER_BYTES);
    let beside = input.fields().iter().enumerate().filter(|(column, _)| !spread.iter().any(|spread| spread.column == *column));
    let elements = spread.iter().filter_map(|spread| Some(width(element(input.fields().get(spread.column)?.data_type(), spread.depth))));
    beside.map(|(_, field)| width(field.data_type())).chain(elements).sum()
}

/// The kind of what lies in so many lists.
fn element(kind: &DataType, depth: usize) -> &DataType {
    match kind {
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) if depth > 0 => {
            element(field.data_type(), depth - 1)
        }
        kind => kind,
    }
}

/// Whether a value of this kind is written out wherever it stands, and may be long.
fn is_written(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => true,
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) | DataType::Map(..) => true,
        DataType::Struct(fields) => fields.iter().any(|field| is_written(field.data_type())),
        _ => false,
    }
}

/// A column whose lists are spread over rows.
#[derive(Clone, Debug)]
struct Spread {
    column: usize,
    /// How many lists lie in one another.
    depth: usize,
}

impl Spread {
    fn of(list: &ListUnnest) -> Self {
        Self { column: list.index_in_input_schema, depth: list.depth }
    }

    /// Rows that come of the batch.
    fn rows(&self, batch: &RecordBatch) -> usize {
        elements(batch.column(self.column), self.depth)
    }
}

fn elements(array: &ArrayRef, depth: usize) -> usize {
    let inner = match array.data_type() {
        _ if depth == 0 => return array.len(),
        DataType::List(_) => within(array.as_list::<i32>()),
        DataType::LargeList(_) => within(array.as_list::<i64>()),
        DataType::FixedSizeList(..) => Arc::clone(array.as_fixed_size_list().values()),
        _ => return array.len(),
    };
    elements(&inner, depth - 1)
}

/// The elements of the lists that are there, of more that lie beside them.
fn within<T: OffsetSizeTrait>(lists: &GenericListArray<T>) -> ArrayRef {
    let there = written::elements(lists.offsets(), &(0..lists.len()));
    lists.values().slice(there.start, there.len())
}

/// What is looked at of rows as they come.
#[derive(Debug)]
struct Width {
    /// Those whose values may be long.
    columns: Vec<usize>,
    spread: Vec<Spread>,
    /// What a row takes besides, of those that are spread.
    fixed_bytes: usize,
}

/// What one stream is held to.
struct Bounds {
    width: Arc<Width>,
    /// In a batch.
    rows: usize,
    context: Arc<TaskContext>,
}

impl Bounds {
    fn check(&self, batch: &RecordBatch) -> Result<()> {
        let row_bytes = self.row_bytes(batch);
        fits(row_bytes, self.rows, limit_bytes(&self.context))?;
        if self.width.spread.is_empty() || fits(row_bytes, self.spread_rows(batch), BATCH_BYTES).is_ok() {
            return Ok(());
        }
        // The rows that come of one are made at once, however few a batch has; of lists within lists, those that come of all rows.
        let of_one = |row: usize| {
            let row = batch.slice(row, 1);
            self.row_bytes(&row).saturating_mul(self.spread_rows(&row))
        };
        let most = (0..batch.num_rows()).map(of_one).max().unwrap_or(0);
        fits(most, 1, all_bytes(&self.context))?;
        let is_nested = self.width.spread.iter().any(|spread| spread.depth > 1);
        if is_nested { fits(most, batch.num_rows(), limit_bytes(&self.context)) } else { Ok(()) }
    }

    /// Of the widest row, at most.
    fn row_bytes(&self, batch: &RecordBatch) -> usize {
        self.width
            .columns
            .iter()
            .fold(self.width.fixed_bytes, |sum: usize, column| sum.saturating_add(written::longest(batch.column(*column).as_ref())))
    }

    fn spread_rows(&self, batch: &RecordBatch) -> usize {
        self.width.spread.iter().map(|spread| spread.rows(batch)).max().unwrap_or(0)
    }
}

/// What a batch of rows may take that begins now: once rows are seen, and there is no beginning anew, all that the statement may have.
pub(crate) fn limit_bytes(context: &TaskContext) -> usize {
    match context.session_config().get_extension::<Progress>() {
        Some(progress) if !progress.seen.load(Ordering::Relaxed) => BATCH_BYTES,
        _ => all_bytes(context),
    }
}

fn all_bytes(context: &TaskContext) -> usize {
    pools::limit(context.memory_pool().as_ref()).max(BATCH_BYTES)
}

impl Pass for Width {
    const NAME: &'static str = "WidthExec";

    fn pass(self: Arc<Self>, rows: SendableRecordBatchStream, context: Arc<TaskContext>) -> BoxStream<'static, Result<RecordBatch>> {
        let bounds = Bounds { rows: context.session_config().batch_size(), width: self, context };
        rows.and_then(move |batch| std::future::ready(bounds.check(&batch).map(|()| batch))).boxed()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::SessionStateBuilder;
    use datafusion::execution::runtime_env::RuntimeEnvBuilder;
    use datafusion::functions_nested::range::range_udf;
    use datafusion::logical_expr::ScalarUDF;
    use datafusion::prelude::SessionContext;

    use super::*;
    use crate::pools::WarehousePool;
    use crate::session::empty_session;
    use crate::statement;

    fn session() -> SessionContext {
        let state = empty_session(&RuntimeEnvBuilder::new().build_arc().expect("a runtime")).state();
        SessionContext::new_with_state(SessionStateBuilder::new_from_existing(state).with_physical_optimizer_rule(Arc::new(Widths)).build())
    }

    /// A batch of them would take sixteen times the memory, before an aggregate or a window has held any of it.
    #[tokio::test]
    async fn a_constant_beside_each_row_is_written_out_for_fewer_of_them() {
        let (ctx, long) = (session(), "x".repeat(200_000));
        let chosen = format!("CASE WHEN value > 3 THEN '{long}' ELSE '3' END");
        for sql in [
            format!("SELECT max({chosen}) FROM range(9000)"),
            format!("SELECT string_agg(CASE WHEN value > 3 THEN 'a' ELSE 'b' END, '{long}') FROM range(9) GROUP BY value"),
            format!("SELECT max({chosen}) OVER (ORDER BY value) FROM range(9)"),
            format!("SELECT count(*) FROM range(9) WHERE length({chosen}) > 2"),
        ] {
            let plan = ctx.sql(&sql).await.expect("plans").create_physical_plan().await;
            let wide = plan.err().as_ref().and_then(Wide::of).expect("8,192 rows of 200 kB are too wide");
            assert!((200_000..200_100).contains(&wide.row_bytes), "{wide}");
            let rows = statement::all(ctx.sql(&sql).await.expect("plans")).await.expect("with fewer in a batch");
            assert!(rows.iter().any(|batch| batch.num_rows() > 0));
        }
    }

    #[tokio::test]
    async fn rows_of_many_sets_of_groups_come_in_batches_that_fit() {
        let ctx = session();
        let sql = format!("SELECT count(*) AS n FROM range(9000) GROUP BY GROUPING SETS ({})", ["(value)"; 3_000].join(", "));
        let plan = ctx.sql(&sql).await.expect("plans").create_physical_plan().await;
        assert_eq!(plan.err().as_ref().and_then(Wide::of), Some(Wide { row_bytes: 3_000 * SET_BYTES }));
        let counted = "SELECT count(*), sum(n) FROM \
                       (SELECT count(*) AS n FROM (SELECT value % 2 AS a, value % 3 AS b FROM range(9000)) GROUP BY CUBE (a, b))";
        let rows = statement::all(ctx.sql(counted).await.expect("plans")).await.expect("answers");
        let shown = datafusion::arrow::util::pretty::pretty_format_batches(&rows).expect("rows").to_string();
        assert!(shown.contains("| 12 ") && shown.contains("| 36000 "), "{shown}");
    }

    /// Lists within lists are spread for all rows of a batch at once.
    #[tokio::test]
    async fn rows_beside_lists_within_lists_come_of_few_at_once() {
        let ctx = session();
        let sql = "SELECT text, unnest(unnest(make_array(range(30), range(30)))) AS value FROM \
                   (SELECT repeat('x', 1000) || value AS text FROM range(8000))";
        let (bytes, _) = largest(&ctx, sql).await;
        assert!(bytes <= 2 * BATCH_BYTES, "{bytes}");
        let counted = format!("SELECT count(*), sum(value) FROM ({sql})");
        let rows = statement::all(ctx.sql(&counted).await.expect("plans")).await.expect("answers");
        let shown = datafusion::arrow::util::pretty::pretty_format_batches(&rows).expect("rows").to_string();
        assert!(shown.contains("480000") && shown.contains("6960000"), "{shown}");
    }

    /// The most bytes that a batch of the statement takes, and the most rows.
    async fn largest(ctx: &SessionContext, sql: &str) -> (usize, usize) {
        let mut rows = statement::rows(ctx.sql(sql).await.expect(sql)).await.expect(sql);
        let mut most = (0, 0);
        while let Some(batch) = rows.try_next().await.expect(sql) {
            most = (most.0.max(batch.get_array_memory_size()), most.1.max(batch.num_rows()));
        }
        most
    }

    #[tokio::test]
    async fn rows_that_are_written_again_and_again_come_in_batches_that_fit() {
        let ctx = session();
        let wide = "(SELECT repeat('x', 200000) || min(value) AS text FROM range(3) GROUP BY value)";
        for sql in [
            format!("SELECT a.text, b.value FROM {wide} AS a CROSS JOIN range(9000) AS b"),
            format!("SELECT a.text, b.value FROM {wide} AS a JOIN range(9000) AS b ON length(a.text) > b.value"),
            format!(
                "SELECT a.text, b.value FROM {wide} AS a JOIN (SELECT value, 200001 AS length FROM range(9000)) AS b ON length(a.text) = b.length"
            ),
            format!("SELECT text, unnest(range(300)) AS value FROM {wide}"),
            format!("SELECT value, (SELECT max(text) FROM {wide}) || '' AS text FROM range(9000)"),
            format!("SELECT value, '{}' AS text FROM range(9000)", "x".repeat(200_000)),
            "SELECT a.list, b.value FROM (SELECT array_agg(value) AS list FROM range(25000)) AS a CROSS JOIN range(9000) AS b".to_owned(),
        ] {
            let (bytes, rows) = largest(&ctx, &sql).await;
            assert!(bytes <= 2 * BATCH_BYTES, "{bytes} bytes, {rows} rows: {:.200}", sql);
        }
        let (_, rows) = largest(&ctx, "SELECT a.value || '' AS text, b.value FROM range(3) AS a CROSS JOIN range(9000) AS b").await;
        assert_eq!(rows, 8_192, "narrow rows come as before");
    }

    /// The rows that come of one are made at once.
    #[tokio::test]
    async fn a_row_that_is_spread_over_too_many_is_refused() {
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(WarehousePool::new(256 << 20))).build_arc().expect("a runtime");
        let state = SessionStateBuilder::new_from_existing(session().state()).with_runtime_env(runtime).build();
        let ctx = SessionContext::new_with_state(state);
        // The engine's own, which makes lists of whatever length.
        ctx.register_udf(ScalarUDF::clone(&range_udf()));
        let sql = "SELECT repeat('x', 100000) || min(value) AS text, unnest(range(9000)) AS value FROM range(3) GROUP BY value";
        let refused = statement::all(ctx.sql(sql).await.expect("plans")).await.expect_err("900 MB of one row");
        assert!(Wide::of(&refused).is_some(), "{refused}");
        let numbers: Vec<String> = (0..40).map(|number| format!("value + {number} AS n{number}")).collect();
        let sql = format!("SELECT {}, unnest(range(1000000)) AS value FROM range(3)", numbers.join(", "));
        let refused = statement::all(ctx.sql(&sql).await.expect("plans")).await.expect_err("328 MB of one row");
        assert!(Wide::of(&refused).is_some(), "{refused}");
        let sql = "SELECT count(*) FROM (SELECT 'x' || min(value) AS text, unnest(range(900000)) AS value FROM range(3) GROUP BY value)";
        statement::all(ctx.sql(sql).await.expect("plans")).await.expect("short texts beside long lists");
    }

    #[tokio::test]
    async fn one_row_that_fits_into_no_batch_is_refused() {
        let wide = Wide { row_bytes: BATCH_BYTES + 1 };
        assert!(wide.narrower(&session().state()).is_none());
        let sql = "SELECT a.list, b.value FROM (SELECT array_agg(value) AS list FROM range(9000000)) AS a CROSS JOIN range(9000) AS b";
        let refused = statement::rows(session().sql(sql).await.expect("plans")).await.err().expect("72 MB a row");
        assert!(Wide::of(&refused).is_some(), "{refused}");
    }
}
