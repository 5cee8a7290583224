//! `first_value(x ORDER BY ..)` and `last_value(x ORDER BY ..)` over many groups.
//!
//! The engine's own, but for what stands between rows and groups: its accumulator visits every group for every batch, and keeps what orders
//! them as one value each, so that many groups cost the square of their number. Here a group keeps its winner as bytes that compare as the
//! ordering does (the engine's row format), and a batch costs what its rows cost.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, UInt64Array, new_null_array};
use datafusion::arrow::compute::{SortOptions, and, filter, is_not_null, take_arrays};
use datafusion::arrow::datatypes::{DataType, FieldRef, UInt64Type};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::{Result, exec_err};
use datafusion::functions_aggregate::first_last::{first_value_udaf, last_value_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, ReversedUDAF, Signature,
};
use datafusion::physical_expr::PhysicalSortExpr;

/// Both, under the engine's names, whose place they take.
pub fn all() -> [AggregateUDF; 2] {
    End::BOTH.map(|end| AggregateUDF::from(Ordered { end, engines: end.engines() }))
}

/// Which end of the ordering is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum End {
    First,
    Last,
}

impl End {
    const BOTH: [Self; 2] = [Self::First, Self::Last];

    fn engines(self) -> Arc<AggregateUDF> {
        match self {
            Self::First => first_value_udaf(),
            Self::Last => last_value_udaf(),
        }
    }

