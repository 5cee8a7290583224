//! Functions whose result may be far larger than their arguments, refused before they take the memory: no pool counts it.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, DataFusionError, Result, exec_err};
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable as _, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::fault::Refusal;
use crate::functions::spans;
use crate::functions::watched::{Watch, Watched};

/// What one call may give, in bytes, over all rows of a batch.
const LIMIT_BYTES: u64 = 64 << 20;
/// What one call may make of nothing for one row, in bytes: where it is the same for all rows, the engine writes it out for each row of a batch.
pub(crate) const ROW_BYTES: usize = 256 << 10;
const LIMIT_ROW_BYTES: u64 = ROW_BYTES as u64;
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
    /// The second argument elements of the first, with 16 bytes each besides.
    Elements,
    /// All arguments together.
    Together,
    /// All arguments from the second on together, and the first between them.
    Joined,
    /// The texts of a list, and the second argument behind each.
    Listed,
    /// Twice the first argument.
    Twice,
    /// All arguments together, each once.
    Sum,
    /// Length of the first argument times length of the third: each character may be replaced.
    Replaced,
    /// Length of the first argument times length of the second, in steps.
    Compared,
}

/// The functions, whatever else they are called, and how each grows.
const FUNCTIONS: [(&str, Grows); 19] = [
    ("repeat", Grows::Times),
    ("lpad", Grows::To),
    ("rpad", Grows::To),
    ("range", Grows::Range),
    ("generate_series", Grows::Range),
    ("array_repeat", Grows::Elements),
    ("array_resize", Grows::To),
    ("replace", Grows::Replaced),
    ("regexp_replace", Grows::Replaced),
    ("levenshtein", Grows::Compared),
    ("concat", Grows::Together),
    ("concat_ws", Grows::Joined),
    ("array_concat", Grows::Together),
    ("array_to_string", Grows::Listed),
    ("encode", Grows::Twice),
    ("quote_ident", Grows::Twice),
    ("quote_literal", Grows::Twice),
    (OVERLAY, Grows::Sum),
    ("flatten", Grows::Sum),
];

/// Whether a call of this name makes much of little, up to [`ROW_BYTES`] a row.
pub(crate) fn makes_much(name: &str) -> bool {
    FUNCTIONS.iter().any(|(known, grows)| *known == name && grows.makes_much())
}

/// What its own words in SQL make a call of, past the names under which functions are known.
pub(super) const OVERLAY: &str = "overlay";

/// The bounded form of each function among `known` that makes much of little, for whoever calls it: a statement, a view or a site's task.
pub(crate) fn makers(known: impl Fn(&str) -> Option<Arc<ScalarUDF>>) -> Vec<ScalarUDF> {
    among(known, Grows::makes_much).collect()
}

/// The bounded form of each other function that is among `known`, for statements.
pub(super) fn bounded(known: impl Fn(&str) -> Option<Arc<ScalarUDF>>) -> Vec<ScalarUDF> {
    let beside = ScalarUDF::from(Beside(Signature::user_defined(Volatility::Volatile)));
    among(known, |grows| !grows.makes_much()).chain([Grows::Together.of(Arc::new(beside))]).collect()
}

fn among(known: impl Fn(&str) -> Option<Arc<ScalarUDF>>, wanted: impl Fn(Grows) -> bool) -> impl Iterator<Item = ScalarUDF> {
    FUNCTIONS.iter().filter(move |(_, grows)| wanted(*grows)).filter_map(move |(name, grows)| Some(grows.of(known(name)?)))
}

/// A function that puts its arguments together, bounded.
pub(crate) fn summed(inner: ScalarUDF) -> ScalarUDF {
    Grows::Sum.of(Arc::new(inner))
}

/// The rewriting by which calls of this function's name are calls of it, whoever made them.
pub(super) fn instead(function: Arc<ScalarUDF>) -> Arc<dyn FunctionRewrite + Send + Sync> {
    Arc::new(InsteadRewrite(function))
}

/// The rewriting by which `||` is bounded, too.
pub(super) fn beside(of: Arc<ScalarUDF>) -> Arc<dyn FunctionRewrite + Send + Sync> {
    Arc::new(BesideRewrite(of))
}

/// What `||` of texts is called.
pub(super) const BESIDE: &str = "textcat";

impl Grows {
    fn makes_much(self) -> bool {
        matches!(self, Self::Times | Self::To | Self::Range | Self::Elements)
    }

