//! `count(DISTINCT ...)` of rows and lists.
//!
//! The engine keeps each as a value of its own that holds on to the whole batch in which it came, and counts as that: some thousand pairs of numbers are refused as
//! gigabytes. Here each is written out in the engine's row format, which is the same for the same value, and what is counted are those bytes.

use datafusion::arrow::array::{Array as _, ArrayRef, BinaryArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF};

/// The engine's accumulator, which is given rows and lists written out.
///
/// # Errors
/// Where the engine has none for these arguments.
pub(super) fn accumulator(engines: &AggregateUDF, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
    if !are_written(arguments.expr_fields) {
        return engines.accumulator(arguments);
    }
    Ok(Box::new(Written(engines.accumulator(AccumulatorArgs { expr_fields: &[bytes()], ..arguments })?)))
}

/// What it gives on to another of its kind.
///
/// # Errors
/// Where the engine has none for these arguments.
pub(super) fn state_fields(engines: &AggregateUDF, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
    if !are_written(arguments.input_fields) {
        return engines.state_fields(arguments);
    }
    engines.state_fields(StateFieldsArgs { input_fields: &[bytes()], ..arguments })
}

/// Whether values of these arguments are nested, and can be written out.
fn are_written(fields: &[FieldRef]) -> bool {
    let [field] = fields else { return false };
    field.data_type().is_nested() && RowConverter::supports_fields(&of(field.data_type()))
}

fn of(kind: &DataType) -> [SortField; 1] {
    [SortField::new(kind.clone())]
}

fn bytes() -> FieldRef {
    Field::new("bytes", DataType::LargeBinary, true).into()
}

/// Writes out what it is given.
#[derive(Debug)]
struct Written(Box<dyn Accumulator>);

impl Accumulator for Written {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [column] = values else { return exec_err!("count(DISTINCT ...) of {} arguments", values.len()) };
        // Of the batch's own type: a plan may promise fewer NULLs than it says.
        let rows = RowConverter::new(of(column.data_type()).to_vec())?.convert_columns(values)?;
        let (ends, written, _) = rows.try_into_binary()?.into_parts();
        let written = BinaryArray::try_new(ends, written, column.logical_nulls())?;
        self.0.update_batch(&[cast(&written, &DataType::LargeBinary)?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.merge_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.evaluate()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.0.size()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::execution::memory_pool::GreedyMemoryPool;
    use datafusion::execution::runtime_env::RuntimeEnvBuilder;
    use datafusion::functions_aggregate::average::avg_udaf;
    use datafusion::functions_aggregate::count::count_udaf;

    use crate::functions::tests::{Column, asked, session};
    use crate::session::empty_session;
    use crate::statement;

    async fn told(ours: bool, sql: &str) -> String {
        let rows = 2_000_i64;
        let columns = vec![
            ("id", Column::Whole((0..rows).collect())),
            ("part", Column::Whole((0..rows).map(|row| row * row % 31).collect())),
            ("number", Column::Number((0..rows).map(|row| (row * 7_919 % 101) as f64).collect())),
            ("text", Column::Text((0..rows).map(|row| format!("text number {}", row * 7_919 % 97)).collect())),
        ];
        let ctx = session("rows", columns, 2);
        if !ours {
            ctx.register_udaf(count_udaf().as_ref().clone());
            ctx.register_udaf(avg_udaf().as_ref().clone());
        }
        pretty_format_batches(&asked(&ctx, sql).await).expect("prints").to_string()
    }

    #[tokio::test]
    async fn the_answers_are_the_engines_own() {
        let pair = "named_struct('text', NULLIF(text, 'text number 3'), 'number', number)";
        let calls = [
            format!("count(DISTINCT {pair})"),
            format!("count(DISTINCT CASE WHEN id % 5 > 0 THEN {pair} END)"),
            format!("count(DISTINCT make_array({pair}))"),
            "count(DISTINCT CASE WHEN id % 3 > 0 THEN make_array(number, part) END) FILTER (WHERE number > 4)".to_owned(),
            "count(DISTINCT make_array(text))".to_owned(),
            "count(DISTINCT text)".to_owned(),
            "count(DISTINCT NULLIF(number, 3))".to_owned(),
            "count(DISTINCT id % 7)".to_owned(),
            "count(DISTINCT id > 5)".to_owned(),
            "avg(DISTINCT number)".to_owned(),
            "avg(part)".to_owned(),
            "count(NULLIF(number, 3)) FILTER (WHERE id > 5)".to_owned(),
            "count(*)".to_owned(),
        ];
        let all = calls.join(", ");
        let framed = "count(DISTINCT number) OVER (ORDER BY id ROWS BETWEEN 30 PRECEDING AND CURRENT ROW), \
                      avg(number) OVER (ORDER BY id ROWS BETWEEN 30 PRECEDING AND CURRENT ROW), count(*) OVER (PARTITION BY part ORDER BY id)";
        let together = [
            format!("SELECT {all} FROM rows"),
            format!("SELECT part, {all} FROM rows GROUP BY part ORDER BY part"),
            format!("SELECT {all} FROM rows WHERE id < 0"),
            format!("SELECT id, {framed} FROM rows ORDER BY id"),
        ];
        let alone = calls.iter().map(|call| format!("SELECT {call} FROM rows"));
        for sql in alone.chain(together) {
            assert_eq!(told(true, &sql).await, told(false, &sql).await, "{sql}");
        }
    }

    #[tokio::test]
    async fn rows_and_lists_count_for_what_they_take() {
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(GreedyMemoryPool::new(16 << 20))).build_arc().expect("a runtime");
        let ctx = empty_session(&runtime);
        for value in ["named_struct('one', value, 'two', value + 1)", "make_array(value, value + 1)"] {
            let sql = |rows: usize| format!("SELECT count(DISTINCT {value}), count(DISTINCT value) FROM range(0, {rows})");
            let few = statement::all(ctx.sql(&sql(5_000)).await.expect("plans")).await.expect("some hundred kilobytes");
            let few = pretty_format_batches(&few).expect("prints").to_string();
            assert_eq!(few.matches(" 5000 ").count(), 2, "{few}");
            let many = statement::all(ctx.sql(&sql(1_000_000)).await.expect("plans")).await.expect_err(value);
            assert!(statement::is_short(&many), "{value}: {many}");
        }
    }
}
