//! What windows hold, counted against the memory pool, which the engine does not: a window holds its rows until their frames are complete, and what it
//! answers beside them, which for a text may be a copy for each row, or for each row all texts of its frame.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, ScalarValue, Statistics, exec_err, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{WindowFrame, WindowFrameBound, WindowFrameUnits};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::window::{PlainAggregateWindowExpr, SlidingAggregateWindowExpr, StandardWindowExpr, WindowExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec, WindowUDFExpr};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::TryStreamExt as _;

use crate::compact::compacted;
use crate::partitions::Partitions;

/// A window holds its rows, and puts them together anew.
const COPIES: usize = 2;

/// Puts [`HeldExec`] around each window.
#[derive(Debug)]
pub(crate) struct Holding;

impl PhysicalOptimizerRule for Holding {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let around = |plan: Arc<dyn ExecutionPlan>| {
            if !plan.is::<WindowAggExec>() && !plan.is::<BoundedWindowAggExec>() {
                return Ok(Transformed::no(plan));
            }
            let input = plan.children().into_iter().map(|input| compacted(Arc::clone(input))).collect();
            let window = plan.replace_children(input, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))?;
            Ok(Transformed::yes(Arc::new(HeldExec { window }) as Arc<dyn ExecutionPlan>))
        };
        plan.transform_up(around).data()
    }

    fn name(&self) -> &'static str {
        "holding"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The engine's window, whose rows are counted as long as it holds them.
#[derive(Debug)]
struct HeldExec {
    window: Arc<dyn ExecutionPlan>,
}

impl HeldExec {
    fn exprs(&self) -> &[Arc<dyn WindowExpr>] {
        let whole = self.window.downcast_ref::<WindowAggExec>().map(WindowAggExec::window_expr);
        whole.or_else(|| self.window.downcast_ref::<BoundedWindowAggExec>().map(BoundedWindowAggExec::window_expr)).unwrap_or_default()
    }
}

impl DisplayAs for HeldExec {
    fn fmt_as(&self, kind: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HeldExec: ")?;
        self.window.fmt_as(kind, f)
    }
}

impl ExecutionPlan for HeldExec {
    fn name(&self) -> &'static str {
        "HeldExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.window.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.window.children()
    }

    fn apply_expressions(&self, f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>) -> Result<TreeNodeRecursion> {
        self.window.apply_expressions(f)
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        self.window.maintains_input_order()
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self { window: Arc::clone(&self.window).replace_children(children, options)? }))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, place: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let [input] = self.window.children()[..] else { return internal_err!("a window has one input") };
        let reservation = MemoryConsumer::new("window").register(context.memory_pool());
        let until_the_end = self.window.is::<WindowAggExec>();
        let held = Arc::new(Mutex::new(Held::new(self.exprs(), reservation, until_the_end)?));
        let of = |held: &Arc<Mutex<Held>>| Arc::clone(held);
        let (coming, going) = (of(&held), held);
        let rows = input.execute(place, Arc::clone(&context))?.and_then(move |batch| {
            let counted = coming.lock().unwrap_or_else(PoisonError::into_inner).come(&batch);
            std::future::ready(counted.map(|()| batch))
        });
        let rows: SendableRecordBatchStream = Box::pin(RecordBatchStreamAdapter::new(input.schema(), rows));
        let counted = Arc::new(Counted { properties: Arc::clone(input.properties()), rows: Mutex::new(Some(rows)) });
        let window = Arc::clone(&self.window).replace_children(vec![counted], ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep))?;
        let answers = window.execute(place, context)?.map_ok(move |batch| {
            going.lock().unwrap_or_else(PoisonError::into_inner).go(batch.num_rows());
            batch
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), answers)))
    }

    fn statistics_from_inputs(&self, inputs: &[Arc<Statistics>], wanted: &StatisticsArgs) -> Result<Arc<Statistics>> {
        self.window.statistics_from_inputs(inputs, wanted)
    }
}

/// Rows that are under way already, as the input of one execution.
struct Counted {
    properties: Arc<PlanProperties>,
    rows: Mutex<Option<SendableRecordBatchStream>>,
}

impl std::fmt::Debug for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Counted")
    }
}

impl DisplayAs for Counted {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Counted")
    }
}

impl ExecutionPlan for Counted {
    fn name(&self) -> &'static str {
        "Counted"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(&self, _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, _place: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner).take();
        rows.map_or_else(|| exec_err!("rows that are under way are read once"), Ok)
    }
}

/// How much of its arguments a function gives for each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeats {
    /// The value of one row, and each only once.
    Once,
    /// The value of one row, which may be the longest each time.
    Longest,
    /// The values of all rows of a frame; of so many rows at most, where the frame says so.
    All(Option<usize>),
}

/// What one function of the window answers.
struct Answers {
    expr: Arc<dyn WindowExpr>,
    repeats: Repeats,
    partitions: Partitions,
    /// Of the partition that goes on: rows, bytes of all its arguments, and of the longest.
    rows: usize,
    bytes: usize,
    longest: usize,
}

