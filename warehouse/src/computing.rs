//! Rows of which much is computed at once, in smaller batches.
//!
//! An operator computes all that it gives for a whole batch before it lets go of any, and a function all its arguments: three hundred texts that are each made
//! of one of two kilobytes take 5 GB for a batch of the usual number of rows, for which no pool is asked. How much that may be is told from the expressions and
//! from the texts that they are made of; a batch for which it is too much comes in parts.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _, TreeNodeRecursion, TreeNodeVisitor};
use datafusion::common::{DataFusionError, Result, ScalarValue, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateInputMode};
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use futures::stream::{self, BoxStream};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::functions::gathered;
use crate::passing::{Pass, PassExec};
use crate::roles::bounded::{self, ROW_BYTES};
use crate::written::{self, BATCH_BYTES, Views};

/// What expressions may hold at once of a row: so many bytes, and the value of a column so many times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    fixed_bytes: usize,
    times: BTreeMap<usize, usize>,
}

impl Needs {
    /// Of all expressions of an operator whose input has this schema.
    ///
    /// # Errors
    /// Where they cannot be walked through.
    pub(crate) fn of(plan: &dyn ExecutionPlan, input: &Schema) -> Result<Self> {
        let mut weigher = Weigher { input, needs: Self::default(), within: Vec::new() };
        plan.apply_expressions(&mut |expr| expr.visit(&mut weigher))?;
        Ok(weigher.needs)
    }

    /// With what the aggregate keeps of columns as they are, of which a text may be a view into a buffer that others point to as well.
    fn and_kept(mut self, aggregate: &AggregateExec, input: &Schema) -> Self {
        let kept = aggregate.aggr_expr().iter().filter(|expr| gathered::keeps(expr)).flat_map(|expr| expr.expressions());
        for column in kept.filter_map(|argument| argument.downcast_ref::<Column>().map(Column::index)) {
            if input.fields().get(column).is_some_and(|field| written::is_long(field.data_type())) {
                *self.times.entry(column).or_default() += 1;
            }
        }
        self
    }

    /// The same without what functions may make of nothing.
    pub(crate) fn of_columns(self) -> Self {
        Self { fixed_bytes: 0, ..self }
    }

    fn is_nothing(&self) -> bool {
        self.fixed_bytes == 0 && self.times.is_empty()
    }

    /// For these rows.
    pub(crate) fn bytes(&self, batch: &RecordBatch, rows: Range<usize>) -> usize {
        let fixed = self.fixed_bytes.saturating_mul(rows.len());
        self.times.iter().fold(fixed, |sum, (column, times)| {
            let text = batch.columns().get(*column).map_or(0, |column| written::bytes(column.as_ref(), rows.clone(), Views::Written));
            sum.saturating_add(text.saturating_mul(*times))
        })
    }

    fn parts(&self, batch: &RecordBatch) -> Vec<RecordBatch> {
        written::parts(batch, BATCH_BYTES, |rows| self.bytes(batch, rows))
    }
}

/// Walks through expressions, and counts for each value in how many others it goes on.
struct Weigher<'a> {
    input: &'a Schema,
    needs: Needs,
    /// For each expression around this one, how many of those from it outwards give what may be long, up to one that gives a number.
    within: Vec<usize>,
}

impl Weigher<'_> {
    fn around(&self) -> usize {
        self.within.last().copied().unwrap_or(0)
    }

    /// Whether the expression gives what may be long. Its type is asked for only where that is no walk through all below.
    fn is_long(&self, expr: &Arc<dyn PhysicalExpr>) -> bool {
        match expr.downcast_ref::<BinaryExpr>() {
            Some(binary) => *binary.op() == Operator::StringConcat,
            None => expr.data_type(self.input).is_ok_and(|kind| written::is_long(&kind)),
        }
    }
}

impl<'n> TreeNodeVisitor<'n> for Weigher<'_> {
    type Node = Arc<dyn PhysicalExpr>;

    fn f_down(&mut self, expr: &'n Self::Node) -> Result<TreeNodeRecursion> {
        let around = self.around();
        if let Some(column) = expr.downcast_ref::<Column>() {
            let kind = self.input.fields().get(column.index()).map(|field| field.data_type());
            if around > 0 && kind.is_some_and(written::is_long) {
                *self.needs.times.entry(column.index()).or_default() += around;
            }
        } else if let Some(literal) = expr.downcast_ref::<Literal>().filter(|_| around > 0) {
            self.needs.fixed_bytes = self.needs.fixed_bytes.saturating_add(around.saturating_mul(length(literal.value())?));
        }
        let gives = if self.is_long(expr) { around + 1 } else { 0 };
        if let Some(call) = expr.downcast_ref::<ScalarFunctionExpr>() {
            self.needs.fixed_bytes = self.needs.fixed_bytes.saturating_add(gives.saturating_mul(made(call)));
        }
        self.within.push(gives);
        Ok(TreeNodeRecursion::Continue)
    }

    fn f_up(&mut self, _expr: &'n Self::Node) -> Result<TreeNodeRecursion> {
        self.within.pop();
        Ok(TreeNodeRecursion::Continue)
    }
}

