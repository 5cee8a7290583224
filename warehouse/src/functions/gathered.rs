//! Aggregates that keep every value they are given: the engine's `string_agg`, `array_agg`, medians, and `count`, `sum` and `avg` of DISTINCT values, and `mode`, which it lacks.
//!
//! An aggregate says how much it keeps, and the engine asks the pool for that once it is kept. Nobody asks for what comes of it: an answer is copied twice before it
//! is a row, a text grows in a buffer that may be twice as long and is copied into the next, and a text that is a view into a buffer counts as the view. So
//! each of these says from the beginning what its answer will take too, and goes to disk, or is refused, while there is room for it.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions_aggregate::array_agg::array_agg_udaf;
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::functions_aggregate::count::count_udaf;
use datafusion::functions_aggregate::median::median_udaf;
use datafusion::functions_aggregate::nth_value::nth_value_udaf;
use datafusion::functions_aggregate::percentile_cont::percentile_cont_udaf;
use datafusion::functions_aggregate::string_agg::string_agg_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, AggregateFunctionSimplification, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, GroupsAccumulator, ReversedUDAF, SetMonotonicity, Signature, StatisticsArgs,
};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;

use super::{different, mode, sums};

mod counted;

use counted::{Groups, One};

/// All of them, under the engine's names, whose place they take.
pub fn all() -> [AggregateUDF; 9] {
    [
        of(string_agg_udaf(), Keeps::Values),
        of(array_agg_udaf(), Keeps::Batches),
        of(nth_value_udaf(), Keeps::Values),
        of(median_udaf(), Keeps::Numbers),
        of(percentile_cont_udaf(), Keeps::Numbers),
        of(count_udaf(), Keeps::Different),
        of(Arc::new(sums::sum()), Keeps::Different),
        of(avg_udaf(), Keeps::Different),
        of(Arc::new(mode::mode()), Keeps::Values),
    ]
}

/// Whether the aggregate keeps what it is given.
pub(crate) fn keeps(aggregate: &AggregateFunctionExpr) -> bool {
    let keeps_all = |gathered: &Gathered| gathered.keeps != Keeps::Different;
    aggregate.is_distinct() || aggregate.fun().inner().downcast_ref::<Gathered>().is_some_and(keeps_all)
}

/// Whether the operator adds up by an aggregate that does.
pub(crate) fn adds_up(plan: &dyn ExecutionPlan) -> bool {
    plan.downcast_ref::<AggregateExec>().is_some_and(|plan| plan.aggr_expr().iter().any(|aggregate| keeps(aggregate)))
}

fn of(engines: Arc<AggregateUDF>, keeps: Keeps) -> AggregateUDF {
    AggregateUDF::from(Gathered { engines, keeps })
}

/// As what values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Keeps {
    /// One by one.
    Numbers,
    /// Written out anew.
    Values,
    /// In the batches in which they came, where the aggregate states no order; else written out.
    Batches,
    /// Each that differs once, where the aggregate says DISTINCT; else nothing.
    Different,
}

