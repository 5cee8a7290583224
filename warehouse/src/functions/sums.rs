//! `sum` of whole numbers that is right or refused: the engine's own wraps around beyond 64 bits, and answers with a number of the other sign.
//!
//! The engine adds here too, but in 128 bits, which no table's rows leave; so the order of the rows, and how they are dealt to threads, decides nothing. A sum that is
//! itself beyond 64 bits is refused, as PostgreSQL refuses a `bigint` (22003).

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, Field, FieldRef, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, ReversedUDAF, SetMonotonicity, Signature,
};

/// Whole numbers of 128 bits, as far as decimals go: some 10^19 times what 64 bits hold.
const WIDE: DataType = DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0);

/// It, under the engine's name, whose place it takes.
pub fn sum() -> AggregateUDF {
    AggregateUDF::from(Sum { engines: sum_udaf() })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Sum {
    engines: Arc<AggregateUDF>,
}

/// Whether the engine's answer of this type would wrap.
fn wraps(answer: &DataType) -> bool {
    *answer == DataType::Int64
}

fn wide() -> FieldRef {
    Arc::new(Field::new("wide", WIDE, true))
}

impl AggregateUDFImpl for Sum {
    fn name(&self) -> &str {
        self.engines.name()
    }

    fn signature(&self) -> &Signature {
        self.engines.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.engines.return_type(arguments)
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if !wraps(arguments.return_type()) {
            return self.engines.accumulator(arguments);
        }
        let arguments = AccumulatorArgs { return_field: wide(), expr_fields: &[wide()], ..arguments };
        Ok(Box::new(One(self.engines.accumulator(arguments)?)))
    }

    fn create_sliding_accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if !wraps(arguments.return_type()) {
            return self.engines.create_sliding_accumulator(arguments);
        }
        let is_distinct = arguments.is_distinct;
        let arguments = AccumulatorArgs { return_field: wide(), expr_fields: &[wide()], is_distinct: false, ..arguments };
        let sum = One(self.engines.create_sliding_accumulator(arguments)?);
        if is_distinct {
            return Ok(Box::new(Moving { sum, frame: HashMap::new() }));
        }
        Ok(Box::new(sum))
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        if !wraps(arguments.return_type()) {
            return self.engines.state_fields(arguments);
        }
        self.engines.state_fields(StateFieldsArgs { return_field: wide(), input_fields: &[wide()], ..arguments })
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs<'_>) -> bool {
        self.engines.groups_accumulator_supported(arguments)
    }

    fn create_groups_accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        if !wraps(arguments.return_type()) {
            return self.engines.create_groups_accumulator(arguments);
        }
        let arguments = AccumulatorArgs { return_field: wide(), expr_fields: &[wide()], ..arguments };
        Ok(Box::new(Groups(self.engines.create_groups_accumulator(arguments)?)))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.engines.order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.engines.inner().reverse_expr()
    }

    fn set_monotonicity(&self, kind: &DataType) -> SetMonotonicity {
        self.engines.inner().set_monotonicity(kind)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.engines.documentation()
    }
}

/// The numbers in 128 bits.
fn widened(values: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
    Ok(values.iter().map(|values| cast(values, &WIDE)).collect::<std::result::Result<_, _>>()?)
}

/// The sum in 64 bits.
///
/// # Errors
/// Where it is beyond them.
fn narrowed(sum: i128) -> Result<i64> {
    sum.try_into().or_else(|_| exec_err!("bigint out of range"))
}

/// One sum.
#[derive(Debug)]
struct One(Box<dyn Accumulator>);

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.update_batch(&widened(values)?)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.retract_batch(&widened(values)?)
    }

    fn supports_retract_batch(&self) -> bool {
        self.0.supports_retract_batch()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        match self.0.evaluate()? {
            ScalarValue::Decimal128(sum, ..) => Ok(ScalarValue::Int64(sum.map(narrowed).transpose()?)),
            other => exec_err!("a sum of whole numbers is none: {other}"),
        }
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.0.size()
    }
}

/// The sum of the different numbers of a frame that moves: each is added once the first of its kind comes, and taken away once the last has gone.
#[derive(Debug)]
struct Moving {
    sum: One,
    /// How often each number stands in the frame.
    frame: HashMap<i64, usize>,
}

impl Moving {
    /// What comes that was not there.
    fn come(&mut self, value: i64) -> bool {
        let times = self.frame.entry(value).or_default();
        *times += 1;
        *times == 1
    }

    /// What goes and is there no more.
    fn go(&mut self, value: i64) -> bool {
        let Some(times) = self.frame.get_mut(&value) else { return false };
        *times -= 1;
        let is_last = *times == 0;
        if is_last {
            self.frame.remove(&value);
        }
        is_last
    }

    /// The numbers of which `counts` is true.
    fn those(&mut self, values: &[ArrayRef], counts: fn(&mut Self, i64) -> bool) -> Result<[ArrayRef; 1]> {
        let [numbers] = values else { return exec_err!("sum(DISTINCT ...) of {} arguments", values.len()) };
        let Some(numbers) = numbers.as_primitive_opt::<Int64Type>() else {
            return exec_err!("a sum of whole numbers is given {}", numbers.data_type());
        };
        let those: Int64Array = numbers.iter().flatten().filter(|value| counts(self, *value)).collect();
        Ok([Arc::new(those) as ArrayRef])
    }
}