fn length(value: &ScalarValue) -> Result<usize> {
    Ok(if written::is_long(&value.data_type()) { written::bytes(value.to_array()?.as_ref(), 0..1, Views::Written) } else { 0 })
}

/// What a call makes of nothing for a row: a text that is padded says how long it is to be.
fn made(call: &ScalarFunctionExpr) -> usize {
    if !bounded::makes_much(call.name()) {
        return 0;
    }
    let stated = match (call.name(), call.args().get(1).and_then(|length| length.downcast_ref::<Literal>())) {
        ("lpad" | "rpad", Some(length)) => length.value().cast_to(&DataType::Int64).ok(),
        _ => None,
    };
    match stated {
        Some(ScalarValue::Int64(Some(length))) => usize::try_from(length).unwrap_or(0).min(ROW_BYTES),
        _ => ROW_BYTES,
    }
}

/// Puts [`Parted`] before what computes texts and lists, or keeps them.
#[derive(Debug)]
pub(crate) struct Parting;

impl PhysicalOptimizerRule for Parting {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let before = |plan: Arc<dyn ExecutionPlan>| {
            let aggregate = plan.downcast_ref::<AggregateExec>().filter(|plan| plan.mode().input_mode() == AggregateInputMode::Raw);
            if aggregate.is_none() && !plan.is::<ProjectionExec>() && !plan.is::<FilterExec>() {
                return Ok(Transformed::no(plan));
            }
            let [input] = plan.children()[..] else { return internal_err!("what computes rows has one input") };
            let schema = input.schema();
            let needs = Needs::of(plan.as_ref(), &schema)?;
            let needs = match aggregate {
                Some(aggregate) => needs.and_kept(aggregate, &schema),
                None => needs,
            };
            if needs.is_nothing() {
                return Ok(Transformed::no(plan));
            }
            let parted = PassExec::over(Arc::clone(input), Parted(needs));
            Ok(Transformed::yes(plan.replace_children(vec![parted], ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))?))
        };
        plan.transform_up(before).data()
    }

    fn name(&self) -> &'static str {
        "parting"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Rows in batches of which not too much is computed at once.
#[derive(Debug)]
struct Parted(Needs);

impl Pass for Parted {
    const NAME: &'static str = "PartedExec";