impl Keeps {
    /// How many times a value lies in memory at most, until the answer is given that it is part of: where it is kept, or in what is kept of it while that grows, and
    /// in the copies that become a row.
    fn times(self) -> usize {
        match self {
            Self::Numbers => 2,
            Self::Values | Self::Batches | Self::Different => 3,
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Gathered {
    engines: Arc<AggregateUDF>,
    keeps: Keeps,
}

impl Gathered {
    /// Whether the engine's own adds up and keeps nothing.
    fn keeps_nothing(&self, is_distinct: bool) -> bool {
        self.keeps == Keeps::Different && !is_distinct
    }

    /// Keeps what differs in the place of the engine's, where that is what is kept.
    fn engines(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match self.keeps {
            Keeps::Different => different::accumulator(&self.engines, arguments),
            Keeps::Numbers | Keeps::Values | Keeps::Batches => self.engines.accumulator(arguments),
        }
    }

    /// Whether texts are kept as views, which the engine counts without what they point to.
    fn keeps_views(&self, arguments: &AccumulatorArgs<'_>) -> bool {
        let as_they_came = self.keeps == Keeps::Batches && !arguments.is_distinct && arguments.order_bys.is_empty();
        as_they_came && arguments.expr_fields.first().is_some_and(|field| has_views(field.data_type()))
    }
}

impl AggregateUDFImpl for Gathered {
    fn name(&self) -> &str {
        self.engines.name()
    }

    fn aliases(&self) -> &[String] {
        self.engines.aliases()
    }

    fn signature(&self) -> &Signature {
        self.engines.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.engines.return_type(arguments)
    }

    fn return_field(&self, arguments: &[FieldRef]) -> Result<FieldRef> {
        self.engines.return_field(arguments)
    }

    fn is_nullable(&self) -> bool {
        self.engines.is_nullable()
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if self.keeps_nothing(arguments.is_distinct) {
            return self.engines.accumulator(arguments);
        }
        let keeps_views = self.keeps_views(&arguments);
        Ok(Box::new(One::new(self.engines(arguments)?, self.keeps.times(), keeps_views)))
    }

    fn create_sliding_accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if self.keeps_nothing(arguments.is_distinct) {
            return self.engines.create_sliding_accumulator(arguments);
        }
        let keeps_views = self.keeps_views(&arguments);
        Ok(Box::new(One::new(self.engines.create_sliding_accumulator(arguments)?, self.keeps.times(), keeps_views)))
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        match self.keeps {
            Keeps::Different if arguments.is_distinct => different::state_fields(&self.engines, arguments),
            _ => self.engines.state_fields(arguments),
        }
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs<'_>) -> bool {
        self.engines.groups_accumulator_supported(arguments)
    }

    fn create_groups_accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        if self.keeps_nothing(arguments.is_distinct) {
            return self.engines.create_groups_accumulator(arguments);
        }
        let keeps_views = self.keeps_views(&arguments);
        let engines = self.engines.create_groups_accumulator(arguments)?;
        Ok(Box::new(Groups::new(engines, self.keeps.times(), keeps_views)))
    }

    fn with_beneficial_ordering(self: Arc<Self>, beneficial_ordering: bool) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        let ordered = self.engines.as_ref().clone().with_beneficial_ordering(beneficial_ordering)?;
        Ok(ordered.map(|engines| Arc::new(Self { engines: Arc::new(engines), keeps: self.keeps }) as Arc<dyn AggregateUDFImpl>))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.engines.order_sensitivity()
    }

    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        self.engines.simplify()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        match self.engines.reverse_udf() {
            ReversedUDAF::Reversed(engines) => ReversedUDAF::Reversed(Arc::new(of(engines, self.keeps))),
            other => other,
        }
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.engines.coerce_types(arguments)
    }

    fn value_from_stats(&self, arguments: &StatisticsArgs<'_>) -> Option<ScalarValue> {
        self.engines.value_from_stats(arguments)
    }

    fn set_monotonicity(&self, kind: &DataType) -> SetMonotonicity {
        self.engines.inner().set_monotonicity(kind)
    }

    fn default_value(&self, kind: &DataType) -> Result<ScalarValue> {
        self.engines.default_value(kind)
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.engines.supports_null_handling_clause()
    }

    fn supports_within_group_clause(&self) -> bool {
        self.engines.supports_within_group_clause()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.engines.documentation()
    }
}

