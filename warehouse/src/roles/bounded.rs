//! Functions whose result may be far larger than their arguments, refused before they take the memory: no pool counts it.

use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature};

use super::fault::Refusal;

/// What one call may give, in bytes, over all rows of a batch.
const LIMIT_BYTES: u64 = 64 << 20;
/// What one call may compare, in steps, over all rows of a batch.
const LIMIT_STEPS: u64 = 1 << 31;

/// How much a call gives or does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Grows {
    /// Length of the first argument times the second.
    Times,
    /// The second argument, once a row.
    To,
    /// From the first argument to the second, 8 bytes each.
    Range,
    /// The second argument elements of the first, 16 bytes each.
    Elements,
    /// Length of the first argument times length of the third: each character may be replaced.
    Replaced,
    /// Length of the first argument times length of the second, in steps.
    Compared,
}

/// The functions, and how each grows.
const FUNCTIONS: [(&str, Grows); 12] = [
    ("repeat", Grows::Times),
    ("lpad", Grows::To),
    ("rpad", Grows::To),
    ("range", Grows::Range),
    ("generate_series", Grows::Range),
    ("array_repeat", Grows::Elements),
    ("list_repeat", Grows::Elements),
    ("array_resize", Grows::To),
    ("list_resize", Grows::To),
    ("replace", Grows::Replaced),
    ("regexp_replace", Grows::Replaced),
    ("levenshtein", Grows::Compared),
];

/// The bounded form of each function that is among `known`.
pub(super) fn bounded(known: impl Fn(&str) -> Option<Arc<ScalarUDF>>) -> Vec<ScalarUDF> {
    FUNCTIONS.iter().filter_map(|(name, grows)| Some(ScalarUDF::from(Bounded { inner: known(name)?, name, grows: *grows }))).collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    name: &'static str,
    grows: Grows,
}

impl Bounded {
    fn check(&self, args: &ScalarFunctionArgs) -> Result<()> {
        let rows = args.number_rows.max(1);
        let number = |index: usize| numbers(args.args.get(index), rows);
        let length = |index: usize| lengths(args.args.get(index), rows);
        let product = |left: Vec<u64>, right: Vec<u64>| {
            left.iter().zip(&right).fold(0_u64, |sum, (left, right)| sum.saturating_add(left.saturating_mul(*right)))
        };
        let (taken, limit) = match self.grows {
            Grows::Times => (product(length(0), number(1)), LIMIT_BYTES),
            Grows::To => (number(1).iter().fold(0, |sum: u64, one| sum.saturating_add(*one)), LIMIT_BYTES),
            Grows::Range => (self.range(args, rows), LIMIT_BYTES),
            Grows::Elements => (product(vec![16; rows], number(1)), LIMIT_BYTES),
            Grows::Replaced => (product(length(0), length(2).iter().map(|length| (*length).max(1)).collect()), LIMIT_BYTES),
            Grows::Compared => (product(length(0), length(1)), LIMIT_STEPS),
        };
        if taken > limit {
            let refusal = Refusal::new("54000", format!("{} would give or take more than {limit} bytes", self.name));
            return Err(DataFusionError::External(Box::new(refusal)));
        }
        Ok(())
    }

    /// Elements of a range of integers; ranges of instants are bounded by their step.
    fn range(&self, args: &ScalarFunctionArgs, rows: usize) -> u64 {
        let (first, second) = (signed(args.args.first(), rows), signed(args.args.get(1), rows));
        let step = signed(args.args.get(2), rows);
        let one = |row: usize| {
            let (from, until) = match second.get(row).copied().flatten() {
                Some(until) => (first.get(row).copied().flatten().unwrap_or(0), until),
                None => (0, first.get(row).copied().flatten().unwrap_or(0)),
            };
            let step = step.get(row).copied().flatten().filter(|step| *step != 0).unwrap_or(1);
            from.abs_diff(until) / step.unsigned_abs() * 8
        };
        (0..rows).fold(0, |sum, row| sum.saturating_add(one(row)))
    }
}

fn signed(value: Option<&ColumnarValue>, rows: usize) -> Vec<Option<i64>> {
    let Some(array) = value.and_then(|value| value.to_array(rows).ok()) else { return Vec::new() };
    if !array.data_type().is_integer() {
        return Vec::new();
    }
    let Ok(array) = cast(&array, &DataType::Int64) else { return Vec::new() };
    array.as_primitive::<Int64Type>().iter().collect()
}

fn numbers(value: Option<&ColumnarValue>, rows: usize) -> Vec<u64> {
    signed(value, rows).into_iter().map(|number| number.and_then(|number| u64::try_from(number).ok()).unwrap_or(0)).collect()
}

fn lengths(value: Option<&ColumnarValue>, rows: usize) -> Vec<u64> {
    let Some(array) = value.and_then(|value| value.to_array(rows).ok()) else { return Vec::new() };
    let Ok(array) = cast(&array, &DataType::LargeUtf8) else { return Vec::new() };
    let texts = array.as_string::<i64>();
    (0..texts.len()).map(|row| u64::try_from(texts.value(row).len()).unwrap_or(u64::MAX)).collect()
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.inner.inner().return_type(arguments)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.inner().return_field_from_args(args)
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.inner().coerce_types(arguments)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.check(&args)?;
        self.inner.invoke_with_args(args)
    }
}