    fn pass(self: Arc<Self>, rows: SendableRecordBatchStream, _context: Arc<TaskContext>) -> BoxStream<'static, Result<RecordBatch>> {
        rows.map_ok(move |batch| stream::iter(self.0.parts(&batch).into_iter().map(Ok::<_, DataFusionError>))).try_flatten().boxed()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, StringViewArray, UInt32Array};
    use datafusion::arrow::compute::take;
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::execution::SessionStateBuilder;
    use datafusion::execution::runtime_env::RuntimeEnvBuilder;
    use datafusion::prelude::SessionContext;

    use super::*;
    use crate::session::empty_session;
    use crate::statement;

    const TEXTS: &str = "(SELECT value, repeat('x', 500) || value AS text FROM range(16000))";

    fn session(is_parted: bool) -> SessionContext {
        let mut state =
            SessionStateBuilder::new_from_existing(empty_session(&RuntimeEnvBuilder::new().build_arc().expect("a runtime")).state());
        if is_parted {
            state = state.with_physical_optimizer_rule(Arc::new(Parting));
        }
        SessionContext::new_with_state(state.build())
    }

    /// One after the other, each made of the text.
    fn made(count: usize, of: impl Fn(usize) -> String) -> String {
        (0..count).map(of).collect::<Vec<_>>().join(", ")
    }

    /// A batch of the usual number of rows would take 160 MB.
    #[tokio::test]
    async fn columns_that_are_computed_of_long_texts_come_for_fewer_rows_at_once() {
        let sql = format!("SELECT {} FROM {TEXTS}", made(40, |number| format!("upper(text || '{number}') AS a{number}")));
        let mut rows = statement::rows(session(true).sql(&sql).await.expect("plans")).await.expect("begins");
        let (mut most, mut all) = (0, 0);
        while let Some(batch) = rows.try_next().await.expect("goes on") {
            (most, all) = (most.max(batch.get_array_memory_size()), all + batch.num_rows());
        }
        assert_eq!(all, 16_000);
        assert!(most <= 2 * BATCH_BYTES, "{most}");
    }

    fn parted(plan: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
        if plan.is::<PassExec<Parted>>() { Some(Arc::clone(plan)) } else { plan.children().into_iter().find_map(parted) }
    }

    /// One text that stands in all rows is nothing as long as nobody writes it out: 160 MB of it.
    #[tokio::test]
    async fn texts_that_an_aggregate_keeps_come_for_fewer_rows_at_once() {
        let ctx = session(true);
        let text: ArrayRef = Arc::new(StringViewArray::from_iter_values(["x".repeat(20_000)]));
        let texts = take(text.as_ref(), &UInt32Array::from(vec![0; 8_000]), None).expect("the same");
        ctx.register_batch("texts", RecordBatch::try_from_iter([("text", texts)]).expect("a batch")).expect("registers");
        let plan = async |call: &str| ctx.sql(&format!("SELECT {call} FROM texts")).await.expect(call).create_physical_plan().await;
        for call in ["string_agg(text, '')", "array_agg(text)"] {
            let rows = parted(&plan(call).await.expect(call)).expect(call);
            let parts = datafusion::physical_plan::collect(rows, ctx.task_ctx()).await.expect(call);
            assert_eq!(parts.iter().map(RecordBatch::num_rows).sum::<usize>(), 8_000, "{call}");
            assert!(parts.iter().all(|part| part.num_rows() * 20_000 <= BATCH_BYTES), "{call}");
        }
        for call in ["max(text)", "count(text)"] {
            assert!(parted(&plan(call).await.expect(call)).is_none(), "{call}");
        }
    }

    #[tokio::test]
    async fn parted_rows_answer_as_whole_batches() {
        let together = format!("concat({})", made(12, |number| format!("upper(text || '{number}')")));
        for sql in [
            format!("SELECT sum(length({together})) FROM {TEXTS}"),
            format!("SELECT value % 3, max(md5({together})) FROM {TEXTS} GROUP BY value % 3 ORDER BY 1"),
            format!("SELECT count(*) FROM {TEXTS} WHERE md5({together}) > '8'"),
            format!("SELECT value, md5({together}) FROM {TEXTS} ORDER BY value DESC LIMIT 3"),
        ] {
            let mut answers = Vec::new();
            for is_parted in [true, false] {
                let ctx = session(is_parted);
                let explained = statement::all(ctx.sql(&format!("EXPLAIN {sql}")).await.expect("plans")).await.expect("is told");
                let explained = pretty_format_batches(&explained).expect("rows").to_string();
                assert_eq!(explained.contains("PartedExec"), is_parted, "{explained}");
                let rows = statement::all(ctx.sql(&sql).await.expect("plans")).await.expect("answers");
                answers.push(pretty_format_batches(&rows).expect("rows").to_string());
            }
            assert_eq!(answers[0], answers[1], "{:.200}", sql);
        }
    }

    /// What an expression holds, of the columns `value` and `text`.
    async fn needs(expr: &str) -> Needs {
        let plan = session(false).sql(&format!("SELECT {expr} AS answer FROM (VALUES (1, 'a')) AS t (value, text)")).await.expect("plans");
        let physical = session(false).state().create_physical_expr(expression(plan.logical_plan()), plan_schema(plan.logical_plan()));
        let mut weigher = Weigher { input: plan_schema(plan.logical_plan()).as_arrow(), needs: Needs::default(), within: Vec::new() };
        physical.expect("is made").visit(&mut weigher).expect("is walked through");
        weigher.needs
    }

    fn expression(plan: &datafusion::logical_expr::LogicalPlan) -> datafusion::logical_expr::Expr {
        let datafusion::logical_expr::LogicalPlan::Projection(projection) = plan else { panic!("a projection") };
        projection.expr[0].clone().unalias()
    }

    fn plan_schema(plan: &datafusion::logical_expr::LogicalPlan) -> &datafusion::common::DFSchema {
        plan.inputs()[0].schema()
    }

    #[tokio::test]
    async fn a_value_counts_for_each_that_it_goes_on_in() {
        assert!(needs("text").await.is_nothing(), "a column is given as it is");
        assert!(needs("value + 1 > 3 AND text > 'a'").await.is_nothing(), "so are numbers");
        let times = async |expr: &str| needs(expr).await.times.get(&1).copied().unwrap_or(0);
        let (once, twice) = (times("upper(text)").await, times("concat(upper(text), lower(text))").await);
        assert!(once >= 1 && twice >= 2 * (once + 1), "{once} {twice}");
        let measured = times("length(upper(text)) + 1").await;
        assert!(measured >= once && measured < twice, "a number holds nothing of it: {measured}");
        assert_eq!(needs("lpad(text, 5000)").await.fixed_bytes, 5_000);
        assert_eq!(needs("repeat(text, value)").await.fixed_bytes, ROW_BYTES);
        assert_eq!(needs("repeat(text, value)").await.of_columns().fixed_bytes, 0);
    }
}