fn has_views(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8View | DataType::BinaryView => true,
        DataType::List(of) | DataType::LargeList(of) | DataType::FixedSizeList(of, _) | DataType::Map(of, _) => has_views(of.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_views(field.data_type())),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringViewArray};
    use datafusion::arrow::datatypes::{Field, Schema};
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::datasource::MemTable;
    use datafusion::execution::memory_pool::GreedyMemoryPool;
    use datafusion::execution::runtime_env::RuntimeEnvBuilder;
    use datafusion::logical_expr::EmitTo;
    use datafusion::physical_expr::PhysicalExpr;
    use datafusion::physical_expr::expressions::Column;
    use datafusion::prelude::SessionContext;

    use super::*;
    use crate::functions::tests::{Column as Drawn, asked, session};
    use crate::session::empty_session;
    use crate::statement;

    async fn told(ours: bool, sql: &str) -> String {
        let rows = 2_000_i64;
        let columns = vec![
            ("id", Drawn::Whole((0..rows).collect())),
            ("part", Drawn::Whole((0..rows).map(|row| row * row % 31).collect())),
            ("number", Drawn::Number((0..rows).map(|row| (row * 7_919 % 101) as f64).collect())),
            ("text", Drawn::Text((0..rows).map(|row| format!("text number {}", row * 7_919 % 97)).collect())),
        ];
        let ctx = session("rows", columns, 2);
        if !ours {
            for function in [string_agg_udaf(), array_agg_udaf(), nth_value_udaf(), median_udaf(), percentile_cont_udaf()] {
                ctx.register_udaf(function.as_ref().clone());
            }
        }
        pretty_format_batches(&asked(&ctx, sql).await).expect("prints").to_string()
    }

    #[tokio::test]
    async fn the_answers_are_the_engines_own() {
        let calls = [
            "string_agg(text, ', ' ORDER BY id)",
            "string_agg(DISTINCT text, ', ' ORDER BY text DESC)",
            "length(string_agg(text, '--'))",
            "array_agg(text ORDER BY id DESC)",
            "array_agg(DISTINCT number ORDER BY number)",
            "array_length(array_agg(NULLIF(text, 'text number 3')) FILTER (WHERE number > 4))",
            "array_length(array_agg(arrow_cast(text, 'Utf8View')))",
            "nth_value(text, 3 ORDER BY id)",
            "median(number)",
            "median(DISTINCT id)",
            "percentile_cont(number, 0.3)",
            "percentile_cont(0.25) WITHIN GROUP (ORDER BY number DESC)",
            "quantile_cont(number, 1.0)",
        ];
        let framed = "string_agg(text, ',') OVER (PARTITION BY part ORDER BY id), \
                      array_agg(text) OVER (PARTITION BY part ORDER BY id ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING), \
                      median(number) OVER (PARTITION BY part ORDER BY id ROWS BETWEEN 5 PRECEDING AND CURRENT ROW)";
        let grouped = calls.map(|call| format!("SELECT part, {call} FROM rows GROUP BY part ORDER BY part"));
        let whole = calls.map(|call| format!("SELECT {call} FROM rows"));
        for sql in grouped.into_iter().chain(whole).chain([format!("SELECT id, {framed} FROM rows ORDER BY id")]) {
            assert_eq!(told(true, &sql).await, told(false, &sql).await, "{sql}");
        }
    }

    #[tokio::test]
    async fn all_stand_in_the_engines_place() {
        let ctx = SessionContext::new();
        crate::functions::register(&ctx);
        let state = ctx.state();
        let is = |name: &str| state.aggregate_functions().get(name).expect(name).inner().is::<Gathered>();
        for name in
            ["string_agg", "array_agg", "nth_value", "median", "percentile_cont", "quantile_cont", "count", "sum", "avg", "mean", "mode"]
        {
            assert!(is(name), "{name}");
        }
        assert!(!is("max"));
    }

    /// A session with so much memory, and a table of so many texts of a kilobyte that are views.
    fn small(bytes: usize, rows: usize) -> SessionContext {
        let texts: StringViewArray = (0..rows).map(|row| Some(format!("{row:>1000}"))).collect();
        let schema = Arc::new(Schema::new(vec![Field::new("text", DataType::Utf8View, false)]));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(texts)]).expect("fits");
        let batches = (0..rows).step_by(1_000).map(|from| batch.slice(from, 1_000)).collect();
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(GreedyMemoryPool::new(bytes))).build_arc().expect("a runtime");
        let ctx = empty_session(&runtime);
        ctx.register_table("rows", Arc::new(MemTable::try_new(schema, vec![batches]).expect("a table"))).expect("registers");
        ctx
    }

    /// What is kept would fit into the memory; the answer beside it does not.
    #[tokio::test]
    async fn an_answer_for_which_there_is_no_room_is_refused_before_it_is_made() {
        let ctx = small(64 << 20, 30_000);
        for answer in [
            "length(string_agg(text, ''))",
            "array_length(array_agg(text))",
            "array_length(array_agg(text ORDER BY text DESC))",
            "array_length(array_agg(DISTINCT text))",
            "count(DISTINCT text) + count(DISTINCT length(text))",
            "length(mode() WITHIN GROUP (ORDER BY text))",
        ] {
            let few = format!("SELECT {answer} FROM (SELECT text FROM rows LIMIT 2000)");
            statement::all(ctx.sql(&few).await.expect("plans")).await.expect("two megabytes");
            let all = format!("SELECT {answer} FROM rows");
            let refused = statement::all(ctx.sql(&all).await.expect("plans")).await.expect_err(answer);
            assert!(statement::is_short(&refused), "{answer}: {refused}");
        }
    }

    /// Of groups that are given, no more is counted; of those that stay, all of it.
    #[test]
    fn texts_behind_views_count_as_long_as_their_group_is_kept() {
        let field: FieldRef = Arc::new(Field::new("text", DataType::Utf8View, true));
        let schema = Schema::new(vec![Arc::clone(&field)]);
        let exprs: [Arc<dyn PhysicalExpr>; 1] = [Arc::new(Column::new("text", 0))];
        let function = of(array_agg_udaf(), Keeps::Batches);
        let arguments = || AccumulatorArgs {
            return_field: Arc::new(Field::new_list("texts", Field::new_list_field(DataType::Utf8View, true), true)),
            schema: &schema,
            ignore_nulls: false,
            order_bys: &[],
            is_reversed: false,
            name: "array_agg",
            is_distinct: false,
            exprs: &exprs,
            expr_fields: std::slice::from_ref(&field),
        };
        let values: [ArrayRef; 1] = [Arc::new(StringViewArray::from_iter_values(std::iter::repeat_n("x".repeat(10_000), 3)))];
        let mut groups = function.create_groups_accumulator(arguments()).expect("is made");
        let empty = groups.size();
        groups.update_batch(&values, &[0, 1, 0], None, 2).expect("is taken");
        assert!(groups.size() >= empty + 90_000, "{}", groups.size());
        groups.evaluate(EmitTo::First(1)).expect("two texts");
        assert!((empty + 30_000..empty + 60_000).contains(&groups.size()), "{}", groups.size());
        groups.update_batch(&values, &[0, 0, 0], Some(&BooleanArray::from(vec![Some(true), Some(false), None])), 1).expect("is taken");
        assert!((empty + 60_000..empty + 90_000).contains(&groups.size()), "{}", groups.size());
        groups.state(EmitTo::All).expect("two texts");
        assert!(groups.size() < empty + 10_000, "{}", groups.size());

        let mut one = function.create_sliding_accumulator(arguments()).expect("is made");
        let empty = one.size();
        one.update_batch(&values).expect("is taken");
        assert!(one.size() >= empty + 90_000, "{}", one.size());
        one.retract_batch(&values).expect("is given back");
        assert!(one.size() < empty + 10_000, "{}", one.size());
    }
}
