//! What windows hold, counted against the memory pool, which the engine does not: a window holds its rows until their frames are complete and those of later
//! rows have gone beyond, and what it answers beside them, which for a text may be a copy for each row, or for each row all texts of its frame. Where it
//! answers for a whole partition at once, each answer is a value of its own first.

mod answers;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use datafusion::arrow::buffer::Buffer;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue, Statistics, exec_err, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::window::WindowExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::TryStreamExt as _;

use answers::{Answers, Behind};

use crate::compact::compacted;
use crate::computing::Needs;
use crate::partitions::Partitions;
use crate::written::{self, Views};

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
        let schema = input.schema();
        let held = Held::new(self.exprs(), &schema, Needs::of(self.window.as_ref(), &schema)?.of_columns(), reservation)?;
        let until_the_end = self.window.is::<WindowAggExec>();
        let are_values = until_the_end && self.exprs().iter().any(|expr| answers::are_values(expr.as_ref()));
        let held = Arc::new(Mutex::new(Held { until_the_end, are_values, ..held }));
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

/// Rows that have come and were not answered, up to this one, counted from the first of all.
struct Waiting {
    until: usize,
    rows_bytes: usize,
    answers_bytes: usize,
}

/// What one stream of a window holds.
struct Held {
    answers: Vec<Answers>,
    partitions: Partitions,
    /// Rows that the frames of rows to come may hold.
    behind: Behind,
    /// What the functions' arguments take while they are computed, for all rows of a partition at once.
    needs: Needs,
    reservation: MemoryReservation,
    under_way: VecDeque<Waiting>,
    /// Rows that have been answered and are held for others: up to which, and their bytes.
    reached: VecDeque<(usize, usize)>,
    /// Counted from the first of all: rows that came, rows that were answered, where the last partition begins, and from where on rows of a partition may be held.
    came: usize,
    answered: usize,
    begun_at: usize,
    needed_from: usize,
    /// What functions keep for the partition that goes on.
    kept: usize,
    until_the_end: bool,
    /// Whether the answers for a partition are values of their own, and the rows of the one that goes on, and of the one that has most.
    are_values: bool,
    rows: usize,
    most_rows: usize,
}

impl Held {
    fn new(exprs: &[Arc<dyn WindowExpr>], input: &Schema, needs: Needs, reservation: MemoryReservation) -> Result<Self> {
        let answers = exprs.iter().map(|expr| Answers::of(expr, input)).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        Ok(Self {
            answers,
            partitions: Partitions::new(exprs.first().map(|expr| expr.partition_by().to_vec()).unwrap_or_default()),
            behind: exprs.iter().fold(Behind::Rows(0), |behind, expr| behind.and(Behind::of(expr.as_ref()))),
            needs,
            reservation,
            under_way: VecDeque::new(),
            reached: VecDeque::new(),
            came: 0,
            answered: 0,
            begun_at: 0,
            needed_from: 0,
            kept: 0,
            until_the_end: false,
            are_values: false,
            rows: 0,
            most_rows: 0,
        })
    }

    /// # Errors
    /// Where the pool has no more.
    fn come(&mut self, batch: &RecordBatch) -> Result<()> {
        let computed_bytes = self.needs.bytes(batch, 0..batch.num_rows());
        self.reservation.try_grow(computed_bytes)?;
        let (partitions, goes_on) = self.partitions.of(batch)?;
        if let Some(last) = partitions.last().filter(|_| partitions.len() > 1 || !goes_on) {
            self.begun_at = self.came + last.start;
        }
        let under_way = if self.until_the_end { usize::MAX } else { self.came - self.answered };
        let (mut answers_bytes, mut kept) = (computed_bytes, 0_usize);
        for function in &mut self.answers {
            answers_bytes = answers_bytes.saturating_add(function.taken(batch, (partitions.as_slice(), goes_on), under_way)?);
            kept = kept.saturating_add(function.kept());
        }
        let rows_bytes = batch.columns().iter().fold(0_usize, |sum, column| sum.saturating_add(bytes(column))).saturating_mul(COPIES);
        let values = self.values(&partitions, goes_on);
        let more = rows_bytes.saturating_add(answers_bytes - computed_bytes).saturating_add(kept).saturating_add(values);
        let less = std::mem::replace(&mut self.kept, kept);
        self.reservation.try_grow(more.saturating_sub(less))?;
        self.reservation.shrink(less.saturating_sub(more));
        self.came += batch.num_rows();
        self.under_way.push_back(Waiting { until: self.came, rows_bytes, answers_bytes });
        Ok(())
    }

    /// How much more the values of the longest partition take with these rows: those of one are made at once.
    fn values(&mut self, partitions: &[Range<usize>], goes_on: bool) -> usize {
        if !self.are_values {
            return 0;
        }
        let before = self.most_rows;
        for (place, rows) in partitions.iter().enumerate() {
            let so_far = if place > 0 || !goes_on { 0 } else { self.rows };
            self.rows = so_far + rows.len();
            self.most_rows = self.most_rows.max(self.rows);
        }
        (self.most_rows - before).saturating_mul(size_of::<ScalarValue>())
    }