impl Answers {
    /// `None` for a function whose answers take no more than a number.
    fn of(expr: &Arc<dyn WindowExpr>) -> Result<Option<Self>> {
        let is_long = is_long(expr.field()?.data_type());
        let repeats = || match name(expr.as_ref()).as_str() {
            "lag" | "lead" => Repeats::Once,
            "string_agg" | "array_agg" => Repeats::All(frame_rows(expr.get_window_frame())),
            _ => Repeats::Longest,
        };
        Ok(is_long.then(|| Self {
            expr: Arc::clone(expr),
            repeats: repeats(),
            partitions: Partitions::new(expr.partition_by().to_vec()),
            rows: 0,
            bytes: 0,
            longest: 0,
        }))
    }

    /// What the answers for these rows may take, in bytes.
    fn taken(&mut self, batch: &RecordBatch) -> Result<usize> {
        let arguments = self.expr.evaluate_args(batch)?;
        let (partitions, goes_on) = self.partitions.of(batch)?;
        let mut taken = 0_usize;
        for (place, rows) in partitions.into_iter().enumerate() {
            if place > 0 || !goes_on {
                (self.rows, self.bytes, self.longest) = (0, 0, 0);
            }
            let before = self.answered();
            for argument in &arguments {
                let argument = argument.slice(rows.start, rows.len());
                self.bytes = self.bytes.saturating_add(bytes(&argument)?);
                self.longest = self.longest.max(longest(&argument)?);
            }
            self.rows = self.rows.saturating_add(rows.len());
            taken = taken.saturating_add(self.answered().saturating_sub(before));
        }
        Ok(taken)
    }

    /// Of the partition that goes on.
    fn answered(&self) -> usize {
        match self.repeats {
            Repeats::Once => self.bytes,
            Repeats::Longest => self.rows.saturating_mul(self.longest),
            Repeats::All(None) => self.rows.saturating_mul(self.bytes),
            Repeats::All(Some(rows)) => self.rows.saturating_mul(self.bytes.min(rows.saturating_mul(self.longest))),
        }
    }
}

/// What one stream of a window holds.
struct Held {
    answers: Vec<Answers>,
    reservation: MemoryReservation,
    /// Rows that have come and were not answered, and their bytes.
    under_way: VecDeque<(usize, usize)>,
    until_the_end: bool,
}

impl Held {
    fn new(exprs: &[Arc<dyn WindowExpr>], reservation: MemoryReservation, until_the_end: bool) -> Result<Self> {
        let answers = exprs.iter().map(Answers::of).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        Ok(Self { answers, reservation, under_way: VecDeque::new(), until_the_end })
    }

    /// # Errors
    /// Where the pool has no more.
    fn come(&mut self, batch: &RecordBatch) -> Result<()> {
        let sum = |sum: usize, column| Ok::<_, DataFusionError>(sum.saturating_add(bytes(column)?));
        let rows = batch.columns().iter().try_fold(0_usize, sum)?;
        let answers = self.answers.iter_mut().map(|answers| answers.taken(batch)).sum::<Result<usize>>()?;
        let bytes = rows.saturating_mul(COPIES).saturating_add(answers);
        self.reservation.try_grow(bytes)?;
        self.under_way.push_back((batch.num_rows(), bytes));
        Ok(())
    }

    /// So many rows have been answered, in the order in which they came.
    fn go(&mut self, mut rows: usize) {
        if self.until_the_end {
            return;
        }
        while let Some((under_way, bytes)) = self.under_way.front_mut() {
            if rows < *under_way {
                *under_way -= rows;
                return;
            }
            rows -= *under_way;
            self.reservation.shrink(*bytes);
            self.under_way.pop_front();
        }
    }
}

fn name(expr: &dyn WindowExpr) -> String {
    let any = expr.as_any();
    let plain = || any.downcast_ref::<PlainAggregateWindowExpr>().map(PlainAggregateWindowExpr::get_aggregate_expr);
    let aggregate =
        plain().or_else(|| any.downcast_ref::<SlidingAggregateWindowExpr>().map(SlidingAggregateWindowExpr::get_aggregate_expr));
    let standard = any.downcast_ref::<StandardWindowExpr>().map(StandardWindowExpr::get_standard_func_expr);
    let window = standard.and_then(|function| function.as_any().downcast_ref::<WindowUDFExpr>());
    aggregate.map(|expr| expr.fun().name()).or(window.map(|window| window.fun().name())).unwrap_or_default().to_owned()
}

