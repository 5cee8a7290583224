//! `mode() WITHIN GROUP (ORDER BY x)`: the value of `x` that stands most often; of several that do, the first in the order, as in PostgreSQL. NULL counts nowhere.
//!
//! The engine lacks it. What differs is kept once, as bytes that compare as the ordering does (the engine's row format), with how often it stands.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, Int64Array, LargeBinaryArray};
use datafusion::arrow::compute::{SortOptions, cast};
use datafusion::arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::{Result, ScalarValue, exec_err, not_impl_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};

use super::arguments::{pack, state_field};

/// What a value that is kept takes beside its bytes: its place among the others, and what its allocation takes.
const VALUE_BYTES: usize = size_of::<(Box<[u8]>, i64)>() + 17;

/// The aggregate.
pub fn mode() -> AggregateUDF {
    AggregateUDF::from(Mode(Signature::any(1, Volatility::Immutable)))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Mode(Signature);

impl AggregateUDFImpl for Mode {
    fn name(&self) -> &'static str {
        "mode"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [kind] if RowConverter::supports_fields(&[SortField::new(kind.clone())]) => Ok(kind.clone()),
            _ => not_impl_err!("mode() WITHIN GROUP (ORDER BY x) takes an x whose values can be put in order"),
        }
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let [field] = arguments.expr_fields else { return exec_err!("mode() WITHIN GROUP (ORDER BY x) of one x") };
        let order = arguments.order_bys.first().map(|by| by.options).unwrap_or_default();
        Ok(Box::new(Counts::new(field.data_type(), order)?))
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![state_field(arguments.name, "values", DataType::LargeBinary), state_field(arguments.name, "counts", DataType::Int64)])
    }

    /// How often a value stands hangs on no order of rows.
    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn supports_within_group_clause(&self) -> bool {
        true
    }
}

/// The values of a group, and how often each stands.
#[derive(Debug)]
struct Counts {
    kind: DataType,
    rows: RowConverter,
    counts: HashMap<Box<[u8]>, i64>,
    /// Bytes of all values.
    bytes: usize,
}

impl Counts {
    fn new(kind: &DataType, order: SortOptions) -> Result<Self> {
        let rows = RowConverter::new(vec![SortField::new_with_options(kind.clone(), order)])?;
        Ok(Self { kind: kind.clone(), rows, counts: HashMap::new(), bytes: 0 })
    }

    fn add(&mut self, value: &[u8], times: i64) {
        if let Some(count) = self.counts.get_mut(value) {
            *count += times;
        } else {
            self.bytes += value.len();
            self.counts.insert(value.into(), times);
        }
    }
}

impl Accumulator for Counts {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [column, ..] = values else { return exec_err!("mode() of no values") };
        let nulls = column.logical_nulls();
        let rows = self.rows.convert_columns(std::slice::from_ref(column))?;
        for (place, row) in rows.iter().enumerate() {
            if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(place)) {
                self.add(row.as_ref(), 1);
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = states.iter().map(|state| state.as_list_opt::<i64>()).collect::<Option<Vec<_>>>();
        let Some([values, counts]) = lists.as_deref() else { return exec_err!("the state of mode() is values and counts") };
        for row in (0..values.len()).filter(|row| values.is_valid(*row)) {
            let (values, counts) = (values.value(row), counts.value(row));
            for (value, times) in values.as_binary::<i64>().iter().zip(counts.as_primitive::<Int64Type>().values().iter()) {
                self.add(value.unwrap_or_default(), *times);
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = LargeBinaryArray::from_iter_values(self.counts.keys());
        let counts = Int64Array::from_iter_values(self.counts.values().copied());
        Ok(vec![pack(Arc::new(values)), pack(Arc::new(counts))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let Some((most, _)) = self.counts.iter().max_by_key(|(value, count)| (**count, Reverse(*value))) else {
            return ScalarValue::try_from(&self.kind);
        };
        let parser = self.rows.parser();
        let column = self.rows.convert_rows([parser.parse(most)])?.remove(0);
        ScalarValue::try_from_array(&cast(&column, &self.kind)?, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.rows.size() + self.counts.capacity() * VALUE_BYTES + self.bytes
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::util::pretty::pretty_format_batches;

    use crate::functions::tests::{Column, asked, session};

    async fn told(sql: &str) -> Vec<String> {
        let rows = 60_i64;
        let columns = vec![
            ("part", Column::Whole((0..rows).map(|row| row % 2).collect())),
            ("word", Column::Text((0..rows).map(|row| ["b", "a", "c"][usize::try_from(row % 3).unwrap_or(0)].to_owned()).collect())),
            ("number", Column::Number((0..rows).map(|row| if row % 10 == 0 { 7.5 } else { row as f64 }).collect())),
        ];
        let table = pretty_format_batches(&asked(&session("rows", columns, 2), sql).await).expect("prints").to_string();
        let cells = |line: &str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join("|");
        table.lines().filter(|line| line.starts_with('|')).skip(1).map(cells).collect()
    }

    #[tokio::test]
    async fn the_value_that_stands_most_often_is_told_and_of_several_the_first_in_the_order() {
        for (by, wanted) in [
            ("word", ["0|a", "1|a"]),
            ("word DESC", ["0|c", "1|c"]),
            ("NULLIF(word, 'a')", ["0|b", "1|b"]),
            ("number", ["0|7.5", "1|1.0"]),
            ("number DESC", ["0|7.5", "1|59.0"]),
            ("number > 7.25 DESC", ["0|true", "1|true"]),
            ("CASE WHEN part = 0 THEN TIMESTAMP '2024-01-31 08:00:00' END", ["0|2024-01-31T08:00:00", "1|"]),
        ] {
            let sql = format!("SELECT part, mode() WITHIN GROUP (ORDER BY {by}) AS most FROM rows GROUP BY part ORDER BY part");
            assert_eq!(told(&sql).await, wanted, "{by}");
        }
        let whole = "SELECT mode() WITHIN GROUP (ORDER BY number), mode() WITHIN GROUP (ORDER BY word DESC) FILTER (WHERE word < 'c'), \
                     mode() WITHIN GROUP (ORDER BY word) FILTER (WHERE number < 0) FROM rows";
        assert_eq!(told(whole).await, ["7.5|b|"]);
    }
}