    /// So many rows have been answered, in the order in which they came.
    fn go(&mut self, rows: usize) {
        if self.until_the_end {
            return;
        }
        self.answered += rows;
        while let Some(waiting) = self.under_way.pop_front_if(|waiting| waiting.until <= self.answered) {
            self.reservation.shrink(waiting.answers_bytes);
            self.reached.push_back((waiting.until, waiting.rows_bytes));
        }
        if self.answered > self.begun_at {
            self.needed_from = self.begun_at;
        }
        let needed_from = match self.behind {
            Behind::Rows(rows) => self.answered.saturating_sub(rows),
            Behind::Partition => self.needed_from,
        };
        while let Some((_, bytes)) = self.reached.pop_front_if(|(until, _)| *until <= needed_from) {
            self.reservation.shrink(bytes);
        }
    }
}

/// What a column holds. Of texts that lie in buffers, no more than these, however often each stands there.
fn bytes(column: &ArrayRef) -> usize {
    let of = |views| written::bytes(column.as_ref(), 0..column.len(), views);
    let buffers = match column.data_type() {
        DataType::Utf8View => column.as_string_view().data_buffers(),
        DataType::BinaryView => column.as_binary_view().data_buffers(),
        _ => return of(Views::Written),
    };
    let held = buffers.iter().map(Buffer::capacity).sum();
    of(Views::Written).min(of(Views::Shared).saturating_add(held))
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

    /// What an aggregate keeps, and what `lag` puts in the place of rows that are not there, is long though no column is.
    #[tokio::test]
    async fn what_functions_keep_and_make_of_nothing_is_counted() {
        let long = "x".repeat(4_000);
        for window in [
            "count(DISTINCT repeat('x', 2000) || value) OVER (ORDER BY value)".to_owned(),
            format!("lag(CASE WHEN value > 3 THEN 'a' ELSE 'b' END, 9000, '{long}') OVER (ORDER BY value)"),
        ] {
            let sql = format!("SELECT count(answer) FROM (SELECT {window} AS answer FROM range(0, 20000)) WHERE answer IS NOT NULL");
            let refused = answered(24 << 20, true, &sql).await.expect_err(&window);
            assert!(statement::is_short(&refused), "{window}: {refused}");
        }
    }

    /// They are made for one partition after the other.
    #[tokio::test]
    async fn answers_that_are_values_first_count_for_the_longest_partition() {
        let sql = |partition: &str| {
            let frame = "ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING";
            let window = format!("last_value(value) OVER (PARTITION BY {partition} ORDER BY value {frame})");
            format!("SELECT sum(answer) FROM (SELECT {window} AS answer FROM range(0, 1000000))")
        };
        answered(64 << 20, true, &sql("value / 1000")).await.expect("many of few rows");
        let refused = answered(64 << 20, true, &sql("value / 1000000")).await.expect_err("one of all");
        assert!(statement::is_short(&refused), "{refused}");
        let whole = "SELECT sum(n) FROM (SELECT count(*) OVER () AS n FROM range(0, 1000000))";
        answered(64 << 20, true, whole).await.expect("all rows have one answer");
    }

    /// Rows stay that the frames of later rows may hold, whether or not they have been answered themselves.
    #[tokio::test]
    async fn rows_are_held_as_far_as_frames_reach_back() {
        let sql = |window: &str| format!("SELECT count(*), sum(answer) FROM (SELECT {window} AS answer FROM range(0, 1200000))");
        answered(16 << 20, true, &sql("sum(value) OVER (ORDER BY value ROWS BETWEEN 10 PRECEDING AND CURRENT ROW)")).await.expect("ten");
        for window in [
            "sum(value) OVER (ORDER BY value ROWS BETWEEN 2000000 PRECEDING AND CURRENT ROW)",
            "lag(nullif(value, value)) IGNORE NULLS OVER (ORDER BY value)",
        ] {
            let refused = answered(16 << 20, true, &sql(window)).await.expect_err(window);
            assert!(statement::is_short(&refused), "{window}: {refused}");
        }
    }

    /// A text that is longer than all before is no answer for rows that have been answered.
    #[tokio::test]
    async fn a_long_text_counts_for_the_rows_that_are_under_way() {
        let sql = "SELECT count(*), max(length(longest)) FROM \
                   (SELECT max(text) OVER (ORDER BY v ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS longest FROM \
                   (SELECT value AS v, CASE WHEN value > 99000 THEN repeat('x', 2000) ELSE 'x' END AS text FROM range(0, 100000)))";
        answered(96 << 20, true, sql).await.expect("goes along");
    }

    #[test]
    fn texts_that_stand_in_many_rows_lie_in_memory_once() {
        let text = ScalarValue::Utf8View(Some("x".repeat(1 << 20)));
        let column = text.to_array_of_size(1_000).expect("a column");
        assert!(((1 << 20)..(2 << 20)).contains(&bytes(&column)), "{}", bytes(&column));
        assert!(bytes(&column.slice(0, 0)) == 0, "nothing of it is held");
    }

    /// What has been answered is held no more: a million rows pass through little memory.
    #[tokio::test]
    async fn a_window_that_goes_along_counts_what_is_under_way() {
        let sql =
            "SELECT count(*), sum(length(before)) FROM (SELECT lag(value || '') OVER (ORDER BY value) AS before FROM range(0, 1000000))";
        answered(24 << 20, true, sql).await.expect("goes along");
    }
}