/// The rows that a frame has at most, where it is of so many rows.
fn frame_rows(frame: &WindowFrame) -> Option<usize> {
    let rows = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::CurrentRow => Some(0),
        WindowFrameBound::Preceding(ScalarValue::UInt64(Some(rows))) | WindowFrameBound::Following(ScalarValue::UInt64(Some(rows))) => {
            usize::try_from(*rows).ok()
        }
        _ => None,
    };
    let is_rows = frame.units == WindowFrameUnits::Rows;
    rows(&frame.start_bound)
        .zip(rows(&frame.end_bound))
        .filter(|_| is_rows)
        .map(|(before, after)| before.saturating_add(after).saturating_add(1))
}

/// Whether values of this kind may be long.
fn is_long(kind: &DataType) -> bool {
    !kind.is_primitive() && !matches!(kind, DataType::Boolean | DataType::Null)
}

/// Bytes of all values.
fn bytes(column: &ArrayRef) -> Result<usize> {
    let texts = match column.data_type() {
        DataType::Utf8View => column.as_string_view().total_buffer_bytes_used(),
        DataType::BinaryView => column.as_binary_view().total_buffer_bytes_used(),
        _ => 0,
    };
    Ok(column.to_data().get_slice_memory_size()?.saturating_add(texts))
}

/// Bytes of the longest value, at most.
fn longest(column: &ArrayRef) -> Result<usize> {
    let lengths = match column.data_type() {
        DataType::Utf8View => column.as_string_view().lengths().max(),
        DataType::BinaryView => column.as_binary_view().lengths().max(),
        _ => return Ok(crate::widths::longest(column.as_ref())),
    };
    Ok(usize::try_from(lengths.unwrap_or(0)).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::execution::SessionStateBuilder;
    use datafusion::execution::runtime_env::RuntimeEnvBuilder;
    use datafusion::prelude::SessionContext;

    use super::*;
    use crate::pools::WarehousePool;
    use crate::session::empty_session;
    use crate::statement;

    const ROWS: &str =
        "(SELECT value AS v, value % 7 AS part, 'the text that stands beside number ' || value AS text FROM range(0, 40000))";

    /// With so much memory, with what windows hold counted or not.
    async fn answered(bytes: usize, is_counted: bool, sql: &str) -> Result<String> {
        let pool = Arc::new(WarehousePool::new(bytes));
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc()?;
        let mut state = SessionStateBuilder::new_from_existing(empty_session(&runtime).state());
        if is_counted {
            state = state.with_physical_optimizer_rule(Arc::new(Holding));
        }
        let ctx = SessionContext::new_with_state(state.build());
        let batches = statement::all(ctx.sql(sql).await?).await?;
        assert_eq!(runtime.memory_pool.reserved(), 0, "what was held is given back: {sql}");
        Ok(pretty_format_batches(&batches)?.to_string())
    }

    #[tokio::test]
    async fn windows_answer_as_before_and_give_back_what_they_held() {
        for window in [
            "count(*) OVER ()",
            "sum(v) OVER (PARTITION BY part)",
            "lag(text, 2) OVER (PARTITION BY part ORDER BY v)",
            "max(text) OVER (ORDER BY v ROWS BETWEEN 3 PRECEDING AND 1 FOLLOWING)",
            "last_value(v) OVER (PARTITION BY part ORDER BY text)",
            "string_agg(text, ' ') OVER (PARTITION BY v / 50 ORDER BY v)",
            "array_agg(v) OVER (ORDER BY v ROWS BETWEEN 2 PRECEDING AND CURRENT ROW)",
        ] {
            let sql =
                format!("SELECT count(*), md5(string_agg(answer, ',' ORDER BY v)) FROM (SELECT v, {window}::text AS answer FROM {ROWS})");
            let counted = answered(512 << 20, true, &sql).await.expect(window);
            assert_eq!(counted, answered(512 << 20, false, &sql).await.expect(window), "{window}");
        }
    }

    /// Each of them takes far more than the pool has, and nobody asked the pool before.
    #[tokio::test]
    async fn what_a_window_would_hold_beyond_the_pool_is_refused() {
        for window in [
            "count(*) OVER ()",
            "lag(text, 2) OVER (PARTITION BY part ORDER BY v ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)",
            "string_agg(text, ' ') OVER ()",
            "array_agg(v) OVER (ORDER BY v)",
            "first_value(text || repeat('x', 3000)) OVER (PARTITION BY part)",
        ] {
            let sql = format!(
                "SELECT count(*), count(answer) FROM (SELECT {window} AS answer, text FROM {ROWS}) WHERE answer IS NOT NULL AND text <> ''"
            );
            let refused = answered(2 << 20, true, &sql).await.expect_err(window);
            assert!(statement::is_short(&refused), "{window}: {refused}");
        }
    }

    /// What has been answered is held no more: a million rows pass through little memory.
    #[tokio::test]
    async fn a_window_that_goes_along_counts_what_is_under_way() {
        let sql =
            "SELECT count(*), sum(length(before)) FROM (SELECT lag(value || '') OVER (ORDER BY value) AS before FROM range(0, 1000000))";
        answered(24 << 20, true, sql).await.expect("goes along");
    }
}