    fn puts_together(self) -> bool {
        matches!(self, Self::Together | Self::Joined | Self::Listed)
    }

    /// The function, bounded by how it grows.
    fn of(self, inner: Arc<ScalarUDF>) -> ScalarUDF {
        let bounded = Watched::new(inner, self);
        // What is put together of texts that are there may be long; it is made batch by batch and so bounded by the batch, and never once for all of them.
        ScalarUDF::from(if self.puts_together() { bounded.volatile() } else { bounded })
    }

    fn check(self, name: &str, args: &ScalarFunctionArgs) -> Result<()> {
        let rows = args.number_rows.max(1);
        let number = |index: usize| numbers(args.args.get(index), rows);
        let length = |index: usize| lengths(args.args.get(index), rows);
        let times = |left: Vec<u64>, right: Vec<u64>| left.iter().zip(&right).map(|(left, right)| left.saturating_mul(*right)).collect();
        let texts = |from: usize| {
            let parts = (from..args.args.len()).map(length);
            parts.fold(vec![0_u64; rows], |sums, part| sums.iter().zip(&part).map(|(sum, one)| sum.saturating_add(*one)).collect())
        };
        let taken: Vec<u64> = match self {
            Self::Times => times(length(0), number(1)),
            Self::To => number(1),
            Self::Range => range(args, rows),
            Self::Elements => times(length(0).into_iter().map(|length| length.saturating_add(16)).collect(), number(1)),
            Self::Replaced => times(length(0), length(2).iter().map(|length| (*length).max(1)).collect()),
            Self::Compared => times(length(0), length(1)),
            Self::Together | Self::Sum => texts(0),
            Self::Twice => length(0).into_iter().map(|length| length.saturating_mul(2)).collect(),
            Self::Joined => {
                let between = u64::try_from(args.args.len()).unwrap_or(u64::MAX);
                texts(1).iter().zip(length(0)).map(|(text, sign)| text.saturating_add(sign.saturating_mul(between))).collect()
            }
            Self::Listed => {
                let listed = elements(args.args.first(), rows).into_iter().zip(length(0)).zip(length(1));
                listed.map(|((count, text), sign)| text.saturating_add(sign.saturating_mul(count))).collect()
            }
        };
        let all = taken.iter().fold(0_u64, |sum, one| sum.saturating_add(*one));
        let limit = if self == Self::Compared { LIMIT_STEPS } else { LIMIT_BYTES };
        let is_long = taken.iter().any(|one| *one > LIMIT_ROW_BYTES) && !self.puts_together();
        let is_made = match self {
            Self::Replaced | Self::Compared => false,
            // Of a column's long values they make long ones; what is made of no column is written out for each row.
            Self::Twice | Self::Sum => args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_))),
            _ => true,
        };
        if all > limit || is_long && is_made {
            let limit = if all > limit { limit } else { LIMIT_ROW_BYTES };
            let refusal = Refusal::new("54000", format!("{name} would give or take more than {limit} bytes"));
            return Err(DataFusionError::External(Box::new(refusal)));
        }
        Ok(())
    }
}

impl Watch for Grows {
    fn call(&self, function: &ScalarUDF, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.check(function.name(), &call)?;
        function.invoke_with_args(call)
    }
}

/// Bytes of a range.
fn range(args: &ScalarFunctionArgs, rows: usize) -> Vec<u64> {
    if let Some(taken) = instants(args, rows) {
        return taken;
    }
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
    (0..rows).map(one).collect()
}