    /// Whether a row is nearer to the end than the one that is.
    fn prefers(self, row: &[u8], to: &[u8]) -> bool {
        match self {
            Self::First => row < to,
            Self::Last => row > to,
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Ordered {
    end: End,
    engines: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for Ordered {
    fn name(&self) -> &str {
        self.engines.name()
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

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        self.engines.accumulator(arguments)
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        self.engines.state_fields(arguments)
    }

    fn groups_accumulator_supported(&self, arguments: AccumulatorArgs<'_>) -> bool {
        self.engines.groups_accumulator_supported(arguments)
    }

    fn create_groups_accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        let value = arguments.return_field.data_type().clone();
        let by = |one: &PhysicalSortExpr| Ok((one.expr.data_type(arguments.schema)?, one.options));
        let keys: Vec<(DataType, SortOptions)> = arguments.order_bys.iter().map(by).collect::<Result<_>>()?;
        if !keys.iter().map(|(kind, _)| kind).chain([&value]).all(is_flat) {
            return self.engines.create_groups_accumulator(arguments);
        }
        Ok(Box::new(Winners::new(self.end, arguments.ignore_nulls, &value, &keys)?))
    }

    fn with_beneficial_ordering(self: Arc<Self>, _beneficial_ordering: bool) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        Ok(Some(self))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Beneficial
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::NotSupported
    }

    fn supports_null_handling_clause(&self) -> bool {
        true
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.engines.documentation()
    }
}

/// Whether the row format orders such a column, and gives it back in the same type.
fn is_flat(kind: &DataType) -> bool {
    !kind.is_nested() && !matches!(kind, DataType::Dictionary(..)) && RowConverter::supports_fields(&[SortField::new(kind.clone())])
}

/// The row of a group that is nearest to the end so far.
#[derive(Clone, Debug, Default)]
struct Winner {
    /// What orders it, and behind that its value, both in the row format; empty before any row.
    bytes: Box<[u8]>,
    /// Bytes of what orders it.
    key: usize,
}

impl Winner {
    fn key(&self) -> &[u8] {
        &self.bytes[..self.key]
    }

    fn value(&self) -> &[u8] {
        &self.bytes[self.key..]
    }

    fn is_set(&self) -> bool {
        !self.bytes.is_empty()
    }
}

#[derive(Debug)]
struct Winners {
    end: End,
    ignores_nulls: bool,
    /// Of the columns of the ordering, and of the value.
    keys: RowConverter,
    values: RowConverter,
    /// A row of NULLs as each of them writes it.
    no_key: Box<[u8]>,
    no_value: Box<[u8]>,
    groups: Vec<Winner>,
    /// Bytes of all winners.
    bytes: usize,
}

impl Winners {
    fn new(end: End, ignores_nulls: bool, value: &DataType, ordering: &[(DataType, SortOptions)]) -> Result<Self> {
        let nulls: Vec<ArrayRef> = ordering.iter().map(|(kind, _)| new_null_array(kind, 1)).collect();
        let keys = RowConverter::new(ordering.iter().map(|(kind, options)| SortField::new_with_options(kind.clone(), *options)).collect())?;
        let values = RowConverter::new(vec![SortField::new(value.clone())])?;
        let no_key = keys.convert_columns(&nulls)?.row(0).as_ref().into();
        let no_value = values.convert_columns(&[new_null_array(value, 1)])?.row(0).as_ref().into();
        Ok(Self { end, ignores_nulls, keys, values, no_key, no_value, groups: Vec::new(), bytes: 0 })
    }

    /// Rows of value and ordering, each of a group, of which those count that `counts` is true of, which is not where it is NULL.
    fn take_in(&mut self, columns: &[ArrayRef], groups: &[usize], counts: Option<BooleanArray>, total: usize) -> Result<()> {
        self.groups.resize(total, Winner::default());
        let mut counts = counts;
        if self.ignores_nulls && columns[0].null_count() > 0 {
            let told = is_not_null(&columns[0])?;
            counts = Some(match counts {
                Some(counts) => and(&told, &counts)?,
                None => told,
            });
        }
        let Some(counts) = counts else { return self.compete(columns, groups.iter().copied()) };
        let all: UInt64Array = (0..groups.len() as u64).collect();
        let places = filter(&all, &counts)?;
        let places = places.as_primitive::<UInt64Type>();
        let chosen = take_arrays(columns, places, None)?;
        self.compete(&chosen, places.values().iter().map(|place| groups[*place as usize]))
    }

    fn compete(&mut self, columns: &[ArrayRef], groups: impl Iterator<Item = usize>) -> Result<()> {
        let [value, ordering @ ..] = columns else { return exec_err!("a value and what orders it") };
        let (keys, values) = (self.keys.convert_columns(ordering)?, self.values.convert_columns(std::slice::from_ref(value))?);
        for ((key, value), group) in keys.iter().zip(values.iter()).zip(groups) {
            let (winner, key, value) = (&mut self.groups[group], key.data(), value.data());
            if winner.is_set() && !self.end.prefers(key, winner.key()) {
                continue;
            }
            self.bytes = self.bytes + key.len() + value.len() - winner.bytes.len();
            *winner = Winner { bytes: [key, value].concat().into_boxed_slice(), key: key.len() };
        }
        Ok(())
    }

    fn taken(&mut self, emit_to: EmitTo) -> Vec<Winner> {
        let taken = emit_to.take_needed(&mut self.groups);
        self.bytes -= taken.iter().map(|winner| winner.bytes.len()).sum::<usize>();
        taken
    }

    fn values(&self, winners: &[Winner]) -> Result<ArrayRef> {
        let parser = self.values.parser();
        let values = winners.iter().map(|winner| if winner.is_set() { winner.value() } else { &self.no_value });
        Ok(self.values.convert_rows(values.map(|value| parser.parse(value)))?.remove(0))
    }
}

impl GroupsAccumulator for Winners {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.take_in(values, group_indices, opt_filter.cloned(), total_num_groups)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        let [columns @ .., set] = values else {
            return exec_err!("the state of a first value is a value, what orders it, and whether it is one");
        };
        self.take_in(columns, group_indices, Some(set.as_boolean().clone()), total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let winners = self.taken(emit_to);
        self.values(&winners)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let winners = self.taken(emit_to);
        let parser = self.keys.parser();
        let keys = winners.iter().map(|winner| if winner.is_set() { winner.key() } else { &self.no_key });
        let mut state = vec![self.values(&winners)?];
        state.extend(self.keys.convert_rows(keys.map(|key| parser.parse(key)))?);
        state.push(Arc::new(winners.iter().map(|winner| Some(winner.is_set())).collect::<BooleanArray>()));
        Ok(state)
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows = values.first().map_or(0, |value| value.len());
        let set = opt_filter.cloned().unwrap_or_else(|| vec![true; rows].into());
        Ok(values.iter().cloned().chain([Arc::new(set) as ArrayRef]).collect())
    }

    fn size(&self) -> usize {
        self.bytes + self.groups.capacity() * size_of::<Winner>() + self.keys.size() + self.values.size()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::util::pretty::pretty_format_batches;
    use datafusion::prelude::SessionContext;

    use crate::functions::tests::{Column, asked, session};

    /// Rows of few and of many groups, with ties in what orders them first, and NULLs.
    async fn told(ours: bool, partitions: usize, sql: &str) -> String {
        let rows = 3_000_i64;
        let drawn = |row: i64, among: i64| (row * 7_919 + row * row * 31) % among;
        let columns = || {
            vec![
                ("id", Column::Whole((0..rows).collect())),
                ("few", Column::Whole((0..rows).map(|row| drawn(row, 5)).collect())),
                ("many", Column::Text((0..rows).map(|row| format!("a group with a long name {}", drawn(row, 900))).collect())),
                ("at", Column::Whole((0..rows).map(|row| drawn(row, 40)).collect())),
                ("number", Column::Number((0..rows).map(|row| drawn(row, 11) as f64 - 5.0).collect())),
                ("text", Column::Text((0..rows).map(|row| "x".repeat(usize::try_from(drawn(row, 50)).expect("small"))).collect())),
            ]
        };
        let ctx = session("rows", columns(), partitions);
        if !ours {
            let [first, last] = super::End::BOTH.map(super::End::engines);
            ctx.register_udaf(first.as_ref().clone());
            ctx.register_udaf(last.as_ref().clone());
        }
        format!("{}", pretty_format_batches(&asked(&ctx, sql).await).expect("prints"))
    }

    fn calls() -> String {
        let mut calls = Vec::new();
        for end in ["first_value", "last_value"] {
            for value in ["id", "NULLIF(text, 'xx')", "NULLIF(number, 0)", "to_timestamp_micros(id)", "id % 2 = 0"] {
                for order in ["at, id", "at DESC NULLS LAST, id", "NULLIF(text, '') DESC, id DESC", "NULLIF(at, 3) NULLS FIRST, many, id"] {
                    calls.push(format!("{end}({value} ORDER BY {order})"));
                    calls.push(format!("{end}({value} ORDER BY {order}) FILTER (WHERE NULLIF(at, 7) % 3 = 0)"));
                    calls.push(format!("{end}({value} ORDER BY {order}) IGNORE NULLS"));
                }
            }
        }
        calls.join(", ")
    }

    #[tokio::test]
    async fn the_answers_are_the_engines_own() {
        for (group, partitions) in [("few", 1), ("few", 3), ("many", 3), ("few, many", 2)] {
            let sql = format!("SELECT {group}, {} FROM rows GROUP BY {group} ORDER BY {group}", calls());
            assert_eq!(told(true, partitions, &sql).await, told(false, partitions, &sql).await, "{group}");
        }
        let nested = "SELECT many, last_value(make_array(id, at) ORDER BY id) FROM rows GROUP BY many ORDER BY many";
        assert_eq!(told(true, 2, nested).await, told(false, 2, nested).await);
    }

    #[tokio::test]
    async fn both_stand_in_the_engines_place() {
        let ctx = SessionContext::new();
        crate::functions::register(&ctx);
        let state = ctx.state();
        for end in super::End::BOTH {
            let registered = state.aggregate_functions().get(end.engines().name()).expect("is there");
            assert!(format!("{:?}", registered.inner()).starts_with("Ordered"), "{registered:?}");
        }
    }
}