impl Accumulator for Moving {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let come = self.those(values, Self::come)?;
        self.sum.update_batch(&come)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let gone = self.those(values, Self::go)?;
        self.sum.retract_batch(&gone)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, _states: &[ArrayRef]) -> Result<()> {
        exec_err!("a frame that moves is added up in one place")
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        exec_err!("a frame that moves is added up in one place")
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.sum.evaluate()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.sum.size() + self.frame.capacity() * size_of::<(i64, usize)>()
    }
}

/// Those of many groups.
struct Groups(Box<dyn GroupsAccumulator>);

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.0.update_batch(&widened(values)?, group_indices, opt_filter, total_num_groups)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.0.merge_batch(values, group_indices, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sums = self.0.evaluate(emit_to)?;
        let Some(sums) = sums.as_primitive_opt::<Decimal128Type>() else {
            return exec_err!("sums of whole numbers are of the type {}", sums.data_type());
        };
        let sums: Int64Array = sums.iter().map(|sum| sum.map(narrowed).transpose()).collect::<Result<_>>()?;
        Ok(Arc::new(sums))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.0.state(emit_to)
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.0.convert_to_state(&widened(values)?, opt_filter)
    }

    fn size(&self) -> usize {
        self.0.size()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::prelude::SessionContext;

    use super::*;

    const MOST: i64 = i64::MAX;

    async fn told(sql: &str) -> Result<String> {
        let ctx = SessionContext::new();
        ctx.register_udaf(sum());
        Ok(pretty_format_batches(&ctx.sql(sql).await?.collect().await?)?.to_string())
    }

    #[tokio::test]
    async fn sums_are_the_engines_own_where_they_fit() {
        let rows =
            "(SELECT CASE WHEN value % 7 > 0 THEN value * 1000003 % 4099 - 2000 END AS v, value % 40 AS part, value FROM range(0, 30000))";
        let plain = SessionContext::new();
        for sql in [
            format!("SELECT sum(v), sum(DISTINCT v), sum(v) FILTER (WHERE part = 3), sum(v) FILTER (WHERE false), sum(v + 1) FROM {rows}"),
            format!("SELECT part, sum(v), sum(DISTINCT v), sum(v) FILTER (WHERE value > 20000) FROM {rows} GROUP BY part ORDER BY part"),
            format!(
                "SELECT value, sum(v) OVER (PARTITION BY part ORDER BY value ROWS BETWEEN 3 PRECEDING AND CURRENT ROW), sum(v) OVER () FROM {rows} ORDER BY value"
            ),
            format!(
                "SELECT value, sum(DISTINCT v % 5) OVER (PARTITION BY part ORDER BY value ROWS BETWEEN 4 PRECEDING AND 1 PRECEDING) FROM {rows} ORDER BY value"
            ),
            format!("SELECT value / 2 AS half, sum(value) FROM {rows} GROUP BY value / 2 ORDER BY half LIMIT 5"),
            format!("SELECT sum(v / 2.0), sum(CAST(v AS DECIMAL(10, 2))) FROM {rows}"),
            format!("SELECT arrow_typeof(sum(v)) FROM {rows}"),
        ] {
            let engines = pretty_format_batches(&plain.sql(&sql).await.expect(&sql).collect().await.expect(&sql)).expect("prints");
            assert_eq!(told(&sql).await.expect(&sql), engines.to_string(), "{sql}");
        }
    }

    #[tokio::test]
    async fn a_sum_beyond_64_bits_is_refused() {
        let numbers = format!("(VALUES (1, {MOST}), (1, {MOST}), (2, 5)) AS t(part, v)");
        for sql in [
            format!("SELECT sum(v) FROM {numbers}"),
            format!("SELECT sum(v + 0) FROM {numbers}"),
            format!("SELECT part, sum(v) FROM {numbers} GROUP BY part"),
            format!("SELECT sum(v) OVER (ORDER BY part) FROM {numbers}"),
            format!("SELECT sum(v) OVER (ORDER BY part ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM {numbers}"),
            format!("SELECT sum(DISTINCT v) FROM {numbers}"),
            format!("SELECT sum(DISTINCT v) OVER (ORDER BY part) FROM {numbers}"),
            format!("SELECT sum(DISTINCT v) OVER (ORDER BY part, v ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) FROM {numbers}"),
        ] {
            let refused = told(&sql).await.expect_err(&sql).to_string();
            assert!(refused.contains("bigint out of range"), "{sql}: {refused}");
        }
    }

    /// On the way it may leave them.
    #[tokio::test]
    async fn the_order_of_the_rows_decides_nothing() {
        for rows in [[MOST, MOST, -MOST], [-MOST, MOST, MOST], [MOST, -MOST, MOST]] {
            let values = rows.map(|row| format!("(1, {row})")).join(", ");
            for sql in [
                format!("SELECT sum(v) FROM (VALUES {values}) AS t(part, v)"),
                format!("SELECT sum(v) FROM (VALUES {values}) AS t(part, v) GROUP BY part"),
            ] {
                assert!(told(&sql).await.expect(&sql).contains(&format!("| {MOST} |")), "{sql}");
            }
        }
    }
}