/// What a series of instants takes, where the arguments are of one: as many as its steps go into what lies between its ends.
fn instants(args: &ScalarFunctionArgs, rows: usize) -> Option<Vec<u64>> {
    let [from, until, step] = args.args.as_slice() else { return None };
    if !spans::is_span(&step.data_type()) {
        return None;
    }
    let end = |value: &ColumnarValue| cast(&value.to_array(rows).ok()?, &DataType::Timestamp(TimeUnit::Microsecond, None)).ok();
    let (from, until) = (end(from)?, end(until)?);
    let ends = from.as_primitive::<TimestampMicrosecondType>().iter().zip(until.as_primitive::<TimestampMicrosecondType>());
    let steps = spans::spans(&step.to_array(rows).ok()?).ok()?;
    let one = |((from, until), step): ((Option<i64>, Option<i64>), Option<spans::Span>)| {
        let step = step.map_or(1, |step| step.total().unsigned_abs().max(1));
        from.zip(until).map_or(0, |(from, until)| (from.abs_diff(until) / step).saturating_mul(8))
    };
    Some(ends.zip(steps).map(one).collect())
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

/// Bytes of each row's value; those of one that is the same for all rows are counted once and not written out.
fn lengths(value: Option<&ColumnarValue>, rows: usize) -> Vec<u64> {
    let of = |array: ArrayRef| (0..array.len()).map(|row| size(&array, row)).collect::<Vec<u64>>();
    match value {
        Some(ColumnarValue::Scalar(scalar)) => scalar.to_array().map_or_else(|_| Vec::new(), |array| vec![size(&array, 0); rows]),
        Some(ColumnarValue::Array(array)) => of(Arc::clone(array)),
        None => Vec::new(),
    }
}

/// Bytes that a value takes.
fn size(array: &ArrayRef, row: usize) -> u64 {
    let bytes = match array.data_type() {
        _ if array.is_null(row) => 0,
        DataType::Utf8 => array.as_string::<i32>().value(row).len(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).len(),
        DataType::Utf8View => array.as_string_view().value(row).len(),
        DataType::Binary => array.as_binary::<i32>().value(row).len(),
        DataType::LargeBinary => array.as_binary::<i64>().value(row).len(),
        DataType::BinaryView => array.as_binary_view().value(row).len(),
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => {
            return listed(array, row)
                .map_or(0, |list| (0..list.len()).fold(0, |sum: u64, each| sum.saturating_add(size(&list, each).max(1))));
        }
        other => other.primitive_width().unwrap_or(16),
    };
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn listed(array: &ArrayRef, row: usize) -> Option<ArrayRef> {
    match array.data_type() {
        DataType::List(_) => Some(array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => Some(array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => Some(array.as_fixed_size_list().value(row)),
        _ => None,
    }
}

/// Elements of each row's list.
fn elements(value: Option<&ColumnarValue>, rows: usize) -> Vec<u64> {
    let count = |array: &ArrayRef, row: usize| listed(array, row).filter(|_| !array.is_null(row)).map_or(0, |list| list.len() as u64);
    match value {
        Some(ColumnarValue::Scalar(scalar)) => scalar.to_array().map_or_else(|_| Vec::new(), |array| vec![count(&array, 0); rows]),
        Some(ColumnarValue::Array(array)) => (0..array.len()).map(|row| count(array, row)).collect(),
        None => Vec::new(),
    }
}

/// `||` of two texts; NULL where one is.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Beside(Signature);

impl ScalarUDFImpl for Beside {
    fn name(&self) -> &'static str {
        BESIDE
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        Ok(vec![DataType::Utf8; arguments.len()])
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [left, right] = arrays.as_slice() else { return exec_err!("|| takes two texts") };
        let pairs = left.as_string::<i32>().iter().zip(right.as_string::<i32>());
        let texts: StringArray = pairs.map(|(left, right)| Some([left?, right?].concat())).collect();
        Ok(ColumnarValue::Array(Arc::new(texts)))
    }
}

#[derive(Debug)]
struct BesideRewrite(Arc<ScalarUDF>);

impl FunctionRewrite for BesideRewrite {
    fn name(&self) -> &'static str {
        "bounded ||"
    }

    /// Lists that are put beside each other are the engine's, and what it does not know the type of yet.
    fn rewrite(&self, expr: Expr, schema: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        let Expr::BinaryExpr(BinaryExpr { left, op: Operator::StringConcat, right }) = expr else { return Ok(Transformed::no(expr)) };
        let kinds = [left.get_type(schema), right.get_type(schema)];
        let is_text =
            kinds.iter().flatten().any(DataType::is_string) && kinds.iter().all(|kind| kind.as_ref().is_ok_and(|kind| !kind.is_nested()));
        if !is_text {
            return Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op: Operator::StringConcat, right })));
        }
        Ok(Transformed::yes(self.0.call(vec![*left, *right])))
    }
}

#[derive(Debug)]
struct InsteadRewrite(Arc<ScalarUDF>);

impl FunctionRewrite for InsteadRewrite {
    fn name(&self) -> &'static str {
        "bounded functions"
    }

    fn rewrite(&self, expr: Expr, _: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        match expr {
            Expr::ScalarFunction(call) if call.func.name() == self.0.name() && call.func != self.0 => {
                Ok(Transformed::yes(self.0.call(call.args)))
            }
            expr => Ok(Transformed::no(expr)),
        }
    }
}
